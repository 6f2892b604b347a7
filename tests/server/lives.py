"""Lives of servers in folders, each ended by SIGKILL at a moment of its work: `python -m tests.server.lives`.

A folder, then numbers: its first process ends at so many moments, the next at so many ... and the last goes on until
all jobs have ended; then the next folder. Moments are steps of sampling, and the instants before and after what is
written. Those of a folder that has "workers" in its name draw by two of these.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient
from tests.server.conftest import HERE, PATIENCE, coded, picture, settings_in, shades
from tests.workers.threads import use_threads

from hires.graph.kept import KeptWork
from hires.jobs.store import JobStore
from hires.metadata import files
from hires.recipes.grids.record import GridRecord
from hires.server.app import create_app
from hires.server.work import Job
from hires.workers.turns import KeptRuns

SMALL: dict[str, Any] = {"width": 64, "height": 64, "sampler_name": "Euler a", "save_images": True}
TWO_PASS = {
    **SMALL, "prompt": "1girl, beach", "steps": 3, "seed": 3, "n_iter": 2, "batch_size": 2,
    "enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.7,
}  # fmt: skip
GRID = {
    **SMALL, "prompt": "1girl, smile", "steps": 3, "seed": 4, "script_name": "x/y/z plot",
    "script_args": ["Seed", "1, 2", [], "CFG Scale", "2, 5", []],
}  # fmt: skip
TILED = {
    **SMALL, "prompt": "beach", "steps": 4, "seed": 5, "denoising_strength": 0.5,
    "script_name": "SD upscale", "script_args": ["", 16, "Lanczos", 2.0],
}  # fmt: skip


def submit(client: TestClient) -> None:
    """A mixed queue."""
    tiled = {**TILED, "init_images": [coded(shades(64))]}
    for kind, request in (("txt2img", TWO_PASS), ("txt2img", GRID), ("img2img", tiled)):
        assert client.post("/hires/v1/jobs", json={"kind": kind, "request": request}).status_code == 200
    assert client.post("/prompt", json={"prompt": picture(batch=2), "prompt_id": "twins"}).status_code == 200


def dying(moments: int) -> None:
    """Let this process be killed after so many moments."""
    left = [moments]

    def moment() -> None:
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(PATIENCE)

    def with_moments(function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **more: Any) -> Any:
            moment()
            found = function(*args, **more)
            moment()
            return found

        return counted

    for owner, name in (
        (JobStore, "begin"), (JobStore, "advance"), (JobStore, "finish"), (KeptWork, "_write"),
        (KeptWork, "finish"), (GridRecord, "save"), (files, "_give_name"), (Job, "__call__"), (KeptRuns, "put"),
    ):  # fmt: skip
        setattr(owner, name, with_moments(getattr(owner, name)))


def live(folder: Path, first: bool, moments: int | None) -> None:
    """Serve until all jobs have ended, or death."""
    workers = "2" if "workers" in folder.name else ""
    if workers:
        use_threads()
    settings = settings_in(folder, keep_megabytes=100, threads=1, workers=workers)
    with TestClient(create_app(settings), base_url=HERE) as client:
        if first:
            submit(client)
        if moments is not None:
            dying(moments)
        until = time.monotonic() + 10 * PATIENCE
        while any(client.get("/hires/v1/queue").json()["jobs"].values()):
            assert time.monotonic() < until
            time.sleep(0.05)
        (folder / "ended.json").write_text(json.dumps(client.get("/hires/v1/jobs").json()))


def lived(folder: Path, moments: list[int]) -> None:
    """All lives in a folder; how each ended is in its file `lives.json`."""
    folder.mkdir()
    ends: list[int] = []
    while 0 not in ends:
        child = os.fork()
        if child == 0:
            try:
                live(folder, not ends, moments[len(ends)] if len(ends) < len(moments) else None)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        ends.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        assert ends[-1] in (0, -signal.SIGKILL), ends
    (folder / "lives.json").write_text(json.dumps(ends))


def main() -> None:
    folders: dict[str, list[int]] = {}
    for word in sys.argv[1:]:
        if word.isdecimal():
            folders[list(folders)[-1]].append(int(word))
        else:
            folders[word] = []
    for folder, moments in folders.items():
        lived(Path(folder), moments)


if __name__ == "__main__":
    main()
