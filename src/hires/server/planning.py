"""What a request draws, as steps: batches, lines of prompts, loops, tiles of a larger picture, a grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from hires.api import Engine, OnEvent
from hires.drawn import Drawn, Redrawn
from hires.errors import SettingError
from hires.gridding.drawing import CellDone
from hires.imaging.pictures import open_picture
from hires.loopback import Loopback, loop_back
from hires.recipes.facts import ModelFacts
from hires.recipes.grids.record import CELLS, DONE, read_record
from hires.recipes.grids.record import FILE as RECORD
from hires.recipes.grids.request import GridRequest
from hires.recipes.grids.script_args import grid_from_script_args, matrix_from_script_args
from hires.recipes.img2img import is_composite, is_mask
from hires.recipes.img2img_infotext import img2img_infotext
from hires.recipes.img2img_request import Img2Img
from hires.recipes.infotext import infotext
from hires.recipes.redraw import Redrawing
from hires.recipes.request import Txt2Img
from hires.recipes.tiled_img2img import TiledImg2Img
from hires.server.beside import Draw
from hires.server.finished import Finished
from hires.server.running import Step, batches
from hires.server.work import Job

Facts = Mapping[str, ModelFacts]
GRIDS: Mapping[str, Callable[[Sequence[Any], str], GridRequest]] = {
    "x/y/z plot": grid_from_script_args,
    "prompt matrix": matrix_from_script_args,
}


@dataclass(frozen=True)
class Over:
    """Pictures that are drawn over, and their mask."""

    pictures: tuple[Path, ...]
    mask: Path | None = None

    @property
    def only(self) -> Path:
        """The picture, where no more than one can be worked on."""
        if len(self.pictures) != 1:
            raise SettingError(f"this script draws over one picture, not {len(self.pictures)}", "Send one.")
        return self.pictures[0]


def txt2img_steps(engine: Engine, request: Txt2Img) -> list[Step]:
    """The batches of a txt2img request."""
    request, facts = engine.prepare(request)
    passes = 2 if request.hires is not None and request.hires.denoise > 0 else 1
    steps = [_step(batch, facts, partial(_drawn, Engine.txt2img, batch), passes) for batch in batches(engine, request)]
    return [replace(step, is_apart=True) for step in steps]


def img2img_steps(
    engine: Engine, request: Img2Img, over: Over, masks: tuple[bool, bool] = (False, False)
) -> list[Step]:
    """The batches of an img2img request; several pictures are the images of a batch. `masks`: whether the mask and the
    masked composite of each picture are answered with, be they saved or not."""
    size = open_picture(over.pictures[0], int(engine.settings.max_megapixels * 1e6)).size
    if len(over.pictures) > 1 and request.base.batch_size == 1:
        request = request.of(batch_size=len(over.pictures))
    request, facts = engine.prepare_img2img(request, size)
    kept = (request.save_mask, request.save_mask_composite)
    request = request.of(save_mask=kept[0] or masks[0], save_mask_composite=kept[1] or masks[1])
    found = []
    for batch in batches(engine, request.base):
        own = replace(request, base=batch)
        step = _step(batch, facts, partial(_with_masks, over, own, masks))
        step = replace(step, text=partial(img2img_infotext, own, facts), is_apart=True)
        found.append(replace(step, is_only_sent=lambda path: is_mask(path) and not kept[is_composite(path)]))
    return found


def _with_masks(
    over: Over, request: Img2Img, masks: tuple[bool, bool], engine: Engine, on_event: OnEvent
) -> list[Path]:
    """Each picture, and behind it those of its mask and masked composite that are answered with."""
    drawn = engine.img2img(list(over.pictures), request, mask=over.mask, on_event=on_event)
    each = len(drawn.masks) // len(drawn.paths)
    found = []
    for number, path in enumerate(drawn.paths):
        own = drawn.masks[number * each : (number + 1) * each]
        found += [path, *(mask for mask in own if masks[is_composite(mask)])]
    return found


def _drawn(draw: Callable[..., Drawn | Redrawn], request: Any, engine: Engine, on_event: OnEvent) -> list[Path]:
    return draw(engine, request, on_event=on_event).paths


def _drawn_over(
    draw: Callable[..., Drawn | Redrawn], picture: Path, request: Any, engine: Engine, on_event: OnEvent
) -> list[Path]:
    return draw(engine, picture, request, on_event=on_event).paths


def loopback_steps(engine: Engine, request: Img2Img, over: Over, loops: Loopback) -> list[Step]:
    """Loopback: all its loops, which cannot be skipped one by one, since each begins from the one before."""
    size = open_picture(over.only, int(engine.settings.max_megapixels * 1e6)).size
    ready, facts = engine.prepare_img2img(request, size)

    def draw(engine: Engine, on_event: OnEvent) -> list[Path]:
        drawn = loop_back(engine, over.only, replace(ready, scale=0.0), loops, mask=over.mask, on_event=on_event)
        return [path for one in drawn for path in one.paths]

    step = _step(replace(ready.base, batch_size=1, batch_count=1), facts, draw, loops.loops)
    return [replace(step, is_whole=False)]


def redraw_steps(engine: Engine, request: Redrawing, over: Over) -> list[Step]:
    """SD upscale and Ultimate SD upscale: a step a variant."""
    request, facts = engine.prepare_redraw(request)
    picture = over.only
    count = request.base.batch_count
    found = []
    for number in range(count):
        batch = replace(request.base, batch_count=1, seed=request.base.seed + number)
        own = replace(request, base=batch)
        draw = partial(_drawn_over, Engine.redraw, picture, own)
        found.append(replace(_step(batch, facts, draw), is_whole=False))
    return found


def tiled_steps(engine: Engine, request: TiledImg2Img, over: Over) -> list[Step]:
    """Tiled Diffusion over a picture: a step a variant."""
    picture = over.only
    size = open_picture(picture, int(engine.settings.max_megapixels * 1e6)).size
    request, facts = engine.prepare_tiled(request, *size)
    own = [replace(request, base=batch) for batch in batches(engine, request.base)]
    steps = [_step(one.base, facts, partial(_drawn_over, Engine.tiled, picture, one)) for one in own]
    return [replace(step, is_apart=True) for step in steps]


def grid_steps(
    engine: Engine,
    job: Job,
    finished: Finished,
    title: str,
    args: Sequence[Any],
    base: Txt2Img | Img2Img,
    over: Over | None,
) -> list[Step]:
    """X/Y/Z plot or Prompt matrix: one step, whose finished cells are kept where it is stopped; what is missing of one
    that was begun before."""
    grid = GRIDS[title](args, "txt2img" if over is None else "img2img")
    pictures = () if over is None else tuple(str(path) for path in over.pictures)
    mask = None if over is None or over.mask is None else str(over.mask)
    grid = replace(grid, base=base, pictures=pictures, mask=mask)

    def count(cell: CellDone) -> None:
        job.parts, job.done, job.step = cell.count, cell.number, 0
        folder = finished.folder_of(0)
        if folder is not None:
            finished.add(folder / name for name in cell.cell.pictures)

    def draw(engine: Engine, on_event: OnEvent) -> list[Path]:
        job.by_cells = True
        folder = finished.folder_of(0)
        with engine.recording(None):  # a grid keeps its own account
            if folder is not None and (folder / RECORD).is_file():
                drawn = read_record(folder).with_state(DONE)
                finished.add(folder / name for cell in drawn for name in cell.pictures)
                made = engine.grid(folder, on_event=on_event, on_cell=count)
            else:
                if folder is not None and folder.is_dir() and not any(folder.iterdir()):
                    folder.rmdir()
                told = partial(finished.intend_folder, 0)
                made = engine.grid(grid, on_event=on_event, on_cell=count, on_folder=told)
        if len(made.failed) == len(made.record.cells):
            raise SettingError(made.failed[0].error or "no cell could be drawn")
        return made.paths

    def cells() -> list[Path]:
        folder = finished.folder_of(0)
        return [] if folder is None else sorted((folder / CELLS).glob("*.png"))

    first = base.base if isinstance(base, Img2Img) else base
    request, facts = engine.prepare(first)
    step = replace(_step(request, facts, draw), finished=cells, is_whole=False)
    return [replace(step, is_sheet=lambda path: path.parent.name != CELLS)]


def _step(batch: Txt2Img, facts: Facts, draw: Draw, passes: int = 1) -> Step:
    family = facts[batch.checkpoint or ""].family
    return Step(draw, batch, lambda index: infotext(batch, facts, index), passes, family)
