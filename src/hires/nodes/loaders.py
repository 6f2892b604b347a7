"""Loaders: checkpoints and VAEs by name from the models folders."""

from __future__ import annotations

from typing import Annotated

from hires.graph.declare import node
from hires.graph.inputs import Choice, Extra
from hires.models.clip import TextStack
from hires.models.handles import DiffusionModel, VaeModel
from hires.models.precision import FLOAT8_MODES
from hires.nodes.context import RunContext
from hires.nodes.types import CheckpointName, VaeName

Float8 = Annotated[str, Choice(FLOAT8_MODES), Extra, "Hold the UNet's weights in 8 bits: never, of SDXL, always."]


@node("CheckpointLoaderSimple", title="Load Checkpoint", category="loaders", outputs=("MODEL", "CLIP", "VAE"))
def load_checkpoint(
    *, ckpt_name: CheckpointName, float8: Float8 = "off", context: RunContext
) -> tuple[DiffusionModel | None, TextStack | None, VaeModel | None]:
    """Load a checkpoint; a part that the file lacks comes out as None."""
    checkpoint = context.store.checkpoint(ckpt_name, float8=float8)
    return checkpoint.model, checkpoint.clip, checkpoint.vae


@node("VAELoader", title="Load VAE", category="loaders", outputs=("VAE",))
def load_vae(*, vae_name: VaeName, context: RunContext) -> VaeModel:
    """Load a separate VAE file."""
    return context.store.vae(vae_name)
