"""The jobs that the Extras tab makes of several pictures."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from PIL import Image

pytest.importorskip("gradio")

from hires.server.bodies import ExtraBatch
from hires.ui.tab_extras import TOGETHER, _ExtrasTab

FIELDS = ("mode", "scale", "width", "height", "crop", "upscaler_1", "upscaler_2", "visibility")
VALUES = ("by", 2, 64, 64, True, "Lanczos", "None", 0, 0, 0, 0.5)


@pytest.mark.parametrize(("workers", "together"), [("", 1), ("2", TOGETHER)])
def test_each_picture_is_a_job_unless_workers_share_them(workers: str, together: int, tmp_path: Path) -> None:
    files = [tmp_path / f"{number:02}.png" for number in range(TOGETHER + 2)]
    for number, file in enumerate(files):
        Image.new("RGB", (4, 4), (number, 0, 0)).save(file)
    jobs: list[tuple[str, ExtraBatch]] = []

    def submit(kind: str, request: dict[str, Any], *, title: str, door: str) -> None:
        assert kind == "extras" and len(title) <= 80
        jobs.append((title, ExtraBatch.model_validate(request)))

    tab = _ExtrasTab.__new__(_ExtrasTab)
    tab.fields = dict.fromkeys((*FIELDS, "gfpgan", "codeformer", "weight"), None)
    tab.server = cast(Any, SimpleNamespace(settings=SimpleNamespace(workers=workers)))
    tab.page = cast(Any, SimpleNamespace(desk=SimpleNamespace(submit=submit)))
    tab._ = lambda text: text
    said = tab.started("several", None, [str(file) for file in files], None, *VALUES)
    assert [one.name for _, job in jobs for one in job.imageList] == [file.name for file in files]
    assert {len(job.imageList) for _, job in jobs[:-1]} == {together}
    assert f"{len(files)} pictures" in said
    assert jobs[0][0] == ("00.png" if together == 1 else f"00.png + {together - 1}")
