"""The workers of an engine: units handed to those that are free, with their progress, their end, and their loss."""

from __future__ import annotations

import atexit
import itertools
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from hires import __version__
from hires.errors import WorkerError
from hires.graph.report import Event
from hires.settings import Settings
from hires.workers.bench import Bench, MakeEngine
from hires.workers.cluster import Cluster, connect
from hires.workers.units import Done, Greeting, Told, Unit

OnEvent = Callable[[Event], None]
RETRIES = 2
"""How often a unit whose process was lost is done again, before it is taken for the cause."""
SECONDS_BETWEEN_LOOKS = 0.1
SECONDS_TO_START = 180.0
NEVER = threading.Event()


class Lane:
    """One worker, seen from here: does one unit at a time."""

    def __init__(self, cluster: Cluster, actor: Any, numbers: Iterator[int]) -> None:
        self._ray, self._actor, self._numbers = cluster.ray, actor, numbers
        self.cluster = cluster
        self._given_up = threading.Event()

    def greet(self) -> Greeting:
        """Who the worker is; waits until its process runs."""
        reference = self._actor.greet.remote()
        if not self._ray.wait([reference], timeout=SECONDS_TO_START)[0]:
            raise WorkerError(
                f"no worker started within {SECONDS_TO_START:.0f} s", "See by `ray status` whether the cluster is free."
            )
        greeting: Greeting = self._asked(reference)
        return greeting

    def perform(self, unit: Unit, *, stop: threading.Event = NEVER, on_event: OnEvent | None = None) -> Done:
        """Do a unit. Raises what went wrong in it, Interrupted after `stop`, WorkerError where it takes every worker
        along that tries it."""
        number = next(self._numbers)
        self._given_up.clear()
        end = self._actor.do.remote(number, unit)
        asked: Any = None
        heard, life, told_to_stop = 0, "", False
        fault: BaseException | None = None
        while True:
            ready, _ = self._ray.wait([end], timeout=SECONDS_BETWEEN_LOOKS)
            if ready:
                break
            if (stop.is_set() or self._given_up.is_set()) and not told_to_stop:
                self._actor.stop.remote(number)
                told_to_stop = True
            if on_event is None:
                continue
            if asked is not None and self._ray.wait([asked], timeout=0)[0]:
                told, asked = self._answer(asked), None
                if told is not None and life not in ("", told.life):
                    heard, life = 0, told.life
                elif told is not None:
                    life = told.life
                    for event in told.events:
                        heard += 1
                        try:
                            on_event(event)
                        except BaseException as error:  # the worker is free only when it has stopped
                            fault, on_event = error, None
                            self.give_up()
                            break
            if asked is None and on_event is not None:
                asked = self._actor.told.remote(number, heard)
        done: Done = self._asked(end)
        if fault is not None:
            raise fault
        if done.error is not None:
            raise done.error
        return replace(done, events=done.events[heard if done.life == life else 0 :])

    def give_up(self) -> None:
        """Stop the unit that is being done, from another thread."""
        self._given_up.set()

    def end(self) -> None:
        """End the worker's process."""
        self._ray.kill(self._actor)

    def _answer(self, asked: Any) -> Told | None:
        try:
            told: Told = self._ray.get(asked)
        except self._ray.exceptions.RayError:  # the process is lost; its unit is begun again by another
            return None
        return told

    def _asked(self, reference: Any) -> Any:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            first = " ".join(str(error).split(". ")[0].split())[:300]
            raise WorkerError(
                f"a piece of work ended the worker that did it, {RETRIES + 1} times: {first}",
                "It may not fit the worker's memory.",
            ) from error


class Workers:
    """The workers that `settings.workers` names, started when the first is asked for.

    `make(settings, stop=...)` gives the engine of each. Threads may take lanes at the same time.
    """

    def __init__(self, settings: Settings, make: MakeEngine) -> None:
        self._settings, self._make = settings, make
        self._free: queue.SimpleQueue[Lane] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._lanes: list[Lane] = []
        self._cluster: Cluster | None = None

    @property
    def lanes(self) -> list[Lane]:
        """All workers; started now if they were not."""
        with self._lock:
            if not self._lanes:
                self._start()
            return self._lanes

    @contextmanager
    def lane(self) -> Iterator[Lane]:
        """A worker that is free, within the block; waits for one."""
        assert self.lanes
        lane = self._free.get()
        try:
            yield lane
        finally:
            self._free.put(lane)

    def close(self) -> None:
        """End the workers, and Ray where it was started for them. They are started again where one is asked for."""
        with self._lock:
            lanes, self._lanes = self._lanes, []
            cluster, self._cluster = self._cluster, None
            self._free = queue.SimpleQueue()
        if cluster is not None and cluster.ray.is_initialized():
            for lane in lanes:
                lane.end()
            cluster.close()

    def _start(self) -> None:
        settings = self._settings
        cluster = connect(settings.workers, settings.threads, settings.device, settings.cache_dir)
        self._cluster = cluster
        atexit.register(self.close)
        own = replace(settings, workers="", threads=cluster.threads)
        if cluster.is_local:
            folders = {name: getattr(settings, name) for name in ("models_dir", "input_dir", "output_dir", "cache_dir")}
            own = replace(own, **{name: folder.absolute() for name, folder in folders.items()})
            if cluster.gpus and settings.device.startswith("cuda:"):
                own = replace(own, device="cuda")  # each worker sees its own as the first
        ray = cluster.ray
        actor = ray.remote(
            num_cpus=0,
            num_gpus=cluster.gpus,
            max_restarts=-1,
            max_task_retries=RETRIES,
            max_concurrency=4,
            scheduling_strategy="SPREAD",
        )(Bench)
        numbers = itertools.count()
        made = [actor.remote(self._make, own, cluster.threads, is_local=cluster.is_local) for _ in range(cluster.count)]
        lanes = [Lane(cluster, one, numbers) for one in made]
        try:
            for lane in lanes:
                _check_version(lane.greet())
        except BaseException:
            for lane in lanes:
                lane.end()
            raise
        for lane in lanes:
            self._free.put(lane)
        self._lanes = lanes


def _check_version(worker: Greeting) -> None:
    if worker.version != __version__:
        raise WorkerError(
            f"the worker on {worker.host} has hires {worker.version}, and this is {__version__}",
            "Install the same version on all machines.",
        )
