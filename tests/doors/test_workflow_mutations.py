"""Workflows damaged in every way, read and checked with the real vocabulary: a clear report, never a traceback."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from hires.api import Engine
from hires.errors import HiresError
from hires.graph.fault_answers import error_body, node_errors
from hires.graph.workflow import Workflow
from hires.metadata.files import save_png
from hires.recipes.read_workflow import request_of_workflow
from hires.settings import Settings

HERE = Path(__file__).parent.parent
FILES = [json.loads(path.read_text()) for path in sorted((HERE / "workflows").glob("*.json"))]
CASES = [case["workflow"] for case in json.loads((HERE / "reference" / "cases.json").read_text()).values()]

ODD: list[Callable[[], Any]] = [
    lambda: None,
    lambda: True,
    lambda: -1,
    lambda: 0,
    lambda: 10**30,
    lambda: -(2**63),
    lambda: 1e308,
    lambda: float("inf"),
    lambda: float("nan"),
    lambda: "",
    lambda: "x" * 5000,
    lambda: "\x00\ud800%Node.w%",
    lambda: "../../etc/passwd",
    list,
    dict,
    lambda: ["1", 0],
    lambda: ["5", 99],
    lambda: ["5", -1],
    lambda: ["nowhere", 0],
    lambda: {"__value__": [1, [2]]},
    lambda: {"__value__": {"__value__": 3}},
    lambda: [[[[["deep"]]]]],
    lambda: nested(90),
    lambda: nested(150),
    lambda: {"class_type": "KSampler", "inputs": {}},
]


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) of a JSON value."""
    rest = [value]
    while rest:
        current = rest.pop()
        keys = list(current) if isinstance(current, dict) else range(len(current)) if isinstance(current, list) else ()
        for key in keys:
            yield current, key
            rest.append(current[key])


@st.composite
def damaged(draw: st.DrawFn, originals: list[Any]) -> Any:
    data = copy.deepcopy(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(1, 6))):
        found = list(places(data))
        if not found:
            break
        container, key = found[draw(st.integers(0, len(found) - 1))]
        action = draw(st.sampled_from(["drop", "odd", "odd", "copy", "rename", "double"]))
        if action == "drop":
            del container[key]
        elif action == "odd":
            container[key] = draw(st.sampled_from(ODD))()
        elif action == "copy":  # a value from elsewhere: links into circles, ids that are taken
            other, place = found[draw(st.integers(0, len(found) - 1))]
            try:
                container[key] = copy.deepcopy(other[place])
            except (KeyError, IndexError):
                continue
        elif action == "rename" and isinstance(container, dict):
            container[draw(st.sampled_from(["", "1", "inputs", "class_type", "nodes", "é"]))] = container.pop(key)
        elif action == "double" and isinstance(container, list):
            container.append(copy.deepcopy(container[key]))
    return data


@pytest.fixture(scope="module")
def engine(thin_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = tmp_path_factory.mktemp("damaged")
    return Engine(Settings(models_dir=thin_models, output_dir=folder, cache_dir=folder, device="cpu"))


def check(engine: Engine, data: Any) -> None:
    """Everything that a door does with a workflow short of running it."""
    try:
        validated = engine.validate(data)
    except HiresError as error:
        assert "\n" not in str(error)
        return
    for fault in validated.faults:
        assert not fault.extra_info.get("traceback"), fault
        assert "\n" not in str(fault)
    json.dumps(node_errors(validated)), json.dumps(error_body(validated)), json.dumps(validated.prompt)
    if isinstance(data, Workflow):
        json.dumps(engine.editor_file(data))
        assert engine.tree(data)
        try:
            request_of_workflow(data, engine.registry)
        except HiresError as error:
            assert "\n" not in str(error)


def check_text(engine: Engine, data: Any, path: Path) -> None:
    path.write_text(json.dumps(data))
    try:
        workflow = engine.read(path)
    except HiresError as error:
        assert "\n" not in str(error)
    else:
        check(engine, workflow)


MANY = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))


@MANY
@given(data=damaged(FILES))
def test_editor_files(data: Any, engine: Engine, tmp_path: Path) -> None:
    check(engine, data)
    check_text(engine, data, tmp_path / "x.json")


@MANY
@given(data=damaged(CASES))
def test_api_files(data: Any, engine: Engine, tmp_path: Path) -> None:
    check(engine, data)
    check_text(engine, data, tmp_path / "x.json")


@settings(MANY, max_examples=40)
@given(prompt=damaged(CASES), ui=damaged(FILES), text=st.text(max_size=60), cut=st.integers(0, 3000))
def test_pictures(prompt: Any, ui: Any, text: str, cut: int, engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    texts = {"prompt": json.dumps(prompt), "workflow": json.dumps(ui)}
    texts["parameters"] = text.encode("utf-8", "replace").decode()
    save_png(Image.new("RGB", (4, 4)), path, texts)
    if cut < 2000:
        path.write_bytes(path.read_bytes()[:cut])
    try:
        workflow = engine.read(path)
    except HiresError as error:
        assert "\n" not in str(error)
    else:
        check(engine, workflow)


infotext_fields = st.sampled_from(
    ["Steps: 20", "Steps: x", "Sampler: Euler a", "Sampler: ???", "CFG scale: 1e999", "Seed: -7", "Size: 0x9",
     "Size: 99999999x9", "Model: a/../b", "Hires upscale: -2", "Hires upscaler: Nope", "Denoising strength: 7",
     "Clip skip: 99", "Hires resize: 0x0", "Refiner: gone [abc]", "Refiner switch at: 9", "VAE: none.pt", "RNG: TRNG",
     "Variation seed strength: nan", "Schedule type: Odd", "Seed: 99999999999999999999999999", "Steps: 1e9",
     "Emphasis: \"a, b\"", "CFG scale: nan", "Dialect: klingon", "Eta: inf", "Hires steps: -1"]
)  # fmt: skip


@MANY
@given(fields=st.lists(infotext_fields, max_size=9), prompt=st.text(max_size=40))
def test_infotexts(fields: list[str], prompt: str, engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text(prompt.encode("utf-8", "replace").decode() + "\n" + ", ".join(fields))
    try:
        workflow = engine.read(path)
    except HiresError as error:
        assert "\n" not in str(error)
    else:
        check(engine, workflow)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"nodes": ' + "[" * 5000 + "]" * 5000 + "}", '{"1":' * 9999, "NaN", "9" * 9999]
)
def test_text_that_is_nested_without_end(text: str, engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(text)
    save_png(Image.new("RGB", (4, 4)), tmp_path / "x.png", {"prompt": text, "workflow": text})
    for name in ("x.json", "x.png"):
        with pytest.raises(HiresError, match=name):
            engine.read(tmp_path / name)


@pytest.mark.parametrize("data", FILES, ids=lambda data: data["id"][-2:])
def test_the_originals_are_sound(data: Any, engine: Engine) -> None:
    """Guards the tests above: what they damage is whole before."""
    validated = engine.validate(data)
    assert {fault.type for fault in validated.faults} <= {"invalid_prompt"}
    assert not validated.warnings or validated.faults
