"""The memory forecast of a workflow: sizes read from the graph, choices that fit, and refusal before anything runs."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hires.api import Engine
from hires.errors import MemoryLimitError
from hires.graph.validate import validate
from hires.models.budget import Budget, parse_bytes
from hires.models.needs import unet_need
from hires.nodes.context import Counts
from hires.nodes.extents import Extent, Extents
from hires.nodes.fitting import Calls, calls_that_fit
from hires.recipes.request import HiresFix, Txt2Img
from hires.recipes.txt2img import txt2img
from hires.settings import Settings

CPU = torch.device("cpu")


def engine_in(folder: Path, memory: str = "auto") -> Engine:
    return Engine(
        Settings(
            models_dir=folder / "models",
            input_dir=folder / "input",
            output_dir=folder / "outputs",
            cache_dir=folder / "cache",
            device="cpu",
            memory=memory,
        )
    )


def two_pass(engine: Engine, **fields: Any) -> dict[str, Any]:
    hires = HiresFix(upscaler="Lanczos", scale=2.0, denoise=0.5, steps=2)
    request, facts = engine.prepare(Txt2Img(prompt="1girl", seed=1, steps=2, hires=hires, **fields))
    return txt2img(request, facts)


def node_of(workflow: dict[str, Any], title: str) -> str:
    return next(name for name, node in workflow.items() if node.get("_meta", {}).get("title") == title)


def test_sizes_are_read_from_the_graph(tmp_path: Path) -> None:
    engine = engine_in(tmp_path)
    workflow = two_pass(engine, width=192, height=128, batch_size=3)
    context = engine._context(Counts())
    valid = validate(engine._parse(workflow, context), engine.registry, context)
    extents = Extents(valid, context)
    assert extents.out_of(valid.nodes[node_of(workflow, "First pass")]) == Extent(3, 16, 24)
    assert extents.out_of(valid.nodes[node_of(workflow, "Hires pass")]) == Extent(3, 32, 48)
    sizes = {node.type.name: extents.out_of(node) for node in valid.nodes.values()}
    assert sizes["ImageScale"] == Extent(3, 256, 384)
    assert sizes["CheckpointLoaderSimple"] is None


def test_a_loop_has_no_size_and_does_not_hang(tmp_path: Path) -> None:
    engine = engine_in(tmp_path)
    workflow = two_pass(engine)
    context = engine._context(Counts())
    valid = validate(engine._parse(workflow, context), engine.registry, context)
    first = valid.nodes[node_of(workflow, "First pass")]
    link = first.links["latent_image"]._replace(node=first.id)
    looped = {**valid.nodes, first.id: replace(first, links={"latent_image": link})}
    object.__setattr__(valid, "nodes", looped)
    assert Extents(valid, context).out_of(looped[first.id]) is None


def test_what_cannot_fit_is_refused_before_it_runs_and_the_named_budget_does(tmp_path: Path) -> None:
    engine = engine_in(tmp_path)
    workflow = two_pass(engine, width=512, height=512)
    engine.forecast(workflow)  # the models are loaded
    held = engine.budget.held(engine.store.held_bytes())
    engine.budget = Budget(held + 1_000_000, CPU, True, engine.budget.begun)
    with pytest.raises(MemoryLimitError, match="at least") as caught:
        engine.run(workflow)
    assert not list((tmp_path / "outputs").rglob("*.png"))
    named = parse_bytes(str(caught.value).split("needs ")[1].split(" at least")[0])
    assert named == pytest.approx(caught.value.needed, rel=0.02)
    engine.budget = Budget(named + 50_000_000, CPU, True, engine.budget.begun)
    assert engine.forecast(workflow).peak <= engine.budget.limit


def test_a_smaller_budget_cuts_more_and_predicts_less(tmp_path: Path) -> None:
    engine = engine_in(tmp_path)
    workflow = two_pass(engine, width=512, height=512)
    ample = engine.forecast(workflow)
    assert {stage.chosen.name for stage in ample.stages} == {"whole"}
    engine.budget = Budget(ample.peak - 20_000_000, CPU, True, engine.budget.begun)
    tight = engine.forecast(workflow)
    assert tight.peak <= engine.budget.limit
    assert {stage.chosen.name for stage in tight.stages} > {"whole"}


def test_the_choice_is_stored_with_the_picture(tmp_path: Path) -> None:
    engine = engine_in(tmp_path, memory="64GB")
    report = engine.run(two_pass(engine), force_outputs=True)
    with Image.open(engine.saved(report)[-1]) as picture:
        assert json.loads(picture.info["memory"]).startswith("64.0 GB: First pass at 160x160 whole, decoding")


class Held(Budget):
    """A budget of a process that holds its weights alone."""

    def held(self, weights: int = 0) -> int:
        return weights


def test_prompts_go_one_by_one_where_both_do_not_fit(tmp_path: Path) -> None:
    engine = engine_in(tmp_path)
    model = engine.store.checkpoint(engine.store.names("checkpoints")[0]).model
    assert model is not None
    context = engine._context(Counts())
    single, both = unet_need(model, 32, 32, 1, 0), unet_need(model, 32, 32, 2, 0)
    assert single < both
    context.budget = Held((single + both) // 2, CPU, True)
    assert calls_that_fit(model, (1, 4, 32, 32), context) == Calls(1, tight=True)
    assert calls_that_fit(model, (1, 4, 16, 16), context).together == 0
    context.budget = Held(20 * both, CPU, True)
    assert calls_that_fit(model, (1, 4, 32, 32), context) == Calls(0, tight=False)
    context.budget = Held(both, CPU, stated=False)
    assert calls_that_fit(model, (1, 4, 32, 32), context) == Calls(0, tight=False)
    context.budget = Held(single // 2, CPU, True)
    with pytest.raises(MemoryLimitError, match="one prompt at a time"):
        calls_that_fit(model, (1, 4, 32, 32), context)


def test_one_prompt_at_a_time_draws_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn(name: str) -> np.ndarray[Any, Any]:
        engine = engine_in(tmp_path / name)
        paths = engine.saved(engine.run(two_pass(engine), force_outputs=True))
        return np.asarray(Image.open(paths[-1])).astype(int)

    whole = drawn("whole")
    monkeypatch.setattr("hires.nodes.drawing.calls_that_fit", lambda *_: Calls(1))
    assert whole.std() > 1 and np.abs(drawn("single") - whole).max() <= 1


@pytest.fixture
def wide(write_checkpoint: Callable[..., Path], tmp_path: Path) -> Engine:
    """An engine with a thin checkpoint in float32."""
    (tmp_path / "models" / "checkpoints").mkdir(parents=True)
    write_checkpoint("thin_sd15", tmp_path / "models" / "checkpoints" / "thin.safetensors")
    return engine_in(tmp_path)


def test_weights_are_halved_where_nothing_else_helps_and_that_is_said(wide: Engine) -> None:
    workflow = two_pass(wide, checkpoint="thin", width=64, height=64)
    assert not wide.forecast(workflow).halved
    full = wide.store.held_bytes()
    wide.budget = Held(full // 2, CPU, True)
    with pytest.raises(MemoryLimitError) as caught:
        wide.forecast(workflow)
    wide.budget = Held(caught.value.needed, CPU, True)
    halved = wide.forecast(workflow)
    assert halved.halved and wide.store.held_bytes() < 0.8 * full
    assert "weights in half precision" in halved.describe() and "weights in half precision" in halved.stored()


def test_what_even_half_the_weights_do_not_help_leaves_them_as_they_were(wide: Engine) -> None:
    workflow = two_pass(wide, checkpoint="thin", width=64, height=64)
    wide.forecast(workflow)
    wide.budget = Held(wide.store.held_bytes() // 10, CPU, True)
    with pytest.raises(MemoryLimitError):
        wide.forecast(workflow)
    assert wide.store.placement.weights == "auto"
