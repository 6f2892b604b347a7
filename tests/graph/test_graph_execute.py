"""Execution: order, laziness, lists, expansion, blockers, failures, interruption, reuse."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hires.errors import HiresError, Interrupted, WorkflowError
from hires.graph.cache import ResultCache
from hires.graph.context import Context, PlainContext
from hires.graph.declare import ExecutionBlocker, NodeResult, Registry, node
from hires.graph.execute import execute
from hires.graph.inputs import Bool, Int, Lazy, OptionalInput, Socket, Text
from hires.graph.report import NodeFailed, NodeFinished, NodeProgress, NodeStarted, RunPlanned, RunReport
from hires.graph.validate import ValidatedWorkflow, validate
from hires.graph.workflow import Workflow, WorkflowBuilder

Number = Annotated[int, Socket("NUMBER")]
Value = Annotated[int, Int(), OptionalInput]


class Calls(PlainContext):
    """Counts the calls of nodes."""

    def __init__(self, stop: threading.Event | None = None) -> None:
        super().__init__(stop=stop)
        self.calls: Counter[str] = Counter()


@node("Constant", outputs=("NUMBER",))
def constant(context: Calls, *, value: Value = 0) -> int:
    context.calls[context.node_id] += 1
    return value


@node("Add", outputs=("NUMBER",))
def add(context: Calls, *, a: Number, b: Number, offset: Annotated[int, Int(), OptionalInput] = 0) -> int:
    context.calls[context.node_id] += 1
    return a * 3 + b + offset


@node("Show", is_output=True)
def show(context: Calls, *, value: Annotated[Any, Socket("*")]) -> NodeResult:
    context.calls[context.node_id] += 1
    return NodeResult(ui={"text": [str(value)]})


@node("Fail", outputs=("NUMBER",))
def fail(*, value: Number, ours: Annotated[bool, Bool(), OptionalInput] = False) -> int:
    if ours:
        raise ZeroDivisionError("division by zero")
    raise HiresError("the picture is too large", "Make it smaller.")


@node("Stop", outputs=("NUMBER",))
def stop(context: Calls, *, value: Number) -> int:
    assert context.stop is not None
    context.stop.set()
    context.progress(1, 2)
    return value


@node("Steps", outputs=("NUMBER",))
def steps(context: Context, *, value: Number) -> int:
    for i in range(3):
        context.progress(i + 1, 3, preview=f"step {i}")
    return value


def _branch(take_left: bool, left: Any, right: Any) -> list[str]:
    name = "left" if take_left else "right"
    return [name] if (left if take_left else right) is None else []


@node("Branch", outputs=("NUMBER",), check_lazy_status=_branch)
def branch(
    context: Calls,
    *,
    take_left: Annotated[bool, Bool(), OptionalInput] = True,
    left: Annotated[int | None, Socket("NUMBER"), Lazy],
    right: Annotated[int | None, Socket("NUMBER"), Lazy],
) -> int | None:
    context.calls[context.node_id] += 1
    return left if take_left else right


@node("Range", outputs=("NUMBER", "NUMBER"), output_is_list=(True, False))
def count_up(*, count: Value = 3) -> tuple[list[int], int]:
    return list(range(count)), count


@node("Sum", outputs=("NUMBER",), input_is_list=True)
def total(*, values: Annotated[list[int], Socket("NUMBER")], start: Annotated[list[int], Int()] = 0) -> int:  # type: ignore[assignment]
    return sum(values) + start[0]


@node("Eat", outputs=("NUMBER",), input_is_list=True)
def eat(*, values: Annotated[list[int], Socket("NUMBER")]) -> int:
    total = 0
    while values:
        total += values.pop()
    return total


@node("Block", outputs=("NUMBER",))
def block(
    *,
    value: Number,
    message: Annotated[str, Text(), OptionalInput] = "",
    odd_only: Annotated[bool, Bool(), OptionalInput] = False,
) -> Any:
    return value if odd_only and value % 2 == 0 else ExecutionBlocker(message or None)


@node("Power", outputs=("NUMBER",))
def power(context: Context, *, value: Number, times: Value = 3) -> NodeResult:
    """value -> 4^times value, by a chain of Add."""
    flow = WorkflowBuilder(prefix=f"{context.node_id}.")
    last: list[Any] = flow.add("Add", a=[context.prompt[context.node_id]["inputs"]["value"][0], 0], b=[
        context.prompt[context.node_id]["inputs"]["value"][0], 0]).out()  # fmt: skip
    for _ in range(times - 1):
        last = flow.add("Add", a=last, b=last).out()
    return NodeResult((last,), expand=flow.graph())


@node("Endless", outputs=("NUMBER",))
def endless(context: Context, *, value: Value = 0) -> NodeResult:
    back = [context.node_id, 0]
    return NodeResult((["inner", 0],), expand={"inner": {"class_type": "Add", "inputs": {"a": back, "b": back}}})


@node("Random", outputs=("NUMBER",), fingerprint=lambda: math.nan)
def random_number(context: Calls) -> int:
    context.calls[context.node_id] += 1
    return 4


@node("Two", outputs=("NUMBER", "NUMBER"))
def two() -> int:
    return 1


NODES = Registry.of(
    constant, add, show, fail, stop, steps, branch, count_up, total, block, power, endless, random_number, two, eat
)


def check(prompt: Mapping[str, Any], targets: list[str] | None = None) -> ValidatedWorkflow:
    validated = validate(Workflow.parse(prompt), NODES, PlainContext(), targets)
    validated.raise_for_faults()
    return validated


def run(
    prompt: Mapping[str, Any],
    targets: list[str] | None = None,
    *,
    cache: ResultCache | None = None,
    context: Context | None = None,
    **options: Any,
) -> RunReport:
    cache = cache if cache is not None else ResultCache(10**6)
    return execute(check(prompt, targets), NODES, context or Calls(), cache, **options)


def make(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


SMALL = {
    "1": make("Constant", value=2),
    "2": make("Constant", value=5),
    "3": make("Add", a=["1", 0], b=["2", 0]),
    "4": make("Show", value=["3", 0]),
}


def test_result_and_report() -> None:
    report = run(SMALL)
    assert report.value("3") == 11
    assert report.ui == {"4": {"text": ["11"]}}
    assert report.with_status("computed") == ["1", "2", "3", "4"]
    assert report.ok
    report.raise_for_failure()


def test_any_node_can_be_a_target() -> None:
    report = run(SMALL, ["2"])
    assert report.value("2") == 5
    assert list(report.nodes) == ["2"]


def test_target_that_is_not_there() -> None:
    validated = check(SMALL)
    with pytest.raises(WorkflowError, match="'9' is not there"):
        execute(validated, NODES, Calls(), ResultCache(0), ["9"])


def test_values_that_are_gone_are_told() -> None:
    report = run(SMALL, cache=ResultCache(0))
    with pytest.raises(HiresError, match="'3' has no result to look at"):
        report.value("3")
    with pytest.raises(HiresError, match="has 0 outputs, no output 1"):
        report.value("4", 1)


def test_outputs_come_as_early_as_possible() -> None:
    """The first picture is shown before the second is begun."""
    prompt = {
        "1": make("Constant", value=1),
        "2": make("Add", a=["1", 0], b=["1", 0]),
        "3": make("Add", a=["2", 0], b=["2", 0]),
        "4": make("Add", a=["3", 0], b=["3", 0]),
        "final": make("Show", value=["4", 0]),
        "first": make("Show", value=["2", 0]),
    }
    assert list(run(prompt).nodes) == ["1", "2", "first", "3", "4", "final"]


def test_events() -> None:
    events: list[Any] = []
    prompt = {"1": make("Constant", value=1), "2": make("Steps", value=["1", 0]), "3": make("Show", value=["2", 0])}
    cache = ResultCache(10**6)
    run(prompt, cache=cache, on_event=events.append)
    kinds = [type(event) for event in events]
    assert kinds == [RunPlanned, *[NodeStarted, NodeFinished], NodeStarted, *[NodeProgress] * 3, NodeFinished,
                     NodeStarted, NodeFinished]  # fmt: skip
    assert [e.preview for e in events if isinstance(e, NodeProgress)] == ["step 0", "step 1", "step 2"]
    assert events[-1].ui == {"text": ["1"]}
    events.clear()
    run(prompt, cache=cache, on_event=events.append)
    assert events[0] == RunPlanned((), ("1", "2", "3"))
    assert [(e.node_id, e.how, e.ui) for e in events[1:]] == [("3", "reused", {"text": ["1"]})]


def test_output_node_runs_again_only_when_forced() -> None:
    cache, context = ResultCache(10**6), Calls()
    run(SMALL, cache=cache, context=context)
    again = run(SMALL, cache=cache, context=context)
    assert again.ui == {"4": {"text": ["11"]}}
    assert sorted(again.with_status("reused")) == ["1", "2", "3", "4"]
    forced = run(SMALL, cache=cache, context=context, force_outputs=True)
    assert forced.with_status("computed") == ["4"]
    assert context.calls == {"1": 1, "2": 1, "3": 1, "4": 2}


def test_ancestors_of_a_reused_result_do_not_run() -> None:
    cache, context = ResultCache(10**6), Calls()
    first = run(SMALL, cache=cache, context=context)
    for node_id in ("1", "2"):
        cache.discard(first._keys[node_id])
    report = run({**SMALL, "5": make("Show", value=["3", 0])}, cache=cache, context=context)
    assert context.calls == {"1": 1, "2": 1, "3": 1, "4": 1}  # "5" is the same work as "4"
    assert report.with_status("unneeded") == ["1", "2"]


def test_nan_fingerprint_always_runs_with_all_that_follows() -> None:
    prompt = {"1": make("Random"), "2": make("Constant", value=1), "3": make("Add", a=["1", 0], b=["2", 0])}
    cache, context = ResultCache(10**6), Calls()
    for _ in range(2):
        run(prompt, ["3"], cache=cache, context=context)
    assert context.calls == {"1": 2, "2": 1, "3": 2}


def test_lazy_input_not_taken_is_not_computed() -> None:
    prompt = {
        "1": make("Constant", value=7),
        "2": make("Fail", value=["1", 0]),
        "3": make("Branch", take_left=True, left=["1", 0], right=["2", 0]),
    }
    report = run(prompt, ["3"])
    assert report.value("3") == 7
    assert report.nodes["2"].status == "unneeded"
    prompt["3"] = make("Branch", take_left=False, left=["1", 0], right=["2", 0])
    report = run(prompt, ["3"])
    assert report.nodes["2"].status == "failed"
    assert report.nodes["3"].status == "skipped"
    assert report.nodes["3"].because == "2"


def test_lazy_input_that_failed_for_another_node_does_no_harm() -> None:
    prompt = {
        "1": make("Constant", value=7),
        "2": make("Fail", value=["1", 0]),
        "3": make("Show", value=["2", 0]),
        "4": make("Branch", take_left=True, left=["1", 0], right=["2", 0]),
        "5": make("Show", value=["4", 0]),
    }
    report = run(prompt)
    assert report.ui == {"5": {"text": ["7"]}}


def test_lists() -> None:
    prompt = {
        "1": make("Range", count=3),
        "2": make("Constant", value=10),
        "3": make("Add", a=["1", 0], b=["2", 0]),
        "4": make("Add", a=["1", 0], b=["1", 1]),
        "5": make("Sum", values=["3", 0], start=100),
        "6": make("Show", value=["3", 0]),
    }
    report = run(prompt, ["3", "4", "5", "6"])
    assert report.values("3") == [10, 13, 16]
    assert report.values("4") == [3, 6, 9]
    assert report.value("5") == 139
    assert report.ui["6"] == {"text": ["10", "13", "16"]}
    with pytest.raises(HiresError, match="list of 3 values"):
        report.value("3")


def test_consumer_of_an_empty_list_is_not_called() -> None:
    prompt = {
        "1": make("Range", count=0),
        "2": make("Add", a=["1", 0], b=["1", 1]),
        "3": make("Sum", values=["1", 0], start=1),
    }
    context = Calls()
    report = run(prompt, ["2", "3"], context=context)
    assert report.values("2") == []
    assert context.calls["2"] == 0
    assert report.value("3") == 1


def test_shorter_list_repeats_its_last() -> None:
    prompt = {"1": make("Range", count=2), "2": make("Range", count=4), "3": make("Add", a=["1", 0], b=["2", 0])}
    assert run(prompt, ["3"]).values("3") == [0 + 0, 3 + 1, 3 + 2, 3 + 3]


def test_blocker_is_silent_and_spreads() -> None:
    prompt = {
        "1": make("Constant", value=1),
        "2": make("Block", value=["1", 0]),
        "3": make("Add", a=["2", 0], b=["1", 0]),
        "4": make("Show", value=["3", 0]),
        "5": make("Show", value=["1", 0]),
    }
    report = run(prompt)
    assert report.ok
    assert report.with_status("blocked") == ["3", "4"]
    assert report.ui == {"5": {"text": ["1"]}}


def test_blocker_with_a_message_is_told_once() -> None:
    prompt = {
        "1": make("Constant", value=1),
        "2": make("Block", value=["1", 0], message="nothing selected"),
        "3": make("Add", a=["2", 0], b=["1", 0]),
        "4": make("Show", value=["3", 0]),
    }
    events: list[Any] = []
    report = run(prompt, on_event=events.append)
    assert [failure.node_id for failure in report.failures] == ["3"]
    assert [e.node_id for e in events if isinstance(e, NodeFailed)] == ["3"]
    with pytest.raises(WorkflowError, match="nothing selected"):
        report.raise_for_failure()


def test_blocker_blocks_its_index_of_a_list_only() -> None:
    prompt = {
        "1": make("Range", count=4),
        "2": make("Block", value=["1", 0], odd_only=True),
        "3": make("Show", value=["2", 0]),
    }
    assert run(prompt).ui == {"3": {"text": ["0", "2"]}}


def test_expansion() -> None:
    prompt = {
        "1": make("Constant", value=2),
        "2": make("Power", value=["1", 0], times=3),
        "3": make("Show", value=["2", 0]),
    }
    events: list[Any] = []
    cache, context = ResultCache(10**6), Calls()
    report = run(prompt, cache=cache, context=context, on_event=events.append)
    assert report.ui == {"3": {"text": ["128"]}}
    assert [node_id for node_id in report.nodes if report.nodes[node_id].parent_node == "2"] == ["2.1", "2.2", "2.3"]
    assert {e.display_node for e in events if isinstance(e, NodeStarted) and e.parent_node} == {"2"}
    prompt["2"] = make("Power", value=["1", 0], times=4)
    again = run(prompt, cache=cache, context=context)
    assert again.ui == {"3": {"text": ["512"]}}
    assert again.nodes["2.3"].status == "reused"
    assert again.nodes["2.4"].status == "computed"


def test_expansion_that_waits_for_itself_fails() -> None:
    report = run({"1": make("Endless"), "2": make("Show", value=["1", 0])})
    assert report.failures
    assert "waits for itself" in str(report.failures[0].error)
    assert report.nodes["2"].status == "skipped"


@pytest.mark.parametrize("ours", [False, True])
def test_failing_branch_leaves_the_others(ours: bool) -> None:
    prompt = {
        "1": make("Constant", value=1),
        "2": make("Fail", value=["1", 0], ours=ours),
        "3": make("Add", a=["2", 0], b=["1", 0]),
        "4": make("Show", value=["3", 0]),
        "5": make("Add", a=["1", 0], b=["1", 0]),
        "6": make("Show", value=["5", 0]),
    }
    report = run(prompt)
    assert report.ui == {"6": {"text": ["4"]}}
    assert report.with_status("failed") == ["2"]
    assert [(report.nodes[i].status, report.nodes[i].because) for i in "34"] == [("skipped", "2")] * 2
    failure = report.failures[0]
    assert failure.inputs == {"value": ["1"], "ours": [str(ours)]}
    if ours:
        assert any("raise ZeroDivisionError" in line for line in failure.trace)
        with pytest.raises(ZeroDivisionError):
            report.raise_for_failure()
    else:
        assert not failure.trace
        with pytest.raises(WorkflowError, match=r"node 2 \(Fail\): the picture is too large. Make it smaller."):
            report.raise_for_failure()


def test_corrected_run_resumes_after_what_was_done() -> None:
    prompt: dict[str, Any] = {
        "1": make("Constant", value=1),
        "2": make("Fail", value=["1", 0]),
        "3": make("Show", value=["2", 0]),
    }
    cache, context = ResultCache(10**6), Calls()
    run(prompt, cache=cache, context=context)
    prompt["2"] = make("Steps", value=["1", 0])
    assert run(prompt, cache=cache, context=context).nodes["1"].status == "reused"
    assert context.calls["1"] == 1


def test_interruption_keeps_what_was_done() -> None:
    prompt = {"1": make("Constant", value=1), "2": make("Stop", value=["1", 0]), "3": make("Show", value=["2", 0])}
    cache, flag = ResultCache(10**6), threading.Event()
    report = run(prompt, cache=cache, context=Calls(flag))
    assert report.interrupted
    assert report.interrupted_node == "2"
    assert {i: report.nodes[i].status for i in "123"} == {"1": "computed", "2": "skipped", "3": "skipped"}
    with pytest.raises(Interrupted):
        report.raise_for_failure()
    flag.clear()
    assert run(SMALL | {"1": make("Constant", value=1)}, ["1"], cache=cache).nodes["1"].status == "reused"


def test_wrong_number_of_outputs_is_a_fault_of_the_node() -> None:
    report = run({"1": make("Two")}, ["1"])
    with pytest.raises(TypeError, match="returned 1 outputs, it declares 2"):
        report.raise_for_failure()


def test_long_chain() -> None:
    prompt: dict[str, Any] = {"0": make("Constant", value=0)}
    for i in range(1, 6_000):
        prompt[str(i)] = make("Add", a=["0", 0], b=[str(i - 1), 0], offset=1)
    report = run(prompt, ["5999"], cache=ResultCache(2**30))
    assert report.value("5999") == 5_999
    assert len(report.with_status("computed")) == 6_000


def test_results_that_nobody_reads_any_more_are_let_go() -> None:
    class Big:
        alive = 0
        most = 0

        def __init__(self) -> None:
            Big.alive += 1
            Big.most = max(Big.most, Big.alive)

        def __del__(self) -> None:
            Big.alive -= 1

    def step(*, value: Annotated[Any, Socket("BIG")] = None) -> Big:
        return Big()

    step.__annotations__["value"] = Annotated[Any, Socket("BIG")]
    step.__annotations__["return"] = Any
    registry = Registry.of(node("Big", outputs=("BIG",))(step))
    prompt: dict[str, Any] = {"0": make("Big")}
    for i in range(1, 20):
        prompt[str(i)] = make("Big", value=[str(i - 1), 0])
    validated = validate(Workflow.parse(prompt), registry, PlainContext(), ["19"])
    report = execute(validated, registry, PlainContext(), ResultCache(0))
    assert report.ok
    assert Big.most <= 3


# Random graphs

Graph = list[tuple[int, int, int]]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Node i of a graph: (value, source, source), the sources before it, -1 for none."""
    count = draw(st.integers(1, 12))
    return [
        (draw(st.integers(-9, 9)), draw(st.integers(-1, i - 1)), draw(st.integers(-1, i - 1))) for i in range(count)
    ]


def as_prompt(graph: Graph, name: Any = str) -> dict[str, Any]:
    prompt = {}
    for i, (value, a, b) in enumerate(graph):
        if a < 0 or b < 0:
            prompt[name(i)] = make("Constant", value=value)
        else:
            prompt[name(i)] = make("Add", a=[name(a), 0], b=[name(b), 0], offset=value)
    return prompt


def direct(graph: Graph) -> list[int]:
    values: list[int] = []
    for value, a, b in graph:
        values.append(value if a < 0 or b < 0 else values[a] * 3 + values[b] + value)
    return values


def work(graph: Graph) -> list[Any]:
    """Node i as the term it computes: nodes with the same term are the same work."""
    terms: list[Any] = []
    for value, a, b in graph:
        terms.append((value,) if a < 0 or b < 0 else (value, terms[a], terms[b]))
    return terms


@settings(deadline=None, max_examples=60)
@given(graphs())
def test_every_node_is_computed_once_and_right(graph: Graph) -> None:
    context = Calls()
    targets = [str(i) for i in range(len(graph))]
    report = run(as_prompt(graph), targets, context=context)
    assert [report.value(target) for target in targets] == direct(graph)
    assert sum(context.calls.values()) == len(set(work(graph)))
    assert all(count == 1 for count in context.calls.values())


@settings(deadline=None, max_examples=60)
@given(graphs(), st.data())
def test_editing_a_constant_recomputes_its_descendants(graph: Graph, data: st.DataObject) -> None:
    targets = [str(i) for i in range(len(graph))]
    cache = ResultCache(10**7)
    run(as_prompt(graph), targets, cache=cache)
    at = data.draw(st.integers(0, len(graph) - 1))
    edited = list(graph)
    edited[at] = (100 + at, *graph[at][1:])
    report = run(as_prompt(edited), targets, cache=cache)
    affected = {at}
    for i, (_, a, b) in enumerate(graph):
        if a >= 0 and b >= 0 and affected & {a, b}:
            affected.add(i)
    computed = {i for i in range(len(graph)) if report.nodes[str(i)].status == "computed"}
    assert computed <= affected
    assert {work(edited)[i] for i in computed} == set(work(edited)) - set(work(graph))
    assert [report.value(target) for target in targets] == direct(edited)


@settings(deadline=None, max_examples=60)
@given(graphs(), st.randoms())
def test_ids_and_order_do_not_matter(graph: Graph, random: Any) -> None:
    targets = [str(i) for i in range(len(graph))]
    cache = ResultCache(10**7)
    run(as_prompt(graph), targets, cache=cache)
    names = list(range(len(graph)))
    random.shuffle(names)
    entries = list(as_prompt(graph, lambda i: f"n{names[i]}").items())
    random.shuffle(entries)
    report = run(dict(entries), [f"n{i}" for i in names], cache=cache)
    assert all(entry.status == "reused" for entry in report.nodes.values())


@settings(deadline=None, max_examples=60)
@given(graphs())
def test_without_a_cache_the_results_are_the_same(graph: Graph) -> None:
    last = str(len(graph) - 1)
    context = Calls()
    assert run(as_prompt(graph), [last], cache=ResultCache(0), context=context).value(last) == direct(graph)[-1]
    assert all(count == 1 for count in context.calls.values())


def test_the_engine_knows_nothing_of_torch() -> None:
    modules = "cache comfy context declare execute inputs keys object_info order report ui_format validate workflow"
    imports = "; ".join(f"import hires.graph.{name}" for name in modules.split())
    code = f"import sys; {imports}; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert not {"torch", "numpy"} & set(done.stdout.split())


def test_a_node_that_changes_its_list_does_not_change_the_cache() -> None:
    prompt = {
        "1": make("Range", count=3),
        "2": make("Eat", values=["1", 0]),
        "3": make("Sum", values=["1", 0], start=0),
    }
    report = run(prompt, ["2", "3"])
    assert (report.value("2"), report.value("3")) == (3, 3)
