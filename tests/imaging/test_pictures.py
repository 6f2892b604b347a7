"""Pictures from outside: what is refused at the door, and what comes out as tensors."""

import struct
import zlib
from io import BytesIO
from pathlib import Path

import pytest
import torch
from PIL import Image

from hires.errors import ImageFileError
from hires.imaging.pictures import alpha_mask, open_picture, to_pictures, to_tensor


def png_bytes(picture: Image.Image) -> bytes:
    stream = BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def test_a_picture_survives_the_way_to_a_tensor_and_back() -> None:
    picture = Image.effect_noise((13, 7), 80).convert("RGB")
    tensor = to_tensor(picture)
    assert tensor.shape == (1, 7, 13, 3)
    assert to_pictures(tensor)[0].tobytes() == picture.tobytes()


def test_transparency_becomes_the_mask() -> None:
    picture = Image.new("RGBA", (2, 1))
    picture.putpixel((0, 0), (255, 0, 0, 255))
    assert alpha_mask(picture).tolist() == [[[0.0, 1.0]]]
    assert torch.equal(alpha_mask(Image.new("RGB", (2, 1))), torch.zeros(1, 64, 64))


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    body = b"IDAT" + zlib.compress(b"\0" * 100)
    bomb += struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    with pytest.raises(ImageFileError, match=r"60000x60000 pixels, more than the limit|cannot be|not a picture"):
        open_picture(bomb)


def test_a_cut_off_picture_is_named(tmp_path: Path) -> None:
    whole = png_bytes(Image.effect_noise((64, 64), 80))
    path = tmp_path / "half.png"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImageFileError, match=r"half\.png is broken or cut off"):
        open_picture(path)


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.png"
    path.write_text("not a picture")
    with pytest.raises(ImageFileError, match=r"notes\.png is not a picture"):
        open_picture(path)
    with pytest.raises(ImageFileError, match=r"there is no picture gone\.png"):
        open_picture(tmp_path / "gone.png")
