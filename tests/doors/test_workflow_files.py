"""Workflows as the editor saves them, run by thin models: from JSON, from the PNG that came of it, in both formats."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hires.api import Engine, HiresFix, Txt2Img
from hires.errors import HiresError, WorkflowError
from hires.graph.report import RunReport
from hires.graph.workflow import Workflow
from hires.imaging.pictures import open_picture
from hires.metadata.exif import put_texts
from hires.metadata.files import picture_texts, save_png, save_webp
from hires.metadata.workflows import file_texts
from hires.nodes.context import Counts
from hires.settings import Settings

WORKFLOWS = Path(__file__).parent.parent / "workflows"
NAMES = sorted(path.stem for path in WORKFLOWS.glob("*.json"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workflows")


@pytest.fixture(scope="module")
def make_engine(thin_models: Path, folder: Path) -> Callable[..., Engine]:
    def make(name: str = "out", **changes: Any) -> Engine:
        settings = Settings(models_dir=thin_models, output_dir=folder / name, cache_dir=folder / "cache", device="cpu")
        return Engine(replace(settings, **changes))

    return make


@pytest.fixture(scope="module")
def engine(make_engine: Callable[..., Engine]) -> Engine:
    """Shared by the tests, as a user's session would be."""
    return make_engine()


def pixels(engine: Engine, report: RunReport) -> list[np.ndarray]:
    report.raise_for_failure()
    return [np.asarray(open_picture(path)) for path in engine.saved(report)]


def assert_same(some: list[np.ndarray], others: list[np.ndarray]) -> None:
    assert len(some) == len(others) > 0
    assert all(np.array_equal(one, other) for one, other in zip(some, others, strict=True))


def run_all(engine: Engine, workflow: Any, **options: Any) -> RunReport:
    return engine.run(workflow, force_outputs=True, **options)


@pytest.mark.parametrize("name", NAMES)
def test_round_trip(name: str, engine: Engine, make_engine: Callable[..., Engine], tmp_path: Path) -> None:
    """JSON -> pictures -> from these, by `prompt` alone, by `workflow` alone and by both: the same pixels."""
    saved = json.loads((WORKFLOWS / f"{name}.json").read_text())
    if not {node["type"] for node in saved["nodes"]} <= {*engine.registry, *EDITOR_ONLY}:
        pytest.skip("needs a node that this version does not have")
    report = run_all(engine, WORKFLOWS / f"{name}.json")
    assert report.ok and not report.faults and not report.warnings
    first = pixels(engine, report)
    assert all(picture.std() > 1 for picture in first)
    path = engine.saved(report)[-1]
    texts = picture_texts(open_picture(path))
    assert json.loads(texts["workflow"]) == saved
    fresh = make_engine(f"again {name}")
    assert_same(first, pixels(fresh, run_all(fresh, path)))
    for key in ("prompt", "workflow"):
        save_png(Image.new("RGB", (4, 4)), tmp_path / f"{key}.png", {key: texts[key]})
        assert_same(first, pixels(engine, run_all(engine, tmp_path / f"{key}.png")))
    # and in API format alone, which is laid out anew for the editor
    again = run_all(engine, json.loads(texts["prompt"]))
    made = picture_texts(open_picture(engine.saved(again)[-1]))["workflow"]
    assert_same(first, pixels(engine, run_all(engine, json.loads(made))))


EDITOR_ONLY = ("Note", "MarkdownNote", "PrimitiveNode", "Reroute")


def test_sampler_and_advanced_sampler_with_the_whole_window_agree(engine: Engine) -> None:
    prompt = engine.read(WORKFLOWS / "two_pass.json").as_json()
    first = next(node for node, entry in prompt.items() if entry["class_type"] == "KSampler")
    for denoised in (1.0, 0.4):  # below 1 the other node has to be told the longer schedule and where to begin
        plain = {**prompt, first: {**prompt[first], "inputs": {**prompt[first]["inputs"], "denoise": denoised}}}
        inputs = {k: v for k, v in plain[first]["inputs"].items() if k not in ("seed", "denoise")}
        inputs |= {"noise_seed": plain[first]["inputs"]["seed"], "add_noise": "enable", "start_at_step": 0}
        inputs |= {"end_at_step": 10_000, "return_with_leftover_noise": "disable"}
        if denoised < 1:
            inputs |= {"steps": int(inputs["steps"] / denoised), "start_at_step": 6}
        advanced = {**plain, first: {"class_type": "KSamplerAdvanced", "inputs": inputs}}
        assert_same(pixels(engine, run_all(engine, plain)), pixels(engine, run_all(engine, advanced)))


def test_every_container_gives_the_same_pixels(engine: Engine, tmp_path: Path) -> None:
    report = run_all(engine, WORKFLOWS / "upscale_model.json")
    first, texts = pixels(engine, report), file_texts(engine.saved(report)[0])
    texts = {key: texts[key] for key in ("prompt", "workflow")}
    picture = Image.new("RGB", (8, 8))
    save_webp([picture], tmp_path / "a.webp", texts)
    exif = Image.Exif()
    put_texts(exif, texts)
    picture.save(tmp_path / "a.jpg", exif=exif)
    picture.save(tmp_path / "a.avif", exif=exif.tobytes())
    for name in ("a.webp", "a.jpg", "a.avif"):
        assert file_texts(tmp_path / name) == texts, name
        assert_same(first, pixels(engine, run_all(engine, tmp_path / name)))


def test_a_latent_file_carries_its_workflow(engine: Engine) -> None:
    prompt = engine.read(WORKFLOWS / "two_pass.json").as_json()
    samplers = [node for node, entry in prompt.items() if entry["class_type"] == "KSampler"]
    prompt["99"] = {"class_type": "SaveLatent", "inputs": {"samples": [samplers[0], 0], "filename_prefix": "kept"}}
    report = run_all(engine, prompt)
    path = next(path for path in engine.saved(report) if path.suffix == ".latent")
    assert_same(pixels_of_pictures(engine, report), pixels_of_pictures(engine, run_all(engine, path)))


def pixels_of_pictures(engine: Engine, report: RunReport) -> list[np.ndarray]:
    report.raise_for_failure()
    return [np.asarray(open_picture(path)) for path in engine.saved(report) if path.suffix == ".png"]


def test_infotext_alone_draws_the_picture_again(engine: Engine, tmp_path: Path) -> None:
    request = Txt2Img("a red fox", "blurry", "thin_sd15", steps=3, width=64, height=64, seed=3, sampler="Euler a")
    drawn = engine.txt2img(request, hires=HiresFix(steps=2, denoise=0.5))
    text = file_texts(drawn.paths[0])["parameters"]
    save_png(drawn.pictures[0], tmp_path / "web.png", {"parameters": text})
    (tmp_path / "web.txt").write_text(text)
    for name in ("web.png", "web.txt"):
        assert_same([np.asarray(drawn.pictures[0])], pixels(engine, run_all(engine, tmp_path / name)))


def test_a_prompt_that_is_none_gives_way_to_the_workflow(engine: Engine, tmp_path: Path) -> None:
    ui = (WORKFLOWS / "two_pass.json").read_text()
    for broken in ("a castle", "{", "[]", "{}", '{"1": 3}'):
        save_png(Image.new("RGB", (4, 4)), tmp_path / "x.png", {"prompt": broken, "workflow": ui})
        assert engine.read(tmp_path / "x.png").ui == json.loads(ui)
        save_png(Image.new("RGB", (4, 4)), tmp_path / "y.png", {"prompt": broken})
        with pytest.raises(HiresError, match=r"y\.png"):
            engine.run(tmp_path / "y.png")


def test_a_picture_without_anything_says_so(engine: Engine, tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "plain.png")
    with pytest.raises(WorkflowError, match="no workflow and no generation parameters"):
        engine.run(tmp_path / "plain.png")


def test_targets_run_one_node_and_what_it_needs(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine("partial")
    flow = engine.read(WORKFLOWS / "two_pass.json")
    first = flow.find("KSampler")[0]
    report = engine.run(flow, targets=[first])
    assert engine.saved(report) == []
    assert set(report.nodes) == {first, *(link.node for link in flow.nodes[first].links().values())}
    with pytest.raises(WorkflowError, match="there is no node '77'"):
        engine.run(flow, targets=["77"])


def test_shared_steps_are_told_node_by_node(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine("shared")
    flow = engine.read(WORKFLOWS / "sdxl_refiner.json")
    base, refiner = flow.find("KSamplerAdvanced")
    engine.run(flow)
    later = flow.with_inputs(base, end_at_step=9).with_inputs(refiner, start_at_step=9)
    report = engine.run(later)
    assert report.nodes[base].notes == ("shared trajectory up to step 7, 2 of 9 steps computed",)
    assert report.nodes[refiner].notes == ()


def with_unknown(prompt: Mapping[str, Any], **nodes: Any) -> dict[str, Any]:
    return {**prompt, **nodes}


def test_unknown_nodes_are_named_and_the_rest_is_run(engine: Engine) -> None:
    prompt = engine.read(WORKFLOWS / "two_pass.json").as_json()
    decode = next(node for node, entry in prompt.items() if entry["class_type"] == "VAEDecode")
    unknown = {"class_type": "FaceDetailer", "inputs": {"image": [decode, 0], "guide_size": 512}}
    shown = {"class_type": "SaveImage", "inputs": {"images": ["90", 0], "filename_prefix": "face"}}
    report = engine.run({**prompt, "90": unknown, "91": shown})
    assert report.ok and [fault.node for fault in report.faults] == ["90"]
    assert str(report.faults[0]) == (
        "node 90 (FaceDetailer): Cannot execute because node FaceDetailer does not exist: Node ID '#90' "
        "(it comes with ComfyUI Impact Pack; inputs: image, guide_size)"
    )


def test_with_nothing_to_run_all_faults_are_told(engine: Engine) -> None:
    bad = {"class_type": "EmptyLatentImage", "inputs": {"width": -1, "height": 64, "batch_size": 1}}
    with pytest.raises(WorkflowError) as caught:
        engine.run({"1": {"class_type": "Image Save", "inputs": {}}, "2": bad})
    assert {fault.type for fault in caught.value.faults} == {"invalid_prompt", "value_smaller_than_min"}
    assert "WAS Node Suite" in str(caught.value)


def test_a_workflow_object_keeps_its_editor_file(engine: Engine) -> None:
    flow = engine.read(WORKFLOWS / "primitives_and_groups.json")
    assert isinstance(flow, Workflow)
    assert engine.editor_file(flow) == json.loads((WORKFLOWS / "primitives_and_groups.json").read_text())


def test_counts_are_those_of_the_run(make_engine: Callable[..., Engine]) -> None:
    counts = Counts()
    shutil.rmtree(make_engine("counted").settings.output_dir, ignore_errors=True)
    make_engine("counted").run(WORKFLOWS / "two_pass.json", counts=counts)
    assert (counts.denoiser_calls, counts.computed_steps, counts.reused_steps) == (7, 7, 0)
