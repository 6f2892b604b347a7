"""How fast the built-in model's drawings are made: milliseconds a picture on one core.

python -m benchmarks.drawing [--pictures 60]
"""

from __future__ import annotations

import argparse
import statistics
import time

from hires.pocket.drawing import draw, random_scene

SIZES = (128, 256, 512, 768, 1024, 2048)


def milliseconds(size: int, pictures: int, crop: int = 1) -> list[float]:
    """Processor time of each picture; `crop` draws the middle of a picture that many times as large."""
    edge = (1 - 1 / crop) / 2
    view = (edge, edge, edge + 1 / crop, edge + 1 / crop)
    times = []
    for seed in range(pictures):
        begin = time.process_time()
        draw(random_scene(seed), size, size, view)
        times.append(1000 * (time.process_time() - begin))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=60)
    pictures = parser.parse_args().pictures
    milliseconds(64, 5)  # imports
    print(f"{'pixels':>8} {'view':>6} {'mean ms':>8} {'median':>8} {'slowest':>8} {'a second':>9}")
    for size, crop in [*((size, 1) for size in SIZES), (256, 2), (256, 3)]:
        times = milliseconds(size, pictures if size <= 1024 else max(3, pictures // 5), crop)
        mean = statistics.fmean(times)
        row = f"{size:>8} {f'1/{crop}':>6} {mean:>8.1f} {statistics.median(times):>8.1f} {max(times):>8.1f}"
        print(f"{row} {1000 / mean:>9.1f}")


if __name__ == "__main__":
    main()
