"""Decoding and encoding by a named mode: whole, in exact tiles, in fast ones, or blended."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from hires.errors import MemoryLimitError, ModelFileError, is_out_of_memory
from hires.imaging.sizes import LATENT
from hires.models.budget import Choice, without_gaps
from hires.models.handles import VaeModel, as_image, crop_to_latent_grid
from hires.nodes.context import RunContext
from hires.nodes.fitting import states_memory
from hires.nodes.fitting_vae import decode_choices, encode_choices, way_that_fits
from hires.tiling.blend import smaller_until_it_fits, tiled_scale
from hires.tiling.vae_tasks import is_known_layout
from hires.tiling.vae_tiled import TiledMode, decode_tiled, encode_tiled

MODES = ("auto", "untiled", "exact", "exact-lowram", "exact-disk", "fast", "blend")
TILE = 512
"""Pixels: the side of a tile where nobody chose one."""
SMALLEST = 64
"""Pixels: no tile is halved below this when memory runs out."""
BLEND = 0.25
"""Of a tile: the overlap of the mode that blends."""
Work = Callable[[int], Tensor]
"""From a tile's side in latent cells to a result."""


def check_vae(vae: VaeModel | None) -> None:
    """ModelFileError where there is none."""
    if vae is None:
        raise ModelFileError("the checkpoint holds no VAE", "Load one with VAELoader, or use a complete checkpoint.")


def decoded(vae: VaeModel, latents: Tensor, mode: str, tile_size: int, context: RunContext) -> Tensor:
    """Raw latents to images (batch, height, width, 3) in 0..1, one at a time; tiles are halved when memory runs out."""
    context.store.bring_back([vae.vae])
    mode = _layout_permitting(vae, mode, context)
    if mode == "auto":
        height, width = latents.shape[-2:]
        what = f"decoding {width * LATENT}x{height * LATENT}"
        mode, tile_size = _budgeted(context, what, vae, lambda: decode_choices(vae, height, width), tile_size)
    if mode in ("auto", "untiled"):
        try:
            return torch.cat([as_image(decode_raw(vae, latent[None], context)) for latent in latents])
        except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
            mode = _after(error, mode, vae, "decoding", context)
    if mode == "blend":
        return as_image(_blended(vae, latents, tile_size, LATENT, context))

    def work(tile: int) -> Tensor:
        return decode_tiled(
            vae.vae, latents, max(tile // LATENT, 1), cast(TiledMode, mode),
            device=vae.device, dtype=vae.compute_dtype, on_tile=context.progress, note=context.note,
        )  # fmt: skip

    with without_gaps(states_memory(context)):
        return as_image(smaller_until_it_fits(work, tile_size, SMALLEST, "decoding the picture"))


def encoded(vae: VaeModel, pixels: Tensor, mode: str, tile_size: int, context: RunContext) -> Tensor:
    """Images to the posteriors' means (batch, 4, height/8, width/8), one at a time."""
    context.store.bring_back([vae.vae])
    mode = _layout_permitting(vae, mode, context)
    if mode == "auto":
        height, width = pixels.shape[1] // LATENT, pixels.shape[2] // LATENT
        what = f"encoding {width * LATENT}x{height * LATENT}"
        mode, tile_size = _budgeted(context, what, vae, lambda: encode_choices(vae, height, width), tile_size)
    if mode in ("auto", "untiled"):
        try:
            return torch.cat([encode_raw(vae, image[None], context) for image in pixels])
        except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
            mode = _after(error, mode, vae, "encoding", context)
    if mode == "blend":
        planes = crop_to_latent_grid(pixels[..., :3]).movedim(-1, 1)
        return _blended(vae, planes, tile_size, 1 / LATENT, context)

    def work(tile: int) -> Tensor:
        return encode_tiled(
            vae.vae, pixels, max(tile // LATENT, 1), cast(TiledMode, mode),
            device=vae.device, dtype=vae.compute_dtype, on_tile=context.progress, note=context.note,
        )  # fmt: skip

    with without_gaps(states_memory(context)):
        return smaller_until_it_fits(work, tile_size, SMALLEST, "encoding the picture")


def decode_raw(vae: VaeModel, latent: Tensor, context: RunContext) -> Tensor:
    """`vae.decode_raw`, mended where half precision overflows."""

    def again(tile: int) -> Tensor:
        return decode_tiled(
            vae.vae, latent, tile, device=vae.device, dtype=vae.compute_dtype, note=context.note
        )  # fmt: skip

    pixels = vae.decode_raw(latent)
    return _mended(pixels, vae, "decoder", again, lambda wide: wide.decode_raw(latent), context)


def encode_raw(vae: VaeModel, image: Tensor, context: RunContext) -> Tensor:
    """`vae.encode`, mended where half precision overflows."""

    def again(tile: int) -> Tensor:
        return encode_tiled(vae.vae, image, tile, device=vae.device, dtype=vae.compute_dtype, note=context.note)

    mean = vae.encode(image)
    return _mended(mean, vae, "encoder", again, lambda wide: wide.encode(image), context)


def _mended(
    result: Tensor, vae: VaeModel, what: str, tiled: Work, whole: Callable[[VaeModel], Tensor], context: RunContext
) -> Tensor:
    """A network's result, or where half precision overflowed in it: in exact tiles, which say so and do the parts that
    overflow in float32; a foreign layout in bfloat16."""
    if vae.compute_dtype != torch.float16 or bool(torch.isfinite(result).all()):
        return result
    if is_known_layout(vae.vae) and vae.seamless == "off":
        return tiled(TILE // LATENT)
    context.note(f"half precision overflowed in the {what}: done again in bfloat16")
    wide = torch.nn.Module.to(deepcopy(vae.vae), torch.bfloat16)
    return whole(replace(vae, vae=wide, compute_dtype=torch.bfloat16))


def _budgeted(
    context: RunContext, what: str, vae: VaeModel, choices: Callable[[], Iterable[Choice]], tile_size: int
) -> tuple[str, int]:
    """The mode and tile (pixels) that the memory budget allows; "auto" again where the whole fits or none is set."""
    way = way_that_fits(context, what, vae, choices)
    return ("auto", tile_size) if way is None else (way[0], way[1] * LATENT)


def _layout_permitting(vae: VaeModel, mode: str, context: RunContext) -> str:
    """The mode, or "blend" where tiles cannot share statistics because the network's layout is foreign; a seamless
    picture is whole."""
    if vae.seamless != "off":
        if mode not in ("auto", "untiled"):
            context.note(f"a seamless picture goes through the VAE whole, not {mode}")
        return "untiled"
    if mode in ("auto", "untiled", "blend") or is_known_layout(vae.vae):
        return mode
    context.note(f"this VAE's layout is not known: its tiles are blended instead of {mode}")
    return "blend"


def _after(error: BaseException, mode: str, vae: VaeModel, what: str, context: RunContext) -> str:
    """How to go on when the whole did not fit; the error itself where it was something else, or was insisted on."""
    if not is_out_of_memory(error):
        raise error
    if mode == "untiled":
        raise MemoryLimitError(f"{what} the whole picture does not fit the memory", "Take the mode auto.") from error
    mode = "exact" if is_known_layout(vae.vae) else "blend"
    context.note(f"{what} the whole picture did not fit the memory: done in tiles ({mode})")
    return mode


def _blended(vae: VaeModel, planes: Tensor, tile_size: int, scale: float, context: RunContext) -> Tensor:
    """Independent tiles with feathered overlaps of a quarter, in one pass; planes (batch, channels, h, w)."""
    tile_size = max(tile_size // (4 * LATENT), 1) * 4 * LATENT
    tile = tile_size if scale < 1 else tile_size // LATENT
    overlap = int(tile * BLEND)
    if scale < 1:
        return tiled_scale(
            planes,
            lambda part: encode_raw(vae, part.movedim(1, -1), context),
            (tile, tile),
            overlap,
            scale,
            context.progress,
        )
    return tiled_scale(
        planes, lambda part: decode_raw(vae, part, context), (tile, tile), overlap, scale, context.progress
    )
