from __future__ import annotations

import threading
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hires.workers.spread import each, in_order


@given(st.lists(st.lists(st.integers(), max_size=4), max_size=6), st.integers(1, 4))
def test_every_item_is_done_once_and_a_group_by_one_in_its_order(groups: list[list[int]], count: int) -> None:
    numbered = [[(place, inner, item) for inner, item in enumerate(group)] for place, group in enumerate(groups)]
    done: list[tuple[str, tuple[int, int, int]]] = []
    by = [f"worker {number}" for number in range(count)]
    results = list(each(by, numbered, lambda one, item: done.append((one, item)) or item[2] * 2))
    assert sorted(item for item, _ in results) == [item for group in numbered for item in group]
    assert all(result == item[2] * 2 for item, result in results)
    for group in numbered:
        own = [(one, item) for one, item in done if item in group]
        assert [item for _, item in own] == group
        assert len({one for one, _ in own}) <= 1


def test_what_fails_is_told_and_the_others_are_done() -> None:
    results = dict(each(["a", "b"], [[4], [0], [2]], lambda _, item: 8 / item))
    assert results.pop(4) == 2.0 and results.pop(2) == 4.0
    assert isinstance(results.pop(0), ZeroDivisionError)


def test_who_stops_reading_stops_the_work() -> None:
    stopped = threading.Event()
    begun: list[int] = []

    def work(_: str, item: int) -> int:
        begun.append(item)
        if item:
            stopped.wait(30)
        return item

    with closing(each(["a", "b"], [[0], [1], [2], [3]], work, stopped.set)) as results:
        assert next(results) == (0, 0)
    assert stopped.is_set()
    assert len(begun) < 4


def test_one_alone_works_only_when_asked() -> None:
    begun: list[int] = []
    results = each(["a"], [[1, 2], [3]], lambda _, item: begun.append(item))
    assert next(results)[0] == 1
    assert begun == [1]


@given(st.lists(st.integers(), max_size=8), st.integers(1, 4))
def test_results_come_in_the_order_of_the_items(items: list[int], ahead: int) -> None:
    assert list(in_order(items, lambda item: item + 1, ahead)) == [item + 1 for item in items]


def test_a_failure_is_raised_at_its_place() -> None:
    results = in_order([2, 1, 0, 1], lambda item: 2 // item, 2)
    assert [next(results), next(results)] == [1, 2]
    with pytest.raises(ZeroDivisionError):
        next(results)
