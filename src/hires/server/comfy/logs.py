"""What the server notes down, for the editor's panel of logs: the last lines, without paths and traces."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from datetime import datetime

from hires.server.comfy.channels import Channels, text_message

LOGGER = logging.getLogger("hires")
MOST_LINES = 1000
COLUMNS, ROWS = 120, 40
Entry = dict[str, str]


class Lines(logging.Handler):
    """The last lines of the log, which are sent to the clients that asked for them as they come."""

    def __init__(self, channels: Channels, clean: Callable[[str], str]) -> None:
        super().__init__(logging.INFO)
        self._channels, self._clean = channels, clean
        self._lines: deque[Entry] = deque(maxlen=MOST_LINES)
        self._guard = threading.Lock()
        self._listeners: set[str] = set()

    def open(self) -> None:
        """Begin to listen to the log."""
        LOGGER.addHandler(self)

    def close(self) -> None:
        """Listen no more."""
        LOGGER.removeHandler(self)
        super().close()

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line; of an error its kind, while its trace stays in the server's own log."""
        text = self._clean(record.getMessage())
        if record.exc_info and record.exc_info[0] is not None:
            text += f": {record.exc_info[0].__name__}"
        moment = datetime.fromtimestamp(record.created)
        entry = {"t": moment.isoformat(), "m": f"{moment:%H:%M:%S} {text}\r\n"}
        with self._guard:
            self._lines.append(entry)
            listeners = sorted(self._listeners)
        for client in listeners:
            self._channels.send(client, text_message("logs", {"entries": [entry], "size": None}))

    def entries(self) -> list[Entry]:
        """The last lines: m is the text, t the local time."""
        with self._guard:
            return list(self._lines)

    def listen(self, client: str, wants: bool) -> None:
        """Send lines to the websocket of a client, or no more of them."""
        with self._guard:
            if wants and self._channels.of(client) is not None:
                self._listeners = {one for one in self._listeners if self._channels.of(one) is not None} | {client}
            elif not wants:
                self._listeners.discard(client)
