"""Files of the jobs' own: pictures that came with requests, by their content, and pictures that are not to be saved.

They are bounded: what jobs that have not ended need stays, of the rest the oldest goes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from hires.errors import HiresError
from hires.jobs.store import JobStore
from hires.jobs.table import sound
from hires.metadata.files import output_error
from hires.server.references import REFERENCE, picture_bytes, picture_ending, reference_of
from hires.server.work import Busy

SMALLEST_TAKEN = 2000
"""Letters of a text from which on it may be a picture that is put into a file."""
MOST_BYTES, MOST_NEEDED_BYTES = 2_000_000_000, 8_000_000_000
"""Of all files; of what came for jobs since files were let go of last, and for those that had not ended then."""
DAYS = 14.0
DAY = 86_400.0
PICTURES, MADE = "pictures", "made"


class Kept:
    """The files in a jobs folder."""

    def __init__(self, folder: Path) -> None:
        self.pictures, self._made = folder / PICTURES, folder / MADE
        self._lock = threading.Lock()
        self._added = 0

    def made(self, id: str) -> Path:
        """The folder for what a job makes that is not to be saved."""
        return self._made / hashlib.sha256(id.encode()).hexdigest()[:32]

    def taken(self, value: Any) -> Any:
        """JSON in which pictures are names of files that were written, and which can be told to any client again:
        numbers that JSON does not know are null. Busy, OutputError."""
        if isinstance(value, float) and not math.isfinite(value):
            return None
        if isinstance(value, str):
            return self._put(value) if len(value) >= SMALLEST_TAKEN else sound(value)
        if isinstance(value, Mapping):
            return {sound(key): self.taken(one) for key, one in value.items()}
        return [self.taken(one) for one in value] if isinstance(value, list | tuple) else value

    def given(self, value: Any) -> Any:
        """JSON with the pictures in it again, in base64."""
        if isinstance(value, str) and (name := reference_of(value)) is not None:
            with suppress(OSError):
                return base64.b64encode((self.pictures / name).read_bytes()).decode()
        if isinstance(value, Mapping):
            return {key: self.given(one) for key, one in value.items()}
        return [self.given(one) for one in value] if isinstance(value, list | tuple) else value

    def _put(self, text: str) -> str:
        try:
            data = picture_bytes(text)
        except HiresError:
            return sound(text)  # no picture; whoever reads it says so if it should have been
        ending = picture_ending(data)
        if ending is None:
            return sound(text)
        name = hashlib.sha256(data).hexdigest() + ending
        path = self.pictures / name
        if path.is_file():  # left as it is: work that goes on knows the file by its time as well
            return REFERENCE + name
        with self._lock:
            if self._added > MOST_NEEDED_BYTES:
                raise Busy("the pictures of the jobs that wait are too large together", "Try again later.")
            self._added += len(data)
        temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
        try:
            self.pictures.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(data)
            os.replace(temporary, path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise output_error(path, error) from error
        return REFERENCE + name

    def clean(self, store: JobStore) -> None:
        """Let go of what no job that has not ended needs, where it is old or there is too much."""
        jobs = store.unended()
        text = " ".join(json.dumps(job.request) for job in jobs)
        needed = {self.pictures / name for name in re.findall(REFERENCE + r"([0-9a-f]{64}\.\w+)", text)}
        needed |= {self.made(job.id) for job in jobs}
        found: list[tuple[float, int, Path]] = []
        for folder in (self.pictures, self._made):
            with suppress(OSError):
                for entry in folder.iterdir():
                    with suppress(OSError):
                        found.append((entry.stat().st_mtime, _size(entry), entry))
        total = sum(size for _, size, _ in found)
        with self._lock:
            self._added = sum(size for _, size, entry in found if entry in needed)
        for changed, size, entry in sorted(found):
            if entry not in needed and (changed < time.time() - DAYS * DAY or total > MOST_BYTES):
                total -= size
                with suppress(OSError):
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(one.stat().st_size for one in path.rglob("*") if one.is_file())
    return path.stat().st_size
