"""What ComfyUI's routes share."""

from __future__ import annotations

from starlette.requests import HTTPConnection

from hires.server.comfy.channels import Channels
from hires.server.comfy.logs import Lines
from hires.server.comfy.prompts import Prompts
from hires.server.comfy.store import UserFiles
from hires.server.state import Server


class Comfy:
    """A server as ComfyUI's clients see it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.channels = Channels()
        self.prompts = Prompts(server, self.channels)
        self.lines = Lines(self.channels, self.prompts.clean)
        self.user = UserFiles(server.settings.user_dir / "default")

    def open(self) -> None:
        """The server begins."""
        self.lines.open()

    def close(self) -> None:
        """The server ends: its websockets are closed."""
        self.lines.close()
        self.channels.close()


def comfy_of(connection: HTTPConnection) -> Comfy:
    """What a request or a websocket came to."""
    comfy: Comfy = connection.app.state.comfy
    return comfy
