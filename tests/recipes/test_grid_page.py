"""The page of a grid as a file: nothing missing, nothing executable from data, nothing from outside its folder."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from html.parser import HTMLParser
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.recipes.drawn_grid import EVIL, SIDE, written_grid

from hires.errors import OutputError, SettingError
from hires.recipes.grids.page import SCRIPTS, json_block, page, write_page


class Elements(HTMLParser):
    """Every element with its attributes, and the text of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag
        if tag in ("script", "style"):
            self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside in ("script", "style"):
            self.texts[self.inside][-1] += data


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("grid")
    return folder, written_grid(folder)


def data_of(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Elements(text).texts["script"][0])
    return found


def test_every_cell_and_every_picture_is_in_it(drawn: tuple[Path, dict[str, Any]]) -> None:
    folder, grid = drawn
    path = write_page(folder, grid)
    assert path == folder / "index.html" and not list(folder.glob(".index*"))
    data = data_of(path.read_text(encoding="utf-8"))
    assert data["grid"] == json.loads(json.dumps(grid)) and len(data["grid"]["cells"]) == 24
    names = {name for cell in grid["cells"] for name in [*cell["pictures"], cell["first_pass"]] if name}
    assert set(data["pictures"]) == names and len(names) == 23
    first = data["pictures"]["cells/first #1.png"]
    assert first["source"] == "cells/first%20%231.png" and (first["width"], first["height"]) == (SIDE, SIDE)
    assert data["thresholds"] == {name: known["difference_mean"] for name, known in grid["noise_floor"].items()}


def test_equal_pictures_have_equal_digests(drawn: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, grid = drawn
    pictures = data_of(write_page(folder, grid).read_text(encoding="utf-8"))["pictures"]
    digest = {name: about["digest"] for name, about in pictures.items()}
    assert digest["cells/00-00-00.png"] == digest["cells/00-01-00.png"]
    assert digest["cells/01-00-00.png"] != digest["cells/01-01-00.png"]


def test_every_pair_of_drawn_cells_is_compared(drawn: tuple[Path, dict[str, Any]]) -> None:
    folder, grid = drawn
    areas = data_of(write_page(folder, grid).read_text(encoding="utf-8"))["areas"]
    assert len(areas) == 22 * 21 / 2 and all(0 <= share <= 1 and one < other for one, other, share in areas)
    shares = {(one, other): share for one, other, share in areas}
    assert shares[0, 4] == 0 and shares[1, 5] < 0.02 < shares[1, 3]  # the cells' places in the list


def test_an_embedded_page_needs_no_other_file(drawn: tuple[Path, dict[str, Any]]) -> None:
    folder, grid = drawn
    text = write_page(folder, grid, pictures="embedded").read_text(encoding="utf-8")
    pictures = data_of(text)["pictures"]
    for name, about in pictures.items():
        kind, _, coded = about["source"].partition(";base64,")
        assert kind == "data:image/png"
        held = Image.open(BytesIO(base64.b64decode(coded)))
        assert np.array_equal(np.asarray(held), np.asarray(Image.open(folder / name)))


def test_too_many_megabytes_are_linked_and_the_page_says_so(drawn: tuple[Path, dict[str, Any]]) -> None:
    folder, grid = drawn
    data = data_of(write_page(folder, grid, pictures="embedded", most_megabytes=0.01).read_text(encoding="utf-8"))
    assert "are more than 0.01 MB" in data["note"]
    assert not any(about["source"].startswith("data:") for about in data["pictures"].values())


def test_data_never_become_markup(drawn: tuple[Path, dict[str, Any]]) -> None:
    folder, grid = drawn
    text = write_page(folder, grid).read_text(encoding="utf-8")
    assert EVIL.split("{{")[0] not in text
    found = Elements(text)
    kinds = [tag for tag, _ in found.tags]
    assert kinds.count("script") == 2 and kinds.count("img") == 0 and kinds.count("i") == 1  # the legend's own
    assert not any(name.startswith("on") for _, attributes in found.tags for name in attributes)
    assert found.texts["script"][1].strip().endswith("})();")
    assert data_of(text)["grid"]["base"]["prompt"] == EVIL


def test_the_policy_lets_only_the_pages_own_script_and_style_run(drawn: tuple[Path, dict[str, Any]]) -> None:
    folder, grid = drawn
    found = Elements(write_page(folder, grid).read_text(encoding="utf-8"))
    policy = next(each["content"] for tag, each in found.tags if each.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    for kind, text in (("style", found.texts["style"][0]), ("script", found.texts["script"][1])):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    for _, attributes in found.tags:
        assert not {"src", "style"} & set(attributes) and not str(attributes.get("href", "#")).startswith("http")


values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text() | st.just(EVIL),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(values)
def test_a_json_block_is_read_back_and_ends_no_element(data: Any) -> None:
    text = json_block(data)
    assert "<" not in text and ">" not in text
    assert json.loads(text) == json.loads(json.dumps(data))


def test_a_measure_that_is_not_finite_is_none() -> None:
    assert json_block({"a": float("nan"), "b": [float("inf")]}) == '{"a":null,"b":[null]}'


def test_missing_and_broken_pictures_are_left_out(drawn: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    source, grid = drawn
    folder = tmp_path / "copy"
    shutil.copytree(source, folder)
    (folder / "cells" / "00-00-00.png").unlink()
    (folder / "cells" / "01-00-00.png").write_bytes(b"no picture")
    pictures = data_of(write_page(folder, grid).read_text(encoding="utf-8"))["pictures"]
    assert len(pictures) == 21 and "cells/01-00-00.png" not in pictures


@pytest.mark.parametrize("name", ["../secret.png", "/etc/hostname", "cells/../../x.png", ""])
def test_files_outside_the_folder_are_refused(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "grid"
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    cell = {"index": [0, 0, 0], "state": "done", "pictures": [name]}
    with pytest.raises(SettingError, match="outside its folder"):
        write_page(folder, {"format": 1, "axes": [], "cells": [cell]})


def test_what_is_no_grid_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="format 2"):
        write_page(tmp_path, {"format": 2})
    with pytest.raises(SettingError, match="no axes"):
        write_page(tmp_path, {"format": 1, "axes": []})
    with pytest.raises(SettingError, match="cell 1 of the grid has no index"):
        write_page(tmp_path, {"format": 1, "axes": [], "cells": [{"index": [0]}, {"index": "0"}]})
    with pytest.raises(SettingError, match="noise floor of 'detail'"):
        write_page(tmp_path, {"format": 1, "axes": [], "cells": [], "noise_floor": {"detail": {"mean": 1.0}}})
    with pytest.raises(SettingError, match="linked or embedded"):
        write_page(tmp_path, {"format": 1, "axes": [], "cells": []}, pictures="inside")
    with pytest.raises(OutputError, match="could not be written"):
        write_page(tmp_path / "none", {"format": 1, "axes": [], "cells": []})


def test_a_grid_of_one_cell_without_anything_has_a_page() -> None:
    text = page({"format": 1, "axes": [], "cells": [{"index": [0, 0, 0], "state": "waiting"}]}, {})
    assert data_of(text)["thresholds"] == {} and "<title>Grid</title>" in text


def test_the_parts_of_the_page_are_packed() -> None:
    folder = files("hires.recipes.grids").joinpath("data")
    assert all(folder.joinpath(name).is_file() for name in ("page.html", "page.css", *SCRIPTS))
    project = Path(__file__).parents[2] / "pyproject.toml"
    assert '"recipes/grids/data/*"' in project.read_text(encoding="utf-8")
