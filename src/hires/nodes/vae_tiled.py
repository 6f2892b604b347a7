"""The VAE in tiles that share their statistics: hires' own nodes, and those of the Tiled VAE extension."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from hires.graph.declare import node
from hires.graph.inputs import Bool, Choice, Int
from hires.nodes.context import RunContext
from hires.nodes.types import Image, Latent, LatentDict, Vae
from hires.nodes.vae_modes import MODES, TILE, check_vae, decoded, encoded

Mode = Annotated[
    str,
    Choice(MODES),
    "exact: as untiled, to rounding. auto: untiled if the memory allows it, else exact. fast, blend: approximate.",
]
TileSize = Annotated[int, Int(128, 4096, 16), "Pixels a side, without the margin that a tile gets."]
Switch = Annotated[bool, Bool()]


@node("HiresVAEDecode", title="VAE Decode (exact tiles)", category="latent", outputs=("IMAGE",))
def hires_vae_decode(
    *, samples: Latent, vae: Vae, mode: Mode = "auto", tile_size: TileSize = TILE, context: RunContext
) -> Tensor:
    """Latents to pictures, in tiles without seams where the whole does not fit the memory."""
    check_vae(vae)
    return decoded(vae, samples["samples"], mode, tile_size, context)


@node("HiresVAEEncode", title="VAE Encode (exact tiles)", category="latent", outputs=("LATENT",))
def hires_vae_encode(
    *, pixels: Image, vae: Vae, mode: Mode = "auto", tile_size: TileSize = TILE, context: RunContext
) -> LatentDict:
    """Pictures to latents, in tiles without seams where the whole does not fit the memory."""
    check_vae(vae)
    return {"samples": encoded(vae, pixels, mode, tile_size, context)}


@node("VAEEncodeTiled_TiledDiffusion", title="Tiled VAE Encode", category="_for_testing", outputs=("LATENT",))
def tiled_vae_encode(
    *,
    pixels: Image,
    vae: Vae,
    tile_size: Annotated[int, Int(256, 4096, 16)] = 512,
    fast: Switch = True,
    color_fix: Switch = True,
    context: RunContext,
) -> LatentDict:
    """Encode in tiles that share their statistics: a sample's (fast), those of the whole where it counts most (fast
    with color_fix), or those of the whole (not fast: the result is exact)."""
    check_vae(vae)
    mode = ("fast-colour" if color_fix else "fast") if fast else "exact"
    return {"samples": encoded(vae, pixels, mode, tile_size, context)}


@node("VAEDecodeTiled_TiledDiffusion", title="Tiled VAE Decode", category="_for_testing", outputs=("IMAGE",))
def tiled_vae_decode(
    *,
    samples: Latent,
    vae: Vae,
    tile_size: Annotated[int, Int(384, 4096, 16)] = 512,
    fast: Switch = True,
    context: RunContext,
) -> Tensor:
    """Decode in tiles that share their statistics: a sample's (fast), or those of the whole (the result is exact)."""
    check_vae(vae)
    return decoded(vae, samples["samples"], "fast" if fast else "exact", tile_size, context)
