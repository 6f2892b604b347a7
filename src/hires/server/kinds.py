"""The kinds of jobs in the web UI's dialect: how their requests are checked at the door, and what runs them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from hires.errors import SettingError
from hires.jobs.record import Job
from hires.server.bodies import Body, Drawn, ExtraBatch, ExtrasFields, ExtraSingle, ImageToImage, TextToImage
from hires.server.faults import Refused
from hires.server.finished import Finished
from hires.server.kind import Accepted, Outcome
from hires.server.option_table import OPTIONS
from hires.server.options import checked
from hires.server.scripts import Script, always_on, selected
from hires.server.work import Job as Task

if TYPE_CHECKING:
    from hires.api import Engine
    from hires.server.state import Server

OWN_SEEDS = ("prompts from file or textbox", "x/y/z plot", "prompt matrix")
"""Scripts that take a random seed for each of several pictures."""
SEEDS = 4294967294
Asked = TypeVar("Asked", bound=Body)


def read(kind: type[Asked], request: Mapping[str, Any]) -> Asked:
    """A request as its body. SettingError names the first field that is wrong."""
    try:
        return kind.model_validate(dict(request))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise SettingError(f"the field {place} of the request cannot be used: {first['msg']}") from error


class Drawing:
    """txt2img and img2img."""

    def __init__(self, server: Server, tab: str) -> None:
        self.server, self.tab = server, tab

    def _body(self, request: Mapping[str, Any]) -> TextToImage | ImageToImage:
        return read(ImageToImage, request) if self.tab == "img2img" else read(TextToImage, request)

    def _scripts(self, body: Drawn) -> tuple[Script | None, dict[str, Any]]:
        return selected(body.script_name, self.tab), dict(always_on(body.alwayson_scripts, self.tab))

    def accept(self, request: Mapping[str, Any]) -> Accepted:
        """The request with its seeds, and the options that hold for it. Refused, SettingError."""
        body = self._body(request)
        if isinstance(body, ImageToImage) and not body.init_images:
            raise Refused(404, "Init image not found")
        script, _ = self._scripts(body)
        options = self.server.options.all(body.override_settings)
        if body.override_settings and not body.override_settings_restore_afterwards:
            self.server.options.apply(body.override_settings)
        stored = body.model_dump(exclude_unset=True)
        chooser, asked = random.SystemRandom(), {"seed": body.seed, "subseed": body.subseed}
        if (script is None or script.title not in OWN_SEEDS) and not (body.infotext or "").strip():
            stored |= {name: chooser.randrange(SEEDS) for name, value in asked.items() if value < 0}
        hires = body.hr_prompt if isinstance(body, TextToImage) else ""
        changed = {key: value for key, value in options.items() if value != OPTIONS[key].default}
        return Accepted(
            self.server.desk.kept.taken(stored),
            "\n".join(filter(None, (body.prompt, hires, body.negative_prompt, body.infotext))),
            options["sd_model_checkpoint"],
            {"options": changed, "asked": asked, "luck": chooser.randrange(SEEDS)},
        )

    def run(self, engine: Engine, task: Task, job: Job, finished: Finished) -> Outcome:
        """Draw, and answer as the web UI does."""
        from hires.server import drawing
        from hires.server.answers import answer

        body = self._body(job.request)
        script, always = self._scripts(body)
        options = {key: option.default for key, option in OPTIONS.items()} | checked(job.notes["options"])
        pictures, luck = self.server.desk.kept.pictures, int(job.notes["luck"])
        asked = drawing.Asked(self.server, options, script, always, engine, task, finished, pictures, luck)
        hidden: dict[str, Any] = dict(job.notes["asked"])
        if isinstance(body, ImageToImage):
            made = drawing.img2img(asked, body)
            hidden |= {} if body.include_init_images else {"init_images": None, "mask": None}
        else:
            made = drawing.txt2img(asked, body)
        told = answer(body, made, task.stamp, hidden)
        told["parameters"] = self.server.desk.kept.given(told["parameters"])
        return Outcome(told, made.interrupted)


class Extras:
    """extra-single-image and extra-batch-images."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def _read(self, request: Mapping[str, Any]) -> tuple[ExtrasFields, list[str]]:
        if "imageList" in request:
            batch = read(ExtraBatch, request)
            return batch, [one.data for one in batch.imageList]
        single = read(ExtraSingle, request)
        return single, [single.image]

    def accept(self, request: Mapping[str, Any]) -> Accepted:
        """The request as it is. Refused, SettingError."""
        body, pictures = self._read(request)
        if not pictures:
            raise Refused(404, "Image not found")
        return Accepted(
            self.server.desk.kept.taken(body.model_dump(exclude_unset=True)), f"{body.upscaler_1} {body.upscaler_2}"
        )

    def run(self, engine: Engine, task: Task, job: Job, finished: Finished) -> Outcome:
        """Enlarge the pictures; the answer is what was done, and the pictures in base64."""
        from hires.server.extras import enlarged

        body, pictures = self._read(job.request)
        return Outcome(enlarged(self.server, body, pictures, engine, task, finished))
