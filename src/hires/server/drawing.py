"""The jobs of the drawing routes, done in the thread that works."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hires.api import Engine
from hires.errors import SettingError
from hires.recipes.controlnets import ControlNetUnit
from hires.recipes.request import with_seeds
from hires.server import planning
from hires.server.always import tiled_img2img, with_always_on
from hires.server.asking import txt2img_request
from hires.server.asking_over import img2img_request, loopback, outpainting, redrawing
from hires.server.bodies import Drawn, ImageToImage, TextToImage
from hires.server.controlnet import units_of
from hires.server.finished import Finished
from hires.server.pictures import stored
from hires.server.planning import GRIDS, Over
from hires.server.prompt_lines import jobs_of_lines
from hires.server.running import Made, Step, draw, writing
from hires.server.scripts import Script
from hires.server.sheets import with_sheet
from hires.server.state import Server
from hires.server.work import Job

LINES = "prompts from file or textbox"
UPSCALING = ("sd upscale", "ultimate sd upscale")
OUTPAINTING = {"outpainting mk2": True, "poor man's outpainting": False}
"""By whether they begin from noise."""


@dataclass(frozen=True)
class Asked:
    """A request whose names were checked at the door, and what draws it; `folder` holds the pictures of requests.

    With the same `luck`, the same seeds stand for those that are random.
    """

    server: Server
    options: Mapping[str, Any]
    script: Script | None
    always_on: Mapping[str, Sequence[Any]]
    engine: Engine
    job: Job
    finished: Finished
    folder: Path
    luck: int

    @property
    def title(self) -> str:
        """Of the script, "" for none."""
        return "" if self.script is None else self.script.title

    def values(self, body: Drawn) -> dict[str, Any]:
        """The script's arguments by label."""
        return {} if self.script is None else self.script.values(body.script_args)

    def units(self, behind: Path | None = None) -> tuple[ControlNetUnit, ...]:
        """The ControlNets of the request."""
        return units_of(self.always_on.get("controlnet", ()), self.folder, self.server.most_pixels, behind)

    def options_of(self, body: Drawn) -> Mapping[str, Any]:
        """The options of one of several jobs of a request."""
        return {**self.options, **(body.override_settings or {})}


def is_saved(body: Drawn) -> bool:
    """Whether what is drawn stays in the output folder."""
    return body.save_images and not body.do_not_save_samples


def txt2img(asked: Asked, body: TextToImage) -> Made:
    """What txt2img draws, in the working thread."""
    chooser = random.Random(asked.luck)
    with writing(asked.engine, asked.finished, is_saved(body)):
        jobs = jobs_of_lines(body, asked.values(body), chooser) if asked.title == LINES else [body]
        return _drawn(asked, [step for one in jobs for step in _txt2img_steps(asked, one, chooser)], body)


def _txt2img_steps(asked: Asked, body: TextToImage, chooser: random.Random) -> list[Step]:
    request = with_always_on(txt2img_request(body, asked.options_of(body)), asked.always_on)
    request = replace(request, controlnets=asked.units())
    if asked.title in GRIDS:
        grid = (asked.title, body.script_args, request, None)
        return planning.grid_steps(asked.engine, asked.job, asked.finished, *grid)
    return planning.txt2img_steps(asked.engine, with_seeds(request, chooser))


def img2img(asked: Asked, body: ImageToImage) -> Made:
    """What img2img draws, in the working thread."""
    chooser = random.Random(asked.luck)
    with writing(asked.engine, asked.finished, is_saved(body)):
        most = asked.server.most_pixels
        pictures = tuple(stored(text, asked.folder, most) for text in body.init_images or ())
        over = Over(pictures, stored(body.mask, asked.folder, most) if body.mask else None)
        jobs = jobs_of_lines(body, asked.values(body), chooser) if asked.title == LINES else [body]
        return _drawn(asked, [step for one in jobs for step in _img2img_steps(asked, one, over, chooser)], body)


def _img2img_steps(asked: Asked, body: ImageToImage, over: Over, chooser: random.Random) -> list[Step]:
    engine, job, title = asked.engine, asked.job, asked.title
    request = img2img_request(body, asked.options_of(body), asked.always_on)
    if title not in GRIDS:
        request = replace(request, base=with_seeds(request.base, chooser))
    tiled = tiled_img2img(request.base, request.denoise, asked.always_on)
    plain = {key: args for key, args in asked.always_on.items() if key != "tiled diffusion"}
    units = asked.units(over.pictures[0])
    _check_units(units, title)
    request = replace(request, base=replace(with_always_on(request.base, plain), controlnets=units))
    if title in UPSCALING:
        return planning.redraw_steps(engine, redrawing(title, request, body.script_args, engine.store), over)
    if tiled is not None and title in ("", LINES) and over.mask is None and request.base.batch_size == 1:
        base = replace(request.base, tiled=tiled.base.tiled)
        return planning.tiled_steps(engine, replace(tiled, base=base), over)
    if tiled is not None:
        request = request.of(tiled=tiled.base.tiled)
    if title in GRIDS:
        return planning.grid_steps(engine, job, asked.finished, title, body.script_args, request, over)
    if title == "loopback":
        return planning.loopback_steps(engine, request, over, loopback(asked.values(body)))
    if title in OUTPAINTING:
        if over.mask is not None:
            raise SettingError("outpainting makes its own mask", "Leave out the mask.")
        request = outpainting(request, asked.values(body), noise=OUTPAINTING[title])
    options = asked.options_of(body)
    masks = (bool(options["return_mask"]), bool(options["return_mask_composite"]))
    return planning.img2img_steps(engine, request, over, masks)


def _check_units(units: Sequence[ControlNetUnit], title: str) -> None:
    """ControlNets know no canvas that grows."""
    if units and title in OUTPAINTING:
        raise SettingError(f"ControlNet does not go with {title}", "Leave one out.")


def _drawn(asked: Asked, steps: Sequence[Step], body: Drawn) -> Made:
    """What the steps gave, with a sheet of all pictures where one is saved."""
    keep = is_saved(body) and bool(asked.options["save_incomplete_images"])
    made = draw(asked.engine, asked.server.work, asked.job, steps, asked.finished, keep_partial=keep)
    if is_saved(body) and not body.do_not_save_grid and asked.options["return_grid"] and not made.grids:
        with_sheet(made, asked.engine.settings.output_dir, asked.options["n_rows"], asked.finished)
    return made
