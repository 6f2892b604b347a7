"""Names of what an output is made of: the same however a file writes it, another one as soon as it says otherwise."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hires.api import Engine, Txt2Img
from hires.graph.digest import digest
from hires.graph.workflow import as_link
from hires.imaging.pictures import open_picture
from hires.metadata.files import picture_texts
from hires.nodes.registry import own_nodes
from hires.recipes.facts import ModelFacts
from hires.recipes.request import HiresFix
from hires.recipes.txt2img import txt2img
from hires.settings import Settings

NAME = "base.safetensors"
FACTS = {NAME: ModelFacts(NAME, "0123456789", "sd1", 512)}
GRAPH = txt2img(Txt2Img("a cat", checkpoint=NAME, width=512, height=512, seed=1, hires=HiresFix()), FACTS)
SAVE = next(key for key, node in GRAPH.items() if node["class_type"] == "SaveImage")


def name(graph: dict[str, Any], save: str = SAVE) -> str:
    return digest(graph, graph[save]["inputs"]["images"], own_nodes())


def test_the_recipe_states_it() -> None:
    assert GRAPH[SAVE]["inputs"]["parameters_of"] == name(GRAPH)


@given(st.permutations(sorted(GRAPH)), st.randoms())
def test_ids_order_and_stated_defaults_do_not_count(order: list[str], chooser: Any) -> None:
    ids = {key: f"node {place}" for place, key in enumerate(order)}
    written: dict[str, Any] = {}
    for key in order:
        node = copy.deepcopy(GRAPH[key])
        inputs = {}
        for entry in own_nodes()[node["class_type"]].inputs:
            stated = isinstance(entry.default, str | int | float | bool) and chooser.random() < 0.5
            if stated and entry.is_widget and entry.name not in node["inputs"]:
                inputs[entry.name] = entry.default
        for field, value in node["inputs"].items():
            link = as_link(value)
            whole = isinstance(value, float) and value.is_integer()
            inputs[field] = int(value) if whole else value if link is None else [ids[link.node], link.slot]
        written[ids[key]] = {**node, "inputs": inputs}
    assert name(written, ids[SAVE]) == name(GRAPH)


def changes() -> list[tuple[str, str, Any]]:
    """Every value of the graph that a picture depends on, with another."""
    found = []
    for key, node in GRAPH.items():
        for field, value in node["inputs"].items():
            if key != SAVE and as_link(value) is None:
                found.append((key, field, value + 1 if isinstance(value, int | float) else f"{value} else"))
    return found


@given(st.sampled_from(changes()))
def test_every_value_counts(change: tuple[str, str, Any]) -> None:
    key, field, value = change
    graph = copy.deepcopy(GRAPH)
    graph[key]["inputs"][field] = value
    assert name(graph) != name(GRAPH)


def test_a_ring_and_a_link_to_nothing_have_names_too() -> None:
    ring = {"a": {"class_type": "X", "inputs": {"x": ["b", 0]}}, "b": {"class_type": "X", "inputs": {"x": ["a", 0]}}}
    names = {digest(ring, ["a", 0], own_nodes()), digest(ring, ["c", 0], own_nodes()), digest(ring, 3, own_nodes())}
    assert len(names) == 3


def test_a_long_chain_is_no_trouble() -> None:
    chain = {str(k): {"class_type": "X", "inputs": {"x": [str(k + 1), 0]}} for k in range(20_000)}
    assert digest(chain, ["0", 0], own_nodes())


@pytest.mark.parametrize(("steps", "stays"), [(2, True), (3, False)])
def test_a_picture_of_a_changed_workflow_does_not_carry_the_old_infotext(
    steps: int, stays: bool, tmp_path: Path
) -> None:
    folders = {"models_dir": tmp_path / "models", "output_dir": tmp_path / "out", "cache_dir": tmp_path / "cache"}
    engine = Engine(Settings(**folders, device="cpu"))
    request, facts = engine.prepare(Txt2Img("a cat", width=64, height=64, steps=2, seed=1))
    graph = txt2img(request, facts)
    sampler = next(node for node in graph.values() if node["class_type"] == "KSampler")
    sampler["inputs"]["steps"] = steps
    report = engine.run(graph)
    (path,) = (tmp_path / "out").glob("*.png")
    texts = picture_texts(open_picture(path.read_bytes()))
    assert ("parameters" in texts) == stays and "prompt" in texts
    assert any("old infotext" in note for node in report.nodes.values() for note in node.notes) != stays
