"""Reading and writing API format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hires.errors import HiresError, WorkflowError
from hires.graph.workflow import Limits, Link, Workflow, WorkflowBuilder, as_constant, as_link, literal

PROMPT: dict[str, Any] = {
    "10": {
        "class_type": "A",
        "inputs": {"x": 1, "text": "Füchse", "list": {"__value__": ["1", 0]}},
        "_meta": {"title": "t"},
    },
    "2": {"class_type": "B", "inputs": {"a": ["10", 1]}, "color": "red"},
}


def test_round_trip_keeps_order_and_unknown_keys() -> None:
    workflow = Workflow.parse(json.dumps(PROMPT).encode())
    assert workflow.as_json() == PROMPT
    assert list(workflow.as_json()) == ["10", "2"]
    text = workflow.to_json()
    assert text.isascii()
    assert Workflow.parse(text) == workflow
    assert workflow.nodes["10"].title == "t"
    assert workflow.nodes["2"].links() == {"a": Link("10", 1)}


def test_is_changed_of_the_sender_is_dropped() -> None:
    workflow = Workflow.parse({"1": {"class_type": "A", "inputs": {}, "is_changed": "claimed"}})
    assert workflow.as_json() == {"1": {"class_type": "A", "inputs": {}}}


def test_prompt_body_with_the_editors_file() -> None:
    ui = {"nodes": [], "links": []}
    workflow = Workflow.parse({"prompt": PROMPT, "extra_data": {"extra_pnginfo": {"workflow": ui}}})
    assert workflow.as_json() == PROMPT
    assert workflow.ui == ui


def test_a_node_may_be_called_prompt() -> None:
    prompt = {"prompt": {"class_type": "A", "inputs": {}}}
    assert Workflow.parse(prompt).as_json() == prompt


def test_numbers_that_python_writes() -> None:
    workflow = Workflow.parse('{"1": {"class_type": "A", "inputs": {"x": NaN, "y": -Infinity}}}')
    assert workflow.nodes["1"].inputs["y"] == float("-inf")
    assert Workflow.parse(b'\xef\xbb\xbf{"1": {"class_type": "A"}}').nodes["1"].inputs == {}


@pytest.mark.parametrize(
    ("value", "link"),
    [
        (["1", 0], Link("1", 0)),
        (["1", 0, 0], None),
        ([1, 0], None),
        (["1", "0"], None),
        (["1", True], None),
        ("10", None),
        ({"__value__": ["1", 0]}, None),
    ],
)
def test_what_is_a_link(value: Any, link: Link | None) -> None:
    assert as_link(value) == link


def test_literal_lists() -> None:
    assert as_constant(literal(["1", 0])) == ["1", 0]
    assert as_constant({"x": 1}) == {"x": 1}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ('{"1": {"class_type": "A",}}', "not JSON at line 1, column 2"),
        ('{\n"1": [}', "not JSON at line 2, column 7"),
        ("", "not JSON at line 1, column 1"),
        (b"\x89PNG\r\n", "byte 0 is not UTF-8"),
        ('{"1": {"class_type": "A"}, "1": {}}', "the key '1' appears twice"),
        ("[1, 2]", "not a list"),
        ("3", "not a number"),
        ("null", "not null"),
        ("[" * 5000, "nested more than"),
        ('{"1":' * 150 + "1" + "}" * 150, "nested more than 100 levels"),
        ('{"1": ' + "9" * 5000 + "}", "integer"),
        ('{"1": {"class_type": "A", "inputs": []}}', "not a workflow in API or editor format"),
        ('{"a": 3, "b": {"class_type": "A"}}', "node a (?): a node is a JSON object, not a number"),
        ('{"templates": []}', "node templates"),
        ('{"nodes": []}', "editor's own file"),
    ],
)
def test_unreadable(data: str | bytes, words: str) -> None:
    with pytest.raises(WorkflowError) as raised:
        Workflow.parse(data, source="my.json")
    assert words in str(raised.value)
    assert str(raised.value).startswith("my.json has 1 fault")
    assert "\n" not in str(raised.value)


def test_limits() -> None:
    limits = Limits(max_bytes=100, max_nodes=2)
    with pytest.raises(WorkflowError, match="at most 100 are accepted"):
        Workflow.parse(" " * 101, limits=limits)
    with pytest.raises(WorkflowError, match="it has 3 nodes; at most 2"):
        Workflow.parse({str(i): {"class_type": "A"} for i in range(3)}, limits=limits)


def test_values_that_are_not_json() -> None:
    with pytest.raises(WorkflowError, match="a set is not a JSON value"):
        Workflow.parse({"1": {"class_type": "A", "inputs": {"x": {1, 2}}}})
    with pytest.raises(WorkflowError, match="the key '1' is not a string"):
        Workflow.parse({1: {"class_type": "A"}})  # type: ignore[dict-item]
    with pytest.raises(WorkflowError, match="thousand digits"):
        Workflow.parse({"1": {"class_type": "A", "inputs": {"x": 10**2000}}})


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "flow.json"
    path.write_text(json.dumps(PROMPT))
    assert Workflow.read(path).source == "flow.json"
    with pytest.raises(HiresError, match="No such file"):
        Workflow.read(tmp_path / "gone.json")
    with pytest.raises(WorkflowError, match="at most 10 are accepted"):
        Workflow.read(path, limits=Limits(max_bytes=10))


def test_builder() -> None:
    flow = WorkflowBuilder()
    first = flow.add("Load", title="Loader", name="x", nothing=None)
    flow.add("Use", id="use", value=first.out(1))
    assert flow.graph() == {
        "1": {"class_type": "Load", "inputs": {"name": "x"}, "_meta": {"title": "Loader"}},
        "use": {"class_type": "Use", "inputs": {"value": ["1", 1]}},
    }
    assert flow.workflow() == Workflow.parse(flow.graph())
    with pytest.raises(ValueError, match="already has a node 'use'"):
        flow.add("Use", id="use")


def test_changed_inputs() -> None:
    workflow = Workflow.parse(PROMPT)
    edited = workflow.with_inputs("10", x=5)
    assert edited.nodes["10"].inputs["x"] == 5
    assert workflow.nodes["10"].inputs["x"] == 1
    assert edited.find("B") == ["2"]
