"""Ultimate SD upscale: a picture enlarged and redrawn cell by cell with context, and over its seams if asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil
from typing import Any, Self, cast

from hires.errors import SettingError
from hires.recipes.redraw import (
    NATIVE_CONTEXT,
    Facts,
    Redrawing,
    begin,
    check_redrawing,
    finish,
    redraw_infotext,
    to_cells,
)
from hires.recipes.request import Txt2Img
from hires.tiling.redraw import MODES, PRESETS, SEAMS, Mode, RedrawPlan, Seams, Ultimate, ultimate_plan
from hires.tiling.redraw_presets import ultimate_preset

LARGEST_TILE = 8192


@dataclass(frozen=True)
class UltimateUpscale(Redrawing):
    """Sides in pixels. A tile side 0 is the other one's, both 0 the model's own size; padding None fits the model.

    With width and height 0 the size is by scale: multiples of 8, in the preset "a1111" of 64, each side rounded up for
    itself.
    """

    tile_width: int = 0
    tile_height: int = 0
    padding: int | None = None
    mask_blur: int = 8
    mode: str = "Linear"
    seams: str = "None"
    seam_denoise: float = 0.35
    seam_width: int = 64
    seam_blur: int = 4
    seam_padding: int = 16

    def tile_base(self) -> Txt2Img:
        return replace(self.base, width=0, height=0)

    def prepared(self, base: Txt2Img, native: int, upscaler: str) -> Self:
        """As the originals' where their preset is asked for, else by the model's own size."""
        native = native if self.preset == "even" else 512
        wide, tall = self.tile_width or self.tile_height or native, self.tile_height or self.tile_width or native
        padding = self.padding
        if padding is None:
            padding = NATIVE_CONTEXT if native >= 512 and self.preset == "even" else 32
        tile: dict[str, Any] = {
            "tile_width": to_cells(wide),
            "tile_height": to_cells(tall),
            "padding": to_cells(padding) if padding else 0,
        }
        return replace(self, base=base, upscaler=upscaler, **tile)

    @property
    def options(self) -> Ultimate:
        return Ultimate(
            (self.tile_height, self.tile_width),
            self.padding or 0,
            self.mask_blur,
            cast(Mode, self.mode),
            cast(Seams, self.seams),
            self.seam_width,
            self.seam_blur,
            self.seam_padding,
        )

    def size(self, width: int, height: int) -> tuple[int, int]:
        if self.width and self.height:
            return self.width, self.height
        if self.preset == "a1111":
            return ceil(width * self.scale / 64) * 64, ceil(height * self.scale / 64) * 64
        return to_cells(width * self.scale), to_cells(height * self.scale)

    def plan(self, width: int, height: int) -> RedrawPlan:
        large = self.size(width, height)
        if self.preset == "even":
            return ultimate_plan(-(-large[1] // 8) * 8, -(-large[0] // 8) * 8, self.options)
        return ultimate_preset(large[1], large[0], self.options, self.preset)  # type: ignore[arg-type]

    def workflow(self, picture: str, size: tuple[int, int], facts: Facts, batch: int = 0) -> dict[str, Any]:
        large = self.size(*size)
        drawing = begin(self, picture, large, facts, batch, stretch=self.preset != "even")
        given = {
            name: getattr(self, name)
            for name in ("mode", "tile_width", "tile_height", "padding", "mask_blur", "mend_above")
        }
        if self.seams != "None" or self.mend_above > 0:
            names = ("seams", "seam_denoise", "seam_width", "seam_blur", "seam_padding")
            given |= {name: getattr(self, name) for name in names}
        made = drawing.draft.add("HiresUltimateUpscale", title="Ultimate SD upscale", **drawing.inputs, **given).out()
        return finish(drawing, made, "ultimate", redraw_infotext(self, large, self._told(), facts, batch), self.base)

    def _told(self) -> dict[str, str]:
        names = ("tile_width", "tile_height", "mask_blur", "padding")
        told = {"upscaler": self.upscaler} | {name: str(getattr(self, name)) for name in names} | {"mode": self.mode}
        if self.seams != "None" or self.mend_above > 0:
            for name in ("seams", "seam_denoise", "seam_width", "seam_blur", "seam_padding"):
                told[name] = str(getattr(self, name))
        return {f"Ultimate SD upscale {name}": value for name, value in told.items()}


def check_ultimate(request: UltimateUpscale) -> None:
    """Raise SettingError for the first value that is out of range. The request must be prepared."""
    check_redrawing(request)
    for name, chosen, known in (
        ("mode", request.mode, MODES),
        ("seams", request.seams, SEAMS),
        ("preset", request.preset, PRESETS),
    ):
        if chosen not in known:
            raise SettingError(f"Ultimate SD upscale has no {name} {chosen!r}", f"Use one of {', '.join(known)}.")
    for name, value, low, high in (
        ("tile width", request.tile_width, 64, LARGEST_TILE),
        ("tile height", request.tile_height, 64, LARGEST_TILE),
        ("padding", request.padding or 0, 0, LARGEST_TILE),
        ("mask blur", request.mask_blur, 0, 64),
        ("seam width", request.seam_width, 0, LARGEST_TILE),
        ("seam blur", request.seam_blur, 0, 64),
        ("seam padding", request.seam_padding, 0, LARGEST_TILE),
        ("seam denoising strength", request.seam_denoise, 0, 1),
    ):
        if not low <= value <= high:
            raise SettingError(f"{name} must be from {low} to {high}, not {value}")
