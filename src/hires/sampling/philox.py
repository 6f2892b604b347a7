"""Normal numbers as CUDA's generator makes them, on any machine: Philox 4x32-10 and Box-Muller in NumPy.

Salmon et al. 2011. One block of the counter serves one element, as on a device with a thread for each.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
UNIT = np.float32(2.3283064e-10)
TURN = np.float32(2.3283064e-10 * 6.2831855)


def normal(seed: int, offset: int, shape: tuple[int, ...]) -> Tensor:
    """The tensor number `offset` (from 0) of the stream of a 64-bit seed, float32 on the CPU."""
    count = int(np.prod(shape, dtype=np.int64))
    first, second = _block(seed, offset, count)
    u = first.astype(np.float32) * UNIT + UNIT / np.float32(2)
    v = second.astype(np.float32) * TURN + TURN / np.float32(2)
    values = np.sqrt(np.float32(-2.0) * np.log(u)) * np.sin(v)
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


def _block(seed: int, offset: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first two words of each element's block: counter (offset, 0, element, 0), key = the seed's two halves."""
    key = [seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF]
    c0, c1 = np.full(count, offset, dtype=np.uint32), np.zeros(count, dtype=np.uint32)
    c2, c3 = np.arange(count, dtype=np.uint32), np.zeros(count, dtype=np.uint32)
    for _ in range(ROUNDS):
        low0, high0 = _product(c0, MULTIPLIERS[0])
        low2, high2 = _product(c2, MULTIPLIERS[1])
        c0, c1, c2, c3 = high2 ^ c1 ^ np.uint32(key[0]), low2, high0 ^ c3 ^ np.uint32(key[1]), low0
        key = [(word + step) & 0xFFFFFFFF for word, step in zip(key, KEY_STEPS, strict=True)]
    return c0, c1


def _product(words: np.ndarray, multiplier: np.uint64) -> tuple[np.ndarray, np.ndarray]:
    """The low and high 32 bits of the 64-bit products; halves of one buffer are faster than shifts and masks."""
    halves = np.multiply(words, multiplier, dtype="<u8").view("<u4").reshape(-1, 2)
    return halves[:, 0].copy(), halves[:, 1]
