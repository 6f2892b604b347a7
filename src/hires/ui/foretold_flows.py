"""The workflows that a request runs, in their order, as the job that draws it makes them: nothing is drawn."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hires.api import Engine
from hires.from_pictures import begin_over, prepare_over
from hires.imaging.pictures import open_picture
from hires.recipes.img2img import img2img
from hires.recipes.img2img_request import Img2Img
from hires.recipes.request import Txt2Img, with_seeds
from hires.recipes.tiled_img2img import TiledImg2Img, tiled_img2img
from hires.recipes.txt2img import txt2img
from hires.recipes.wording import per_picture
from hires.server import always
from hires.server.asking import txt2img_request
from hires.server.asking_over import img2img_request, loopback, outpainting
from hires.server.bodies import Drawn, ImageToImage, TextToImage
from hires.server.controlnet import units_of
from hires.server.drawing import LINES, OUTPAINTING, UPSCALING
from hires.server.planning import GRIDS
from hires.server.prompt_lines import jobs_of_lines
from hires.server.running import batches
from hires.server.scripts import always_on, selected
from hires.ui.foretold import Given

Flow = tuple[Mapping[str, Mapping[str, Any]], int]
"""A workflow in API format, and how many images it makes at once, each a run of its own."""


def of_txt2img(engine: Engine, request: Txt2Img) -> Iterator[Flow]:
    """Of a request of txt2img."""
    request, facts = engine.prepare(request)
    for batch in batches(engine, request):
        if batch.templates is None:  # but for their seeds the batches are alike
            yield txt2img(batch, facts, 0), batch.batch_size
            continue
        batch, _ = engine.prepare(batch)
        for part in per_picture(batch, engine.preparation.phrasebook(batch)):
            part, facts = engine.prepare(part)
            for number in range(part.batch_count):
                yield txt2img(part, facts, number), part.batch_size


def of_img2img(engine: Engine, request: Img2Img, given: Given) -> Iterator[Flow]:
    """Of a request over pictures; without a mask or where it marks nothing, over the whole of them."""
    found, request = begin_over(engine, given.pictures, request, given.mask, None)
    size = found.sources[0].size
    ready, facts = prepare_over(engine, request, size)
    for batch in batches(engine, ready.base):
        one = replace(ready, base=batch)
        if batch.templates is not None:
            one, facts = prepare_over(engine, one, size)
        yield img2img(one, found.sources, facts), max(one.base.batch_size, len(found.sources))


def of_tiles(engine: Engine, request: TiledImg2Img, picture: Path) -> Iterator[Flow]:
    """Of Tiled Diffusion over a picture."""
    width, height = open_picture(picture, int(engine.settings.max_megapixels * 1e6)).size
    ready, facts = engine.prepare_tiled(request, width, height)
    for batch in batches(engine, ready.base):
        yield tiled_img2img(replace(ready, base=batch), facts, picture.name, width, height), batch.batch_size


@dataclass(frozen=True)
class Flows:
    """Of bodies of the routes; `folder` holds the pictures that come with them. The names of pictures that are drawn
    over say their content, so that equal pictures are seen to be equal."""

    engine: Engine
    folder: Path
    most_pixels: int

    def of(self, body: Drawn, options: Mapping[str, Any], given: Given = Given()) -> Iterator[Flow]:
        """The workflows of a request, as far as they can be told: none of grids and of what redraws tile by tile.
        HiresError for what cannot be drawn."""
        tab = "img2img" if isinstance(body, ImageToImage) else "txt2img"
        script = selected(body.script_name, tab)
        title, values = ("", {}) if script is None else (script.title, script.values(body.script_args))
        if title in GRIDS or title in UPSCALING:
            return
        chooser = random.Random()
        always_given = always_on(body.alwayson_scripts, tab)
        for one in jobs_of_lines(body, values, chooser) if title == LINES else [body]:
            own = {**options, **(one.override_settings or {})} if title == LINES else options
            if isinstance(one, TextToImage):
                yield from of_txt2img(self.engine, self._drawn(one, own, always_given, chooser))
            elif isinstance(one, ImageToImage):
                yield from self._over(one, own, always_given, chooser, title, values, given)

    def _drawn(
        self, body: TextToImage, options: Mapping[str, Any], given: Mapping[str, Sequence[Any]], chooser: random.Random
    ) -> Txt2Img:
        request = always.with_always_on(txt2img_request(body, options), given)
        units = units_of(given.get("controlnet", ()), self.folder, self.most_pixels, None)
        return with_seeds(replace(request, controlnets=units), chooser)

    def _over(
        self,
        body: ImageToImage,
        options: Mapping[str, Any],
        always_given: Mapping[str, Sequence[Any]],
        chooser: random.Random,
        title: str,
        values: Mapping[str, Any],
        given: Given,
    ) -> Iterator[Flow]:
        masked = body if given.mask is None else body.model_copy(update={"mask": "given"})
        request = img2img_request(masked, options, always_given)
        request = replace(request, base=with_seeds(request.base, chooser))
        tiled = always.tiled_img2img(request.base, request.denoise, always_given)
        plain = {key: args for key, args in always_given.items() if key != "tiled diffusion"}
        behind = given.pictures[0]
        units = units_of(always_given.get("controlnet", ()), self.folder, self.most_pixels, behind)
        request = replace(request, base=replace(always.with_always_on(request.base, plain), controlnets=units))
        if tiled is not None and title in ("", LINES) and given.mask is None and request.base.batch_size == 1:
            yield from of_tiles(self.engine, replace(tiled, base=replace(request.base, tiled=tiled.base.tiled)), behind)
            return
        if tiled is not None:
            request = request.of(tiled=tiled.base.tiled)
        if title == "loopback":
            loops = loopback(values)
            for loop in range(loops.loops):  # each over the picture of the one before, which has no name yet
                denoise, seed = loops.strength(request.denoise, loop), request.base.seed + loop
                own = request.of(denoise=denoise, seed=seed, batch_size=1, batch_count=1)
                yield from of_img2img(self.engine, own, given)
            return
        if title in OUTPAINTING:
            request = outpainting(request, values, noise=OUTPAINTING[title])
        yield from of_img2img(self.engine, request, given)
