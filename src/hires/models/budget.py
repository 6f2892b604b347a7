"""The memory that a run may use: stated by the user or what the device has free; what stages choose to stay within it.

On a GPU the budget is what the process holds there. On the CPU it is the resident memory of the whole process, the
interpreter and its libraries included, since that is what makes a machine swap.
"""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from hires.errors import MemoryLimitError, SettingError

MEGABYTE = 1_000_000
UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
UNITS |= {"K": 10**3, "M": 10**6, "G": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
SPARE = 0.95
"""Share of the free memory that a run may plan with when no budget is stated."""
MOVED_AWAY = "other weights moved away"
LIBRARIES = 180 * MEGABYTE
"""What libraries take at their first work, beyond what they had when they were loaded (benchmarks/budget.py)."""
MAPPED_FROM = -3
"""M_MMAP_THRESHOLD of malloc.h."""
OWN_PAGES, USUAL_PAGES = 1 << 20, 1 << 25
"""Bytes: what `without_gaps` sets, and where the C library's own rule ends."""


def parse_bytes(text: str) -> int:
    """ "4GB" -> 4 * 10^9; KB, MB, GB are decimal, KiB, MiB, GiB binary; a bare number counts bytes."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    if match is None or match[2].upper() not in UNITS:
        raise SettingError(f"a memory size cannot be {text!r}", "Write it like 4GB or 900MB.")
    size = float(match[1]) * UNITS[match[2].upper()]
    if not 1 <= size < 2**60:
        raise SettingError(f"a memory size cannot be {text!r}", "Write it like 4GB or 900MB.")
    return int(size)


def in_words(size: float) -> str:
    """4.2 GB, 310 MB, rounded up: a budget that is named must do."""
    if size >= 10**10:
        return f"{-int(-size // 10**8) / 10:.1f} GB"
    if size >= 10**9:
        return f"{-int(-size // 10**7) / 100:.2f} GB"
    return f"{-int(-size // MEGABYTE)} MB"


@dataclass(frozen=True)
class Choice:
    """One way to do a stage, and the most bytes that it needs beyond what is held."""

    name: str
    need: int


@dataclass(frozen=True)
class Budget:
    """`limit` bytes on `device`; `stated` by the user, or else the memory that was free when the engine began.

    `begun` is what the process held then, before any model was loaded.
    """

    limit: int
    device: torch.device
    stated: bool
    begun: int = 0

    def held(self, weights: int = 0) -> int:
        """Bytes that the process uses now, or will when all of `weights` bytes of kept models have been read: weights
        that lie in mapped files become resident as they are used."""
        if self.device.type == "cuda":
            return int(torch.cuda.memory_allocated(self.device))
        return max(resident_bytes(), self.begun + weights + LIBRARIES)

    def room(self, held: int | None = None) -> int:
        """Bytes that still fit beside what is held now, or would be then."""
        return self.limit - (self.held() if held is None else held)

    def total(self, need: int, held: int | None = None) -> int:
        """The predicted peak of the process during a stage."""
        return (self.held() if held is None else held) + need

    def choose(
        self,
        what: str,
        choices: Iterable[Choice],
        held: int | None = None,
        movable: Callable[[], int] = lambda: 0,
    ) -> Choice:
        """The first choice that fits; MemoryLimitError, which names the smallest budget that would do, when none does.

        Choices come in the order in which they are liked, and are asked for only as long as none fits. Where none does,
        they are gone through again with movable() bytes of what is held moved away.
        """
        room = self.room(held)
        refused = []
        for choice in choices:
            if choice.need <= room:
                return choice
            refused.append(choice)
        away = movable()
        if away:
            refused = [Choice(f"{choice.name}, {MOVED_AWAY}", choice.need - away) for choice in refused]
        for choice in refused:
            if choice.need <= room:
                return choice
        smallest = min(refused, key=lambda choice: choice.need)
        needed = self.total(smallest.need, held)
        raise MemoryLimitError(
            f"{what} needs {in_words(needed)} at least ({smallest.name}), {self.whose()} is {in_words(self.limit)}",
            self.advice(),
            needed,
        )

    def whose(self) -> str:
        return "the memory budget" if self.stated else f"the free memory of {self.device.type}"

    def advice(self) -> str:
        """What a user can do about it."""
        instead = "Give a larger --memory, draw smaller, or draw over tiles (--tiled)."
        return instead if self.stated else "Draw smaller or over tiles (--tiled), or close other programs."


def stated_budget(text: str, device: torch.device) -> Budget:
    """The budget of a `--memory` option; "auto" or nothing is what the device has free."""
    if text.strip().lower() in ("", "auto"):
        return Budget(free_bytes(device), device, False, resident_bytes())
    return Budget(parse_bytes(text), device, True, resident_bytes())


def free_bytes(device: torch.device) -> int:
    """What a process may come to hold on a device: what it holds and most of what is free."""
    if device.type == "cuda":
        held = int(torch.cuda.memory_allocated(device))
        kept = torch.cuda.memory_reserved(device) - held  # by the allocator, for whoever asks next
        return int(SPARE * (torch.cuda.mem_get_info(device)[0] + kept)) + held
    return resident_bytes() + int(SPARE * available_bytes())


def resident_bytes() -> int:
    """The resident memory of this process."""
    return int(psutil.Process().memory_info().rss)


def give_back() -> None:
    """Have the allocator return what was freed in pieces to the system, so that it counts as free."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # other C libraries have no such call
            ctypes.CDLL(None).malloc_trim(0)


@contextmanager
def without_gaps(wanted: bool) -> Iterator[None]:
    """Within it every tensor above 1 MB has pages of its own, which the system has back as soon as it is freed.

    Else the C library puts those of up to 32 MB beside each other, and keeps the gaps: half as much again as tensors of
    a small network need. Pages of one's own cost time (a half more in tiles of a small VAE), so this is for work that
    might not fit otherwise. It concerns all threads.
    """
    libc = ctypes.CDLL(None) if wanted and sys.platform == "linux" else None
    call = getattr(libc, "mallopt", None)
    if call is None:
        yield
        return
    give_back()
    call(MAPPED_FROM, OWN_PAGES)
    try:
        yield
    finally:
        call(MAPPED_FROM, USUAL_PAGES)


def available_bytes() -> int:
    """Memory that the system can give without swapping, within the limits of a container."""
    free = int(psutil.virtual_memory().available)
    for folder, limit, used, cache in CONTAINERS:
        with suppress(OSError, ValueError, StopIteration):  # not in a container, or in one without a limit ("max")
            stat = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
            reclaimable = next(int(line.split()[1]) for line in stat if line.split()[0] == cache)
            held = int((folder / used).read_text(encoding="ascii")) - reclaimable
            free = min(free, int((folder / limit).read_text(encoding="ascii")) - held)
    return max(free, 0)


CONTAINERS = (
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current", "inactive_file"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""Control groups of both versions: folder, limit, use, and how much of that is files that are only kept at hand."""
