"""Tiled Diffusion and Deep Shrink as parts of a request: their fields, what they add to a workflow, their infotext."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hires.errors import SettingError
from hires.recipes.draft import Draft, Link
from hires.tiling.joint import MICRO_CONDS, JointTiling
from hires.tiling.plan import TilePlan
from hires.tiling.regions import Region, read_regions, write_regions

if TYPE_CHECKING:
    from hires.recipes.request import Txt2Img

PASSES = ("both passes", "first pass", "second pass")
BACKGROUNDS = ("fill", "on", "off")
RANDOM_SEEDS = 4294967294
LATENT = 8


@dataclass(frozen=True)
class TiledDiffusion:
    """Draw in tiles that are joined at every denoiser call. Tile sides and overlap in latent cells (8 pixels).

    overwrite_width and overwrite_height in pixels take the place of the first pass's size (0: not). `passes` says which
    of hires fix's passes are tiled. background: what is drawn under regions (fill only what they leave, on, off).
    """

    method: str = "Cosine"
    tile_width: int = 96
    tile_height: int = 96
    overlap: int = 48
    tile_batch: int = 4
    window: str | None = None
    jitter: bool = False
    jitter_seed: float = 0.0
    micro_cond: str = "crop"
    control_on_cpu: bool = False
    overwrite_width: int = 0
    overwrite_height: int = 0
    passes: str = "both passes"
    regions: tuple[Region, ...] = ()
    background: str = "fill"

    def plan(self, width: int, height: int) -> TilePlan:
        """The tiles of a picture of so many pixels."""
        return self.tiling().plan(height // LATENT, width // LATENT)

    def tiling(self) -> JointTiling:
        """The same for the tiling core."""
        return JointTiling(
            method=self.method,
            tile=(self.tile_height, self.tile_width),
            overlap=self.overlap,
            tile_batch=self.tile_batch,
            grid="jitter" if self.jitter else "roll" if self.method == "SpotDiffusion" else "even",
            window=self.window,  # type: ignore[arg-type]  # JointTiling checks the name
            seed_offset=self.jitter_seed,
        )


@dataclass(frozen=True)
class DeepShrink:
    """Kohya's Deep Shrink in the first pass: features are drawn smaller by `factor` from input block `block` on, until
    `end` of the schedule."""

    block: int = 3
    factor: float = 2.0
    end: float = 0.35


def check_tiled(tiled: TiledDiffusion) -> None:
    """Raise SettingError for the first value that is out of range."""
    tiled.plan(8, 8)
    if not (16 <= tiled.tile_width <= 1024 and 16 <= tiled.tile_height <= 1024):
        raise SettingError(
            f"a tile of {tiled.tile_width}x{tiled.tile_height} latent cells is not possible",
            "Each side may be 16 to 1024; a cell is 8 pixels.",
        )
    if tiled.tile_width % 8 or tiled.tile_height % 8:
        raise SettingError(f"a tile of {tiled.tile_width}x{tiled.tile_height} cells: sides must be multiples of 8")
    if tiled.overlap > min(tiled.tile_width, tiled.tile_height) - 8:
        raise SettingError(
            f"a tile overlap of {tiled.overlap} is too much for tiles of {tiled.tile_width}x{tiled.tile_height}",
            "It may be 8 less than the shorter side.",
        )
    if tiled.tile_batch > 256:
        raise SettingError(f"a tile batch of {tiled.tile_batch} is too much", "It may be 1 to 256.")
    if tiled.jitter and tiled.method == "SpotDiffusion":
        raise SettingError("SpotDiffusion moves its grid itself", "Leave out the jitter, or choose another method.")
    for name, value, known in (
        ("passes", tiled.passes, PASSES),
        ("background", tiled.background, BACKGROUNDS),
        ("micro_cond", tiled.micro_cond, MICRO_CONDS),
    ):
        if value not in known:
            raise SettingError(f"unknown {name} {value!r} of Tiled Diffusion", f"Use one of {', '.join(known)}.")


def check_shrink(shrink: DeepShrink) -> None:
    """Raise SettingError for the first value that is out of range."""
    if not 1 <= shrink.block <= 32 or not 1.0 <= shrink.factor <= 9.0 or not 0.0 <= shrink.end <= 1.0:
        raise SettingError(
            f"Deep Shrink by {shrink.factor} at block {shrink.block} until {shrink.end} is not possible",
            "The factor may be 1 to 9, the block 1 to 32, the end 0 to 1.",
        )


def with_region_seeds(tiled: TiledDiffusion, chooser: random.Random | None = None) -> TiledDiffusion:
    """Regions' seeds of -1 replaced by random ones, as the extension does."""
    chooser = chooser or random.SystemRandom()
    regions = [
        region if region.seed >= 0 else replace(region, seed=chooser.randrange(RANDOM_SEEDS))
        for region in tiled.regions
    ]
    return replace(tiled, regions=tuple(regions))


def plan_lines(request: Txt2Img) -> list[str]:
    """What each tiled pass of a prepared request is made of, a line each."""
    from hires.recipes.request import delivered_size

    tiled, lines = request.tiled, []
    if tiled is None:
        return []
    if tiled.passes != "second pass" or request.hires is None:
        lines.append(tiled.plan(request.width, request.height).describe())
    if request.hires is not None and request.hires.denoise > 0 and tiled.passes != "first pass":
        lines.append(tiled.plan(*delivered_size(request)).describe())
    return lines


# ---- the workflow ---------------------------------------------------------------------------------------------------


def tile_model(draft: Draft, model: Link, tiled: TiledDiffusion) -> Link:
    """The model with its calls tiled."""
    return draft.add(
        "HiresTiledDiffusion",
        model=model,
        method=tiled.method,
        tile_width=tiled.tile_width,
        tile_height=tiled.tile_height,
        overlap=tiled.overlap,
        tile_batch=tiled.tile_batch,
        jitter=tiled.jitter,
        jitter_seed=tiled.jitter_seed,
        micro_cond=tiled.micro_cond,
        control_on_cpu=tiled.control_on_cpu,
        window=tiled.window or "by method",
    ).out()


def shrink_model(draft: Draft, model: Link, shrink: DeepShrink) -> Link:
    """The model with Deep Shrink."""
    return draft.add(
        "PatchModelAddDownscale",
        model=model,
        block_number=shrink.block,
        downscale_factor=shrink.factor,
        start_percent=0.0,
        end_percent=shrink.end,
        downscale_after_skip=True,
        downscale_method="bicubic",
        upscale_method="bicubic",
    ).out()


def add_regions(
    draft: Draft, positive: Link, negative: Link, tiled: TiledDiffusion, encode: Callable[[str, bool], Link]
) -> tuple[Link, Link]:
    """Both sides with the regions over them; encode(region's own text, whether it is the negative) encodes a prompt
    behind the main one."""
    for region in tiled.regions:
        placed = draft.add(
            "HiresRegion",
            positive=positive,
            negative=negative,
            region_positive=encode(region.prompt, False),
            region_negative=encode(region.negative, True),
            x=region.x,
            y=region.y,
            width=region.width,
            height=region.height,
            blend=region.blend,
            feather=region.feather,
            seed=region.seed,
            background=tiled.background,
        )
        positive, negative = placed.out(0), placed.out(1)
    return positive, negative


# ---- infotext -------------------------------------------------------------------------------------------------------

FIELD, SHRINK_FIELD = "Tiled Diffusion", "Deep Shrink"
OWN = {
    "window": "Window",
    "jitter": "Jitter",
    "jitter_seed": "Jitter seed",
    "micro_cond": "Size conditioning",
    "control_on_cpu": "Control tensor on CPU",
    "passes": "Passes",
    "background": "Background",
}
"""Fields that the extension lacks; written where they are not the default."""


def tiled_facts(tiled: TiledDiffusion) -> dict[str, Any]:
    """The value of infotext's `Tiled Diffusion`, a JSON object under the extension's keys."""
    facts: dict[str, Any] = {
        "Method": tiled.method,
        "Tile tile width": tiled.tile_width,
        "Tile tile height": tiled.tile_height,
        "Tile Overlap": tiled.overlap,
        "Tile batch size": tiled.tile_batch,
    }
    default = TiledDiffusion()
    facts |= {key: value for name, key in OWN.items() if (value := getattr(tiled, name)) != getattr(default, name)}
    if tiled.regions:
        records = json.loads(write_regions(tiled.regions))["bbox_controls"]
        facts["Region control"] = {f"Region {index + 1}": record for index, record in enumerate(records)}
    return facts


def read_tiled(text: str) -> TiledDiffusion:
    """The part that an infotext's JSON describes, by hires or by the extension; SettingError for anything else."""
    try:
        facts = json.loads(text)
        if not isinstance(facts, dict):
            raise ValueError("no object")
        own = {name: facts[key] for name, key in OWN.items() if key in facts}
        part = TiledDiffusion(
            method=str(facts.get("Method", "MultiDiffusion")),
            tile_width=int(facts.get("Tile tile width", 96)),
            tile_height=int(facts.get("Tile tile height", 96)),
            overlap=int(facts.get("Tile Overlap", 48)),
            tile_batch=int(facts.get("Tile batch size", 4)),
            **own,
        )
        records: Mapping[str, Any] = facts.get("Region control", {})
        regions = read_regions(json.dumps(list(records.values()))) if records else []
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise SettingError(f"the infotext field {FIELD!r} cannot be read: {str(error)[:100]}") from error
    return replace(part, regions=tuple(regions))


def shrink_fact(shrink: DeepShrink) -> str:
    """The value of infotext's `Deep Shrink`."""
    return f"factor {shrink.factor:g} block {shrink.block} end {shrink.end:g}"


def read_shrink(text: str) -> DeepShrink:
    """What `shrink_fact` wrote."""
    try:
        words = text.split()
        named = dict(zip(words[::2], words[1::2], strict=True))
        return DeepShrink(int(named["block"]), float(named["factor"]), float(named["end"]))
    except (ValueError, KeyError) as error:
        raise SettingError(f"the infotext field {SHRINK_FIELD!r} cannot be read: {text!r}") from error
