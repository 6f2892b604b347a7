"""Seeds of -1 become numbers once, when a workflow is taken in."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hires.graph.seeds import with_drawn_seeds
from hires.graph.workflow import Workflow
from hires.nodes.efficiency.values import RANDOM_SEED_LIMIT
from hires.nodes.registry import node_registry

REGISTRY = node_registry()


def flow(**inputs: Any) -> Workflow:
    return Workflow.parse({"1": {"class_type": "KSampler (Efficient)", "inputs": inputs, "_meta": {"title": "draws"}}})


@given(st.integers(-1, 5), st.integers(-1, 5), st.booleans())
def test_each_minus_one_becomes_a_seed_and_all_else_stays(seed: int, other: int, as_text: bool) -> None:
    given = flow(seed=str(seed) if as_text else seed, steps=other, model=["2", 0])
    drawn = with_drawn_seeds(given, REGISTRY)
    if seed != -1:
        assert drawn is given
        return
    assert 0 <= drawn.nodes["1"].inputs["seed"] <= RANDOM_SEED_LIMIT
    written, before = drawn.as_json()["1"], given.as_json()["1"]
    assert {**written, "inputs": {**written["inputs"], "seed": before["inputs"]["seed"]}} == before
    assert with_drawn_seeds(drawn, REGISTRY) is drawn


def test_two_runs_draw_two_seeds() -> None:
    one, other = (with_drawn_seeds(flow(seed=-1), REGISTRY).nodes["1"].inputs["seed"] for _ in range(2))
    assert one != other


def test_a_number_that_is_no_seed_and_a_link_stay() -> None:
    stays = {
        "1": {"class_type": "Efficient Loader", "inputs": {"clip_skip": -1}},
        "2": {"class_type": "unknown", "inputs": {"seed": -1}},
        "3": {"class_type": "KSampler (Efficient)", "inputs": {"seed": ["1", 0]}},
    }
    given = Workflow.parse(stays)
    assert with_drawn_seeds(given, REGISTRY) is given
