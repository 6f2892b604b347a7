"""Downloads of model files beside the queue: each in a thread of its own, told of until the server ends."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hires.errors import HiresError, Interrupted, SettingError

if TYPE_CHECKING:
    from hires.fetching import HubFile

log = logging.getLogger("hires.server")
MOST_AT_ONCE = 4


@dataclass
class Fetch:
    """One download: its file, where it goes, how many bytes are there. state: running, done, failed or stopped."""

    file: HubFile
    kind: str
    target: Path
    state: str = "running"
    done: int = 0
    error: str = ""
    began: float = field(default_factory=time.monotonic)
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def seconds_left(self) -> float | None:
        """By what has come so far; None where nothing has."""
        if not self.done or self.state != "running":
            return None
        return (time.monotonic() - self.began) / self.done * (self.file.bytes - self.done)


class Fetches:
    """The downloads of one server, in the order they were begun."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: list[Fetch] = []

    def all(self) -> list[Fetch]:
        """Those that run and those that have ended."""
        with self._lock:
            return list(self._all)

    def begin(self, file: HubFile, kind: str, target: Path) -> Fetch:
        """Begin one. SettingError where it runs already, or too many do."""
        with self._lock:
            running = [one for one in self._all if one.state == "running"]
            if any(one.target == target for one in running):
                raise SettingError(f"{file.name} is being fetched already")
            if len(running) >= MOST_AT_ONCE:
                raise SettingError(f"{MOST_AT_ONCE} files are being fetched already", "Wait for one of them.")
            self._all.append(one := Fetch(file, kind, target))
        threading.Thread(target=_run, args=(one,), name="hires-fetch", daemon=True).start()
        return one

    def stop(self) -> None:
        """End all that run; what has come of them is thrown away."""
        for one in self.all():
            one.stop.set()


def _run(one: Fetch) -> None:
    from hires.fetching import fetch

    def progress(done: int, whole: int) -> None:
        one.done = done

    try:
        fetch(one.file, one.target, stop=one.stop, on_progress=progress)
        one.state = "done"
    except Interrupted:
        one.state = "stopped"
    except HiresError as error:
        one.state, one.error = "failed", str(error)
    except Exception as error:
        log.error("fetching %s failed", one.file.path, exc_info=error)
        one.state, one.error = "failed", f"a fault in hires ({type(error).__name__}); the server's log has it"
