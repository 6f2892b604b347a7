"""The application on a socket, until Ctrl+C or a client with leave to do so ends it."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI

from hires.errors import SettingError
from hires.server.app import create_app
from hires.server.guard import Rules, check_exposure
from hires.server.state import Server
from hires.settings import Settings

SECONDS_TO_END = 60
WAITING_CLIENTS = 128
MOST_SOCKET_BYTES = 1_000_000
"""Of one message that a client sends to its websocket."""


@dataclass(frozen=True)
class Place:
    """Where a server listens: host and port (0: a free one). is_open lets everybody in without a password, may_stop
    lets clients end it; options is the file that keeps what clients set."""

    host: str = "127.0.0.1"
    port: int = 7860
    is_open: bool = False
    may_stop: bool = False
    options: Path | None = None


class EndingServer(uvicorn.Server):
    """A server that stops its work at the first signal, so that requests that wait for it are answered and it can
    end."""

    def __init__(self, config: uvicorn.Config, ending: Callable[[], None]) -> None:
        super().__init__(config)
        self._ending = ending

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._ending()
        super().handle_exit(sig, frame)


def serve_forever(
    settings: Settings,
    rules: Rules,
    place: Place,
    say: Callable[[str], None],
    mount: Callable[[FastAPI, Server], None] | None = None,
) -> None:
    """Serve until the end. `mount` adds pages. SettingError for an address that cannot be had, or is too open."""
    check_exposure(place.host, rules.passwords, place.is_open)
    listening = listen(place.host, place.port)
    port = listening.getsockname()[1]
    flags = {"listen": place.host != "127.0.0.1", "port": port, "api": True, "nowebui": True, "version": "hires"}
    server: EndingServer

    def end() -> None:
        server.should_exit = True

    app = create_app(settings, rules=rules, options_file=place.options, flags=flags, may_stop=place.may_stop, end=end)
    app.state.server.desk.open()
    if mount is not None:
        mount(app, app.state.server)
    keep_log(settings)
    config = uvicorn.Config(
        app,
        log_level="warning",
        timeout_graceful_shutdown=SECONDS_TO_END,
        server_header=False,
        ws_max_size=MOST_SOCKET_BYTES,
    )
    server = EndingServer(config, app.state.server.work.close)
    shown = f"[{place.host}]" if ":" in place.host else place.host
    say(f"listening at http://{shown}:{port} (routes: /docs; Ctrl+C ends)")
    server.run(sockets=[listening])


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections. SettingError where the address is taken or not this machine's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(WAITING_CLIENTS)
    except (OSError, OverflowError) as error:
        listening.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise SettingError(
            f"cannot listen at {host} port {port}: {reason}", "Choose another --host or --port."
        ) from error
    return listening


def keep_log(settings: Settings) -> None:
    """Tracebacks of faults of ours go to a file, where nobody else reads them."""
    path = Path(os.environ.get("HIRES_LOG", "~/.cache/hires/hires.log")).expanduser()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler: logging.Handler = logging.FileHandler(path, encoding="utf-8")
    except OSError:
        handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.getLogger("hires.server").addHandler(handler)
