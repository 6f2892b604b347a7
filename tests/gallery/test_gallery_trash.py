"""The trash: nothing is lost, nothing overwritten, nothing outside the outputs is touched."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gallery.pictures import drawn

from hires.errors import SettingError
from hires.gallery.thumbnails import SIDE, Thumbnails
from hires.gallery.trash import Trash


def test_a_picture_comes_back_as_it_was(tmp_path: Path) -> None:
    path = drawn(tmp_path, "a/b/one.png")
    before, trash = path.read_bytes(), Trash(tmp_path)
    deletion = trash.throw(["a/b/one.png"])
    assert not path.exists()
    [thrown] = trash.listed()
    assert (thrown.deletion, thrown.name, thrown.bytes) == (deletion, "a/b/one.png", len(before))
    assert trash.restore(deletion, thrown.name) == "a/b/one.png"
    assert path.read_bytes() == before
    assert trash.listed() == [] and list(trash.folder.iterdir()) == []


def test_the_same_name_twice_is_kept_twice_and_restored_beside(tmp_path: Path) -> None:
    trash, kept = Trash(tmp_path), []
    for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255)):
        kept.append(drawn(tmp_path, "one.png", colour=colour).read_bytes())
        if len(kept) < 3:
            trash.throw(["one.png"])
    names = [trash.restore(each.deletion, each.name) for each in trash.listed()]
    assert sorted(names) == ["one (1).png", "one (2).png"]
    assert sorted(path.read_bytes() for path in tmp_path.glob("*.png")) == sorted(kept)


def test_nothing_is_moved_where_one_is_missing(tmp_path: Path) -> None:
    path = drawn(tmp_path, "one.png")
    with pytest.raises(SettingError, match=r"two\.png"):
        Trash(tmp_path).throw(["one.png", "two.png"])
    assert path.is_file() and not (tmp_path / ".trash").exists()


@pytest.mark.parametrize(
    "name", ["../secret.png", "/etc/passwd", "a/../../secret.png", "link.png", ".hidden.png", "..\\secret.png",
             ".trash/x/y.png", "", ".", "C:/x.png", "x\n.png", "x" * 5000]
)  # fmt: skip
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    secret = drawn(tmp_path, "secret.png")
    root = tmp_path / "outputs"
    drawn(root, ".hidden.png")
    (root / "link.png").symlink_to(secret)
    trash = Trash(root)
    with pytest.raises(SettingError):
        trash.throw([name])
    with pytest.raises(SettingError):
        trash.thrown("20260101-000000-00000000", name)
    with pytest.raises(SettingError):
        trash.thrown("..", "secret.png")
    assert secret.is_file()


def test_emptying_deletes_the_pictures_that_were_told_and_nothing_else(tmp_path: Path) -> None:
    root, trash = tmp_path / "outputs", Trash(tmp_path / "outputs")
    kept = [drawn(tmp_path, "beside.png"), drawn(root, "kept.png"), drawn(root, "sub/kept.png")]
    drawn(root, "sub/one.png")
    first = trash.throw(["sub/one.png"])
    drawn(root, "two.png")
    second = trash.throw(["two.png"])
    told = trash.listed()
    note = trash.folder / second / "note.txt"
    note.write_text("no picture")
    elsewhere = tmp_path / "elsewhere"
    kept.append(drawn(elsewhere, "one.png"))
    (trash.folder / "20260101-000000-00000000").symlink_to(elsewhere)
    (trash.folder / "20260101-000000-0000000z").mkdir()
    kept.append(drawn(trash.folder / "20260101-000000-0000000z", "mine.png"))
    (trash.folder / first / "link").symlink_to(elsewhere)
    assert trash.empty(["20260101-000000-00000000", "..", ""]) == []
    assert trash.empty([second]) == [one for one in told if one.deletion == second]
    assert [one.deletion for one in trash.listed()] == [first] and note.is_file()
    assert trash.empty() == [one for one in told if one.deletion == first]
    assert trash.listed() == [] and all(path.is_file() for path in kept)
    assert trash.empty() == []


def test_a_trash_that_is_a_link_is_left_alone(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "outputs", tmp_path / "elsewhere"
    path = drawn(elsewhere / "20260101-000000-00000000", "one.png")
    root.mkdir()
    (root / ".trash").symlink_to(elsewhere)
    trash = Trash(root)
    assert trash.listed() == [] and trash.empty() == [] and path.is_file()
    with pytest.raises(SettingError):
        trash.restore("20260101-000000-00000000", "one.png")


@given(name=st.text(max_size=60))
def test_any_name_is_answered_or_refused(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.getbasetemp() / "fuzzed"
    drawn(root, "one.png")
    try:
        assert Trash(root).picture(name).resolve().is_relative_to(root.resolve())
    except SettingError as error:
        assert "\n" not in str(error)


def test_thumbnails_are_small_kept_and_forgotten(tmp_path: Path) -> None:
    from io import BytesIO

    from PIL import Image

    root = tmp_path / "outputs"
    path = drawn(root, "wide.png", size=(1600, 400))
    made = Thumbnails(root, tmp_path / "cache", 10_000_000)
    data = made.of(path)
    with Image.open(BytesIO(data)) as small:
        assert small.size == (SIDE, SIDE // 4)
        pixel = small.convert("RGB").getpixel((5, 5))
    assert isinstance(pixel, tuple) and all(abs(a - b) <= 3 for a, b in zip(pixel, (90, 120, 160), strict=True))
    [kept] = (tmp_path / "cache").rglob("*.webp")
    kept.write_bytes(b"kept")
    assert made.of(path) == b"kept"
    drawn(root, "wide.png", colour=(0, 0, 0), size=(1600, 400), changed=5.0)
    assert made.of(path) != b"kept" and len(list((tmp_path / "cache").rglob("*.webp"))) == 1
    made.forget("wide.png")
    assert not list((tmp_path / "cache").rglob("*.webp"))


def test_pictures_too_large_or_broken_have_no_thumbnail(tmp_path: Path) -> None:
    from hires.errors import ImageFileError

    made = Thumbnails(tmp_path, tmp_path / "cache", 10_000)
    with pytest.raises(ImageFileError, match="megapixels"):
        made.of(drawn(tmp_path, "large.png", size=(200, 100)))
    whole = drawn(tmp_path, "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImageFileError, match="broken"):
        made.of(tmp_path / "cut.png")
