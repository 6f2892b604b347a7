"""The door of the page: which addresses are the page's, what is told until it stands, and one page a language."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import logging
import re
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hires.server.guard import replayed
from hires.ui.words import language_of, speaker

if TYPE_CHECKING:
    from hires.server.state import Server
    from hires.ui.page import Page

log = logging.getLogger("hires.server")
FILE = "/gradio_api/file="
OWN = re.compile(
    r"/(config|theme\.css|favicon\.ico|manifest\.json|(assets|static|svelte)/.*"
    r"|gradio_api/(info|app_id|startup-events|theme\.css|queue/(join|data)|cancel|reset|upload|upload_progress"
    r"|component_server|heartbeat/\w+|file=.*))/?"
)
"""What the page asks of Gradio; its other routes (proxies, recordings, monitoring, code) are not there."""
JOIN = "/gradio_api/queue/join"
ELSEWHERE = re.compile(r"\s*[a-z][a-z0-9+.-]+:/?/|\s*//", re.IGNORECASE)
"""An address; Gradio fetches one that a request names as a file. A drive's letter is none."""
NOT_FETCHED = "files of other servers are not fetched"
CONTENT_SECURITY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; frame-ancestors 'self'; base-uri 'self'; form-action 'self'; object-src 'none'"
)
"""The page speaks to this server only. Gradio's own page has scripts in it and compiles some."""
LIGHT = """<!doctype html><html lang="{language}"><head><meta charset="utf-8">{refresh}
<meta name="viewport" content="width=device-width"><title>hires</title><style>:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.6 system-ui, sans-serif; max-width: 40rem; margin: 20vh auto; padding: 0 1rem; }}
code {{ font: 14px ui-monospace, monospace; }}</style></head><body><h1>hires</h1>{body}</body></html>"""
REFRESH = '<meta http-equiv="refresh" content="1">'


class PagePlaces(BaseRoute):
    """The addresses of the page, before those of all other routes; `/` only for browsers, since programs that ask
    there want JSON."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http":
            return Match.NONE, {}
        path: str = scope["path"]
        own = "text/html" in Headers(scope=scope).get("accept", "") if path == "/" else OWN.fullmatch(path) is not None
        return (Match.FULL, {"endpoint": self.app}) if own else (Match.NONE, {})

    def url_path_for(self, name: str, /, **path_params: Any) -> Any:
        from starlette.routing import NoMatchFound

        raise NoMatchFound(name, path_params)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


class Front:
    """One page a language, each built in a thread of its own when a browser first asks for it."""

    def __init__(self, server: Server, make: Callable[[str], Page]) -> None:
        self.server, self._make = server, make
        self._built: dict[str, FastAPI] = {}
        self._running: dict[str, asyncio.Future[None]] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._failed: dict[str, str] = {}
        self._lock = threading.Lock()
        self._building = threading.Lock()
        self._closing: asyncio.Event | None = None
        self._lives: list[asyncio.Task[None]] = []
        self.is_there = importlib.util.find_spec("gradio") is not None

    def live_with(self, app: FastAPI) -> None:
        """Begin with an application to build the page, and end with it."""
        around = app.router.lifespan_context

        @asynccontextmanager
        async def life(app: FastAPI) -> AsyncIterator[Any]:
            async with around(app) as state:
                self._closing = asyncio.Event()
                if self.is_there:
                    self.begin(self._language(""))
                try:
                    yield state
                finally:
                    self._closing.set()
                    await asyncio.gather(*self._lives, return_exceptions=True)

        app.router.lifespan_context = life

    def begin(self, language: str) -> None:
        """Build the page of a language, if nobody does so yet. Returns at once."""
        with self._lock:
            if language not in self._threads:
                name = f"hires-page-{language}"
                self._threads[language] = threading.Thread(target=self._build, args=(language,), name=name, daemon=True)
                self._threads[language].start()

    def _build(self, language: str) -> None:
        from hires.ui.frame import gradio_app

        try:
            with self._building:  # Gradio puts what is built into the one page that is open in the process
                self._built[language] = gradio_app(self._make(language))
        except Exception as error:
            log.error("the page could not be built", exc_info=error)
            self._failed[language] = type(error).__name__

    def _language(self, accepted: str) -> str:
        return language_of(str(self.server.options.all().get("localization", "")), accepted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        language = self._language(Headers(scope=scope).get("accept-language", ""))
        if path.startswith(JOIN):
            body = await Request(scope, receive).body()
            receive = replayed(body, receive)
        if path.startswith(FILE) and ELSEWHERE.match(path.removeprefix(FILE)):
            await PlainTextResponse(NOT_FETCHED, 404)(scope, receive, send)
        elif path.startswith(JOIN) and names_elsewhere(body):
            await PlainTextResponse(NOT_FETCHED, 403)(scope, receive, send)
        elif (app := self._built.get(language)) is not None:
            await self._stands(language, app)
            await app(scope, receive, _with_rules(send))
        else:
            if self.is_there:
                self.begin(language)
            status = 200 if path == "/" else 503
            await HTMLResponse(self._light(language), status, {"cache-control": "no-store"})(scope, receive, send)

    def _light(self, language: str) -> str:
        say = speaker(language)
        if not self.is_there:
            body = f"<p>{say('The page in the browser needs Gradio. Add it with')}</p><p><code>pip install 'hires[ui]'"
            body += '</code></p><p><a href="docs">/docs</a> <a href="editor/">/editor/</a></p>'
            return LIGHT.format(language=language, refresh="", body=body)
        if language in self._failed:
            body = f"<p>{say('The page could not be built; the log says why.')}</p>"
            return LIGHT.format(language=language, refresh="", body=body)
        return LIGHT.format(language=language, refresh=REFRESH, body=f"<p>{say('The page is being prepared …')}</p>")

    async def _stands(self, language: str, app: FastAPI) -> None:
        """Let a page's own tasks begin, in the loop that serves it."""
        if language not in self._running:
            begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._running[language] = begun
            self._lives.append(asyncio.create_task(self._live(app, begun)))
        await asyncio.shield(self._running[language])

    async def _live(self, app: FastAPI, begun: asyncio.Future[None]) -> None:
        if self._closing is None:
            self._closing = asyncio.Event()
        async with app.router.lifespan_context(app):
            begun.set_result(None)
            await self._closing.wait()


def names_elsewhere(body: bytes) -> bool:
    """Whether an event of the page names a file by an address: the page's own lie on this machine."""
    try:
        rest: list[Any] = [json.loads(body)]
    except (ValueError, RecursionError):
        return False  # no event at all, which Gradio refuses
    while rest:
        value = rest.pop()
        if isinstance(value, dict):
            named = value.get("path")
            if isinstance(named, str) and ELSEWHERE.match(named):
                return True
            rest.extend(value.values())
        elif isinstance(value, list):
            rest.extend(value)
    return False


def _with_rules(send: Send) -> Send:
    async def ruled(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message)["content-security-policy"] = CONTENT_SECURITY
        await send(message)

    return ruled
