"""What the routes of one server share."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from fastapi import Request

from hires.errors import HiresError
from hires.models.files import ModelFiles
from hires.pocket import BUILT_IN_FOLDER
from hires.server.bodies import Body
from hires.server.desk import Desk
from hires.server.faults import OurFault
from hires.server.fetches import Fetches
from hires.server.gallery import Gallery
from hires.server.grid_kind import GoingOn
from hires.server.kinds import Drawing, Extras
from hires.server.model_kinds import Merging, Verifying
from hires.server.options import Options
from hires.server.work import Job, Work
from hires.settings import Settings

if TYPE_CHECKING:
    from hires.api import Engine


def make_engine(settings: Settings, stop: threading.Event) -> Engine:
    """An engine; torch is loaded here, when the first job needs it."""
    from hires.api import Engine

    return Engine(settings, stop=stop)


@dataclass
class Server:
    """Settings, options, files and the queue. flags are what the command was started with."""

    settings: Settings
    options: Options
    flags: Mapping[str, Any] = field(default_factory=dict)
    may_stop: bool = False
    end: Callable[[], None] | None = None
    """Ends the program; None where it runs inside another."""

    def __post_init__(self) -> None:
        self.work = Work(lambda stop: make_engine(self.settings, stop))
        self.desk = Desk(self.work, self.settings)
        self.desk.kinds |= {tab: Drawing(self, tab) for tab in ("txt2img", "img2img")}
        self.desk.kinds["extras"] = Extras(self)
        self.desk.kinds |= {"grid": GoingOn(self), "merge": Merging(self), "verify": Verifying(self)}
        self._files = ModelFiles([self.settings.models_dir, BUILT_IN_FOLDER], self.settings.cache_dir)

    @property
    def files(self) -> ModelFiles:
        """The models folders; the engine's own, once there is one."""
        return self._files if self.work.engine is None else self.work.engine.store

    @cached_property
    def gallery(self) -> Gallery:
        """The pictures of the outputs folder."""
        return Gallery(self.settings)

    @cached_property
    def fetches(self) -> Fetches:
        """What is being fetched from a hub."""
        return Fetches()

    @property
    def most_pixels(self) -> int:
        """What one picture of a request may have."""
        return int(self.settings.max_megapixels * 1e6)

    async def drawn(self, kind: str, body: Body, id: str | None = None, door: str = "webui") -> Any:
        """The answer of a job that draws, once the queue has come to it. OurFault for what is not the client's
        mistake."""
        return await self.asked(kind, body.model_dump(exclude_unset=True), door=door, id=id, awaited=True)

    async def asked(self, kind: str, request: Mapping[str, Any], **how: Any) -> Any:
        """The answer of a job of any kind, which goes on if nobody waits for it any more; `how` as `Desk.enter` has it.
        OurFault for what is not the client's mistake."""

        def enter() -> Future[Any]:
            return self.desk.enter(kind, self.desk.accepted(kind, request), **how)[1]

        return await _answer(await asyncio.to_thread(enter))

    async def done(self, title: str, run: Callable[[Engine, Job], Any], id: str | None = None) -> Any:
        """What a job gave, once the queue has come to it. OurFault for what is not the client's mistake."""
        return await _answer(self.work.submit(title, run, id).future)


async def _answer(future: Future[Any]) -> Any:
    try:
        return await asyncio.shield(asyncio.wrap_future(future))
    except HiresError:
        raise
    except Exception as error:
        raise OurFault(type(error).__name__) from error


def server_of(request: Request) -> Server:
    """The server that a request came to."""
    server: Server = request.app.state.server
    return server
