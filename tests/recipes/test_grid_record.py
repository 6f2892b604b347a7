from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.recipes.test_grid_axes import BASE, HIRES, KNOWN

from hires.errors import OutputError, SettingError
from hires.recipes.grids.matrix import Matrix
from hires.recipes.grids.record import DONE, FILE, WAITING, GridRecord, new_record, read_record
from hires.recipes.grids.request import AxisValues, GridOptions, GridRequest, expand
from hires.recipes.grids.stored import read_stored, stored
from hires.recipes.img2img_request import Img2Img, Inpaint, Outpaint, SoftInpainting
from hires.recipes.request import HiresFix, Refiner, Templates, Txt2Img
from hires.recipes.tiled import DeepShrink, TiledDiffusion
from hires.tiling.regions import Region

FULL = Txt2Img(
    prompt="a\n{b}",
    hires=HiresFix(cfg=3.5, checkpoint="x"),
    refiner=Refiner("y", switch_step=3),
    tiled=TiledDiffusion(regions=(Region(0.1, 0.2, 0.3, 0.4, "sky"),)),
    deep_shrink=DeepShrink(),
    templates=Templates("p", "n"),
    styles=("one", "two"),
    extra_fields={"Note": "x"},
    hashes={"lora:x": "0123456789"},
    eta=0.5,
)
OVER = Img2Img(FULL, denoise=0.4, inpaint=Inpaint(soft=SoftInpainting(bias=2)), outpaint=Outpaint(("left",)))


def record(folder: Path, base: Txt2Img | Img2Img = BASE) -> GridRecord:
    request = GridRequest(base, (AxisValues("Steps", "3, 4"), AxisValues("Seed", "-1, 2", "9, 2")))
    return new_record(folder, request, expand(request, KNOWN), "2026-01-02T03:04:05+00:00")


@pytest.mark.parametrize("request_", [FULL, OVER, Txt2Img(), Img2Img()])
def test_requests_survive_being_stored(request_: Any) -> None:
    assert read_stored(type(request_), json.loads(json.dumps(stored(request_))), "here") == request_


@given(
    st.builds(
        Txt2Img,
        prompt=st.text(max_size=20),
        seed=st.integers(-1, 2**64 - 1),
        cfg=st.floats(0, 1000),
        styles=st.lists(st.text(max_size=5), max_size=3).map(tuple),
        hires=st.none() | st.builds(HiresFix, denoise=st.floats(0, 1), steps=st.integers(0, 99)),
        extra_fields=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
    )
)
def test_any_request_survives_being_stored(request_: Txt2Img) -> None:
    assert read_stored(Txt2Img, json.loads(json.dumps(stored(request_))), "here") == request_


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([], "should be an object"),
        ({"prompt": 3}, "here, prompt should be of the kind str, not 3"),
        ({"steps": True}, "here, steps should be of the kind int"),
        ({"hires": {"scale": "2"}}, "here, hires, scale should be of the kind float"),
        ({"styles": "oil"}, "here, styles"),
        ({"brush": 1}, "a field 'brush'"),
        ({"refiner": {}}, "here, refiner is incomplete"),
    ],
)
def test_stored_values_of_another_kind_are_refused(values: Any, said: str) -> None:
    with pytest.raises(SettingError, match=said):
        read_stored(Txt2Img, values, "here")


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    made = record(tmp_path)
    made.save()
    assert read_record(tmp_path) == made
    over = replace(record(tmp_path, Img2Img(BASE, denoise=0.3)))
    over.request = replace(over.request, pictures=("/a/b.png",), mask="/c.png")
    over.save()
    assert read_record(tmp_path) == over
    matrix = GridRequest(replace(HIRES, prompt="a|b"), matrix=Matrix(at_start=True), options=GridOptions(margin=3))
    third = new_record(tmp_path, matrix, expand(matrix, KNOWN), "now")
    third.save()
    assert read_record(tmp_path) == third and third.title == "Prompt matrix"
    assert sorted(path.name for path in tmp_path.iterdir()) == [FILE]


def test_the_record_holds_what_others_read(tmp_path: Path) -> None:
    data = record(tmp_path).data()
    assert data["format"] == 1 and data["title"] == "Steps x Seed" and data["noise_floor"] is None
    assert data["axes"] == [
        {"label": "Steps", "values": ["3", "4"], "text": "3, 4", "fixed": ""},
        {"label": "Seed", "values": ["9", "2"], "text": "-1, 2", "fixed": "9, 2"},
    ]
    assert [cell["index"] for cell in data["cells"]] == [[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]]
    assert data["cells"][1]["labels"] == ["Steps: 4", "Seed: 9"]
    assert {cell["state"] for cell in data["cells"]} == {WAITING}
    assert data["base"]["kind"] == "txt2img" and data["base"]["request"]["seed"] == BASE.seed


def test_a_finished_cell_whose_picture_is_gone_waits_again(tmp_path: Path) -> None:
    made = record(tmp_path)
    (tmp_path / "cells").mkdir()
    for cell in made.cells[:2]:
        cell.state, cell.pictures, cell.calls = DONE, [f"cells/{cell.stem}.png"], 3
    (tmp_path / "cells" / "00-00-00.png").write_bytes(b"x")
    made.save()
    read = read_record(tmp_path)
    assert [cell.state for cell in read.cells] == [DONE, WAITING, WAITING, WAITING]
    assert read.cells[1].pictures == [] and read.cells[1].calls == 0 and read.cells[1].key == made.cells[1].key


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "cells/../../x", "C:\\x.png", "a\\..\\b"])
def test_a_record_may_not_name_files_outside_its_folder(name: str, tmp_path: Path) -> None:
    made = record(tmp_path)
    made.cells[0].state, made.cells[0].pictures = DONE, [name]
    made.save()
    with pytest.raises(SettingError, match="outside the grid's folder"):
        read_record(tmp_path)


def broken(data: dict[str, Any], path: tuple[Any, ...], value: Any) -> str:
    inner: Any = data
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return json.dumps(data)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("format",), 2),
        (("base",), None),
        (("base", "request", "steps"), "many"),
        (("axes",), [1]),
        (("options", "margin"), "wide"),
        (("cells", 0), None),
        (("cells", 0, "calls"), "x"),
        (("cells", 0, "pictures"), [3]),
    ],
)
def test_a_broken_record_is_one_line(path: tuple[Any, ...], value: Any, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(broken(record(tmp_path).data(), path, value))
    with pytest.raises(SettingError) as caught:
        read_record(tmp_path)
    assert "\n" not in str(caught.value)


def test_no_record_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="there is no grid in"):
        read_record(tmp_path)
    for text in ("{", "[]", "null", "[" * 100_000, "\xff"):
        (tmp_path / FILE).write_bytes(text.encode("latin-1"))
        with pytest.raises(SettingError):
            read_record(tmp_path)


def test_a_record_in_a_folder_that_is_gone_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        record(tmp_path / "gone").save()
