"""Waiting for room on a disk: who ran out of it is told when some has come free."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_TO_TRY_AGAIN = 60.0
"""After which it is tried again in any case: a quota or a folder of its own may have been the cause."""
MORE_BYTES = 1_000_000
"""That must have come free."""


class Room:
    """Looks at the disks of some folders, once asked to `wait`, until there is more room; then calls `there_is`."""

    def __init__(self, folders: Sequence[Path], there_is: Callable[[], None]) -> None:
        self._folders, self._there_is = folders, there_is
        self._lock = threading.Lock()
        self._given_up: threading.Event | None = None

    @property
    def is_awaited(self) -> bool:
        """Whether it looks."""
        return self._given_up is not None

    def wait(self) -> None:
        """Begin to look, in a thread of its own."""
        with self._lock:
            if self._given_up is None:
                self._given_up = given_up = threading.Event()
                work = threading.Thread(
                    target=self._look, args=(given_up, self._free()), name="hires-room", daemon=True
                )
                work.start()

    def give_up(self) -> None:
        """Look no longer."""
        with self._lock:
            if self._given_up is not None:
                self._given_up.set()
                self._given_up = None

    close = give_up

    def _look(self, given_up: threading.Event, before: Sequence[int]) -> None:
        waited = 0.0
        while not given_up.wait(SECONDS_BETWEEN_LOOKS):
            waited += SECONDS_BETWEEN_LOOKS
            more = any(now >= then + MORE_BYTES for now, then in zip(self._free(), before, strict=True))
            if more or waited >= SECONDS_TO_TRY_AGAIN:
                self._there_is()
                return

    def _free(self) -> list[int]:
        return [free_bytes(folder) for folder in self._folders]


def free_bytes(folder: Path) -> int:
    """What is free on the disk of a folder, be it there yet or not; 0 where nobody can say."""
    for place in (folder, *folder.absolute().parents):
        try:
            return shutil.disk_usage(place).free
        except FileNotFoundError:
            continue
        except OSError:
            break
    return 0
