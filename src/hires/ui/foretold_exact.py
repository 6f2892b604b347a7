"""What a request will do as the engine tells it: names found, values checked, steps that are shared, memory, tiles."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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
from hires.recipes.grids.script_args import grid_from_script_args, matrix_from_script_args
from hires.recipes.img2img_request import Img2Img
from hires.recipes.infotext import request_from
from hires.recipes.request import Txt2Img, delivered_size
from hires.recipes.tiled import plan_lines
from hires.recipes.txt2img import txt2img
from hires.server.always import with_always_on
from hires.server.asking import txt2img_request
from hires.server.asking_over import img2img_request, redrawing
from hires.server.bodies import ImageToImage, TextToImage
from hires.server.scripts import always_on
from hires.server.state import Server
from hires.ui.files import infotext_of, pictures_of
from hires.ui.foretold import Told

JOBS_REMEMBERED = 12
STARTED = time.time()
"""States of steps are in memory: those of an earlier process are gone."""
GRIDS = {"x/y/z plot": grid_from_script_args, "prompt matrix": matrix_from_script_args}
UPSCALING = ("sd upscale", "ultimate sd upscale")


@dataclass
class Exact:
    """Tells by an engine what requests will do. Nothing is drawn; models are loaded to tell the memory, unless a job
    runs, whose place that would take."""

    server: Server
    engine: Engine
    _known: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)

    def tell(self, kind: str, body: Mapping[str, Any], rough: Told, picture: Path | None, busy: bool) -> Told:
        """The rough telling made exact. HiresError for what cannot be drawn."""
        title = str(body.get("script_name") or "")
        if kind == "txt2img":
            request = self._txt2img(body)
            return self._grid(title, body, request, rough) if title in GRIDS else self._drawn(request, rough, busy)
        over = self._img2img(body)
        if busy or title in GRIDS:
            return rough
        if title in UPSCALING:
            return rough if picture is None else self._enlarged(title, body, over, rough, picture)
        return self._over(over, rough, picture)

    def _txt2img(self, body: Mapping[str, Any]) -> Txt2Img:
        """The request that a body makes, as the route makes it."""
        parsed = TextToImage(**body)
        options = self.server.options.all(parsed.override_settings)
        given = always_on(parsed.alwayson_scripts, "txt2img")
        return with_always_on(txt2img_request(parsed, options), given)

    def _img2img(self, body: Mapping[str, Any]) -> Img2Img:
        parsed = ImageToImage(**body)
        given = always_on(parsed.alwayson_scripts, "img2img")
        request = img2img_request(parsed, self.server.options.all(parsed.override_settings), given)
        plain = {key: args for key, args in given.items() if key != "tiled diffusion"}
        return replace(request, base=with_always_on(request.base, plain))

    def _drawn(self, request: Txt2Img, rough: Told, busy: bool) -> Told:
        request, facts = self.engine.prepare(request)
        cost = self._prediction().add(txt2img(request, facts), request.batch_size)
        warnings = [*rough.warnings, *(note for note in notices(request, facts) if "needs a denoising" not in note)]
        memory = ""
        if not busy:
            try:
                memory = self.engine.forecast(request).describe()
            except HiresError as error:
                warnings.append(str(error))
        return replace(
            rough,
            size=delivered_size(request),
            calls=cost.alone * request.batch_count,
            shared=cost.alone - cost.shared,
            seconds=None if rough.seconds is None else rough.seconds * (cost.shared / max(cost.alone, 1)),
            memory=memory,
            lines=tuple(plan_lines(request)),
            warnings=tuple(warnings),
        )

    def _grid(self, title: str, body: Mapping[str, Any], base: Txt2Img, rough: Told) -> Told:
        """A grid's cells, and what they share."""
        plan = plan_grid(self.engine, replace(GRIDS[title](body["script_args"], "txt2img"), base=base))
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

    def _over(self, request: Img2Img, rough: Told, picture: Path | None) -> Told:
        """Over a picture; one of the size that is drawn stands for it while there is none. Masks take no more."""
        with TemporaryDirectory(prefix="hires-plan-") as folder:
            if picture is None:
                picture = Path(folder) / "picture.png"
                Image.new("RGB", (request.base.width, request.base.height)).save(picture)
            lines = self.engine.img2img_plan(picture, replace(request, inpaint=None)).split("\n")
        return replace(rough, memory=lines[-1], lines=tuple(lines[1:-1]))

    def _enlarged(self, title: str, body: Mapping[str, Any], request: Img2Img, rough: Told, picture: Path) -> Told:
        """Enlarged and redrawn in tiles."""
        asked = redrawing(title, request, body["script_args"], self.engine.store)
        ready, _ = self.engine.prepare_redraw(asked)
        with Image.open(picture) as opened:
            size = ready.size(*opened.size)
        *lines, memory = self.engine.redraw_plan(picture, asked).split("\n")
        return replace(rough, size=size, steps=(), calls=0, seconds=None, memory=memory, lines=tuple(lines))

    def _prediction(self) -> Prediction:
        """The steps of pictures that were drawn lately, whose states may still be there."""
        prediction = Prediction()
        for job in self.server.desk.store.search(states=[State.DONE], kind="txt2img", limit=JOBS_REMEMBERED):
            if job.id not in self._known:
                self._known[job.id] = self._graphs(job)
            for graph in self._known[job.id]:
                prediction.add(graph)
        return prediction

    def _graphs(self, job: Job) -> list[Mapping[str, Any]]:
        """The workflow of a job's first picture, read from what the picture says of itself."""
        found = pictures_of(self.server, job) if (job.ended or 0.0) > STARTED else []
        try:
            text = infotext_of(found[0]) if found else ""
            if not text:
                return []
            request, facts = self.engine.prepare(request_from(text))
            return [txt2img(request, facts)]
        except (HiresError, OSError):
            return []
