"""What drawing over a picture would take, said beforehand: sizes, steps, calls, the mask, tiles, memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image, ImageOps

from hires.from_pictures import Given, Pictures, Runs, begin_over, prepare_hires_over, prepare_over
from hires.imaging.flatten import flattened
from hires.imaging.inpaint_masks import blurred, grey_mask, mask_from_alpha, only_masked
from hires.imaging.pictures import eight_bit, open_picture
from hires.imaging.sketches import sketch_mask
from hires.nodes.forecast import Forecast
from hires.nodes.redraw_brush import steps_at
from hires.recipes.controlnets import control_pictures
from hires.recipes.hires_picture import hires_picture
from hires.recipes.img2img import ALPHA, Source, img2img
from hires.recipes.img2img_request import Img2Img
from hires.recipes.infotext import number
from hires.recipes.request import Txt2Img, delivered_size
from hires.recipes.samplers import node_names
from hires.recipes.tiled import plan_lines
from hires.sampling.run import find_sampler


class Foretells(Runs, Protocol):
    """What is asked of an engine."""

    def forecast(self, workflow: Mapping[str, Any], given: Mapping[str, Path] | None = None) -> Forecast: ...


def img2img_plan(
    engine: Foretells,
    pictures: Pictures,
    request: Img2Img,
    mask: Pictures | None = None,
    sketch: Path | str | None = None,
) -> str:
    """In lines: size and resize mode, steps and calls, the mask and how large its part is drawn; tiles; the memory.

    Files and values are checked as for drawing, and models loaded for the memory.
    """
    given, request = begin_over(engine, pictures, request, mask, sketch)
    first = given.sources[0]
    request, facts = prepare_over(engine, request, first.size)
    base = request.base
    names = ", ".join(source.name for source in given.sources)
    parts = [f"{names}: {_size(first.size)} drawn at {_size((base.width, base.height))} ({request.resize_mode})"]
    parts += _steps(base, _steps_taken(request), base.steps, base.sampler, base.schedule)
    parts += _masked(engine, request, given) if request.inpaint is not None else []
    parts += ["the mask is empty, so the whole picture is drawn"] if given.empty else []
    files = given.files | control_pictures(base, engine.settings.input_dir)
    needs = engine.forecast(img2img(request, given.sources, facts), files)
    return "\n".join([", ".join(parts), *plan_lines(base), needs.describe()])


def hires_plan(engine: Foretells, picture: Path, request: Txt2Img) -> str:
    """In lines, as `img2img_plan`, what the second pass of hires fix over a picture would take."""
    request, facts = prepare_hires_over(engine, picture, request)
    hires = request.hires
    assert hires is not None
    began = (request.width, request.height)
    parts = [f"{picture.name}: {_size(began)} enlarged to {_size(delivered_size(request))} by {hires.upscaler}"]
    wanted = hires.steps or request.steps
    taken = wanted if hires.denoise > 0 else 0
    parts += _steps(request, taken, wanted, hires.sampler or request.sampler, hires.schedule or request.schedule)
    needs = engine.forecast(hires_picture(request, picture.name, facts), {picture.name: picture.absolute()})
    return "\n".join([", ".join(parts), *_second(request), needs.describe()])


def _second(request: Txt2Img) -> list[str]:
    """The tiles of a second pass, where it has any."""
    return plan_lines(request)[-1:] if request.tiled is None or request.tiled.passes != "first pass" else []


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _steps_taken(request: Img2Img) -> int:
    base = request.base
    if request.fix_steps:
        return base.steps if request.denoise > 0 else 0
    if request.denoise <= 0:  # the web UI still makes its last step
        return 1 if base.dialect == "webui" else 0
    sampler, _ = node_names(base.sampler, base.schedule, base.dialect)
    return steps_at(sampler, base.steps, request.denoise, base.dialect)


def _steps(base: Txt2Img, taken: int, wanted: int, sampler: str, schedule: str) -> list[str]:
    """Steps of one picture, and the calls of all of them: the web UI draws the pictures of a batch one by one."""
    count = base.batch_count * (base.batch_size if base.dialect == "webui" else 1)
    each = find_sampler(node_names(sampler, schedule, base.dialect)[0]).calls
    most = "at most " if each > 1 else ""
    return [f"{taken} of {wanted} steps", f"{most}{taken * each * count} denoiser calls"]


def _masked(engine: Foretells, request: Img2Img, given: Given) -> list[str]:
    """How much of the first picture is masked; only masked: the box that is drawn, and how much larger."""
    inpaint, source = request.inpaint, given.sources[0]
    assert inpaint is not None
    if request.outpaint is not None:
        return []
    grey = _grey_mask(engine, request, source, given.files)
    grey = ImageOps.invert(grey) if inpaint.invert else grey
    said = [f"the mask is {number(round(float(np.asarray(grey).mean()) / 255 * 100, 1))} % of the picture"]
    if inpaint.area != "only masked":
        return said
    frame = (request.base.width, request.base.height)
    found = only_masked(blurred(grey, inpaint.blur_x, inpaint.blur_y), source.size, frame, inpaint.padding)
    if found is None or found.box is None:
        return said
    left, top, right, bottom = found.box
    factor = min(frame[0] / (right - left), frame[1] / (bottom - top))
    return [*said, f"its box of {right - left}x{bottom - top} at {left},{top} drawn at {factor:.3g} times its size"]


def _grey_mask(engine: Foretells, request: Img2Img, source: Source, files: Mapping[str, Path]) -> Image.Image:
    limit = int(engine.settings.max_megapixels * 1e6)
    assert request.inpaint is not None
    if source.sketch is not None:
        above, below = (
            flattened(open_picture(files[name], limit), request.background) for name in (source.sketch, source.name)
        )
        return sketch_mask(above, below)
    assert source.mask is not None
    if source.mask == ALPHA:
        return mask_from_alpha(open_picture(files[source.name], limit))
    rounding = request.inpaint.rounded and request.inpaint.soft is None
    return grey_mask(eight_bit(open_picture(files[source.mask], limit)), rounding)
