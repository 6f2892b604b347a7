"""Runs that meet at the network: their calls are made as one, and none of them waits for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hires.errors import Interrupted
from hires.sampling import meeting as meetings
from hires.sampling.meeting import Meeting, abreast


class Network:
    """x * context + timestep, each call's batch noted; `broken` says what it raises of a batch."""

    def __init__(self, identity: str = "a", broken: Callable[[int], Exception | None] = lambda batch: None) -> None:
        self.identity, self.broken = identity, broken
        self.batches: list[int] = []

    def predict(self, x: Tensor, timestep: Tensor, context: Tensor, vector: Tensor | None = None) -> Tensor:
        self.batches.append(len(x))
        error = self.broken(len(x))
        if error is not None:
            raise error
        more = 0 if vector is None else vector.sum(1)[:, None, None, None]
        return x * context.mean((1, 2))[:, None, None, None] + timestep[:, None, None, None] + more


def inputs(number: int, size: int = 4, vector: bool = False) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Those of a call of two entries."""
    generator = torch.Generator().manual_seed(number)
    x, context = torch.randn(2, 4, size, size, generator=generator), torch.randn(2, 3, 5, generator=generator)
    return x, torch.full((2,), float(number)), context, torch.randn(2, 6, generator=generator) if vector else None


def run(network: Network, numbers: list[int], size: int, meeting: Meeting) -> list[Tensor]:
    """A run that calls the network once a number."""
    return [meeting.predict(network, *inputs(number, size, number % 2 == 1)) for number in numbers]


def telling(network: Network, numbers: list[int], told: list[str], meeting: Meeting) -> list[Tensor]:
    """The same, with what is new at its end."""
    given = run(network, numbers, 4, meeting)
    told.append(meeting.news())
    return given


@pytest.fixture
def faster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Calls together are always said to be faster, and are made at once, without a measurement."""

    def joined(group: list[meetings._Call]) -> float:
        assert meetings._together(group)
        return 2.0

    monkeypatch.setattr(meetings, "_measured", joined)
    yield


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.lists(st.integers(0, 20), max_size=5), st.sampled_from([2, 4])), min_size=1, max_size=6),
    st.integers(1, 7),
)
def test_every_run_gets_what_it_gets_alone(runs: list[tuple[list[int], int]], most: int) -> None:
    network = Network()
    works = [partial(run, network, numbers, size) for numbers, size in runs]
    given = abreast(works, most)
    for (numbers, size), outputs in zip(runs, given, strict=True):
        for number, output in zip(numbers, outputs, strict=True):
            torch.testing.assert_close(output, Network().predict(*inputs(number, size, number % 2 == 1)))


@pytest.mark.usefixtures("faster")
def test_runs_in_step_make_one_call_together() -> None:
    network = Network()
    told: list[str] = []
    given = abreast([partial(telling, network, [2, 4, 6], told) for _ in range(3)], 3)
    assert network.batches == [6, 6, 6]
    assert all(torch.equal(one[0], given[0][0]) for one in given)
    assert told == ["calls of the network: 3 together are 2.00 times as fast", "", ""]


@pytest.mark.usefixtures("faster")
def test_only_equal_shapes_of_one_network_are_joined() -> None:
    one, other = Network("a"), Network("b")
    abreast([partial(run, one, [number], size) for number, size in ((2, 4), (2, 2), (3, 4), (4, 4))], 4)
    assert sorted(one.batches) == [2, 2, 4]
    abreast([partial(run, one, [2], 4), partial(run, other, [2], 4)], 2)
    assert other.batches == [2]


@pytest.mark.usefixtures("faster")
def test_a_shorter_run_leaves_the_others_together() -> None:
    network = Network()
    abreast([partial(run, network, [2] * count, 4) for count in (1, 3, 3)], 3)
    assert network.batches == [6, 4, 4]


@pytest.mark.usefixtures("faster")
def test_more_runs_than_may_be_at_once_follow() -> None:
    network = Network()
    given = abreast([partial(run, network, [number], 4) for number in range(0, 10, 2)], 2)
    assert max(network.batches) == 4 and sum(network.batches) == 10
    assert [one[0][0, 0, 0, 0].item() for one in given] == [
        Network().predict(*inputs(number))[0, 0, 0, 0].item() for number in range(0, 10, 2)
    ]


def test_where_together_is_slower_each_is_made_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network()
    times = iter([0.0, 1.0, 1.0, 3.0])  # apart takes 1, together 2
    monkeypatch.setattr(meetings, "perf_counter", lambda: next(times))
    told: list[str] = []
    abreast([partial(telling, network, [2, 4], told) for _ in range(2)], 2)
    assert network.batches == [2, 2, 2, 2, 4, 4, 2, 2]
    assert told == ["calls of the network: 2 together are 0.50 times as fast, so each alone", ""]


def test_what_is_too_much_for_the_memory_is_made_apart() -> None:
    network = Network(broken=lambda batch: MemoryError() if batch > 2 else None)
    meeting = Meeting(2)
    meeting.gains[meetings._Call(network, inputs(2)).shape] = 2, 2.0
    given: list[Tensor] = []

    def go() -> None:
        with meeting.taking_part():
            given.append(meeting.predict(network, *inputs(2)))

    threads = [threading.Thread(target=go) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert network.batches == [4, 2, 2] and torch.equal(given[0], given[1])


@pytest.mark.parametrize("batch", [2, 4])
@pytest.mark.usefixtures("faster")
def test_an_error_ends_all_runs(batch: int) -> None:
    network = Network(broken=lambda size: ValueError("broken") if size == batch else None)
    with pytest.raises(ValueError, match="broken"):
        abreast([partial(run, network, [2] * count, 4) for count in (1, 3)], 2)


def test_an_error_between_calls_ends_the_others_too() -> None:
    network = Network()

    def falls(meeting: Meeting) -> list[Tensor]:
        run(network, [2], 4, meeting)
        raise Interrupted

    with pytest.raises(Interrupted):
        abreast([partial(run, network, [2] * 100, 4), falls], 2)
    assert len(network.batches) < 50


def test_giving_up_ends_what_waits() -> None:
    network, meeting, ended = Network(), Meeting(2), []

    def go() -> None:
        with pytest.raises(Interrupted), meeting.taking_part():
            meeting.predict(network, *inputs(2))
        ended.append(True)

    thread = threading.Thread(target=go)
    thread.start()  # the second member never comes
    meeting.give_up()
    thread.join()
    assert ended == [True] and network.batches == []
