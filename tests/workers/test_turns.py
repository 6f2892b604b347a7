"""Runs that end before their turn: their order, and what is kept of them meanwhile."""

from __future__ import annotations

import json
import pickle
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hires.errors import Interrupted, WorkflowError
from hires.graph.report import Failure, NodeReport
from hires.nodes.context import Counts
from hires.workers.turns import RECORD, KeptRuns, Place, Row
from hires.workers.units import Done, MadeFile, MadeRun, RunUnit

UNIT = RunUnit({"1": {"class_type": "SaveImage", "inputs": {}}}, given={"a.png": b"pixels"})


def made(*files: MadeFile, **fields: object) -> Done:
    ui = {"images": [{"filename": file.filename, "subfolder": file.subfolder, "type": file.place} for file in files]}
    node = NodeReport("1", "SaveImage", "computed", 0.5, ui=ui, notes=("a note",))
    whole = {"failures": (), "faults": (), **fields}
    return Done(
        MadeRun({"1": node}, ("1",), seconds=1.5, warnings=("w",), files=files, counts=Counts(3, 0, 3, 1), **whole)
    )  # type: ignore[arg-type]


TWO = made(MadeFile("output", "sub", "a_00001_.png", b"one"), MadeFile("temp", "", "b.png", b"two"))


def test_what_is_kept_comes_back_as_it_was(tmp_path: Path) -> None:
    kept = KeptRuns(tmp_path / "job" / "ahead")
    assert kept.get(UNIT) is None
    kept.put(UNIT, TWO)
    assert KeptRuns(kept.folder).get(UNIT) == TWO
    for other in (
        RunUnit(UNIT.workflow, given={"a.png": b"other pixels"}),
        RunUnit(UNIT.workflow, given=UNIT.given, targets=("1",)),
        RunUnit({**UNIT.workflow, "2": {"class_type": "X", "inputs": {}}}, given=UNIT.given),
    ):
        assert kept.get(other) is None
    kept.drop(UNIT)
    assert kept.get(UNIT) is None
    kept.clear()
    assert not list(tmp_path.iterdir())


def test_what_failed_is_not_kept(tmp_path: Path) -> None:
    kept = KeptRuns(tmp_path / "ahead")
    fault = WorkflowError([]).faults
    failure = Failure("1", "SaveImage", ValueError("no"), fault=fault)  # type: ignore[arg-type]
    kept.put(UNIT, made(failures=(failure,)))
    kept.put(UNIT, Done(None))
    assert kept.get(UNIT) is None


@given(st.data())
def test_what_is_broken_is_made_again(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    kept = KeptRuns(tmp_path_factory.mktemp("kept"))
    kept.put(UNIT, TWO)
    (folder,) = kept.folder.iterdir()
    path = folder / data.draw(st.sampled_from(["0", "1", RECORD]))
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole) - 1))
    path.write_bytes(whole[:cut] + data.draw(st.sampled_from([b"", b"\x00", b"[1"])))
    assert kept.get(UNIT) in (None, TWO)
    if path.name != RECORD and path.read_bytes() != whole:
        assert kept.get(UNIT) is None
    path.unlink()
    assert kept.get(UNIT) is None


def test_a_record_of_another_shape_is_not_taken(tmp_path: Path) -> None:
    kept = KeptRuns(tmp_path)
    kept.put(UNIT, TWO)
    (folder,) = tmp_path.iterdir()
    told = json.loads((folder / RECORD).read_text())
    for changed in ({**told, "counts": {"strange": 1}}, {**told, "nodes": {"1": {}}}, [], {}, {**told, "files": [1]}):
        (folder / RECORD).write_text(json.dumps(changed))
        assert kept.get(UNIT) is None


class Harm:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("harmed"),)


def test_what_is_kept_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    kept = KeptRuns(tmp_path / "ahead")
    kept.put(UNIT, TWO)
    (folder,) = kept.folder.iterdir()
    for path in folder.iterdir():
        path.write_bytes(pickle.dumps(Harm()))
        assert kept.get(UNIT) is None
    assert not (tmp_path / "harmed").exists()


def test_only_what_must_wait_is_kept(tmp_path: Path) -> None:
    row, kept = Row(), KeptRuns(tmp_path)
    first, second = Place(row, 0, kept), Place(row, 1, kept)
    first.keep(UNIT, TWO)
    assert first.is_made and kept.get(UNIT) is None
    second.keep(UNIT, TWO)
    assert second.known(UNIT) == TWO
    second.leave()
    assert kept.get(UNIT) is None


def test_turns_come_in_their_order_and_end_with_the_row() -> None:
    row, over = Row(), list[int]()

    def wait(number: int) -> None:
        try:
            row.wait(number)
        except Interrupted:
            number = -number
        over.append(number)

    threads = [threading.Thread(target=wait, args=(number,)) for number in (3, 1, 2)]
    for thread in threads:
        thread.start()
    for number in (1, 2):
        row.reach(number)
        threads[number].join(60)
    row.close()
    threads[0].join(60)
    assert over == [1, 2, -3]
