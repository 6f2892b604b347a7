"""`hires workflow show` and `convert`, and `hires run` on one node, as a user meets them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from hires.cli import app
from hires.imaging.pictures import open_picture
from hires.metadata.files import picture_texts

WORKFLOWS = Path(__file__).parent.parent / "workflows"


@pytest.fixture
def hires(tmp_path: Path, thin_models: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run a command in an empty folder over the thin models."""
    monkeypatch.chdir(tmp_path)
    for name, value in (("CACHE_DIR", tmp_path / "cache"), ("LOG", tmp_path / "log"), ("MODELS_DIR", thin_models)):
        monkeypatch.setenv(f"HIRES_{name}", str(value))
    monkeypatch.setenv("HIRES_DEVICE", "cpu")

    def run(*words: object) -> Result:
        return CliRunner().invoke(app, [str(word) for word in words])

    return run


def ok(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return result.stdout


def test_show_prints_a_tree_with_all_settings(hires: Callable[..., Result]) -> None:
    text = ok(hires("workflow", "show", WORKFLOWS / "two_pass.json"))
    lines = text.splitlines()
    assert lines[0] == "two_pass.json: 11 nodes, editor format"
    assert "    upscale_method nearest-exact, width 96, height 72, crop disabled" in text
    assert 'text "a red (fox:1.2) on snow, detailed"' in text
    assert sum("KSampler" in line and "(above)" not in line for line in lines) == 2


def test_show_names_unknown_nodes_and_their_packs(hires: Callable[..., Result], tmp_path: Path) -> None:
    node = {"class_type": "ADE_LoadAnimateDiffModel", "inputs": {"model_name": "mm.ckpt", "x": ["9", 0]}}
    (tmp_path / "a.json").write_text(json.dumps({"1": node}))
    text = ok(hires("workflow", "show", "a.json"))
    assert "[not known here: it comes with ComfyUI-AnimateDiff-Evolved]" in text
    assert "model_name mm.ckpt" in text and "x: node 9, which is not there" in text


@pytest.mark.parametrize("name", ["two_pass", "upscale_model", "primitives_and_groups"])
def test_converted_files_draw_the_same(name: str, hires: Callable[..., Result], tmp_path: Path) -> None:
    ok(hires("workflow", "convert", WORKFLOWS / f"{name}.json", "api.json", "--to", "api"))
    ok(hires("workflow", "convert", "api.json", "ui.json", "--to", "ui"))
    assert json.loads((tmp_path / "ui.json").read_text())["version"] == 0.4
    for out, file in (("a", WORKFLOWS / f"{name}.json"), ("b", "api.json"), ("c", "ui.json")):
        ok(hires("run", file, "--output-dir", out))
    pictures = [sorted((tmp_path / out).rglob("*.png")) for out in "abc"]
    assert len(pictures[0]) == len(pictures[1]) == len(pictures[2]) > 0
    for drawn in zip(*pictures, strict=True):
        first, *others = (np.asarray(open_picture(path)) for path in drawn)
        assert all(np.array_equal(first, other) for other in others)


def test_infotext_and_back(hires: Callable[..., Result], tmp_path: Path) -> None:
    """Workflow -> infotext -> workflow: the second pass's fields too; run, both draw the same."""
    ok(hires("workflow", "convert", WORKFLOWS / "two_pass.json", "two.txt", "--to", "infotext"))
    text = (tmp_path / "two.txt").read_text()
    for part in ("Negative prompt: blurry, bad", "Steps: 4", "Sampler: DPM++ 2M", "Schedule type: Karras",
                 "Seed: 8566257", "Size: 64x48", "Denoising strength: 0.5", "Hires resize: 96x72", "Hires steps: 3",
                 "Hires upscaler: Latent (nearest-exact)", "Model: thin_sd15", "Dialect: comfyui"):  # fmt: skip
        assert part in text, part
    ok(hires("workflow", "convert", "two.txt", "back.json", "--to", "api"))
    ok(hires("run", "back.json", "--output-dir", "a"))
    ok(hires("run", WORKFLOWS / "two_pass.json", "--output-dir", "b"))
    drawn = np.asarray(open_picture(next((tmp_path / "a").glob("*.png"))))
    assert np.array_equal(drawn, np.asarray(open_picture(next((tmp_path / "b").glob("two_pass*.png")))))


FIRST = ["--checkpoint", "thin_sd15", "--size", "64", "--steps", "3", "--seed", "4", "--output-dir", "out"]
HIRES = ["--hires-steps", "2", "--hires-prompt", "a green fox", "--hires-sampler", "Euler a", "--clip-skip", "2"]


@pytest.mark.parametrize(
    ("prompt", "flags", "alike"),
    [
        (
            "a (red:1.2) fox",
            ["--scale", "2", "--upscaler", "upscaler_compact_x4.safetensors", "--emphasis", "No norm", "--eta", "0.5"],
            ("Hires upscale: 2", "Hires resize: 128x128"),
        ),
        ("a fox <lora:lora_thin_sd15:0.5:0.7>", ["--scale", "1.5"], ("Hires upscale: 1.5", "Hires resize: 96x96")),
        ("a fox", ["--hires-size", "128x96", "-n", "bad, [x:y:0.5]"], ("", "")),
        ("a fox", ["--hires-size", "96x128", "--upscaler", "Lanczos", "--variation-strength", "0.2"], ("", "")),
    ],
)
def test_a_recipes_workflow_can_be_told_as_its_infotext(
    prompt: str, flags: list[str], alike: tuple[str, str], hires: Callable[..., Result], tmp_path: Path
) -> None:
    more = ["--variation-seed", "9"] if "--variation-strength" in flags else []
    path = ok(hires("txt2img", prompt, *FIRST, "--denoise", "0.5", *HIRES, *flags, *more)).strip()
    texts = picture_texts(open_picture(tmp_path / path))
    (tmp_path / "graph.json").write_text(texts["prompt"])
    ok(hires("workflow", "convert", "graph.json", "told.txt", "--to", "infotext"))
    told = (tmp_path / "told.txt").read_text().strip()
    # a graph says the second size, not the factor that gave it; Uniform and Normal are one name there
    assert told == texts["parameters"].replace(*alike).replace("Uniform", "Normal")


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--scale", "1.5", "--denoise", "0.6", "--refiner-passes", "first pass"],
        ["--scale", "1.5", "--denoise", "0.6"],
        ["--scale", "1.5", "--denoise", "0.7", "--refiner-passes", "both passes"],
    ],
)
def test_a_refiners_hand_over_can_be_told_and_draws_the_same(
    flags: list[str], hires: Callable[..., Result], tmp_path: Path
) -> None:
    refiner = ["--checkpoint", "thin_sdxl_base", "--refiner", "thin_sdxl_refiner", "--switch-step", "2"]
    size = ["--size", "64", "--steps", "4", "--seed", "4", "--output-dir", "out"]
    path = ok(hires("txt2img", "a fox", *refiner, *size, *flags)).strip()
    texts = picture_texts(open_picture(tmp_path / path))
    (tmp_path / "graph.json").write_text(texts["prompt"])
    ok(hires("workflow", "convert", "graph.json", "told.txt", "--to", "infotext"))
    told = (tmp_path / "told.txt").read_text()
    assert "Refiner: thin_sdxl_refiner [" in told and "Refiner switch step: 2" in told
    assert ("Hires refiner" in told) == ("Hires refiner" in texts["parameters"])
    ok(hires("run", "told.txt", "--output-dir", "again"))
    drawn = open_picture(next((tmp_path / "again").glob("*.png")))
    assert drawn.tobytes() == open_picture(tmp_path / path).tobytes()


def test_a_picture_is_told_by_the_infotext_that_it_carries(hires: Callable[..., Result], tmp_path: Path) -> None:
    path = ok(hires("txt2img", "a fox", *FIRST, "--scale", "2")).strip()
    ok(hires("workflow", "convert", path, "told.txt", "--to", "infotext"))
    said = picture_texts(open_picture(tmp_path / path))["parameters"]
    assert (tmp_path / "told.txt").read_text() == said + "\n"


def test_loras_of_a_comfyui_graph_become_tags(hires: Callable[..., Result], tmp_path: Path) -> None:
    path = ok(hires("txt2img", "a fox <lora:lora_thin_sd15:1:0.7>", *FIRST, "--dialect", "comfyui")).strip()
    graph = json.loads(picture_texts(open_picture(tmp_path / path))["prompt"])
    texts = [node["inputs"]["text"] for node in graph.values() if node["class_type"] == "CLIPTextEncode"]
    assert "a fox " in texts  # ComfyUI's own node would encode a tag as words
    (tmp_path / "graph.json").write_text(json.dumps(graph))
    ok(hires("workflow", "convert", "graph.json", "told.txt", "--to", "infotext"))
    assert (tmp_path / "told.txt").read_text().startswith("a fox  <lora:lora_thin_sd15:1:0.7>\n")
    (tmp_path / "again").mkdir()
    again = ok(hires("run", "told.txt", "--output-dir", "again"))
    drawn = open_picture(next((tmp_path / "again").glob("*.png")))
    assert again and drawn.tobytes() == open_picture(tmp_path / path).tobytes()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("sdxl_refiner", ["KSamplerAdvanced", "a KSampler was expected there"]),
        ("primitives_and_groups", ["LatentUpscaleBy", "no upscaler for the method 'bislerp'"]),
    ],
)
def test_a_graph_of_another_shape_is_refused_in_words(
    name: str, words: list[str], hires: Callable[..., Result], tmp_path: Path
) -> None:
    result = hires("workflow", "convert", WORKFLOWS / f"{name}.json", "x.txt", "--to", "infotext")
    assert result.exit_code == 2 and "cannot be told as infotext" in result.stderr
    assert all(word in result.stderr for word in words), result.stderr
    assert not (tmp_path / "x.txt").exists()


def test_an_infotext_whose_model_is_missing_converts_but_does_not_run(
    hires: Callable[..., Result], tmp_path: Path
) -> None:
    text = "a fox\nSteps: 20, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: 1, Size: 512x512, "
    (tmp_path / "web.txt").write_text(text + "Model hash: 6ce0161689, Model: v1-5-pruned-emaonly")
    ok(hires("workflow", "convert", "web.txt", "web.json", "--to", "ui"))
    nodes = json.loads((tmp_path / "web.json").read_text())["nodes"]
    loader = next(node for node in nodes if node["type"] == "CheckpointLoaderSimple")
    assert loader["widgets_values"] == ["v1-5-pruned-emaonly.safetensors"]
    result = hires("run", "web.txt")
    assert result.exit_code == 2 and "v1-5-pruned-emaonly" in result.stderr


def test_mistakes_are_one_line(hires: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "there.json").write_text("mine")
    Image.new("RGB", (4, 4)).save(tmp_path / "plain.png")
    two_pass = WORKFLOWS / "two_pass.json"
    for words, part in (
        (("workflow", "convert", two_pass, "there.json", "--to", "api"), "is there already"),
        (("workflow", "convert", two_pass, "x", "--to", "yaml"), "there is no format 'yaml'"),
        (("workflow", "show", "gone.json"), "gone.json"),
        (("workflow", "show", "gone.png"), "gone.png"),
        (("workflow", "show", "plain.png"), "carries no workflow"),
    ):
        result = hires(*words)
        assert result.exit_code == 2 and part in result.stderr, result.output
        assert len(result.stderr.splitlines()) == 1
    assert (tmp_path / "there.json").read_text() == "mine"


def test_run_of_one_node_computes_what_it_needs(hires: Callable[..., Result], tmp_path: Path) -> None:
    text = ok(hires("run", WORKFLOWS / "two_pass.json", "--node", "5", "--output-dir", "out"))
    assert "5 KSampler: computed" in text and "LatentUpscale" not in text
    assert not (tmp_path / "out").exists()
    assert hires("run", WORKFLOWS / "two_pass.json", "--node", "55").exit_code == 2


def test_several_files_share_what_they_have_in_common(hires: Callable[..., Result], tmp_path: Path) -> None:
    ui = json.loads((WORKFLOWS / "sdxl_refiner.json").read_text())
    switch = next(node for node in ui["nodes"] if node.get("title") == "end_at_step")
    switch["widgets_values"][0] = 8
    (tmp_path / "later.json").write_text(json.dumps(ui))
    text = ok(hires("run", WORKFLOWS / "sdxl_refiner.json", "later.json", "--output-dir", "out"))
    shared = r"KSamplerAdvanced: computed(, [\d.]+ s)? \(shared trajectory up to step 7, 1 of 8 steps computed\)"
    assert re.search(shared, text)
    assert "CLIPTextEncodeSDXL: reused" in text


def test_unknown_nodes_fail_the_command_but_the_rest_is_drawn(hires: Callable[..., Result], tmp_path: Path) -> None:
    ok(hires("workflow", "convert", WORKFLOWS / "two_pass.json", "api.json", "--to", "api"))
    prompt = json.loads((tmp_path / "api.json").read_text())
    prompt["60"] = {"class_type": "UltralyticsDetectorProvider", "inputs": {"model_name": "bbox/face.pt"}}
    (tmp_path / "more.json").write_text(json.dumps(prompt))
    result = hires("run", "more.json", "--output-dir", "out")
    assert result.exit_code == 2 and "Traceback" not in result.stderr
    assert "node 60" in result.stderr and "ComfyUI Impact Pack; inputs: model_name" in result.stderr
    assert len(list((tmp_path / "out").glob("*.png"))) == 2


def test_the_command_loads_nothing_heavy_for_its_help(tmp_path: Path) -> None:
    script = "import sys; import hires.cli; sys.exit(any(m in sys.modules for m in ('torch', 'PIL', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", script], cwd=tmp_path).returncode == 0
