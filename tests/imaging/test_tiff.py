"""TIFF files of every depth and kind, written in strips and read with all their bits; rows rounded when needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import hires.imaging.tiff as tiff
from hires.imaging import strips
from hires.imaging.rasters import open_raster
from hires.imaging.strips import Rounded, as_stored, new_pixels


def noise(dtype: type, height: int, width: int, channels: int) -> np.ndarray:
    raster = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, (height, width, channels)).astype(dtype)
    raster[10:20] = np.arange(width)[:, None]
    return raster


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("limit", [tiff.CLASSIC_BYTES, 0])
def test_every_bit_comes_back(
    dtype: type, channels: int, limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiff, "STRIP_BYTES", 1000)  # several strips
    monkeypatch.setattr(tiff, "CLASSIC_BYTES", limit)  # BigTIFF too
    raster = noise(dtype, 37, 53, channels)
    tiff.write_tiff(tmp_path / "a.tif", raster, icc_profile=b"a profile")
    again, picture = open_raster(tmp_path / "a.tif")
    expected = raster[..., [0, 0, 0, 1]] if channels == 2 else raster
    assert again.dtype == dtype and np.array_equal(again, expected)
    assert picture.info["icc_profile"] == b"a profile"
    assert (tmp_path / "a.tif").read_bytes()[2] == (42 if limit else 43)


def test_one_strip_and_one_pixel(tmp_path: Path) -> None:
    for height, width in ((1, 1), (5, 3)):
        raster = np.random.default_rng(1).integers(0, 65536, (height, width, 3)).astype(np.uint16)
        tiff.write_tiff(tmp_path / "a.tif", raster)
        assert np.array_equal(open_raster(tmp_path / "a.tif")[0], raster)


def test_exif_goes_along_but_not_another_files_layout(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "A camera"
    exif[tiff.ROWS_EACH] = 7
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0h\0\xe4\0"
    tiff.write_tiff(tmp_path / "a.tif", noise(np.uint8, 20, 30, 3), exif=exif)
    with Image.open(tmp_path / "a.tif") as picture:
        read = picture.getexif()
        assert read[0x010F] == "A camera"
        assert read.get_ifd(0x8769)[0x9286] == b"UNICODE\0h\0\xe4\0"
        assert read[tiff.ROWS_EACH] == 20


@pytest.mark.parametrize("order", ["<", ">"])
def test_uncompressed_files_of_either_byte_order_are_read_deep(order: str, tmp_path: Path) -> None:
    """A file put together by hand, as other programs write it."""
    raster = noise(np.uint16, 22, 9, 3)
    short, long = np.dtype(f"{order}u2"), np.dtype(f"{order}u4")
    entries = [(256, 3, 1, 9), (257, 3, 1, 22), (258, 3, 3, 122), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 128)]
    entries += [(277, 3, 1, 3), (278, 3, 1, 22), (279, 4, 1, raster.nbytes)]
    data = (b"II" if order == "<" else b"MM") + np.array(42, short).tobytes() + np.array(8, long).tobytes()
    data += np.array(len(entries), short).tobytes()
    for tag, kind, count, value in entries:
        inline = kind == 3 and count == 1
        data += np.array([tag, kind], short).tobytes() + np.array(count, long).tobytes()
        data += np.array([value, 0], short).tobytes() if inline else np.array(value, long).tobytes()
    data += bytes(4)
    assert len(data) == 122
    data += np.array([16, 16, 16], short).tobytes()
    (tmp_path / "a.tif").write_bytes(data + raster.astype(short).tobytes())
    again, _ = open_raster(tmp_path / "a.tif")
    assert again.dtype == np.uint16 and np.array_equal(again, raster)


def test_a_kind_of_number_that_tiff_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no TIFF of float32"):
        tiff.write_tiff(tmp_path / "a.tif", np.zeros((4, 4, 3), dtype=np.float32))


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("grey", [False, True])
def test_rows_are_rounded_as_the_whole_is(channels: int, grey: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strips, "STRIP_BYTES", 3000)
    pixels = np.random.default_rng(2).random((60, 20, channels), dtype=np.float32) * 1.2 - 0.1
    rows = Rounded(pixels, np.dtype(np.uint16), grey)
    whole = pixels if not grey else np.dstack([pixels[..., :3].mean(-1, keepdims=True), pixels[..., 3:]])
    expected = as_stored(whole, np.dtype(np.uint16))
    assert rows.shape == expected.shape
    assert np.array_equal(rows[:], expected)
    assert np.array_equal(rows[7:33], expected[7:33]) and len(rows[55:99]) == 5


def test_a_large_picture_lies_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not isinstance(new_pixels(10, 10, 3), np.memmap)
    monkeypatch.setattr(strips, "MAPPED_BYTES", 1000)
    large = new_pixels(10, 10, 3)
    large[...] = 0.5
    assert isinstance(large, np.memmap) and large.shape == (10, 10, 3) and large.sum() == 150
