"""Whether the built-in UNet gives the same bits with every number of threads, and what that costs.

python -m benchmarks.threads
"""

from __future__ import annotations

import statistics
import time

import torch
from torch import Tensor

from hires.models.checkpoint import load_checkpoint
from hires.models.threads import LAYERS, steady_layers
from hires.pocket import BUILT_IN_FOLDER, BUILT_IN_NAME

THREADS = (1, 2, 3, 4, 8, 16)
SIZES = ((2, 20), (2, 40), (1, 80))
ROUNDS = 12


def main() -> None:
    model = load_checkpoint(BUILT_IN_FOLDER / "checkpoints" / BUILT_IN_NAME).model
    assert model is not None
    plain = {steady: layer for layer, steady in LAYERS.items()}
    width, own = model.unet.config.cross_attention_dim, torch.get_num_threads()
    print("| batch, cells a side | as PyTorch has it: equal to one thread | steady | time, steady / PyTorch |")
    print("|---|---|---|---|")
    for batch, side in SIZES:
        given = torch.randn(batch, 4, side, side), torch.full((batch,), 500.0), torch.randn(batch, 77, width)
        equal: dict[bool, list[int]] = {}
        seconds: dict[bool, list[float]] = {True: [], False: []}
        for steady in (False, True) * ROUNDS:
            if steady:
                steady_layers(model.unet)
            else:
                for module in model.unet.modules():
                    module.__class__ = plain.get(type(module), type(module))
            if steady not in equal:
                results: list[Tensor] = []
                for number in THREADS:
                    torch.set_num_threads(number)
                    results.append(model.predict(*given))
                equal[steady] = [n for n, one in zip(THREADS, results, strict=True) if torch.equal(one, results[0])]
                torch.set_num_threads(own)
            start = time.perf_counter()
            model.predict(*given)
            seconds[steady].append(time.perf_counter() - start)
        ratio = statistics.median(seconds[True]) / statistics.median(seconds[False])
        told = (", ".join(map(str, equal[steady])) for steady in (False, True))
        print(f"| {batch}, {side} | {' | '.join(told)} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
