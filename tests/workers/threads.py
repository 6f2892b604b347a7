"""What hires asks of Ray, by threads of this process: workers that cost nothing to start, and cannot be lost."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest

from hires.workers import pool
from hires.workers.cluster import Cluster


class RayError(Exception):
    """A worker was lost."""


class Method:
    """A method of a worker: called in another thread, with copies of what is given and of what comes back."""

    def __init__(self, threads: ThreadPoolExecutor, method: Callable[..., Any]) -> None:
        self._threads, self._method = threads, method

    def remote(self, *args: Any) -> Future[bytes]:
        sent = pickle.dumps(args)
        return self._threads.submit(lambda: pickle.dumps(self._method(*pickle.loads(sent))))


class Actor:
    def __init__(self, made: Any) -> None:
        self._made = made
        self._threads = ThreadPoolExecutor(max_workers=4)

    def __getattr__(self, name: str) -> Method:
        return Method(self._threads, getattr(self._made, name))


class Threads:
    """The part of Ray's module that hires uses."""

    exceptions = SimpleNamespace(RayError=RayError)

    def remote(self, **_: Any) -> Callable[[Any], Any]:
        class Kind:
            def __init__(self, kind: Any) -> None:
                self._kind = kind

            def remote(self, *args: Any, **more: Any) -> Actor:
                return Actor(self._kind(*args, **more))

        return Kind

    def wait(self, references: Sequence[Future[bytes]], timeout: float) -> tuple[list[Any], list[Any]]:
        done, rest = wait(references, timeout, FIRST_COMPLETED)
        return list(done), list(rest)

    def get(self, reference: Future[bytes]) -> Any:
        return pickle.loads(reference.result())

    def is_initialized(self) -> bool:
        return True

    def shutdown(self) -> None:
        """Threads end with the process."""

    def kill(self, actor: Actor) -> None:
        actor._threads.shutdown(wait=False)


def use_threads(monkeypatch: pytest.MonkeyPatch | None = None) -> None:
    """Let all workers that are started from now on be threads, with one thread for each operation."""

    def connect(workers: str, threads: int, device: str, cache_dir: Path) -> Cluster:
        return Cluster(cast(ModuleType, Threads()), int(workers), threads or 1, 0.0, is_local=True)

    if monkeypatch is None:
        pool.connect = connect
    else:
        monkeypatch.setattr(pool, "connect", connect)
