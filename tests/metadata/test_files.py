"""Results are written whole or not at all, and never over others."""

import errno
import os
import stat
import threading
from pathlib import Path

import pytest
from PIL import Image

from hires.errors import OutputError
from hires.metadata.files import picture_texts, save_png, write_new, write_numbered


def test_texts_come_back_from_a_png(tmp_path: Path) -> None:
    texts = {"parameters": "猫, café\nSteps: 1", "prompt": '{"1": {}}'}
    path = tmp_path / "x.png"
    save_png(Image.new("RGB", (4, 4)), path, texts)
    with Image.open(path) as picture:
        picture.load()
        assert picture_texts(picture) == texts


def test_exif_comments_are_read(tmp_path: Path) -> None:
    picture = Image.new("RGB", (4, 4))
    exif = picture.getexif()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + "hé\nSteps: 1".encode("utf-16-be")
    picture.save(tmp_path / "x.jpg", exif=exif)
    with Image.open(tmp_path / "x.jpg") as opened:
        assert picture_texts(opened)["parameters"] == "hé\nSteps: 1"


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("mine")
    with pytest.raises(FileExistsError):
        write_new(path, lambda file: file.write_text("other"))
    assert path.read_text() == "mine"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_numbers_go_on_above_the_highest(tmp_path: Path) -> None:
    (tmp_path / "pic_00007_.png").touch()
    path = write_numbered(tmp_path, "pic", ".png", lambda file: file.write_text("8"))
    assert path.name == "pic_00008_.png"


def test_many_writers_get_a_number_each(tmp_path: Path) -> None:
    def write(text: str) -> None:
        write_numbered(tmp_path, "pic", ".txt", lambda file: file.write_text(text))

    threads = [threading.Thread(target=write, args=(str(i),)) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path.read_text() for path in tmp_path.iterdir()) == sorted(str(i) for i in range(16))


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    def fail(file: Path) -> None:
        file.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OutputError, match="no space left to write") as caught:
        write_numbered(tmp_path, "pic", ".png", fail)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_links_is_served_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    assert write_new(tmp_path / "a.txt", lambda file: file.write_text("whole")).read_text() == "whole"
    with pytest.raises(FileExistsError):
        write_new(tmp_path / "a.txt", lambda file: file.write_text("other"))
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.txt", "whole")]


def test_a_folder_that_is_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="cannot write"):
        write_numbered(tmp_path / "file", "pic", ".png", lambda file: file.write_text("x"))


class Account:
    """A ledger that knows nothing of before."""

    def __init__(self, events: list[str]) -> None:
        self.events = events

    def earlier(self, folder: Path, stem: str, digest: str) -> Path | None:
        return None

    def intend(self, path: Path, digest: str) -> None:
        self.events.append("intended")

    def written(self, path: Path) -> None:
        self.events.append("written")


@pytest.mark.skipif(os.name != "posix", reason="folders cannot be synced")
def test_a_name_is_on_the_disk_before_it_is_accounted_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    sync, link = os.fsync, os.link

    def synced(opened: int) -> None:
        events.append("folder synced" if stat.S_ISDIR(os.fstat(opened).st_mode) else "file synced")
        sync(opened)

    def linked(source: Path, target: Path) -> None:
        events.append("named")
        link(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "link", linked)
    write_new(tmp_path / "a.txt", lambda file: file.write_text("whole"), Account(events))
    assert events == ["file synced", "intended", "named", "folder synced", "written"]
