"""API format laid out for the editor, over the whole vocabulary: nothing is lost on the way there and back."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hires.graph.context import PlainContext
from hires.graph.declare import Registry
from hires.graph.tree import tree_lines
from hires.graph.ui_write import editor_file
from hires.graph.validate import validate
from hires.graph.workflow import Workflow
from hires.nodes.registry import node_registry

CASES: dict[str, Any] = json.loads((Path(__file__).parent.parent / "reference" / "cases.json").read_text())
REGISTRY = node_registry()
CONTEXT = PlainContext()


def there_and_back(workflow: Workflow, registry: Registry = REGISTRY) -> tuple[dict[str, Any], Workflow]:
    ui = json.loads(json.dumps(editor_file(workflow, registry, CONTEXT)))
    return ui, Workflow.parse(ui, registry=registry, context=CONTEXT)


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_lost(name: str) -> None:
    prompt = CASES[name]["workflow"]
    if not {node["class_type"] for node in prompt.values()} <= set(REGISTRY):
        pytest.skip("needs a node that this version does not have")
    _, back = there_and_back(Workflow.parse(prompt))
    assert back.notes == ()
    for node_id, node in prompt.items():
        inputs = dict(back.nodes[node_id].inputs)
        for key, value in node["inputs"].items():
            assert inputs.pop(key) == value, (node_id, key)
        defaults = REGISTRY[node["class_type"]].defaults
        assert all(defaults[key] == value for key, value in inputs.items()), node_id


def test_places_and_links_are_as_an_editor_wants_them() -> None:
    largest = max((case["workflow"] for case in CASES.values()), key=len)
    ui, _ = there_and_back(Workflow.parse(largest))
    nodes = {node["id"]: node for node in ui["nodes"]}
    assert ui["last_node_id"] == max(nodes) and ui["last_link_id"] == len(ui["links"])
    for number, source, slot, target, place, kind in ui["links"]:
        assert number in nodes[source]["outputs"][slot]["links"]
        assert nodes[target]["inputs"][place]["link"] == number
        assert nodes[source]["outputs"][slot]["type"] == kind
        assert nodes[source]["pos"][0] + nodes[source]["size"][0] < nodes[target]["pos"][0]
        assert nodes[source]["order"] < nodes[target]["order"]
    for one, other in combinations(ui["nodes"], 2):
        apart = any(
            one["pos"][axis] + one["size"][axis] <= other["pos"][axis]
            or other["pos"][axis] + other["size"][axis] <= one["pos"][axis]
            for axis in (0, 1)
        )
        assert apart, (one["id"], other["id"])


def test_values_stand_in_the_editors_order() -> None:
    inputs = {"seed": 7, "steps": "9", "cfg": 4, "sampler_name": "euler", "scheduler": "karras", "denoise": 0.5}
    ui, back = there_and_back(Workflow.parse({"5": {"class_type": "KSampler", "inputs": inputs}}))
    assert ui["nodes"][0]["widgets_values"] == [7, "fixed", 9, 4, "euler", "karras", 0.5]
    ui, back = there_and_back(Workflow.parse({"5": {"class_type": "KSampler", "inputs": {**inputs, "rng": "CPU"}}}))
    assert ui["nodes"][0]["widgets_values"][7:] == ["comfyui", "CPU"]
    assert back.nodes["5"].inputs["rng"] == "CPU"
    loaded, _ = there_and_back(Workflow.parse({"1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}}}))
    assert loaded["nodes"][0]["widgets_values"] == ["a.png", "image"]


def test_a_linked_widget_keeps_its_socket_and_its_place() -> None:
    prompt = {
        "1": {"class_type": "Unheard", "inputs": {"a": 3}},
        "2:7": {"class_type": "EmptyLatentImage", "inputs": {"width": ["1", 2], "height": 64, "batch_size": 1}},
    }
    ui, back = there_and_back(Workflow.parse(prompt))
    latent = next(node for node in ui["nodes"] if node["type"] == "EmptyLatentImage")
    assert latent["id"] == 2 and latent["widgets_values"] == [512, 64, 1]
    assert latent["inputs"] == [{"name": "width", "type": "INT", "widget": {"name": "width"}, "link": 1}]
    assert back.nodes["2"].inputs == {"width": ["1", 2], "height": 64, "batch_size": 1}
    assert back.nodes["1"].inputs == {"a": 3}


def test_titles_stay() -> None:
    prompt = {"1": {"class_type": "EmptyLatentImage", "inputs": {}, "_meta": {"title": "Canvas"}}}
    ui, back = there_and_back(Workflow.parse(prompt))
    assert ui["nodes"][0]["title"] == "Canvas" and back.nodes["1"].title == "Canvas"


def test_an_editors_file_is_given_back_as_it_was() -> None:
    ui, _ = there_and_back(Workflow.parse(CASES["sampler_euler"]["workflow"]))
    ui["groups"] = [{"title": "mine", "bounding": [0, 0, 9, 9]}]
    assert editor_file(Workflow.parse(ui, registry=REGISTRY, context=CONTEXT), REGISTRY, CONTEXT) == ui


ids = st.sampled_from(["1", "2", "3", "4:1", "x", "007"])
values = st.one_of(
    st.tuples(ids, st.integers(-2, 3)).map(list),
    st.none(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=9),
    st.lists(st.integers(), max_size=3),
)
names = st.sampled_from(["model", "seed", "steps", "text", "clip", "samples", "latent_image", "images", "what"])
kinds = st.sampled_from(["KSampler", "CLIPTextEncode", "SaveImage", "LatentUpscale", "VAEDecode", "Unheard"])
nodes = st.fixed_dictionaries({"class_type": kinds, "inputs": st.dictionaries(names, values, max_size=5)})


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(ids, nodes, max_size=6))
def test_any_graph_can_be_laid_out_and_shown(prompt: dict[str, Any]) -> None:
    """Circles, dangling links, values of any type: an editor's file and a tree come out all the same."""
    workflow = Workflow.parse(prompt)
    ui, back = there_and_back(workflow)
    assert len(ui["nodes"]) == len({node["id"] for node in ui["nodes"]}) == len(prompt) == len(back.nodes)
    assert len(tree_lines(workflow, REGISTRY)) > len(prompt)
    validate(back, REGISTRY, CONTEXT, everything=True)


def test_a_tree_of_a_long_chain_stays_readable() -> None:
    prompt = {
        str(i): {"class_type": "LatentUpscaleBy", "inputs": {"samples": [str(i - 1), 0], "scale_by": 1.5}}
        for i in range(3000)
    }
    lines = tree_lines(Workflow.parse(prompt), REGISTRY)
    assert max(len(line) for line in lines) < 150
    assert sum("LatentUpscaleBy" in line for line in lines) >= 3000


def test_tree_of_a_small_graph() -> None:
    lines = tree_lines(Workflow.parse(CASES["sampler_euler"]["workflow"]), REGISTRY)
    assert lines[:6] == [
        "the workflow: 5 nodes, API format",
        "5 KSampler",
        "    seed 0, steps 6, cfg 5.0, sampler_name euler, scheduler karras, denoise 1.0",
        "  model: 1 CheckpointLoaderSimple -> MODEL",
        "      ckpt_name thin_sd15.safetensors",
        "  positive: 2 CLIPTextEncode",
    ]
    assert "    clip: 1 CheckpointLoaderSimple -> CLIP (above)" in lines
