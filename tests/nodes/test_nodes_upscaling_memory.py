"""A large result goes to its file in strips: the whole of it is in memory not even once."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hires.api import Engine
from hires.imaging import png, strips
from hires.imaging.png import write_png
from hires.imaging.rasters import open_raster
from hires.models.peak import LiveBytes
from hires.settings import Settings

HEIGHT, WIDTH = 720, 144


class FreshBytes(LiveBytes):
    """Counts what operations make anew; an array that came to torch from elsewhere may lie in a file."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self.not_counting((args, kwargs))
        return super().__torch_dispatch__(func, types, args, kwargs)


@pytest.fixture
def engine(thin_models: Path, tmp_path: Path) -> Engine:
    folders = (tmp_path / name for name in ("input", "outputs", "cache"))
    return Engine(Settings(thin_models, *folders, cache_megabytes=1))


@pytest.fixture
def small_strips(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bool], None]]:
    """Strips of a size that suits the pictures here; with True, large pictures lie in files."""
    monkeypatch.setattr(strips, "STRIP_BYTES", 250_000)
    monkeypatch.setattr(png, "STRIP_BYTES", 250_000)
    monkeypatch.setattr("hires.imaging.lanczos.STRIP_BYTES", 250_000)
    yield lambda mapped: monkeypatch.setattr(strips, "MAPPED_BYTES", 1_000_000 if mapped else 10**12)


def picture(path: Path, channels: int) -> Path:
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    planes = [(x * 300 + y * 7) % 65536, (y * 60) % 65536, (x * y) % 65536, (x * 341) % 65535 + 1]
    write_png(path, np.stack(planes[:channels], axis=-1).astype(np.uint16))
    return path


def peak_bytes(engine: Engine, source: Path, out: Path, **fields: Any) -> int:
    """The most that arrays and tensors took at one time while a file was enlarged."""
    tracemalloc.start()
    counter = FreshBytes()
    try:
        with counter:
            engine.upscale(source, out=out, **fields)
        return tracemalloc.get_traced_memory()[1] + counter.peak
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("channels", "ending"), [(3, "tif"), (4, "png")])
def test_what_is_held_is_a_part_of_the_result(
    engine: Engine, tmp_path: Path, small_strips: Callable[[bool], None], channels: int, ending: str
) -> None:
    source = picture(tmp_path / "a.png", channels)
    fields = {"upscaler": "upscaler_compact_x4", "scale": 3.5, "tile": 64, "bits": 16}
    write_png(tmp_path / "tiny.png", np.zeros((8, 8, 3), dtype=np.uint8))
    engine.upscale(tmp_path / "tiny.png", out=tmp_path / "first.png", **fields)  # what is loaded stays
    whole = int(HEIGHT * 3.5) * int(WIDTH * 3.5) * channels * 4
    small_strips(False)
    held = peak_bytes(engine, source, tmp_path / f"held.{ending}", **fields)
    small_strips(True)
    mapped = peak_bytes(engine, source, tmp_path / f"mapped.{ending}", **fields)
    assert held > 2 * whole, "the count sees what is held when nothing is put into files"
    assert mapped < 0.6 * whole
    one, other = (open_raster(tmp_path / f"{name}.{ending}")[0] for name in ("held", "mapped"))
    assert one.dtype == np.uint16 and np.array_equal(one, other)


def test_torch_is_counted_too() -> None:
    elsewhere = torch.from_numpy(np.zeros(500, dtype=np.float32))
    with FreshBytes() as counter:
        view = elsewhere[:100]
        assert counter.peak == 0
        made = view + 1
    assert counter.peak == made.numel() * 4
