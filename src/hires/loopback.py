"""Loopback: img2img over its own result, again and again, with a strength that goes from one value to another."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from hires.api import Drawn, Engine, OnEvent
from hires.errors import SettingError
from hires.imaging.flatten import flattened
from hires.imaging.inpaint_masks import mask_from_alpha
from hires.imaging.pictures import open_picture
from hires.imaging.sketches import sketch_mask
from hires.recipes.img2img import ALPHA
from hires.recipes.img2img_request import Img2Img
from hires.recipes.infotext import number
from hires.recipes.request import with_seeds

CURVES: Mapping[str, Callable[[float], float]] = {
    "Linear": lambda t: t,
    "Aggressive": lambda t: math.sin(math.pi * t / 2),
    "Lazy": lambda t: 1 - math.cos(math.pi * t / 2),
}
"""How far the strength has come at a share t of the loops."""
INTERROGATION = ("None", "CLIP", "DeepBooru")
"""Who says, before each loop, what the picture shows that it begins from."""
MOST = 1000


@dataclass(frozen=True)
class Loopback:
    """loops 1 or more; final_denoise 0..1 is the last loop's strength; curve is a name of CURVES.

    append_interrogation, one of INTERROGATION, puts what the picture that a loop begins from shows behind its prompt.
    """

    loops: int = 4
    final_denoise: float = 0.5
    curve: str = "Linear"
    append_interrogation: str = "None"

    def strength(self, first: float, loop: int) -> float:
        """Of loop number `loop` (0-based), where that of the first is `first`."""
        if self.loops == 1:
            return first
        return first + (self.final_denoise - first) * CURVES[self.curve](loop / (self.loops - 1))


def check_loopback(loopback: Loopback) -> None:
    """Raise SettingError for the first value that is out of range."""
    if not 1 <= loopback.loops <= MOST:
        raise SettingError(f"loops must be from 1 to {MOST}, not {loopback.loops}")
    if not 0 <= loopback.final_denoise <= 1:
        raise SettingError(f"the final denoising strength must be from 0 to 1, not {loopback.final_denoise}")
    if loopback.curve not in CURVES:
        raise SettingError(f"unknown denoising curve {loopback.curve!r}", f"Use one of {', '.join(CURVES)}.")
    if loopback.append_interrogation not in INTERROGATION:
        raise SettingError(
            f"there is no interrogation {loopback.append_interrogation!r}", f"Use one of {', '.join(INTERROGATION)}."
        )


def loop_back(
    engine: Engine,
    picture: Path,
    request: Img2Img,
    loopback: Loopback,
    *,
    mask: Path | str | None = None,
    sketch: Path | None = None,
    on_event: OnEvent | None = None,
) -> Iterator[Drawn]:
    """The result of each loop, which the next begins from: the seed counts on, and after the first loop masked content
    is what the loop before left there."""
    check_loopback(loopback)
    if request.outpaint is not None:
        raise SettingError("outpainting makes the canvas larger with every loop", "Leave out --loops or --outpaint.")
    base = replace(with_seeds(request.base), batch_size=1, batch_count=1)
    extra = {"Final denoising strength": number(loopback.final_denoise), "Denoising curve": loopback.curve}
    request = replace(request, base=replace(base, extra_fields=base.extra_fields | extra))
    with tempfile.TemporaryDirectory(prefix="hires-loopback-") as folder:
        kept = _kept_mask(engine, picture, request, mask, sketch, Path(folder))
        for loop in range(loopback.loops):
            own = request.of(denoise=loopback.strength(request.denoise, loop), seed=request.base.seed + loop)
            if loopback.append_interrogation != "None":
                shown = sketch if sketch is not None and loop == 0 else picture
                said = engine.interrogate(shown, loopback.append_interrogation)
                own = own.of(prompt=", ".join(text for text in (request.base.prompt, said) if text))
            if loop == 0:
                drawn = engine.img2img(picture, own, mask=mask, sketch=sketch, on_event=on_event)
            else:
                drawn = engine.img2img(picture, _original(own), mask=kept, on_event=on_event)
            yield drawn
            picture = drawn.paths[0]


def _original(request: Img2Img) -> Img2Img:
    inpaint = request.inpaint
    return request if inpaint is None else replace(request, inpaint=replace(inpaint, fill="original"))


def _kept_mask(
    engine: Engine, picture: Path, request: Img2Img, mask: Path | str | None, sketch: Path | None, folder: Path
) -> Path | None:
    """The mask as a file, also where it was the picture's alpha or what was painted: a result has neither."""
    limit = int(engine.settings.max_megapixels * 1e6)
    made: Image.Image | None = None
    if sketch is not None:
        below, above = (flattened(open_picture(path, limit), request.background) for path in (picture, sketch))
        made = sketch_mask(above, below)
    elif mask is not None and str(mask) == ALPHA:
        made = mask_from_alpha(open_picture(picture, limit))
    if made is None:
        return None if mask is None else Path(mask)
    path = folder / "mask.png"
    made.save(path)
    return path
