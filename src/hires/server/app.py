"""The application: all routes behind one guard."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hires import __version__
from hires.server import (
    controlnet,
    extras,
    lists,
    machine,
    pages,
    progress,
    routes_desk,
    routes_drawing,
    routes_gallery,
    routes_trash,
)
from hires.server.comfy.mount import mount
from hires.server.editor import editor_folder, mount_editor
from hires.server.faults import tell_faults
from hires.server.guard import Guard, Rules, is_loopback
from hires.server.options import Options
from hires.server.state import Server
from hires.settings import Settings

SMALLEST_PACKED = 1000
"""Bytes of an answer from which on it is compressed, for clients that take it."""
SECONDS_TO_STOP = 30.0


def create_app(
    settings: Settings,
    *,
    rules: Rules | None = None,
    options_file: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    may_stop: bool = False,
    end: Callable[[], None] | None = None,
) -> FastAPI:
    """The application over one engine with these settings.

    options_file keeps the options over restarts; flags are told by /sdapi/v1/cmd-flags; with may_stop, clients may call
    `end` by /sdapi/v1/server-stop.
    """
    rules = rules or Rules()
    server = Server(settings, Options(options_file), flags or {}, may_stop, end)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        server.desk.open()
        comfy.open()
        yield
        comfy.close()
        server.work.close()
        server.work.join(SECONDS_TO_STOP)
        server.desk.close()
        server.fetches.stop()

    app = FastAPI(title="hires", version=__version__, lifespan=life, docs_url=None, redoc_url=None)
    app.state.server = server
    for part in (routes_drawing, routes_desk, routes_trash, extras, progress, lists, controlnet, machine, pages):
        app.include_router(part.router)
    app.include_router(routes_gallery.router)
    for place in routes_gallery.EDITOR_PLACES:
        app.include_router(routes_gallery.templates, prefix=place)
    comfy = mount(app, server)
    mount_editor(app, editor_folder())
    tell_faults(
        app, [settings.models_dir, settings.input_dir, settings.output_dir, settings.cache_dir, settings.user_dir]
    )
    # the last one added stands in front
    app.add_middleware(PackedForOthers, minimum_size=SMALLEST_PACKED)
    app.add_middleware(Timed)
    app.add_middleware(Guard, rules=rules)
    if rules.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(rules.origins),
            allow_methods=["*"],
            allow_headers=["*"],
            allow_credentials=bool(rules.passwords),
        )
    return app


class PackedForOthers(GZipMiddleware):
    """Compresses answers for clients on other machines: on this one it costs more than it saves, and work waits."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        host, _ = scope.get("client") or ("", 0)
        if is_loopback(host):
            await self.app(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


class Timed:
    """Says in `X-Process-Time` how many seconds an answer took."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()

        async def timed(message: Message) -> None:
            if message["type"] == "http.response.start":
                seconds = f"{time.perf_counter() - began:.4f}".encode()
                own = [(b"x-process-time", seconds), (b"x-content-type-options", b"nosniff")]
                message["headers"] = [*message.get("headers", []), *own]
            await send(message)

        await self.app(scope, receive, timed)
