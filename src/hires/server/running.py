"""Requests drawn batch by batch, so that one can be skipped and what an interrupted one had come to is kept."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial as partial_of
from pathlib import Path
from typing import Any

from hires.api import Engine
from hires.errors import Interrupted
from hires.imaging.pictures import open_picture, to_pictures
from hires.metadata.files import picture_texts, save_png, write_numbered
from hires.recipes.img2img import is_mask
from hires.recipes.request import Txt2Img
from hires.recipes.wording import with_prompts_of
from hires.server.beside import AHEAD_FOLDER, Draw, drawing
from hires.server.finished import Finished
from hires.server.work import Job, Work
from hires.workers.turns import KeptRuns

BEFORE_HIRES = "before-highres-fix"


@dataclass(frozen=True)
class Picture:
    """A picture as its file holds it, and its infotext."""

    data: bytes
    infotext: str
    size: tuple[int, int]


@dataclass(frozen=True)
class Step:
    """A part of a job that can be skipped by itself.

    draw(engine, on_event) gives the files; base is the prepared request, text(k) the infotext of its picture k: both
    for what is made of a picture that was stopped. passes is the number of sampling passes.
    """

    draw: Draw
    base: Txt2Img
    text: Callable[[int], str]
    passes: int = 1
    family: str = "sd1"
    finished: Callable[[], Sequence[Path]] | None = None
    """The files that were finished before a stop, where they are not simply those that were written."""
    is_sheet: Callable[[Path], bool] = lambda path: False
    """Which of the files show several pictures."""
    is_only_sent: Callable[[Path], bool] = lambda path: False
    """Which of the files are answered with and not kept."""
    is_whole: bool = True
    """Whether a prediction on the way is the step's picture, and not a tile, a cell or a loop of it."""
    is_apart: bool = False
    """Whether it may be drawn at the same time as the others."""


@dataclass
class Made:
    """What a job has made: its pictures in order, a grid of them first where there is one."""

    base: Txt2Img
    pictures: list[Picture] = field(default_factory=list)
    grids: int = 0
    interrupted: bool = False


@contextmanager
def writing(engine: Engine, finished: Finished, save: bool) -> Iterator[None]:
    """Within the block, account is kept of what is written; to the job's own folder where it is not to be saved."""
    with engine.recording(finished):
        if save:
            yield
            return
        with engine.writing_to(finished.folder):
            yield


def batches(engine: Engine, request: Txt2Img) -> list[Txt2Img]:
    """A prepared request as one request a batch: the same pictures."""
    book = engine.preparation.phrasebook(request)
    found = []
    for number in range(request.batch_count):
        first = number * request.batch_size
        batch = replace(with_prompts_of(request, first, book), batch_count=1)
        if request.variation_strength > 0:
            batch = replace(batch, variation_seed=request.variation_seed + first)
        else:
            batch = replace(batch, seed=request.seed + first)
        found.append(batch)
    return found


def draw(
    engine: Engine, work: Work, job: Job, steps: Sequence[Step], finished: Finished, *, keep_partial: bool
) -> Made:
    """Draw the steps in order, but for those that were finished before. keep_partial: pictures that were stopped are
    written to the output folder as well. Interrupted where the job is stopped in order to go on."""
    made = Made(steps[0].base)
    job.parts = sum(step.passes for step in steps)
    earlier = {number: found for number in range(len(steps)) if (found := finished.part(number)) is not None}
    kept = KeptRuns(finished.folder / AHEAD_FOLDER)
    draws, passes = [step.draw for step in steps], [step.passes for step in steps]
    is_apart = all(step.is_apart for step in steps)
    with closing(drawing(engine, job, draws, passes, earlier, kept, is_apart=is_apart)) as row:
        for number in row.numbers():
            step, before = steps[number], job.done
            job.model, job.family = step.base.checkpoint or "", step.family
            if number in earlier:
                made.pictures += pictures_of(earlier[number])
                made.grids += sum(map(step.is_sheet, earlier[number]))
                job.done = before + step.passes
                continue
            try:
                paths = row.draw(number)
            except Interrupted:
                if job.put_off and not work.is_closed:
                    raise
                made.pictures += pictures_of(step.finished() if step.finished is not None else _written(engine, job))
                made.pictures += partial(engine, job, step, keep_partial and not job.put_off) if step.is_whole else []
                made.interrupted = True
                if job.put_off:
                    break
                finished.finish_part(number, _written(engine, job), 0.0)
                if not work.go_on(job):
                    row.end()
            else:
                made.pictures += pictures_of(paths)
                finished.finish_part(number, paths, (before + step.passes) / max(job.parts, 1))
                for path in filter(step.is_only_sent, paths):
                    path.unlink()
                made.grids += sum(map(step.is_sheet, paths))
            job.done, job.step = before + step.passes, 0
    if not job.put_off:
        kept.clear()
    return made


def _written(engine: Engine, job: Job) -> list[Path]:
    """The files of the step that was stopped."""
    found = [engine.settings.output_dir / entry["subfolder"] / entry["filename"] for entry in job.files]
    return [path for path in found if not is_mask(path)]


def pictures_of(paths: Sequence[Path]) -> list[Picture]:
    """Finished files, without those of a first pass."""
    return [read_picture(path.read_bytes()) for path in paths if BEFORE_HIRES not in path.name]


def read_picture(data: bytes) -> Picture:
    """A picture and what it says of itself."""
    picture = open_picture(data)
    return Picture(data, picture_texts(picture).get("parameters", ""), picture.size)


def partial(engine: Engine, job: Job, step: Step, keep: bool) -> list[Picture]:
    """What the picture would have been by the prediction that was made last; none if there is none."""
    if job.preview is None:
        return []
    store = engine.store
    vae = store.vae(step.base.vae) if step.base.vae else store.checkpoint(step.base.checkpoint or "").vae
    if vae is None:
        return []
    with tempfile.TemporaryDirectory(prefix="hires-job-") as name:
        folder = engine.settings.output_dir if keep else Path(name)
        found = []
        for index, picture in enumerate(to_pictures(vae.decode(job.preview / vae.latent_scale))):
            texts: dict[str, Any] = {"parameters": step.text(index)}
            path = write_numbered(folder, "interrupted", ".png", partial_of(save_png, picture, texts=texts))
            found.append(read_picture(path.read_bytes()))
        return found
