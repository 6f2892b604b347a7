"""The account of a job's files: whenever it is killed, each is there once."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hires.jobs.store import JobStore
from hires.metadata import files
from hires.metadata.files import write_numbered
from hires.server.finished import Finished

FILES = 3


class Killed(BaseException):
    """In the place of SIGKILL."""


class Dying(Finished):
    """Is killed when it is to say so often that a file is about to get its name, or has it."""

    moments = 0

    def intend(self, path: Path, digest: str) -> None:
        super().intend(path, digest)
        self._pass()

    def written(self, path: Path) -> None:
        self._pass()
        super().written(path)

    def _pass(self) -> None:
        self.moments -= 1
        if self.moments == 0:
            raise Killed


@given(lives=st.lists(st.integers(1, 2 * FILES), max_size=6), alike=st.booleans())
@example(lives=[1, 3], alike=True)
def test_each_file_is_there_once_whenever_it_is_killed(lives: list[int], alike: bool) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(files.os, "fsync", lambda opened: None)
        home, outputs = Path(name), Path(name) / "outputs"
        with JobStore(home / "jobs") as store:
            id = store.add("workflow", {}).id
            store.begin(id)
            for moments in [*lives, 0]:
                finished = Dying(store, store.get(id), lambda change: change(), outputs, home / "own")
                finished.moments = moments
                try:
                    for number in range(FILES):
                        content = "twin" if alike else str(number)
                        write_numbered(
                            outputs, "one", ".txt", lambda path, text=content: path.write_text(text), finished
                        )
                except Killed:
                    continue
                break
            texts = [path.read_text() for path in sorted(outputs.iterdir())]
            assert texts == (["twin"] * FILES if alike else [str(number) for number in range(FILES)])
            assert sorted(store.get(id).results) == sorted(path.name for path in outputs.iterdir())
