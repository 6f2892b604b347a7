"""Runs that meet at the network: calls of equal shape are made as one, where that is measured to be faster.

Every run has a thread of its own, and one of them works at a time: a run hands on when it calls the network, and the
calls are made when all runs wait for theirs. So runs may differ in prompt, guidance, sampler and length; only what they
hand to the network must have one shape. Sums in a larger batch are rounded otherwise: what comes out is that of
each run alone up to float rounding, not to the bit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from hires.errors import Interrupted, is_out_of_memory

T = TypeVar("T")


GAIN = 1.05
"""How many times as fast calls together must be, so that they are worth their rounding."""


class Predicts(Protocol):
    """A network as `Guidance` calls it; equal identities stand for equal numbers."""

    @property
    def identity(self) -> str: ...

    def predict(self, x: Tensor, timestep: Tensor, context: Tensor, vector: Tensor | None = None) -> Tensor: ...


@dataclass(eq=False)
class _Call:
    """One call that waits: its inputs, x (n, channels, h, w) first, and then what came of it."""

    network: Predicts
    inputs: tuple[Tensor, Tensor, Tensor, Tensor | None]
    output: Tensor | None = None
    error: BaseException | None = None

    @property
    def shape(self) -> Hashable:
        """What calls must share to be made as one."""
        kinds = [(None if one is None else (tuple(one.shape[1:]), one.dtype, one.device)) for one in self.inputs]
        return (self.network.identity, *kinds)

    def make(self) -> None:
        try:
            self.output = self.network.predict(*self.inputs)
        except Exception as error:  # whoever waits for it raises it
            self.error = error


class Meeting:
    """`members` threads will take part, each for as long as it is in `taking_part`; all of them must come."""

    def __init__(self, members: int) -> None:
        self._turn = threading.Condition()
        self._members = members
        self._calls: list[_Call] = []
        self._failure: BaseException | None = None
        self._told = 0
        self.gains: dict[Hashable, tuple[int, float]] = {}
        """Of each shape: so many calls together were measured, and were so many times as fast."""

    @contextmanager
    def taking_part(self) -> Iterator[None]:
        """This thread works when no other does, but where `predict` waits. What it raises ends the others' work too."""
        with self._turn:
            try:
                yield
            except BaseException as error:
                self._failure = self._failure or error
                raise
            finally:
                self._members -= 1
                self._turn.notify_all()

    def predict(
        self, network: Predicts, x: Tensor, timestep: Tensor, context: Tensor, vector: Tensor | None = None
    ) -> Tensor:
        """`network.predict` of the inputs, together with those of the other threads."""
        call = _Call(network, (x, timestep, context, vector))
        self._calls.append(call)
        while call.output is None and call.error is None:
            if self._failure is not None:
                self._calls.remove(call)
                raise self._failure
            if len(self._calls) >= self._members:
                self._make()
            else:
                self._turn.wait()
        if call.error is not None:
            raise call.error
        assert call.output is not None
        return call.output

    def give_up(self) -> None:
        """End the others' work, each at its next call of the network; from a thread that takes no part."""
        with self._turn:
            self._failure = self._failure or Interrupted()
            self._turn.notify_all()

    def news(self) -> str:
        """What was measured and decided since this was asked last, in one line; "" where nothing was."""
        told = [
            f"{count} together are {gain:.2f} times as fast" + ("" if gain >= GAIN else ", so each alone")
            for count, gain in list(self.gains.values())[self._told :]
        ]
        self._told += len(told)
        return f"calls of the network: {'; '.join(told)}" if told else ""

    def _make(self) -> None:
        calls, self._calls = self._calls, []
        groups: dict[Hashable, list[_Call]] = {}
        for call in calls:
            groups.setdefault(call.shape, []).append(call)
        for shape, group in groups.items():
            self._make_group(shape, group)
        self._turn.notify_all()

    def _make_group(self, shape: Hashable, group: Sequence[_Call]) -> None:
        if len(group) == 1:
            group[0].make()
        elif shape not in self.gains:
            self.gains[shape] = len(group), _measured(group)
        elif self.gains[shape][1] < GAIN or not _together(group):
            _apart(group)


def abreast(works: Sequence[Callable[[Meeting], T]], most: int) -> list[T]:
    """What the works give, in their order, up to `most` of them at a time, each handed the meeting that they take part
    in. The first error is raised, after the others have been stopped."""
    meeting = Meeting(min(most, len(works)))
    left = list(enumerate(works))
    given: dict[int, T] = {}
    errors: list[BaseException] = []

    def go() -> None:
        try:
            with meeting.taking_part(), torch.inference_mode():
                while left:
                    index, work = left.pop(0)
                    given[index] = work(meeting)
        except BaseException as error:  # raised again below, in the thread that asked
            errors.append(error)

    threads = [threading.Thread(target=go, daemon=True) for _ in range(min(most, len(works)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return [given[index] for index in range(len(works))]


def _apart(group: Sequence[_Call]) -> None:
    for call in group:
        call.make()


def _together(group: Sequence[_Call]) -> bool:
    """Whether the calls could be made as one; False where that is more than the memory holds."""
    parts = list(zip(*(call.inputs for call in group), strict=True))
    joined = [None if part[0] is None else torch.cat([one for one in part if one is not None]) for part in parts]
    x, timestep, context, vector = joined
    assert x is not None and timestep is not None and context is not None
    try:
        output = group[0].network.predict(x, timestep, context, vector)
    except Exception as error:  # whoever waits for it raises it
        if is_out_of_memory(error):
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            return False
        for call in group:
            call.error = error
        return True
    for call, own in zip(group, output.split([len(call.inputs[0]) for call in group]), strict=True):
        call.output = own
    return True


def _measured(group: Sequence[_Call]) -> float:
    """Make the calls both ways, the first time of each not counted, and leave what the faster way gave; the gain."""
    _apart(group)
    began = perf_counter()
    _apart(group)
    apart = perf_counter() - began
    alone = [call.output for call in group]
    if any(call.error is not None for call in group) or not _together(group):
        return 0.0
    began = perf_counter()
    _together(group)
    gain = apart / max(perf_counter() - began, 1e-9)
    if gain < GAIN:
        for call, output in zip(group, alone, strict=True):
            call.output = output
    return gain
