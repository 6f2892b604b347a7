"""The index of the outputs: what is found, what is seen anew, what is passed by."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.gallery.pictures import drawn

import hires.gallery.index as index_module
from hires.gallery.index import GalleryIndex
from hires.gallery.reading import Said


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "outputs"
    drawn(root, "txt2img-images/00001-1.png", "a red lighthouse, 100% detail", changed=1000)
    drawn(root, "txt2img-images/00002-2.png", "a harbour at night", model="anime", changed=2000, size=(640, 480))
    drawn(root, "extras/big.png", "등대, 灯塔", changed=3000, size=(1200, 900))
    return root


@pytest.fixture
def index(root: Path, tmp_path: Path) -> Iterator[GalleryIndex]:
    index = GalleryIndex(root, tmp_path / "cache")
    index.refresh()
    yield index
    index.close()


def names(index: GalleryIndex, words: str = "", **how: object) -> list[str]:
    return [entry.name for entry in index.search(words, **how).entries]  # type: ignore[arg-type]


def test_pictures_are_found_by_words_model_date_and_size(index: GalleryIndex) -> None:
    assert names(index) == ["extras/big.png", "txt2img-images/00002-2.png", "txt2img-images/00001-1.png"]
    assert names(index, "LIGHTHOUSE red") == ["txt2img-images/00001-1.png"]
    assert names(index, "灯塔") == names(index, "등대") == ["extras/big.png"]
    assert names(index, "00002") == ["txt2img-images/00002-2.png"]
    assert names(index, model="ANIM") == ["txt2img-images/00002-2.png"]
    assert names(index, since=1500, until=3000) == ["txt2img-images/00002-2.png"]
    assert names(index, least_pixels=640 * 480) == ["extras/big.png", "txt2img-images/00002-2.png"]
    assert names(index, order="largest")[0] == "extras/big.png" and names(index, order="oldest")[0].endswith("1-1.png")
    assert index.models() == ["anime", "pocket"]


def test_what_like_patterns_hold_is_taken_by_the_letter(index: GalleryIndex) -> None:
    assert names(index, "100%") == ["txt2img-images/00001-1.png"]
    assert names(index, "%") == ["txt2img-images/00001-1.png"]
    assert names(index, "\\") == []
    assert names(index, "'; drop table pictures; --") == []
    assert len(names(index)) == 3


def test_pages_part_all_pictures_once(index: GalleryIndex) -> None:
    whole = names(index)
    assert [name for start in range(0, 3, 2) for name in names(index, limit=2, offset=start)] == whole
    assert index.search(limit=1).total == 3


def test_only_what_is_new_or_changed_is_read(index: GalleryIndex, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = index_module.read_picture
    monkeypatch.setattr(index_module, "read_picture", lambda path: (read.append(path.name), real(path))[1])
    index.refresh()
    assert read == []
    drawn(root, "new.png", "a new one", changed=5000)
    drawn(root, "extras/big.png", "an other one", changed=6000)
    (root / "txt2img-images/00001-1.png").unlink()
    index.refresh()
    assert sorted(read) == ["big.png", "new.png"]
    assert names(index) == ["extras/big.png", "new.png", "txt2img-images/00002-2.png"]
    assert names(index, "灯塔") == []


def test_hidden_places_links_and_broken_files_are_passed_by(index: GalleryIndex, root: Path, tmp_path: Path) -> None:
    drawn(root, ".trash/x/gone.png")
    secret = drawn(tmp_path / "elsewhere", "secret.png")
    os.symlink(secret, root / "link.png")
    os.symlink(secret.parent, root / "folder")
    (root / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    (root / "empty.jpg").write_bytes(b"")
    (root / "notes.txt").write_text("no picture")
    index.refresh()
    assert len(names(index)) == 3
    assert [entry.name for entry in index.problems()] == ["broken.png", "empty.jpg"]
    assert all(entry.problem.endswith("(UnidentifiedImageError)") for entry in index.problems())


def test_workflows_without_infotext_are_found_by_their_prompts(index: GalleryIndex, root: Path) -> None:
    nodes = {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sub\\dream.safetensors"}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cathedral \ud800 of glass", "clip": ["1", 1]}},
    }
    drawn(root, "comfy.png", texts={"prompt": json.dumps(nodes)})
    drawn(root, "odd.png", texts={"prompt": json.dumps([1, {"inputs": []}, None])})
    index.refresh()
    assert names(index, "cathedral glass") == ["comfy.png"] == names(index, model="dream")


def test_who_looks_while_another_does_waits_for_it(
    index: GalleryIndex, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, go_on = threading.Event(), threading.Event()
    real = index_module.read_picture

    def slowly(path: Path) -> Said:
        reading.set()
        assert go_on.wait(60)
        return real(path)

    monkeypatch.setattr(index_module, "read_picture", slowly)
    drawn(root, "new.png", "a new one")
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(index.refresh)
        assert reading.wait(60)
        second = threads.submit(index.refresh)
        go_on.set()
        assert first.result(60)
        assert names(index, "new") == ["new.png"]
        second.result(60)


def test_a_damaged_index_is_made_anew(root: Path, tmp_path: Path) -> None:
    first = GalleryIndex(root, tmp_path / "cache")
    first.refresh()
    first.close()
    [file] = (tmp_path / "cache/gallery").glob("*.sqlite")
    file.write_bytes(b"no database at all, but long enough to be looked at as one" * 100)
    second = GalleryIndex(root, tmp_path / "cache")
    assert names(second) == []
    second.refresh()
    assert len(names(second)) == 3
    second.close()


def test_an_outputs_folder_that_is_not_there_yet_is_empty(tmp_path: Path) -> None:
    index = GalleryIndex(tmp_path / "none", tmp_path / "cache")
    assert index.refresh() and names(index) == []
    index.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.text(max_size=40), model=st.text(max_size=10))
def test_any_text_can_be_searched(index: GalleryIndex, words: str, model: str) -> None:
    found = index.search(words, model=model)
    assert found.total == len(found.entries) <= 3


def test_the_cells_of_grids_can_be_left_out(index: GalleryIndex, root: Path) -> None:
    drawn(root, "grid_00001/cells/00-00-00.png", "a cell")
    drawn(root, "grid_00001/grid.png", "the whole")
    (root / "grid_00001/grid.json").write_text("{}")
    index.refresh()
    assert len(names(index)) == 5 and len(names(index, with_cells=False)) == 4
    assert names(index, "cell", with_cells=False) == []
    assert names(index, "whole", with_cells=False) == ["grid_00001/grid.png"]
