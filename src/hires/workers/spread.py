"""Groups of work handed to several at once, each to whoever is free."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

Item = TypeVar("Item")
By = TypeVar("By")
Result = TypeVar("Result")


def each(
    by: Sequence[By],
    groups: Iterable[Sequence[Item]],
    work: Callable[[By, Item], Result],
    give_up: Callable[[], None] = lambda: None,
    life: Callable[[By], AbstractContextManager[None]] = lambda _: nullcontext(),
) -> Generator[tuple[Item, Result | Exception]]:
    """(item, what work(one of `by`, item) gave or raised), in the order they end; a group's items by one, in order.

    Where whoever reads this ends before all is done, nothing more is begun, `give_up` is called to stop what runs, and
    its end is waited for. One alone works in the thread of whoever reads, an item when it is asked for; of several each
    has a thread, which is within `life(one)` from its beginning to its end.
    """
    if len(by) == 1:
        for item in (item for group in groups for item in group):
            yield item, _tried(work, by[0], item)
        return
    left = deque(groups)
    count = sum(map(len, left))
    ended: queue.SimpleQueue[tuple[Item, Result | Exception]] = queue.SimpleQueue()
    closing = threading.Event()

    def go(one: By) -> None:
        with life(one):
            while not closing.is_set():
                try:
                    group = left.popleft()
                except IndexError:
                    return
                for item in group:
                    if closing.is_set():
                        return
                    ended.put((item, _tried(work, one, item)))

    threads = [threading.Thread(target=go, args=(one,), daemon=True) for one in by]
    for thread in threads:
        thread.start()
    try:
        for _ in range(count):
            yield ended.get()
    finally:
        closing.set()
        if any(thread.is_alive() for thread in threads):
            give_up()
        for thread in threads:
            thread.join()


def _tried(work: Callable[[By, Item], Result], one: By, item: Item) -> Result | Exception:
    try:
        return work(one, item)
    except Exception as error:
        return error


def in_order(items: Iterable[Item], work: Callable[[Item], Result], ahead: int) -> Iterator[Result]:
    """work(item) of each, in the order of the items, with up to `ahead` of them being worked on or waiting to be taken.

    What one raised is raised when its turn comes; then those that wait are not begun.
    """
    source = iter(items)
    begun: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(max_workers=ahead) as threads:
        try:
            while True:
                while len(begun) < ahead and (item := next(source, None)) is not None:
                    begun.append(threads.submit(work, item))
                if not begun:
                    return
                yield begun.popleft().result()
        finally:
            for future in begun:
                future.cancel()
