"""Weights that are moved away while other networks work, and come back when they are used.

On an accelerator they go to main memory. On the CPU those that lie in a mapped file are handed back to the
system, which reads them again when they are used; those that were copied out of their file stay.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

PAGE = mmap.PAGESIZE
PAGE_OUT = 21
"""Linux' advice MADV_PAGEOUT. Pages that nobody wrote to are dropped, and read from their file when they are used; for
all others it changes nothing but where they lie."""
_waiting: WeakKeyDictionary[nn.Module, list[RemovableHandle]] = WeakKeyDictionary()


def movable_bytes(module: nn.Module, device: torch.device) -> int:
    """How much memory of the device `move_away` would free, once the weights are in use."""
    if device.type != "cpu":
        return sum(tensor.nbytes for tensor in weights_of(module))
    files = _mapped_files(_maps())
    return sum(tensor.nbytes for tensor in weights_of(module) if lies_in(tensor, files))


def move_away(module: nn.Module, device: torch.device) -> None:
    """Free what the weights take on the device. They come back at their next use, by themselves."""
    if device.type == "cpu":
        for tensor in weights_of(module):
            _page_out(tensor)
        return
    if module in _waiting:
        return
    module.to("cpu")

    def back(*_: Any) -> None:
        bring_back(module, device)

    _waiting[module] = [each.register_forward_pre_hook(back) for each in (module, *module.children())]


def bring_back(module: nn.Module, device: torch.device) -> None:
    """Put weights that were moved away back on their device; nothing where they are there."""
    hooks = _waiting.pop(module, [])
    for hook in hooks:
        hook.remove()
    if hooks:
        module.to(device)


def weights_of(module: nn.Module) -> Iterator[Tensor]:
    """Its parameters and buffers, each once."""
    yield from module.parameters()
    yield from module.buffers()


def lies_in(tensor: Tensor, ranges: tuple[tuple[int, int], ...]) -> bool:
    """Whether a tensor's memory begins in one of the address ranges."""
    start = tensor.data_ptr()
    return any(first <= start < last for first, last in ranges)


def _maps() -> str:
    """The address space of this process, a line a range; nothing where the system does not tell."""
    with suppress(OSError):
        return Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    return ""


def _mapped_files(maps: str) -> tuple[tuple[int, int], ...]:
    """Address ranges of mapped files that are no libraries."""
    found = []
    for line in maps.splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and fields[5].startswith("/") and "x" not in fields[1] and ".so" not in fields[5]:
            first, _, last = fields[0].partition("-")
            found.append((int(first, 16), int(last, 16)))
    return tuple(found)


def _page_out(tensor: Tensor) -> None:
    advise = _madvise()
    if advise is None or not tensor.nbytes:
        return
    start = -(-tensor.data_ptr() // PAGE) * PAGE
    end = (tensor.data_ptr() + tensor.nbytes) // PAGE * PAGE
    if end > start:
        advise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), PAGE_OUT)


@lru_cache(maxsize=1)
def _madvise() -> Callable[..., int] | None:
    if sys.platform != "linux":
        return None
    with suppress(OSError, AttributeError):
        found: Callable[..., int] = ctypes.CDLL(None).madvise
        return found
    return None
