"""A server that is killed at any moments of a mixed queue ends all its jobs, with the same files as one that is not."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def lived(folder: Path, moments: list[int]) -> tuple[dict[str, bytes], list[dict[str, Any]], int]:
    """The pictures by their names, the jobs in the order they came, and how many times the server was killed."""
    folder.mkdir()
    command = [sys.executable, "-m", "tests.server.lives", str(folder), *map(str, moments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HIRES_LOG": str(folder / "log")}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    jobs = json.loads((folder / "ended.json").read_text())["jobs"]
    output = folder / "output"
    pictures = {path.relative_to(output).as_posix(): path.read_bytes() for path in output.rglob("*.png")}
    return pictures, jobs[::-1], ended.stdout.split().count(str(-signal.SIGKILL))


def check(whole: tuple[Any, Any, int], cut: tuple[Any, Any, int]) -> None:
    assert sorted(cut[0]) == sorted(whole[0]), "none is lost and none is there twice"
    assert cut[0] == whole[0], "their bytes are the same"
    told = [[(job["kind"], job["state"], job["results"]) for job in jobs] for jobs in (whole[1], cut[1])]
    assert told[0] == told[1] and {job["state"] for job in cut[1]} == {"done"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, int]:
    found = lived(tmp_path_factory.mktemp("lives") / "whole", [])
    pictures, jobs, _ = found
    assert len(jobs) == 4 and len([name for name in pictures if name.startswith("txt2img")]) == 4
    assert len([name for name in pictures if name.startswith("grid_00001/cells/")]) == 4
    assert [len(job["results"]) for job in jobs] == [5, 5, 1, 2], "with the sheet of four, and that of the grid"
    return found


def test_killed_at_a_few_moments(whole: tuple[Any, Any, int], tmp_path: Path) -> None:
    cut = lived(tmp_path / "cut", [30, 55, 70])
    assert cut[2] == 3
    check(whole, cut)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_killed_at_twenty_random_moments(whole: tuple[Any, Any, int], tmp_path: Path, seed: int) -> None:
    chosen = random.Random(seed)
    cut = lived(tmp_path / "cut", [chosen.randrange(10, 80) for _ in range(20)])
    assert cut[2] > 5
    check(whole, cut)
