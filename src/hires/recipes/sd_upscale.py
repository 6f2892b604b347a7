"""SD upscale: a picture enlarged, redrawn in overlapping tiles of one size, and blended (A1111's script)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

from hires.errors import SettingError
from hires.recipes.infotext import number
from hires.recipes.redraw import Facts, Redrawing, begin, check_redrawing, finish, redraw_infotext
from hires.recipes.request import Txt2Img
from hires.tiling.redraw import RedrawPlan, sd_upscale_plan
from hires.tiling.redraw_presets import sd_upscale_preset

PRESETS = ("even", "a1111")


@dataclass(frozen=True)
class SDUpscale(Redrawing):
    """Sides in pixels. A tile side 0 is the other one's, both 0 the model's own size. overlap is the least of two
    tiles; None is A1111's 64, or an eighth of smaller tiles. base.batch_size is A1111's tiles per batch, which matters
    for the seeds of the preset "a1111" alone."""

    tile_width: int = 0
    tile_height: int = 0
    overlap: int | None = None

    def tile_base(self) -> Txt2Img:
        sides = self.tile_width or self.tile_height, self.tile_height or self.tile_width
        return replace(self.base, width=sides[0], height=sides[1])

    def prepared(self, base: Txt2Img, native: int, upscaler: str) -> Self:
        wide, tall = -(-base.width // 8) * 8, -(-base.height // 8) * 8
        overlap = min(64, min(wide, tall) // 64 * 8) if self.overlap is None else self.overlap
        return replace(self, base=base, upscaler=upscaler, tile_width=wide, tile_height=tall, overlap=overlap)

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Floored to multiples of 8, as the script does."""
        if self.width and self.height:
            return self.width // 8 * 8, self.height // 8 * 8
        return max(int(width * self.scale // 8 * 8), 16), max(int(height * self.scale // 8 * 8), 16)

    def plan(self, width: int, height: int) -> RedrawPlan:
        large = self.size(width, height)
        make = sd_upscale_plan if self.preset == "even" else sd_upscale_preset
        return make(large[1], large[0], (self.tile_height, self.tile_width), self.overlap or 0)

    def workflow(self, picture: str, size: tuple[int, int], facts: Facts, batch: int = 0) -> dict[str, Any]:
        """Run number `batch` has the seed that many higher."""
        large = self.size(*size)
        drawing = begin(self, picture, large, facts, batch, stretch=False)
        tile: dict[str, Any] = {"tile_width": self.tile_width, "tile_height": self.tile_height, "overlap": self.overlap}
        batches: dict[str, Any] = {"batch_size": self.base.batch_size} if self.preset == "a1111" else {}
        tile |= {"mend_above": self.mend_above} if self.mend_above else {}
        made = drawing.draft.add("HiresSDUpscale", title="SD upscale", **drawing.inputs, **tile, **batches).out()
        own = {
            "SD upscale overlap": str(self.overlap),
            "SD upscale upscaler": self.upscaler,
            "SD upscale scale factor": number(self.scale),
            "SD upscale tile": f"{self.tile_width}x{self.tile_height}",
        }
        return finish(drawing, made, "sd-upscale", redraw_infotext(self, large, own, facts, batch), self.base)


def check_sd_upscale(request: SDUpscale) -> None:
    """Raise SettingError for the first value that is out of range. The tile must be set."""
    check_redrawing(request)
    tile = min(request.tile_width, request.tile_height)
    if request.preset not in PRESETS:
        raise SettingError(f"SD upscale has no preset {request.preset!r}", f"Use one of {', '.join(PRESETS)}.")
    if request.overlap is None or not 0 <= request.overlap < tile:
        raise SettingError(f"the overlap must be from 0 to below the tile's {tile} pixels, not {request.overlap}")
    if tile < 64 or max(request.tile_width, request.tile_height) > 8192:
        raise SettingError(
            f"a tile of {request.tile_width}x{request.tile_height} pixels cannot be drawn", "Use 64 to 8192."
        )
