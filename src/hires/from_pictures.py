"""What an engine does with pictures that are there: img2img, inpainting and the second pass of hires fix alone."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from PIL import Image, ImageOps

from hires.drawn import Drawn, raise_failure
from hires.errors import SettingError
from hires.graph.report import Event, RunReport, Said
from hires.imaging.flatten import has_transparency
from hires.imaging.inpaint_masks import grey_mask, mask_from_alpha
from hires.imaging.pictures import eight_bit, open_picture
from hires.imaging.sizes import floor_to_latent
from hires.models.store import ModelStore
from hires.models.upscale_names import find_upscaler
from hires.nodes.context import Counts
from hires.preparing import Preparation
from hires.recipes.controlnets import control_pictures
from hires.recipes.facts import ModelFacts
from hires.recipes.hires_picture import hires_picture
from hires.recipes.img2img import ALPHA, Source, img2img, is_composite, is_mask
from hires.recipes.img2img_request import Img2Img, Inpaint, check_img2img
from hires.recipes.request import HiresFix, Txt2Img
from hires.recipes.wording import per_picture, with_prompts_of
from hires.settings import Settings

OnEvent = Callable[[Event], None]
Pictures = Path | str | Sequence[Path | str]
DIALECT_ONLY = ("noise_multiplier", "extra_noise", "fix_steps")
"""What ComfyUI's samplers know nothing of."""


class Runs(Protocol):
    """What is asked of an engine."""

    settings: Settings
    store: ModelStore
    preparation: Preparation

    def prepare(self, request: Txt2Img) -> tuple[Txt2Img, dict[str, ModelFacts]]: ...

    def run(
        self,
        workflow: Mapping[str, Any],
        *,
        on_event: OnEvent | None = None,
        force_outputs: bool = False,
        counts: Counts | None = None,
        given: Mapping[str, Path] | None = None,
    ) -> RunReport: ...

    def saved(self, report: RunReport) -> list[Path]: ...


@dataclass(frozen=True)
class Given:
    """The pictures of a request, as the workflow names them and where they are; `empty`: their masks mark nothing."""

    sources: tuple[Source, ...]
    files: dict[str, Path]
    empty: bool = False


def draw_over(
    engine: Runs,
    pictures: Pictures,
    request: Img2Img,
    mask: Pictures | None = None,
    sketch: Path | str | None = None,
    on_event: OnEvent | None = None,
) -> Drawn:
    """img2img over one picture file, or over several as the images of one batch; `mask` is one for all or one each,
    ALPHA what is transparent in the pictures. `sketch` is the picture with something painted over it."""
    given, request = begin_over(engine, pictures, request, mask, sketch)
    if given.empty and on_event is not None:
        on_event(Said("the mask is empty, so the whole picture is drawn"))
    size = given.sources[0].size
    request, facts = first, _ = prepare_over(engine, request, size)
    book = engine.preparation.phrasebook(request.base)
    alone = len(given.sources) == 1
    counts, reports, paths = Counts(), list[RunReport](), list[Path]()
    for base in per_picture(request.base, book) if alone else [request.base]:
        for batch in range(base.batch_count):
            worded = base if alone else with_prompts_of(base, batch * base.batch_size, book)
            if worded != request.base:
                request, facts = prepare_over(engine, replace(request, base=worded), size)
            flow = img2img(request, given.sources, facts, batch)
            files = given.files | control_pictures(request.base, engine.settings.input_dir)
            report = engine.run(flow, on_event=on_event, force_outputs=True, counts=counts, given=files)
            raise_failure(report)
            reports.append(report)
            paths += engine.saved(report)
    masks, paths = _masks_of(paths), [path for path in paths if not is_mask(path)]
    return Drawn(first.base, paths, [open_picture(path) for path in paths], reports, counts, masks)


def _masks_of(written: list[Path]) -> list[Path]:
    """The masks and composites among files, picture by picture: of a batch they are written kind by kind."""
    masks = [path for path in written if is_mask(path)]
    kinds = [[path for path in masks if is_composite(path) == wanted] for wanted in (False, True)]
    return [path for own in zip(*filter(None, kinds), strict=True) for path in own]


def begin_over(
    engine: Runs, pictures: Pictures, request: Img2Img, mask: Pictures | None, sketch: Path | str | None
) -> tuple[Given, Img2Img]:
    """The files looked at, and the request as they ask for it: with a mask or without, as large a batch as they are."""
    given = _given(engine, _paths(pictures), request, mask, sketch)
    if given.empty:
        request = replace(request, inpaint=None)
        given = replace(given, sources=tuple(replace(source, mask=None, sketch=None) for source in given.sources))
    elif request.inpaint is None and (mask is not None or sketch is not None):
        request = replace(request, inpaint=Inpaint())
    return given, _as_batch(request, len(given.sources)) if len(given.sources) > 1 else request


def prepare_over(engine: Runs, request: Img2Img, size: tuple[int, int]) -> tuple[Img2Img, dict[str, ModelFacts]]:
    """The request for a picture of `size` (width, height) with names found, size and seeds filled in, all checked."""
    check_img2img(request, size, engine.settings.max_megapixels)
    for name in DIALECT_ONLY:
        if request.base.dialect != "webui" and getattr(request, name) != getattr(Img2Img, name):
            raise SettingError(f"ComfyUI's dialect has no {name.replace('_', ' ')}", "Leave out --dialect comfyui.")
    width, height = request.frame(*size)
    base, facts = engine.prepare(replace(request.base, width=width, height=height))
    upscaler = find_upscaler(engine.store, request.upscaler)
    return replace(request, base=base, upscaler=upscaler, scale=0.0), facts


def hires_over(engine: Runs, picture: Path, request: Txt2Img, on_event: OnEvent | None = None) -> Drawn:
    """The second pass of hires fix over a picture file; the request's size is the picture's."""
    request, _ = prepare_hires_over(engine, picture, request)
    counts, reports, paths = Counts(), list[RunReport](), list[Path]()
    for base in per_picture(request, engine.preparation.phrasebook(request)):
        base, facts = engine.prepare(base)
        for batch in range(base.batch_count):
            flow = hires_picture(base, picture.name, facts, batch)
            given = {picture.name: picture.absolute()}
            report = engine.run(flow, on_event=on_event, force_outputs=True, counts=counts, given=given)
            raise_failure(report)
            reports.append(report)
            paths += engine.saved(report)
    return Drawn(request, paths, [open_picture(path) for path in paths], reports, counts)


def prepare_hires_over(engine: Runs, picture: Path, request: Txt2Img) -> tuple[Txt2Img, dict[str, ModelFacts]]:
    """The request of a second pass over a picture file, made ready, with the picture's size as its first pass'."""
    found = _opened(engine, picture)
    request = replace(request, width=floor_to_latent(found.width), height=floor_to_latent(found.height))
    return engine.prepare(replace(request, hires=request.hires or HiresFix(), batch_size=1))


def _paths(pictures: Pictures) -> list[Path]:
    return [Path(pictures)] if isinstance(pictures, (str, Path)) else [Path(picture) for picture in pictures]


def _opened(engine: Runs, path: Path) -> Image.Image:
    return open_picture(path, int(engine.settings.max_megapixels * 1e6))


def _seen(engine: Runs, path: Path) -> tuple[tuple[int, int], str]:
    """A picture file's size, and the MD5 of its pixels: decoded once, however often a plan asks while a form is
    filled in. Raises HiresError for one that cannot be used."""
    most = int(engine.settings.max_megapixels * 1e6)
    try:
        found = path.stat()
    except OSError:
        return _looked_at(path, (), most)
    return _looked_at(Path(os.path.realpath(path)), (found.st_mtime_ns, found.st_size, found.st_ino), most)


@lru_cache(maxsize=512)
def _looked_at(path: Path, version: tuple[int, ...], most_pixels: int) -> tuple[tuple[int, int], str]:
    picture = open_picture(path, most_pixels)
    return picture.size, hashlib.md5(picture.tobytes(), usedforsecurity=False).hexdigest()


def _given(
    engine: Runs, pictures: list[Path], request: Img2Img, mask: Pictures | None, sketch: Path | str | None
) -> Given:
    """Every file looked at, and named. Raises HiresError for one that cannot be used."""
    if not pictures:
        raise SettingError("there is no picture to draw over", "Name one.")
    if sketch is not None and (mask is not None or len(pictures) > 1):
        raise SettingError("an inpaint sketch is its own mask, over one picture", "Leave out the mask, or the sketch.")
    if request.outpaint is not None and (mask is not None or sketch is not None):
        raise SettingError("outpainting makes its own mask", "Leave out the mask and the sketch.")
    if request.inpaint is not None and request.outpaint is None and mask is None and sketch is None:
        raise SettingError("inpainting needs a mask", f"Give a picture whose white is repainted, or {ALPHA!r}.")
    masks = _masks(mask, len(pictures))
    own = request.base.width == 0 and request.base.height == 0 and request.scale <= 0 and request.outpaint is None
    own = own and request.resize_mode == "just resize"
    files: dict[str, Path] = {}
    sources = []
    empty = []
    for path, one in zip(pictures, masks, strict=True):
        size, digest = _seen(engine, path)
        layer = _mask_name(engine, path, one, files)
        source = Source(
            name=_named(path, files),
            size=size,
            mask=layer,
            sketch=None if sketch is None else _named(Path(sketch), files),
            digest=digest,
            own_size=own and size != request.frame(*size),
        )
        sources.append(source)
        if one is not None and request.inpaint is not None and request.inpaint.area == "only masked":
            empty.append(_is_empty(_opened(engine, path if layer == ALPHA else Path(one)), layer == ALPHA, request))
    return Given(tuple(sources), files, bool(empty) and all(empty))


def _masks(mask: Pictures | None, count: int) -> list[Path | str | None]:
    if mask is None or isinstance(mask, (str, Path)):
        return [mask] * count
    if len(mask) != count:
        raise SettingError(f"there are {len(mask)} masks for {count} pictures", "Give one for all, or one each.")
    return list(mask)


def _mask_name(engine: Runs, path: Path, mask: Path | str | None, files: dict[str, Path]) -> str | None:
    if mask is None:
        return None
    if str(mask) == ALPHA and not Path(ALPHA).is_file():
        if not has_transparency(_opened(engine, path)):
            raise SettingError(f"{path.name} has no transparent parts to be the mask", "Name a mask file.")
        return ALPHA
    _seen(engine, Path(mask))
    return _named(Path(mask), files)


def _named(path: Path, files: dict[str, Path]) -> str:
    """The name by which the workflow loads a file: its own, unless another file has that."""
    file, name, number = path.absolute(), path.name, 2
    while name == ALPHA or files.get(name, file) != file:
        name, number = f"{path.stem} {number}{path.suffix}", number + 1
    files[name] = file
    return name


def _is_empty(layer: Image.Image, alpha: bool, request: Img2Img) -> bool:
    """Whether a mask marks nothing."""
    grey = mask_from_alpha(layer) if alpha else grey_mask(eight_bit(layer))
    inverted = request.inpaint is not None and request.inpaint.invert
    return (ImageOps.invert(grey) if inverted else grey).getbbox() is None


def _as_batch(request: Img2Img, count: int) -> Img2Img:
    """Several pictures are the images of the batch."""
    if request.base.batch_size not in (1, count):
        raise SettingError(
            f"{count} pictures are a batch of {count}, not of {request.base.batch_size}", "Leave out the batch size."
        )
    return request.of(batch_size=count)
