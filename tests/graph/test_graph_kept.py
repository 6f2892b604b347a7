"""Finished pieces on disk: they come back whole or not at all, and never fill the disk."""

from __future__ import annotations

import os
import time
from pathlib import Path

import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hires.graph.kept import DAY, KeptWork, Pieces


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*"))


def test_a_piece_comes_back_in_another_process_as_it_was(tmp_path: Path) -> None:
    tensors = {"x": torch.randn(2, 3), "rng": torch.arange(5, dtype=torch.uint8), "none": torch.zeros(0, 4)}
    rest = {"step": 3, "sigma": 0.1 + 0.2, "name": "π", "chain": [["a", 1]], "nothing": None, "huge": float("inf")}
    KeptWork(tmp_path).put("run", {**tensors, **rest})
    found = KeptWork(tmp_path).get("run")
    assert found is not None and {name: found[name] for name in rest} == rest
    assert all(torch.equal(found[name], value) and found[name].dtype == value.dtype for name, value in tensors.items())
    assert KeptWork(tmp_path).get("another run") is None


@settings(max_examples=60, deadline=None)
@example(at=114, change=1, cut=False)
@given(st.integers(0, 10_000), st.integers(1, 255), st.booleans())
def test_a_harmed_piece_is_none(at: int, change: int, cut: bool) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        kept = KeptWork(Path(folder))
        path = kept.put("run", {"x": torch.arange(64.0), "step": 1})
        data = bytearray(path.read_bytes())
        at %= len(data)
        data[at] ^= change
        path.write_bytes(bytes(data[:at] if cut else data))
        found = kept.get("run")
        assert found is None or (torch.equal(found["x"], torch.arange(64.0)) and found["step"] == 1)


def test_a_later_piece_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    kept = KeptWork(tmp_path)
    for step in range(5):
        kept.put("run", {"x": torch.full((10,), float(step))})
    found = kept.get("run")
    assert found is not None and found["x"][0] == 4 and len(files(tmp_path)) == 1


def test_it_stays_within_its_size_and_drops_the_oldest(tmp_path: Path) -> None:
    kept, begun = KeptWork(tmp_path, limit_bytes=20_000), time.time() - 1000
    for number in range(30):
        path = kept.put(f"piece {number}", {"x": torch.zeros(500)})
        os.utime(path, (begun + number, begun + number))
        assert sum(file.stat().st_size for file in files(tmp_path)) <= 20_000
    assert kept.get("piece 0") is None and kept.get("piece 29") is not None


def test_what_is_old_goes_when_the_folder_is_opened(tmp_path: Path) -> None:
    old = KeptWork(tmp_path).put("old", {"x": torch.zeros(1)})
    os.utime(old, (old.stat().st_mtime - 15 * DAY,) * 2)
    kept = KeptWork(tmp_path)
    kept.put("new", {"x": torch.zeros(1)})
    assert not old.exists() and kept.get("new") is not None


def test_finished_work_is_let_go_of_and_stopped_work_stays(tmp_path: Path) -> None:
    kept = KeptWork(tmp_path)
    kept.put("stopped", {"x": torch.zeros(1)})
    kept.leave()
    kept.put("finished", {"x": torch.zeros(1)})
    kept.finish()
    assert kept.get("stopped") is not None and kept.get("finished") is None


def test_tiles_take_the_place_of_the_steps_that_led_to_them(tmp_path: Path) -> None:
    kept = KeptWork(tmp_path)
    kept.put("first pass", {"x": torch.zeros(1)})
    pieces = Pieces(kept, "node")
    for index in range(3):
        mark = pieces.mark()
        kept.put(f"steps of tile {index}", {"x": torch.zeros(1)})
        pieces.put(index, torch.full((2,), float(index)))
        pieces.settle(mark)
    assert len(files(tmp_path)) == 4 and kept.get("first pass") is not None
    found = Pieces(KeptWork(tmp_path), "node").get(2)
    assert found is not None and found[0] == 2
    kept.finish()
    assert files(tmp_path) == []


def test_a_disk_that_cannot_be_written_ends_the_keeping_and_nothing_else(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    kept = KeptWork(blocked / "work")
    kept.put("run", {"x": torch.zeros(1)})
    kept.put("run", {"x": torch.zeros(1)})
    assert kept.get("run") is None
