"""How a VAE's work is made to fit the memory budget: whole where that fits, in exact tiles where it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from hires.models.budget import Choice
from hires.models.handles import PIXELS_PER_LATENT, VaeModel
from hires.nodes.context import RunContext
from hires.nodes.fitting import WHOLE, fitted
from hires.tiling.vae_peak import predicted_decode_peak, predicted_encode_peak
from hires.tiling.vae_tasks import is_known_layout
from hires.tiling.vae_tiled import TiledMode

VAE_TILES = (192, 128, 96, 64, 48, 32)
"""Latent cells."""
MODES: tuple[TiledMode, ...] = ("exact", "exact-lowram", "exact-disk")


def decode_choices(vae: VaeModel, height: int, width: int) -> Iterator[Choice]:
    """Decoding one picture of (height, width) latent cells whole, or in exact tiles."""
    return _choices(vae, height, width, predicted_decode_peak)


def encode_choices(vae: VaeModel, height: int, width: int) -> Iterator[Choice]:
    """Encoding one picture of (height, width) latent cells whole, or in exact tiles."""
    return _choices(vae, height, width, predicted_encode_peak)


def _choices(vae: VaeModel, height: int, width: int, predicted: Callable[..., int]) -> Iterator[Choice]:
    if not is_known_layout(vae.vae):  # nothing is known of such a network: it is run whole, as without a budget
        yield Choice(WHOLE, 0)
        return
    where: dict[str, Any] = {"dtype": vae.compute_dtype, "device": vae.device}
    yield Choice(WHOLE, predicted(vae.vae, height, width, **where))
    for mode in MODES:
        for side in VAE_TILES:
            if side < max(height, width):
                need = predicted(vae.vae, height, width, side, mode=mode, **where)
                yield Choice(tiled_name(mode, side), need)


def way_that_fits(
    context: RunContext, what: str, vae: VaeModel, choices: Callable[[], Iterable[Choice]]
) -> tuple[TiledMode, int] | None:
    """Mode and tile under the context's budget; None where the whole fits, or where there is no budget."""
    chosen = fitted(context, what, choices, [vae.vae])
    if chosen is None:
        return None
    if chosen.name != WHOLE:
        context.note(f"memory: {what} {chosen.name}")
    return way_of(chosen.name)


def tiled_name(mode: str, tile: int) -> str:
    """The choice's words: "in exact tiles of 512"."""
    return f"in {mode} tiles of {tile * PIXELS_PER_LATENT}"


def way_of(name: str) -> tuple[TiledMode, int] | None:
    """Mode and tile of a choice's words; None for the whole."""
    for mode in MODES:
        for side in VAE_TILES:
            if name == tiled_name(mode, side):
                return mode, side
    return None
