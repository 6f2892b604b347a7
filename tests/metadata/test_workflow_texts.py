"""Texts in files: every place they may stand, and files that are broken in every way."""

from __future__ import annotations

import json
import zlib
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from hires.errors import HiresError, ImageFileError, ModelFileError
from hires.metadata import workflows
from hires.metadata.exif import put_texts
from hires.metadata.files import picture_texts, save_png
from hires.metadata.workflows import file_texts

API = '{"1": {"class_type": "Älpha 猫", "inputs": {}}}'
PLAIN_API = json.dumps(json.loads(API))


def chunk(kind: bytes, body: bytes, checksum: int | None = None) -> bytes:
    crc = zlib.crc32(kind + body) if checksum is None else checksum
    return len(body).to_bytes(4, "big") + kind + body + crc.to_bytes(4, "big")


def png(*chunks: bytes, behind: bytes = b"") -> bytes:
    """A PNG with chunks before its pixels and behind them."""
    buffer = BytesIO()
    Image.new("RGB", (2, 2)).save(buffer, format="PNG")
    data = buffer.getvalue()
    head, end = data[:33], data.index(b"IEND") - 4
    return head + b"".join(chunks) + data[33:end] + behind + data[end:]


def read(data: bytes, tmp_path: Path, name: str = "x.png") -> dict[str, str]:
    path = tmp_path / name
    path.write_bytes(data)
    return file_texts(path)


INTERNATIONAL = b"prompt\0\0\0de\0Eingabe\0" + API.encode()
PACKED = b"prompt\0\1\0\0\0" + zlib.compress(API.encode())


@pytest.mark.parametrize(
    "kind_and_body", [(b"iTXt", INTERNATIONAL), (b"iTXt", PACKED), (b"tEXt", b"prompt\0" + API.encode())]
)
def test_text_chunks(kind_and_body: tuple[bytes, bytes], tmp_path: Path) -> None:
    assert read(png(chunk(*kind_and_body)), tmp_path) == {"prompt": API}


def test_packed_latin_text(tmp_path: Path) -> None:
    body = b"parameters\0\0" + zlib.compress("café".encode("latin-1"))
    assert read(png(chunk(b"zTXt", body)), tmp_path) == {"parameters": "café"}


def test_chunks_behind_the_pixels(tmp_path: Path) -> None:
    behind = chunk(b"comf", b"workflow\0{}") + chunk(b"tEXt", b"prompt\0{}")
    assert read(png(behind=behind), tmp_path) == {"workflow": "{}", "prompt": "{}"}


def test_the_first_of_a_key_counts(tmp_path: Path) -> None:
    assert read(png(chunk(b"tEXt", b"a\x001"), chunk(b"tEXt", b"a\x002")), tmp_path) == {"a": "1"}


@pytest.mark.parametrize(
    "bad",
    [
        chunk(b"iTXt", b"prompt"),
        chunk(b"iTXt", b"prompt\0\1\0\0\0not packed"),
        chunk(b"zTXt", b"prompt\0\0\xff\xff"),
        chunk(b"tEXt", b"prompt\0{}", checksum=1),
    ],
)
def test_a_broken_chunk_is_left_out(bad: bytes, tmp_path: Path) -> None:
    assert read(png(bad, chunk(b"tEXt", b"workflow\0{}")), tmp_path) == {"workflow": "{}"}


def test_texts_that_unpack_without_end_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflows, "TEXT_LIMIT", 1000)
    bomb = zlib.compress(b" " * 100_000)
    assert len(bomb) < 1000
    chunks = [chunk(b"zTXt", b"prompt\0\0" + bomb), chunk(b"tEXt", b"long\0" + b"x" * 1001), chunk(b"tEXt", b"a\0b")]
    assert read(png(*chunks), tmp_path) == {"a": "b"}
    with pytest.raises(ImageFileError, match="more than"):
        read(png(*[chunk(b"tEXt", b"%d\0" % i + b"x" * 500) for i in range(3)]), tmp_path)


def test_a_chunk_that_claims_too_much_ends_the_reading(tmp_path: Path) -> None:
    good = chunk(b"tEXt", b"a\0b")
    for length in (b"\x7f\xff\xff\xff", b"\x00\x00\xff\xff"):
        assert read(png(good)[: 33 + len(good)] + length + b"tEXtprompt", tmp_path) == {"a": "b"}


def test_a_picture_under_another_name(tmp_path: Path) -> None:
    assert read(png(chunk(b"tEXt", b"prompt\0{}")), tmp_path, "x.webp") == {"prompt": "{}"}


@pytest.mark.parametrize("prefix", ["prompt", "Prompt"])
def test_exif_tags_of_webp(prefix: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0110], exif[0x010F], exif[0x010E] = f"{prefix}:{PLAIN_API}", 'workflow: {"nodes": []}', "extra:{}"
    exif[0x0131] = "ImageMagick: the best"
    Image.new("RGB", (4, 4)).save(tmp_path / "x.webp", exif=exif)
    assert file_texts(tmp_path / "x.webp") == {"prompt": PLAIN_API, "workflow": '{"nodes": []}', "extra": "{}"}


@pytest.mark.parametrize("text", ["a fox\nSteps: 1", "猫猫猫 a: {b|c}\nNegative prompt: x"])
def test_exif_comment_holds_infotext_and_workflow(text: str, tmp_path: Path) -> None:
    texts = {"parameters": text, "prompt": PLAIN_API, "workflow": '{"nodes": []}'}
    exif = Image.Exif()
    put_texts(exif, texts)
    Image.new("RGB", (4, 4)).save(tmp_path / "x.jpg", exif=exif)
    assert file_texts(tmp_path / "x.jpg") == texts
    with Image.open(tmp_path / "x.jpg") as picture:
        assert picture_texts(picture).items() >= texts.items()


def test_header_of_tensors(tmp_path: Path) -> None:
    header = json.dumps({"__metadata__": {"prompt": API, "n": 3}}).encode()
    data = len(header).to_bytes(8, "little") + header
    assert read(data, tmp_path, "x.latent") == {"prompt": API}
    assert read(b"\x02" + bytes(7) + b"{}", tmp_path, "x.safetensors") == {}
    for broken in (b"", b"\x01", (2**60).to_bytes(8, "little"), data[:-3], b"\x05" + bytes(7) + b"[1,2]"[:4]):
        with pytest.raises(ModelFileError, match=r"x\.latent is not a safetensors file"):
            read(broken, tmp_path, "x.latent")


def test_what_is_no_picture_is_told(tmp_path: Path) -> None:
    with pytest.raises(ImageFileError, match="not a picture"):
        read(b"hello", tmp_path, "x.jpg")
    with pytest.raises(ImageFileError, match="cannot be read"):
        file_texts(tmp_path / "gone.png")


SAVED = png(chunk(b"tEXt", b"prompt\0" + b"{}" * 40), chunk(b"iTXt", PACKED), behind=chunk(b"comf", b"workflow\0{}"))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6),
    kept=st.integers(0, 400),
    name=st.sampled_from(["x.png", "x.webp", "x.jpg", "x.avif", "x.latent"]),
    kind=st.sampled_from(["png", "webp", "jpg"]),
)
def test_damaged_files_raise_nothing_but_ours(
    changes: list[tuple[int, int]], kept: int, name: str, kind: str, tmp_path: Path
) -> None:
    data = bytearray(SAVED)
    if kind != "png":
        exif = Image.Exif()
        exif[0x0110] = "prompt:{}"
        put_texts(exif, {"prompt": API})
        buffer = BytesIO()
        Image.new("RGB", (4, 4)).save(buffer, format={"webp": "WEBP", "jpg": "JPEG"}[kind], exif=exif)
        data = bytearray(buffer.getvalue())
    for place, value in changes:
        data[place % len(data)] = value
    try:
        texts = read(bytes(data[: max(kept, 1)] if kept < 350 else data), tmp_path, name)
    except HiresError as error:
        assert "\n" not in str(error)
    else:
        assert all(isinstance(text, str) for text in texts.values())


def test_saved_texts_come_back_without_pixels(tmp_path: Path) -> None:
    texts = {"parameters": "猫\nSteps: 1", "prompt": "{}"}
    save_png(Image.new("RGB", (4, 4)), tmp_path / "x.png", texts)
    assert file_texts(tmp_path / "x.png") == texts
