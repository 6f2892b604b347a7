"""Loaders: checkpoints and VAEs by name from the models folders."""

from __future__ import annotations

from hires.graph.declare import node
from hires.models.clip import TextStack
from hires.models.handles import DiffusionModel, VaeModel
from hires.nodes.context import RunContext
from hires.nodes.types import CheckpointName, VaeName


@node("CheckpointLoaderSimple", title="Load Checkpoint", category="loaders", outputs=("MODEL", "CLIP", "VAE"))
def load_checkpoint(
    *, ckpt_name: CheckpointName, context: RunContext
) -> tuple[DiffusionModel | None, TextStack | None, VaeModel | None]:
    """Load a checkpoint; a part that the file lacks comes out as None."""
    checkpoint = context.store.checkpoint(ckpt_name)
    return checkpoint.model, checkpoint.clip, checkpoint.vae


@node("VAELoader", title="Load VAE", category="loaders", outputs=("VAE",))
def load_vae(*, vae_name: VaeName, context: RunContext) -> VaeModel:
    """Load a separate VAE file."""
    return context.store.vae(vae_name)
