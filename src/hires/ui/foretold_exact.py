"""What a request will do as the engine tells it: names found, values checked, steps that are shared, memory, tiles."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

from hires.api import Engine
from hires.errors import HiresError
from hires.gridding.planning import plan_grid
from hires.jobs.record import Job, State
from hires.recipes.describe import notices
from hires.recipes.grids.predicted import Prediction
from hires.recipes.grids.record import CELLS
from hires.recipes.img2img_request import Img2Img
from hires.recipes.infotext import request_from
from hires.recipes.request import Txt2Img, delivered_size
from hires.recipes.tiled import plan_lines
from hires.server.always import with_always_on
from hires.server.asking import txt2img_request
from hires.server.asking_over import img2img_request, redrawing
from hires.server.bodies import Drawn, ImageToImage, TextToImage
from hires.server.drawing import UPSCALING
from hires.server.option_table import OPTIONS
from hires.server.options import checked
from hires.server.pictures import stored
from hires.server.planning import GRIDS
from hires.server.references import REFERENCE, picture_bytes, picture_ending, reference_of
from hires.server.scripts import always_on
from hires.server.state import Server
from hires.ui.files import infotext_of, pictures_of
from hires.ui.foretold import Given, Told, passes_of
from hires.ui.foretold_flows import Flow, Flows, of_txt2img

JOBS_REMEMBERED = 100
SHORTEST = 200
"""Letters of a text from which on it may be a picture."""
MOST_FLOWS = 128
"""Batches of a request that are looked at, and cells of a grid: others are taken to cost the same and share nothing."""
STATE_BYTES = 2 * 4 * 4 / 64
"""Of a sampler's state, by pixel: the latent and what a multistep method remembers, four channels of float32 each."""
STARTED = time.time()
"""States of steps are in memory: those of an earlier process are gone."""
BODIES: Mapping[str, type[Drawn]] = {"txt2img": TextToImage, "img2img": ImageToImage}


@dataclass
class Exact:
    """Tells by an engine what requests will do. Nothing is drawn; models are loaded to tell the memory, unless a job
    runs, whose place that would take."""

    server: Server
    engine: Engine
    _known: dict[str, list[tuple[Prediction, int]]] = field(default_factory=dict)
    """By job, its runs in their order: the steps of each, and its images."""
    _seen: tuple[tuple[Any, ...], Prediction] = ((), Prediction())
    _names: dict[tuple[Path, int], str] = field(default_factory=dict)
    _folder: Any = field(default_factory=partial(TemporaryDirectory, prefix="hires-plan-"))

    def tell(self, kind: str, body: Mapping[str, Any], rough: Told, given: Given, busy: bool) -> Told:
        """The rough telling made exact. HiresError for what cannot be drawn."""
        title = str(body.get("script_name") or "").lower()
        with TemporaryDirectory(prefix="hires-plan-") as name:
            parsed = self._with_kept(BODIES[kind](**body))
            options = self.server.options.all(parsed.override_settings)
            flows = Flows(self.engine, Path(name), self.server.most_pixels)
            if isinstance(parsed, TextToImage):
                request = self._txt2img(parsed, options)
                if title in GRIDS:
                    return self._grid(title, body, request, rough, Given())
                return self._drawn(request, self._counted(flows.of(parsed, options), rough), busy)
            assert isinstance(parsed, ImageToImage)
            over, told = self._img2img(parsed, options), rough
            here = self._named(given, Path(name))
            if title in GRIDS:
                return self._grid(title, body, over, rough, here) if here.pictures else rough
            if title in UPSCALING:
                return rough if busy or not here.pictures else self._enlarged(title, body, over, rough, *here.pictures)
            stands_in = here if here.pictures else Given((_blank(Path(self._folder.name), over),))
            each = [replace(stands_in, pictures=(path,)) for path in stands_in.pictures]
            jobs = each if given.is_apart else [stands_in]
            told = self._counted((flow for one in jobs for flow in flows.of(parsed, options, one)), rough)
            return told if busy else self._over(over, told, jobs[0])

    def _txt2img(self, parsed: TextToImage, options: Mapping[str, Any]) -> Txt2Img:
        """The request that a body makes, as the route makes it, but for ControlNet."""
        given = always_on(parsed.alwayson_scripts, "txt2img")
        return with_always_on(txt2img_request(parsed, options), given)

    def _img2img(self, parsed: ImageToImage, options: Mapping[str, Any]) -> Img2Img:
        given = always_on(parsed.alwayson_scripts, "img2img")
        request = img2img_request(parsed, options, given)
        plain = {key: args for key, args in given.items() if key != "tiled diffusion"}
        return replace(request, base=with_always_on(request.base, plain))

    def _counted(self, flows: Iterator[Flow], rough: Told) -> Told:
        """With the denoiser calls of the request's workflows, and those whose results are there already."""
        prediction = self._prediction()
        known = list(islice(flows, MOST_FLOWS))
        if not known:
            return rough
        costs = [prediction.add(*flow) for flow in known]
        more = costs[-1].alone * max(rough.pictures // known[-1][1] - MOST_FLOWS, 0)
        calls, left = sum(cost.alone for cost in costs) + more, sum(cost.shared for cost in costs) + more
        seconds = None if rough.seconds is None else rough.seconds * left / max(calls, 1)
        return replace(rough, calls=calls, shared=calls - left, seconds=seconds)

    def _drawn(self, request: Txt2Img, told: Told, busy: bool) -> Told:
        request, facts = self.engine.prepare(request)
        warnings = [*told.warnings, *(note for note in notices(request, facts) if "needs a denoising" not in note)]
        memory = ""
        if not busy:
            try:
                memory = self.engine.forecast(request).describe()
            except HiresError as error:
                warnings.append(str(error))
        size, lines = delivered_size(request), tuple(plan_lines(request))
        return replace(told, size=size, memory=memory, lines=lines, warnings=tuple(warnings))

    def _grid(self, title: str, body: Mapping[str, Any], base: Txt2Img | Img2Img, rough: Told, given: Given) -> Told:
        """A grid's cells, and what they share."""
        tab = "img2img" if isinstance(base, Img2Img) else "txt2img"
        over = tuple(str(path) for path in given.pictures)
        mask = None if given.mask is None else str(given.mask)
        request = replace(GRIDS[title](body["script_args"], tab), base=base, pictures=over, mask=mask)
        plan = plan_grid(self.engine, request)
        alone, left = (sum(getattr(cost, name) for cost in plan.costs.values()) for name in ("alone", "shared"))
        part = left / max(rough.calls, 1)
        return replace(
            rough,
            calls=alone,
            shared=alone - left,
            pictures=len(plan.left),
            seconds=None if rough.seconds is None else rough.seconds * part,
            lines=tuple(plan.describe()[:-1]),
        )

    def _over(self, request: Img2Img, told: Told, given: Given) -> Told:
        """The memory that drawing over a picture takes; masks take no more."""
        lines = self.engine.img2img_plan(given.pictures, replace(request, inpaint=None)).split("\n")
        return replace(told, memory=lines[-1], lines=tuple(lines[1:-1]))

    def _enlarged(self, title: str, body: Mapping[str, Any], request: Img2Img, rough: Told, picture: Path) -> Told:
        """Enlarged and redrawn in tiles."""
        asked = redrawing(title, request, body["script_args"], self.engine.store)
        ready, _ = self.engine.prepare_redraw(asked)
        with Image.open(picture) as opened:
            size = ready.size(*opened.size)
        *lines, memory = self.engine.redraw_plan(picture, asked).split("\n")
        return replace(rough, size=size, steps=(), calls=0, seconds=None, memory=memory, lines=tuple(lines))

    def _with_kept(self, body: Drawn) -> Drawn:
        """The body with the names of pictures that jobs brought before in the place of the same pictures: ControlNet's
        are known by their places."""
        kept = self.server.desk.kept.pictures

        def named(value: Any) -> Any:
            if isinstance(value, Mapping):
                return {key: named(one) for key, one in value.items()}
            if isinstance(value, list):
                return [named(one) for one in value]
            if not isinstance(value, str) or len(value) < SHORTEST or reference_of(value) is not None:
                return value
            data = picture_bytes(value)
            name = hashlib.sha256(data).hexdigest() + (picture_ending(data) or ".png")
            return REFERENCE + name if (kept / name).is_file() else value

        units = body.alwayson_scripts.get("ControlNet")
        if not units:
            return body
        return body.model_copy(update={"alwayson_scripts": {**body.alwayson_scripts, "ControlNet": named(units)}})

    def _named(self, given: Given, folder: Path) -> Given:
        """The pictures by names that say their content, as those of jobs have them."""
        mask = None if given.mask is None else self._by_content(given.mask, folder)
        return Given(tuple(self._by_content(path, folder) for path in given.pictures), mask)

    def _by_content(self, path: Path, folder: Path) -> Path:
        """A picture where a job has kept it, else as a link in a folder."""
        key = (path, path.stat().st_mtime_ns)
        if key not in self._names:
            data = path.read_bytes()
            self._names[key] = hashlib.sha256(data).hexdigest() + (picture_ending(data) or ".png")
        kept, link = (place / self._names[key] for place in (self.server.desk.kept.pictures, folder))
        if kept.is_file():
            return kept
        if not link.exists():
            link.symlink_to(path.absolute())
        return link

    def _prediction(self) -> Prediction:
        """The steps of pictures that were drawn lately, whose states are there still."""
        store = self.server.desk.store
        now = tuple(job.id for job in store.search(states=[State.DONE], limit=1)), tuple(store.counts().items())
        if self._seen[0] != now:
            jobs = store.search(states=[State.DONE], limit=2 * JOBS_REMEMBERED)
            jobs = [job for job in jobs if job.kind in BODIES and (job.ended or 0.0) > STARTED][:JOBS_REMEMBERED]
            self._seen = now, self._left_of(jobs)
        return self._seen[1].copy()

    def _left_of(self, jobs: list[Job]) -> Prediction:
        """The steps of jobs, the newest first, as many as the states of fit into memory: the oldest run goes first."""
        prediction, room = Prediction(), float(self.engine.trajectories.limit_bytes)
        known: dict[str, list[tuple[Prediction, int]]] = {}
        for job in jobs:
            if room <= 0:
                break
            runs = known[job.id] = self._known[job.id] if job.id in self._known else self._runs_of(job)
            each = STATE_BYTES * sum(one.size[0] * one.size[1] * one.taken for one in passes_of(job.kind, job.request))
            for run, images in reversed(runs):
                if room <= 0:
                    break
                prediction.learn(run)
                room -= images * each
        self._known = known
        return prediction

    def _runs_of(self, job: Job) -> list[tuple[Prediction, int]]:
        runs = []
        for flow, images in self._flows_of(job):
            run = Prediction()
            run.add(flow, images)
            runs.append((run, images))
        return runs

    def _flows_of(self, job: Job) -> list[Flow]:
        """The workflows that a job ran."""
        try:
            body = BODIES[job.kind](**job.request)
            if str(body.script_name or "").lower() in GRIDS:
                return list(islice(self._cells_of(job), MOST_FLOWS))
            options = {key: option.default for key, option in OPTIONS.items()} | checked(job.notes["options"])
            folder = self.server.desk.kept.pictures
            given = Given()
            if isinstance(body, ImageToImage):
                pictures = [stored(text, folder, self.server.most_pixels) for text in body.init_images or ()]
                mask = stored(body.mask, folder, self.server.most_pixels) if body.mask else None
                given = Given(tuple(pictures), mask)
            flows = Flows(self.engine, folder, self.server.most_pixels)
            return list(islice(flows.of(body, options, given), MOST_FLOWS))
        except (HiresError, OSError, KeyError, TypeError, ValueError):
            return []  # nothing is said to be there that cannot be told

    def _cells_of(self, job: Job) -> Iterator[Flow]:
        """Of a grid's cells, read from what each says of itself."""
        for path in pictures_of(self.server, job):
            if path.parent.name == CELLS and job.kind == "txt2img" and (text := infotext_of(path)):
                yield from of_txt2img(self.engine, request_from(text))


def _blank(folder: Path, request: Img2Img) -> Path:
    """A picture of the size that is drawn, which stands for one while there is none."""
    size = request.base.width, request.base.height
    path = folder / f"{size[0]}x{size[1]}.png"
    if not path.is_file():
        Image.new("RGB", size).save(path, compress_level=1)
    return path
