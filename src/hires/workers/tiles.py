"""Tiles of one large picture, enlarged by several workers: they come as if they had been kept from an earlier run."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from hires.errors import is_out_of_memory
from hires.tiling.plan import TilePlan
from hires.tiling.upscale import Edge, Kept, Pixels, tile_of
from hires.workers.pool import Workers
from hires.workers.units import ModelFile, TileUnit

AHEAD = 2
"""Tiles for each worker that are begun before they are asked for."""


class SharedTiles:
    """The finished tiles of a plan, to `tiling.upscale.enlarge_tiles`: those of `kept`, the others from workers.

    A tile that is too large for its worker is None: it is left to whoever asks.
    """

    def __init__(
        self,
        workers: Workers,
        source: Pixels,
        plan: TilePlan,
        upscaler: str,
        scale: int,
        *,
        edge: Edge = "clip",
        kept: Kept | None = None,
        models: tuple[ModelFile, ...] = (),
        stop: threading.Event | None = None,
    ) -> None:
        self._workers, self._source, self._plan = workers, source, plan
        self._upscaler, self._scale, self._edge = upscaler, scale, edge
        self._kept, self._models, self._stop = kept, models, stop or threading.Event()
        lanes = len(workers.lanes)
        self._threads = ThreadPoolExecutor(max_workers=lanes, thread_name_prefix="tiles")
        self._begun: dict[int, Future[Tensor]] = {}
        self._left = deque(range(len(plan.cores)))
        self._ahead = AHEAD * lanes

    def get(self, index: int) -> Tensor | None:
        """(channels, H, W) float32 of the enlarged core with that number; waits for it."""
        try:
            self._begin(index)
            future = self._begun.pop(index, None)
            made = None if future is None else future.result()
        except BaseException as error:
            if isinstance(error, Exception) and is_out_of_memory(error):
                return None
            self._threads.shutdown(wait=False, cancel_futures=True)
            raise
        if not self._left and not self._begun:
            self._threads.shutdown(wait=False)
        return made

    def put(self, index: int, tensor: Tensor) -> None:
        """A tile that whoever asked has made."""
        if self._kept is not None:
            self._kept.put(index, tensor)

    def _begin(self, index: int) -> None:
        while self._left and self._left[0] <= index + self._ahead:
            number = self._left.popleft()
            self._begun[number] = self._threads.submit(self._made, number)

    def _made(self, index: int) -> Tensor:
        if self._kept is not None and (known := self._kept.get(index)) is not None:
            return known
        pixels, keep = tile_of(self._source, self._plan.cores[index], self._plan.halo[0], self._edge)
        unit = TileUnit(self._upscaler, pixels.copy(), keep.scaled(self._scale), self._models)
        with self._workers.lane() as lane:
            made = lane.perform(unit, stop=self._stop).made
        assert isinstance(made, Tensor)
        made = torch.as_tensor(made)
        self.put(index, made)
        return made
