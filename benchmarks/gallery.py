"""How long the gallery's index takes over many pictures: read first, looked at again, paged, searched.

python -m benchmarks.gallery --pictures 10000
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from hires.gallery.index import GalleryIndex
from hires.metadata.files import save_png

WORDS = ("lighthouse", "harbour", "cathedral", "portrait", "mountain", "lake", "forest", "city", "night", "dawn", "fog")


def fill(root: Path, count: int) -> None:
    """Small PNG files with infotext, in folders of a thousand."""
    chance = random.Random(1)
    picture = Image.new("RGB", (64, 64), (90, 120, 160))
    for number in range(count):
        folder = root / f"{number // 1000:03}"
        folder.mkdir(parents=True, exist_ok=True)
        prompt = ", ".join(chance.sample(WORDS, 6)) + ", masterpiece, best quality" * 8
        text = f"{prompt}\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: {number}, "
        text += f"Size: 64x64, Model: model{number % 7}"
        save_png(picture, folder / f"{number:06}.png", {"parameters": text}, compression=1)


def timed(name: str, run: Callable[[], object], times: int = 1) -> None:
    """One line: the best of so many runs."""
    best = float("inf")
    for _ in range(times):
        began = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - began)
    print(f"{name:32} {1000 * best:9.1f} ms", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=10_000)
    count = parser.parse_args().pictures
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "outputs"
        fill(root, count)
        index = GalleryIndex(root, Path(name) / "cache")
        timed(f"reading {count} pictures", index.refresh)
        timed("looking again, nothing new", index.refresh, 3)
        timed("first page of 60", lambda: index.search(limit=60), 5)
        timed("last page of 60", lambda: index.search(limit=60, offset=count - 60), 5)
        timed("a page of two words", lambda: index.search("harbour FOG", limit=60), 5)
        timed("a word that none has", lambda: index.search("zeppelin", limit=60), 5)
        timed("a page of a model and size", lambda: index.search(model="model3", least_pixels=4096, limit=60), 5)
        index.close()


if __name__ == "__main__":
    main()
