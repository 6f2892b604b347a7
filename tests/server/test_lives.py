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


def lived(parent: Path, *lives: list[int], by: str = "") -> list[tuple[dict[str, bytes], list[dict[str, Any]]]]:
    """Of each server with its lives: the pictures by their names, and the jobs in the order they came. All but the
    first draw `by` workers."""
    folders = [parent / f"server {number}{by if number else ''}" for number in range(len(lives))]
    words = [word for folder, moments in zip(folders, lives, strict=True) for word in (str(folder), *map(str, moments))]
    command = [sys.executable, "-m", "tests.server.lives", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HIRES_LOG": str(parent / "log")}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    for folder, moments in zip(folders, lives, strict=True):
        ends = json.loads((folder / "lives.json").read_text())
        assert len(ends) > min(len(moments), 3), "it was killed often enough"
        assert ends == [*[-signal.SIGKILL] * (len(ends) - 1), 0]
    return [(pictures_of(folder / "output"), jobs_of(folder)) for folder in folders]


def pictures_of(output: Path) -> dict[str, bytes]:
    return {path.relative_to(output).as_posix(): path.read_bytes() for path in output.rglob("*.png")}


def jobs_of(folder: Path) -> list[dict[str, Any]]:
    jobs: list[dict[str, Any]] = json.loads((folder / "ended.json").read_text())["jobs"]
    return jobs[::-1]


def check(parent: Path, *lives: list[int], by: str = "") -> None:
    """Servers with these lives do what one does that is not killed."""
    (pictures, jobs), *cut = lived(parent, [], *lives, by=by)
    assert [len(job["results"]) for job in jobs] == [5, 5, 1, 2], "with the sheet of four, and that of the grid"
    assert len(pictures) == 13
    for own, own_jobs in cut:
        assert sorted(own) == sorted(pictures), "none is lost and none is there twice"
        assert own == pictures, "their bytes are the same"
        assert {job["state"] for job in own_jobs} == {"done"}
        assert [sorted(job["results"]) for job in own_jobs] == [sorted(job["results"]) for job in jobs]


def test_killed_at_a_few_moments(tmp_path: Path) -> None:
    check(tmp_path, [35, 65])


@pytest.mark.slow
def test_killed_at_twenty_random_moments(tmp_path: Path) -> None:
    lives = []
    for seed in range(3):
        chosen = random.Random(seed)
        lives.append([chosen.randrange(10, 80) for _ in range(20)])
    check(tmp_path, *lives)


@pytest.mark.slow
def test_killed_with_workers(tmp_path: Path) -> None:
    lives = []
    for seed in range(3):
        chosen = random.Random(seed)
        lives.append([chosen.randrange(75, 150) for _ in range(20)])  # both batches begin and go on first
    check(tmp_path, *lives, by=" with workers")
