"""PNG files of every depth and kind, written in strips and read with all their bits; Lanczos in strips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import hires.imaging.png as png
from hires.imaging.lanczos import lanczos_pixels
from hires.imaging.rasters import open_raster, raster_of


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_every_bit_comes_back(dtype: type, channels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(png, "STRIP_BYTES", 1000)  # several strips
    raster = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, (37, 53, channels)).astype(dtype)
    raster[10:20] = np.arange(53)[:, None]
    path = tmp_path / "a.png"
    png.write_png(path, raster, {"parameters": "hällo", "prompt": "日本"})
    again, picture = open_raster(path)
    assert again.dtype == dtype and np.array_equal(again, raster)
    assert picture.info["parameters"] == "hällo" and picture.info["prompt"] == "日本"


def test_pillow_reads_what_is_written(tmp_path: Path) -> None:
    raster = np.random.default_rng(1).integers(0, 256, (20, 31, 3)).astype(np.uint8)
    path = tmp_path / "a.png"
    png.write_png(path, raster)
    with Image.open(path) as picture:
        picture.verify()
    with Image.open(path) as picture:
        assert np.array_equal(np.asarray(picture), raster)


def test_a_kind_of_number_that_png_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no PNG of float32"):
        png.write_png(tmp_path / "a.png", np.zeros((4, 4, 3), dtype=np.float32))


@pytest.mark.parametrize(("mode", "channels"), [("1", 1), ("L", 1), ("LA", 2), ("P", 3), ("RGBA", 4), ("CMYK", 3)])
def test_other_modes_become_grey_or_colour(mode: str, channels: int) -> None:
    assert raster_of(Image.new(mode, (5, 4))).shape == (4, 5, channels)


@given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    to=st.tuples(st.integers(1, 150), st.integers(1, 150)),
    strip=st.integers(1, 60),
)
def test_lanczos_does_not_depend_on_strips_and_is_pillows(
    size: tuple[int, int], to: tuple[int, int], strip: int
) -> None:
    source = np.random.default_rng(0).random((size[1], size[0], 1), dtype=np.float32)
    made = lanczos_pixels(source, *to, strip=strip)
    whole = np.asarray(Image.fromarray(source[..., 0]).resize(to, Image.Resampling.LANCZOS))
    assert np.abs(made[..., 0] - whole.clip(0, 1)).max() < 1e-4
