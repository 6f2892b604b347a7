"""Validation: the table of faults, coercion, file names, circles, what depends on what."""

from __future__ import annotations

import json
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hires.errors import HiresError, WorkflowError
from hires.graph.cache import ResultCache
from hires.graph.context import Context, PlainContext
from hires.graph.declare import Registry, node
from hires.graph.execute import execute
from hires.graph.fault_answers import error_body, node_errors
from hires.graph.inputs import Bool, Choice, FileChoice, Float, Int, OptionalInput, Socket, Text
from hires.graph.node_check import match_types, resolve_file
from hires.graph.validate import ValidatedWorkflow, validate
from hires.graph.workflow import Workflow


@node("Source", outputs=("MODEL", "CLIP", "INT"))
def source() -> tuple[str, str, int]:
    return "model", "clip", 3


@node("Widgets", outputs=("MODEL",))
def widgets(
    *,
    model: Annotated[str, Socket("MODEL")],
    steps: Annotated[int, Int(1, 100)] = 20,
    cfg: Annotated[float, Float(0.0, 100.0, 0.1)] = 8.0,
    text: Annotated[str, Text()] = "",
    flag: Annotated[bool, Bool()] = True,
    mode: Annotated[str, Choice(("fast", "slow"))],
    many: Annotated[str, Choice(tuple(f"m{i}" for i in range(30))), OptionalInput] = "m0",
    clip: Annotated[str | None, Socket("CLIP")] = None,
) -> str:
    return f"{model} {steps} {cfg} {text} {flag} {mode} {many} {clip}"


@node("Load", outputs=("MODEL",))
def load(*, name: Annotated[str, FileChoice("checkpoints")]) -> str:
    return name


@node("Save", is_output=True)
def save(*, images: Annotated[Any, Socket("*")]) -> None:
    """Save."""


def _even(width: int, height: int | None) -> bool | str:
    return True if width % 2 == 0 else "must be even"


@node("Checked", is_output=True, validate=_even)
def checked(
    *, width: Annotated[int, Int(0, 10)] = 0, height: Annotated[int, Int(0, 10), OptionalInput] = 0,
    any: Annotated[Any, Socket("*")] = None,
) -> None:  # fmt: skip
    """Check."""


def _refuse(context: Context, name: str) -> bool:
    if name not in context.files("checkpoints"):
        raise HiresError(f"there is no file {name!r}", "Upload it.")
    raise ZeroDivisionError("division by zero")


@node("Refusing", is_output=True, validate=_refuse)
def refusing(*, name: Annotated[str, FileChoice("input")]) -> None:
    """Refuse."""


NODES = Registry.of(source, widgets, load, save, checked, refusing)
FILES = PlainContext({"checkpoints": ["a.safetensors", "sd/v1.safetensors", "sd/b.ckpt", "xl/b.ckpt"]})

GOOD: dict[str, Any] = {
    "1": {"class_type": "Source", "inputs": {}},
    "2": {"class_type": "Widgets", "inputs": {"model": ["1", 0], "steps": 20, "cfg": 8.0, "text": "a", "flag": True,
                                             "mode": "fast"}},
    "3": {"class_type": "Save", "inputs": {"images": ["2", 0]}},
}  # fmt: skip


def check(prompt: dict[str, Any], targets: list[str] | None = None, everything: bool = False) -> ValidatedWorkflow:
    return validate(Workflow.parse(prompt), NODES, FILES, targets, everything)


def changed(**inputs: Any) -> dict[str, Any]:
    entry = GOOD["2"]["inputs"] | inputs
    return GOOD | {"2": {"class_type": "Widgets", "inputs": {k: v for k, v in entry.items() if v is not ...}}}


def test_good_workflow() -> None:
    validated = check(GOOD)
    assert validated.ok
    assert validated.outputs == ("3",)
    assert list(validated.nodes) == ["1", "2", "3"]
    assert error_body(validated) is None
    assert node_errors(validated) == {}


STEPS = ["INT", {"default": 20, "min": 1, "max": 100}]
CFG = ["FLOAT", {"default": 8.0, "min": 0.0, "max": 100.0, "step": 0.1}]

TABLE: list[tuple[str, Any, str, str, str, dict[str, Any]]] = [
    ("model", ..., "required_input_missing", "Required input is missing", "model", {"input_name": "model"}),
    ("steps", ..., "required_input_missing", "Required input is missing", "steps", {"input_name": "steps"}),
    ("model", None, "required_input_missing", "Required input is missing", "model", {"input_name": "model"}),
    ("model", ["1"], "bad_linked_input", "Bad linked input, must be a length-2 list of [node_id, slot_index]", "model",
     {"input_name": "model", "input_config": ["MODEL"], "received_value": ["1"]}),
    ("steps", [1, 2, 3], "bad_linked_input", "Bad linked input, must be a length-2 list of [node_id, slot_index]",
     "steps", {"input_name": "steps", "input_config": STEPS, "received_value": [1, 2, 3]}),
    ("model", ["1", 1], "return_type_mismatch", "Return type mismatch between linked nodes",
     "model, received_type(CLIP) mismatch input_type(MODEL)",
     {"input_name": "model", "input_config": ["MODEL"], "received_type": "CLIP", "linked_node": ["1", 1],
      "received_value": ["1", 1]}),
    ("steps", "many", "invalid_input_type", "Failed to convert an input value to a INT value",
     "steps, many, invalid literal for int() with base 10: 'many'",
     {"input_name": "steps", "input_config": STEPS, "received_value": "many",
      "exception_message": "invalid literal for int() with base 10: 'many'"}),
    ("cfg", "x", "invalid_input_type", "Failed to convert an input value to a FLOAT value",
     "cfg, x, could not convert string to float: 'x'",
     {"input_name": "cfg", "input_config": CFG, "received_value": "x",
      "exception_message": "could not convert string to float: 'x'"}),
    ("steps", 0, "value_smaller_than_min", "Value 0 smaller than min of 1", "steps",
     {"input_name": "steps", "input_config": STEPS, "received_value": 0}),
    ("cfg", 101, "value_bigger_than_max", "Value 101.0 bigger than max of 100.0", "cfg",
     {"input_name": "cfg", "input_config": CFG, "received_value": 101.0}),
    ("mode", "x", "value_not_in_list", "Value not in list", "mode: 'x' not in ['fast', 'slow']",
     {"input_name": "mode", "input_config": [["fast", "slow"]], "received_value": "x"}),
    ("many", "x", "value_not_in_list", "Value not in list", "many: 'x' not in (list of length 30)",
     {"input_name": "many", "input_config": None, "received_value": "x"}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "kind", "message", "details", "info"), TABLE)
def test_fault(name: str, value: Any, kind: str, message: str, details: str, info: dict[str, Any]) -> None:
    validated = check(changed(**{name: value}))
    assert validated.outputs == ()
    error = {"type": kind, "message": message, "details": details, "extra_info": info}
    assert node_errors(validated) == {"2": {"errors": [error], "dependent_outputs": ["3"], "class_type": "Widgets"}}
    body = error_body(validated)
    assert body is not None
    assert body["error"] == {
        "type": "prompt_outputs_failed_validation",
        "message": "Prompt outputs failed validation",
        "details": "",
        "extra_info": {},
    }


def test_details_of_the_body_are_the_output_nodes_own() -> None:
    body = error_body(check(GOOD | {"3": {"class_type": "Save", "inputs": {}}}))
    assert body is not None
    assert body["error"]["details"] == "Required input is missing: images"


def test_all_faults_at_once() -> None:
    validated = check(changed(steps=0, cfg="x", mode="none", model=...))
    assert {fault.input for fault in validated.faults} == {"steps", "cfg", "mode", "model"}
    with pytest.raises(WorkflowError, match="4 faults") as raised:
        validated.raise_for_faults()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "given", "taken"),
    [
        ("steps", "20", 20),
        ("steps", 20.7, 20),
        ("steps", True, 1),
        ("cfg", 7, 7.0),
        ("cfg", "7.5", 7.5),
        ("text", 5, "5"),
        ("text", {"__value__": [1]}, "[1]"),
        ("flag", 0, False),
        ("flag", "false", True),  # as ComfyUI: any text is true
    ],
)
def test_coercion_is_written_back(name: str, given: Any, taken: Any) -> None:
    validated = check(changed(**{name: given}))
    assert validated.ok
    value = validated.nodes["2"].constants[name]
    assert (value, type(value)) == (taken, type(taken))
    assert validated.prompt["2"]["inputs"][name] == taken


def test_nan_is_no_number() -> None:
    assert [fault.type for fault in check(changed(cfg=float("nan"))).faults] == ["invalid_input_type"]


@pytest.mark.parametrize("link", [["9", 0], ["1", 3], ["1", -1]])
def test_link_to_nothing(link: list[Any]) -> None:
    fault = check(changed(model=link)).faults[0]
    assert (fault.type, fault.message) == ("exception_during_validation", "Exception when validating node")
    assert "the input 'model' is linked to" in fault.details
    assert fault.input == "model"


def test_constant_for_a_socket() -> None:
    fault = check(changed(model="sd15")).faults[0]
    assert fault.type == "invalid_input_type"
    assert "takes a link" in fault.details


def test_undeclared_inputs_are_left_out() -> None:
    validated = check(changed(old="x", gone=["1", 0]))
    assert validated.ok
    assert "gone" not in validated.nodes["2"].links
    assert validated.warnings == ("node 2 (Widgets): the link to 'gone' is ignored, the node has no such input",)


def test_unknown_class_keeps_the_rest() -> None:
    prompt = GOOD | {
        "4": {"class_type": "Exotic", "inputs": {"model": ["1", 0], "x": 5}, "_meta": {"title": "Odd"}},
        "5": {"class_type": "Save", "inputs": {"images": ["4", 0]}},
        "6": {"inputs": {}},
    }
    validated = check(prompt)
    assert validated.outputs == ("3",)
    assert validated.failed_outputs == ("5",)
    assert [(fault.node, fault.message) for fault in validated.faults] == [
        ("4", "Cannot execute because node Exotic does not exist."),
        ("6", "Cannot execute because a node is missing the class_type property."),
    ]
    assert validated.faults[0].details == "Node ID '#4'"
    assert validated.faults[0].extra_info["inputs"] == {"model": ["1", 0], "x": 5}
    assert node_errors(validated)["4"]["dependent_outputs"] == ["5"]
    assert error_body(validated) is None
    del prompt["3"]
    body = error_body(check(prompt))
    assert body is not None
    assert body["error"]["type"] == "invalid_prompt"


def test_one_bad_output_leaves_the_other() -> None:
    prompt = changed(steps=0) | {"4": {"class_type": "Save", "inputs": {"images": ["1", 0]}}}
    validated = check(prompt)
    assert validated.outputs == ("4",)
    assert list(node_errors(validated)) == ["2"]
    assert error_body(validated) is None


def test_only_what_outputs_need_is_checked() -> None:
    prompt = GOOD | {"7": {"class_type": "Load", "inputs": {}}}
    assert check(prompt).ok
    assert [fault.node for fault in check(prompt, everything=True).faults] == ["7"]
    assert check(changed(steps=0), ["1"]).ok


def test_no_outputs() -> None:
    for prompt in ({}, {"1": GOOD["1"]}):
        body = error_body(check(prompt))
        assert body == {
            "error": {"type": "prompt_no_outputs", "message": "Prompt has no outputs", "details": "", "extra_info": {}},
            "node_errors": {},
        }
    assert check(GOOD, ["99"]).faults[0].details == "there is no node '99'"


def test_circle() -> None:
    prompt = changed(model=["4", 0]) | {"4": GOOD["2"] | {"inputs": GOOD["2"]["inputs"] | {"model": ["2", 0]}}}
    validated = check(prompt)
    assert [fault.type for fault in validated.faults] == ["dependency_cycle"]
    assert set(validated.faults[0].extra_info["node_ids"]) == {"2", "4"}
    body = error_body(validated)
    assert body is not None
    assert body["error"]["type"] == "dependency_cycle"
    assert check(changed(model=["2", 0])).faults[0].details == "2 -> 2"


def test_very_long_circle_and_chain() -> None:
    prompt: dict[str, Any] = {"0": GOOD["1"]}
    for i in range(1, 12_000):
        prompt[str(i)] = {"class_type": "Widgets", "inputs": GOOD["2"]["inputs"] | {"model": [str(i - 1), 0]}}
    prompt["end"] = {"class_type": "Save", "inputs": {"images": ["11999", 0]}}
    assert check(prompt).ok
    prompt["1"] = {"class_type": "Widgets", "inputs": GOOD["2"]["inputs"] | {"model": ["11999", 0]}}
    assert [fault.type for fault in check(prompt).faults] == ["dependency_cycle"]


def test_custom_check() -> None:
    def faults(**inputs: Any) -> list[tuple[str, str]]:
        prompt = GOOD | {"9": {"class_type": "Checked", "inputs": inputs}}
        return [(fault.type, fault.details) for fault in check(prompt).faults]

    assert faults(width=2) == []
    assert faults(width=100) == []  # an input that the hook names is the hook's to judge
    wrong = "custom_validation_failed"
    assert faults(width=3) == [(wrong, "width - must be even"), (wrong, "height - must be even")]
    assert faults(width=["1", 2]) == [
        ("exception_during_validation", "unsupported operand type(s) for %: 'NoneType' and 'int'")
    ]


def test_custom_check_that_raises() -> None:
    def fault(name: str) -> Any:
        return check({"1": {"class_type": "Refusing", "inputs": {"name": name}}}).faults[0]

    assert fault("x").type == "custom_validation_failed"
    assert fault("x").details == "name - there is no file 'x'. Upload it."
    ours = fault("a.safetensors")
    assert (ours.type, ours.details) == ("exception_during_validation", "division by zero")
    assert any("ZeroDivisionError" in line for line in ours.extra_info["traceback"])


@pytest.mark.parametrize(
    ("received", "wanted", "fits"),
    [
        ("MODEL", "MODEL", True),
        ("MODEL", "CLIP", False),
        ("*", "CLIP", True),
        ("CLIP", "*", True),
        ("INT", "INT,FLOAT", True),
        ("INT,STRING", "FLOAT, INT", True),
        ("INT", "FLOAT", False),
        ("image", "IMAGE", True),
        ("STRING", "INT,FLOAT", False),
    ],
)
def test_match_types(received: str, wanted: str, fits: bool) -> None:
    assert match_types(received, wanted) is fits


@pytest.mark.parametrize(
    ("name", "found", "candidates"),
    [
        ("a.safetensors", "a.safetensors", []),
        ("sd\\v1.safetensors", "sd/v1.safetensors", []),
        ("SD/V1.safetensors", "sd/v1.safetensors", []),
        ("other\\V1.safetensors", "sd/v1.safetensors", []),
        ("b.ckpt", None, ["sd/b.ckpt", "xl/b.ckpt"]),
        ("c.ckpt", None, []),
    ],
)
def test_resolve_file(name: str, found: str | None, candidates: list[str]) -> None:
    assert resolve_file(name, FILES.files("checkpoints")) == (found, candidates)


def test_file_names_from_elsewhere() -> None:
    def loading(name: str) -> ValidatedWorkflow:
        prompt = {"1": {"class_type": "Load", "inputs": {"name": name}}}
        return check(prompt, ["1"])

    validated = loading("SD1\\v1.safetensors")
    assert validated.nodes["1"].constants == {"name": "sd/v1.safetensors"}
    assert validated.prompt["1"]["inputs"]["name"] == "sd/v1.safetensors"
    assert len(validated.warnings) == 1
    fault = loading("b.ckpt").faults[0]
    assert fault.type == "value_not_in_list"
    assert fault.extra_info["candidates"] == ["sd/b.ckpt", "xl/b.ckpt"]
    assert "it could be sd/b.ckpt or xl/b.ckpt" in fault.details


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["1", "2", "3"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
PLACES: list[list[str]] = [
    [], ["2"], ["2", "class_type"], ["2", "inputs"], ["9"], ["2", "_meta"], ["3", "inputs", "images"],
    *[["2", "inputs", name] for name in (*GOOD["2"]["inputs"], "clip")],
]  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(st.sampled_from(PLACES), JSON), min_size=1, max_size=4))
def test_mutated_json_raises_nothing_but_ours(mutations: list[tuple[list[str], Any]]) -> None:
    prompt: Any = json.loads(json.dumps(GOOD))
    for place, value in mutations:
        if not place:
            prompt = value
            continue
        at: Any = prompt
        for key in place[:-1]:
            at = at.get(key) if isinstance(at, dict) else None
        if isinstance(at, dict):
            at[place[-1]] = value
    try:
        workflow = Workflow.parse(json.dumps(prompt), registry=NODES, context=FILES)
    except HiresError as error:
        assert "\n" not in str(error)
        return
    validated = validate(workflow, NODES, FILES)
    json.dumps([node_errors(validated), error_body(validated), validated.prompt])
    assert validated.ok or all(str(fault) for fault in validated.faults)
    if validated.outputs:
        assert execute(validated, NODES, FILES, ResultCache(10**6)).ok
