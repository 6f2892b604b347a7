"""`hires info`, `hires txt2img --from` and `hires verify`: what a file says, taken up again, and proved or refuted."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner, Result

from hires.api import Engine
from hires.cli import app
from hires.imaging.pictures import open_picture
from hires.metadata.files import save_png
from hires.metadata.infotext import read_infotext
from hires.metadata.workflows import file_texts
from hires.settings import Settings
from hires.told import told
from hires.verifying import compared

SMALL = ["--size", "64", "--steps", "2", "--seed", "3"]
Command = Callable[..., Result]


@pytest.fixture
def hires(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run a command in an empty folder, with its own cache and log."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HIRES_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HIRES_LOG", str(tmp_path / "hires.log"))
    monkeypatch.setenv("HIRES_DEVICE", "cpu")
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def drawn(hires: Command, tmp_path: Path) -> Path:
    """A picture by the built-in model."""
    result = hires("txt2img", "1girl, smile", "-n", "bad", *SMALL)
    assert result.exit_code == 0, result.output
    return tmp_path / result.stdout.strip()


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return Engine(Settings(models_dir=tmp_path / "models", cache_dir=tmp_path / "cache", device="cpu"))


def with_text(picture: Path, name: str, *changes: tuple[str, str]) -> Path:
    """A copy whose infotext is changed, and which carries nothing else."""
    text = file_texts(picture)["parameters"]
    for old, new in changes:
        assert re.search(old, text), (old, text)
        text = re.sub(old, new, text)
    save_png(open_picture(picture), picture.parent / name, {"parameters": text})
    return picture.parent / name


# info


def test_info_says_what_is_in_a_picture(hires: Command, drawn: Path) -> None:
    result = hires("info", drawn)
    assert result.exit_code == 0, result.output
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines[0].endswith("PNG, 64x64, " + f"{drawn.stat().st_size} bytes")
    for line in ("prompt: 1girl, smile", "negative prompt: bad", "Sampler DPM++ 2M", "Seed 3"):
        assert line in lines
    assert any(re.fullmatch(r"model hires-pocket \[\w{10}\]: here", line) for line in lines)
    assert any(re.fullmatch(r"ComfyUI workflow: \d+ nodes, with the editor file", line) for line in lines)


def test_info_for_scripts(hires: Command, drawn: Path) -> None:
    other = with_text(drawn, "other.png", ("Model: hires-pocket", "Model: gone"), (r"hash: \w+", "hash: 0123456789"))
    found = json.loads(hires("info", "--json", drawn, other).stdout)
    assert [one["width"] for one in found] == [64, 64]
    assert found[0]["fields"]["Steps"] == "2" and found[0]["computed_on"]["device"] == "cpu"
    named = {"role": "model", "name": "gone", "hash": "0123456789", "state": "missing", "found": ""}
    assert found[1]["files"] == [named]


def test_info_of_a_comfyui_picture_a_workflow_and_weights(hires: Command, drawn: Path) -> None:
    prompt = file_texts(drawn)["prompt"]
    save_png(open_picture(drawn), drawn.parent / "comfy.png", {"prompt": prompt.replace("hires-pocket", "other")})
    (drawn.parent / "flow.json").write_text(prompt)
    save_file({"a": torch.zeros(2)}, drawn.parent / "x.safetensors")
    files = [drawn.parent / name for name in ("comfy.png", "flow.json", "x.safetensors")]
    result = hires("info", *files)
    assert "model other.safetensors: not here" in result.stdout
    assert "model hires-pocket.safetensors: here" in result.stdout
    assert result.stdout.count("ComfyUI workflow: ") == 2 and result.exit_code == 0


def test_info_of_what_says_nothing_or_is_not_there(hires: Command, tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "plain.bmp")
    result = hires("info", "plain.bmp")
    assert result.exit_code == 0 and "BMP, 4x4" in result.stdout and "says nothing" in result.stdout
    (tmp_path / "folder.png").mkdir()
    result = hires("info", "plain.bmp", "gone.png", "folder.png")
    assert result.exit_code == 2
    assert result.stdout.count("problem: ") == 2 and "Traceback" not in result.output


def test_info_never_steers_the_terminal(hires: Command, tmp_path: Path) -> None:
    text = "\x1b[31mred\nSteps: 1, Sampler: \x07Euler, Seed: 2"
    save_png(Image.new("RGB", (4, 4)), tmp_path / "x.png", {"parameters": text})
    output = hires("info", "x.png").stdout
    assert "\x1b" not in output and "\x07" not in output and "red" in output


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    raw=st.binary(max_size=200),
    name=st.sampled_from(["x.png", "x.jpg", "x.gif", "x.json", "x.txt", "x.latent", "x.safetensors", "x.ckpt", "x"]),
    keep_head=st.booleans(),
    text=st.text(max_size=40),
)
def test_strange_files_raise_nothing(
    raw: bytes, name: str, keep_head: bool, text: str, engine: Engine, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.unlink(missing_ok=True)
    if keep_head and name.endswith(("png", "jpg")):
        picture = Image.new("RGB", (4, 4))
        fields = f"{text}\nSteps: {text[:9]}, Sampler: {text[9:18]}, Seed: 1, Tiled Diffusion: {{{text}}}, Size: 4x4"
        save_png(picture, path, {"parameters": fields, "prompt": text, "workflow": "{}"})
        raw = path.read_bytes() + raw
    path.write_bytes(raw)
    found = told(engine, path)
    assert all("\n" not in line for line in found.lines())
    json.dumps(found.record())


# --from


def test_from_keeps_the_seed_unless_another_is_given(hires: Command, drawn: Path, tmp_path: Path) -> None:
    again = tmp_path / hires("txt2img", "--from", drawn).stdout.strip()
    other = tmp_path / hires("txt2img", "1boy", "--from", drawn, "--seed", "4", "--format", "webp").stdout.strip()
    assert open_picture(again).tobytes() == open_picture(drawn).tobytes()
    info = read_infotext(file_texts(other)["parameters"])
    assert (info.prompt, info.fields["Seed"], other.suffix) == ("1boy", "4", ".webp")


def test_from_takes_text_files_other_formats_and_workflows(hires: Command, drawn: Path, tmp_path: Path) -> None:
    (tmp_path / "info.txt").write_text(file_texts(drawn)["parameters"], encoding="utf-8")
    save_png(open_picture(drawn), tmp_path / "comfy.png", {"prompt": file_texts(drawn)["prompt"]})
    for name in ("info.txt", "comfy.png"):
        result = hires("txt2img", "--from", name)
        assert result.exit_code == 0, result.output
        assert open_picture(tmp_path / result.stdout.strip()).tobytes() == open_picture(drawn).tobytes()


def test_what_is_missing_is_said_in_a_line_each_and_nothing_is_drawn(hires: Command, drawn: Path) -> None:
    text = (
        "Model: gone, VAE: lost.pt, Refiner: away [00ff00ff00], Denoising strength: 0.5, Hires upscale: 1.5, "
        "Hires upscaler: 4x-Foo, Hires steps: 1"
    )
    asked = with_text(drawn, "asked.png", ("Model: hires-pocket", text), (r"Model hash: \w+, ", ""))
    result = hires("txt2img", "--from", asked)
    assert result.exit_code == 2
    missing = [line for line in result.stderr.splitlines() if line.startswith("missing: ")]
    assert [line.split(": ")[1] for line in missing] == [
        *("model gone", "VAE lost.pt", "refiner away [00ff00ff00]", "upscaler 4x-Foo"),
    ]
    assert "--replace-missing" in result.stderr.splitlines()[-1]
    result = hires("txt2img", "--from", asked, "--replace-missing")
    assert result.exit_code == 0, result.output
    for note in ("model gone is replaced by hires-pocket", "VAE lost.pt is replaced by the model's own VAE"):
        assert f"note: {note}" in result.stderr
    assert "upscaler 4x-Foo is replaced by Lanczos" in result.stderr
    info = read_infotext(file_texts(drawn.parents[1] / result.stdout.strip())["parameters"])
    assert (info.fields["Model"], info.fields["Hires upscaler"]) == ("hires-pocket", "Lanczos")
    assert "Refiner" not in info.fields and "VAE" not in info.fields
    flags = ["-m", "hires-pocket", "--upscaler", "Nearest", "--vae", "hires-pocket"]
    assert (
        "VAE lost.pt of the file is replaced by hires-pocket, as asked"
        in hires("txt2img", "--from", asked, *flags).stderr
    )


GUIDES = [
    "1girl, (bored:0), [[pants]], (quality:0)\nNegative prompt: (worst quality:1.4)\nSteps: 256, Sampler: Euler a, "
    "CFG scale: 4.8, Seed: 3190768820, Size: 1024x576, Model hash: 7f96a1a9ca, Model: anything-v4.5, "
    "Denoising strength: 0.707, Clip skip: 2, Hires upscale: 2, Hires upscaler: Latent",
    "1girl, white hair\nSteps: 25, Sampler: DPM++ 2M Karras, CFG scale: 10, Seed: 2311942344, Size: 1024x512, "
    "Model hash: 89d59c3dde, Model: animefull, Denoising strength: 0.45, Clip skip: 2, ENSD: 31337,\n"
    "Hires upscale: 2, Hires upscaler: R-ESRGAN 4x+ Anime6B",
    "closed eyes\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1694284519, Size: 496x744, Model hash: e3edb8a26f, "
    "Model: 真实系: lofi_v2, Denoising strength: 0.75, Mask blur: 4, Version: V1.2.1",
]


@pytest.mark.parametrize(
    ("text", "notes", "size"),
    [
        (GUIDES[0], ["model anything-v4.5 [7f96a1a9ca] is replaced by hires-pocket"], "128x64"),
        (GUIDES[1], ["upscaler R-ESRGAN 4x+ Anime6B is replaced by Lanczos"], "128x64"),
        (GUIDES[2], ["model 真实系: lofi_v2 [e3edb8a26f] is replaced by", "not acted on: Mask blur"], "64x64"),
    ],
)
def test_guides_run_and_what_stands_in_is_said(
    text: str, notes: list[str], size: str, hires: Command, tmp_path: Path
) -> None:
    (tmp_path / "guide.txt").write_text(text, encoding="utf-8")
    flags = ["--size", "64x64" if size == "64x64" else "64x32", "--steps", "2", "--replace-missing"]
    result = hires("txt2img", "--from", "guide.txt", *flags)
    assert result.exit_code == 0, result.output
    for note in notes:
        assert note in result.stderr
    picture = tmp_path / result.stdout.strip()
    assert "x".join(map(str, open_picture(picture).size)) == size
    before, after = read_infotext(text).fields, read_infotext(file_texts(picture)["parameters"]).fields
    kept = ("CFG scale", "Seed", "Clip skip", "Mask blur")
    assert {key: before.get(key) for key in kept} == {key: after.get(key) for key in kept}
    assert after["Model"] == "hires-pocket"


# verify


def test_a_picture_by_hires_is_equal(hires: Command, drawn: Path, tmp_path: Path) -> None:
    flags = ["--scale", "1.5", "--hires-steps", "1", "--batch-size", "2"]
    files = [drawn]
    for kind in ("jpg", "webp"):
        words = hires("txt2img", "1girl", *SMALL, *flags, "--format", kind, "--quality", "70").stdout.split()
        files += [tmp_path / word for word in words]
    result = hires("verify", *files)
    assert result.exit_code == 0, result.output
    assert [line for line in result.stdout.splitlines() if line] == [f"{path}: equal" for path in files]
    assert not list((tmp_path / "outputs").glob("hires-verify*"))


def test_a_picture_that_differs_says_why(hires: Command, drawn: Path) -> None:
    changes = [
        ("RNG: NV", "RNG: CPU"),
        (r"hash: \w+", "hash: 0123456789"),
        ("Version: .*", "Mask blur: 4, Version: v1.9"),
    ]
    result = hires("verify", with_text(drawn, "other.png", *changes))
    assert result.exit_code == 1, result.output
    head, *why = [line for line in result.stdout.splitlines() if line]
    assert re.search(r"differs: largest difference \d+ of 255, mean [\d.]+, PSNR [\d.]+ dB", head)
    told_why = "\n".join(why)
    for part in ("model hires-pocket [0123456789]: hires-pocket.safetensors is here with another hash", "(v1.9)"):
        assert part in told_why
    assert "settings that are not known: Mask blur: 4" in told_why


def test_what_a_picture_was_computed_on_is_a_reason(hires: Command, drawn: Path) -> None:
    texts = file_texts(drawn)
    origin = json.loads(texts["hires"]) | {"device": "cuda", "weights": "float16", "version": "0.0.1"}
    pixels = np.asarray(open_picture(drawn)).copy()
    pixels[0, 0, 0] ^= 1
    save_png(Image.fromarray(pixels), drawn.parent / "other.png", texts | {"hires": json.dumps(origin)})
    result = hires("verify", drawn.parent / "other.png")
    assert result.exit_code == 1
    assert "largest difference 1 of 255, mean 8.14e-05" in result.stdout  # of 64 x 64 x 3 values one, by one
    for reason in ("device: cuda in the file, cpu here", "weights: float16 in the file", "hires: 0.0.1 in the file"):
        assert reason in result.stdout


def test_a_comfyui_picture_is_verified_by_its_workflow(hires: Command, drawn: Path) -> None:
    prompt = file_texts(drawn)["prompt"]
    save_png(open_picture(drawn), drawn.parent / "comfy.png", {"prompt": prompt})
    save_png(open_picture(drawn), drawn.parent / "seed.png", {"prompt": prompt.replace('"seed": 3', '"seed": 4')})
    assert hires("verify", drawn.parent / "comfy.png").stdout.strip().endswith("comfy.png: equal")
    result = hires("verify", drawn.parent / "comfy.png", drawn.parent / "seed.png")
    assert result.exit_code == 1 and "dialect: drawn by ComfyUI itself" in result.stdout


def test_what_cannot_be_drawn_is_told(hires: Command, drawn: Path) -> None:
    gone = with_text(drawn, "gone.png", ("Model: hires-pocket", "Model: gone"), (r"hash: \w+", "hash: 0123456789"))
    Image.new("RGB", (4, 4)).save(drawn.parent / "plain.png")
    result = hires("verify", drawn, gone, drawn.parent / "plain.png", drawn.parent / "nothing.png")
    assert result.exit_code == 2
    lines = [line for line in result.stdout.splitlines() if line]
    assert lines[0].endswith("equal") and "model gone [0123456789]: not here" in lines[1]
    assert "carries no workflow and no generation parameters" in lines[2] and "cannot be drawn" in lines[3]


def test_comparison_by_hand() -> None:
    black = Image.new("RGB", (2, 1))
    other = Image.new("RGB", (2, 1))
    other.putpixel((0, 0), (255, 0, 0))
    found = compared(black, other)
    assert found is not None and (found.largest, found.mean) == (255, 42.5)
    assert found.psnr == pytest.approx(7.7815, abs=1e-4)  # 10 log10(6)
    assert compared(black, Image.new("RGB", (1, 2))) is None


# Files under other names


@pytest.fixture
def renamed(thin_models: Path, hires: Command, tmp_path: Path) -> Path:
    """A picture by a thin model with a LoRA and an embedding, whose files have other names since."""
    models = tmp_path / "models"
    names = {
        "checkpoints/thin_sd15.safetensors": "checkpoints/base.safetensors",
        "loras/lora_thin_sd15.safetensors": "loras/style.safetensors",
        "embeddings/embedding_thin_sd15.safetensors": "embeddings/easyneg.safetensors",
    }
    for source, target in names.items():
        (models / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(thin_models / source, models / target)
    result = hires("txt2img", "a fox <lora:style:0.7>", "-n", "easyneg, dark", "-m", "base", *SMALL)
    assert result.exit_code == 0, result.output
    for old, new in (("checkpoints/base", "b2"), ("loras/style", "s2"), ("embeddings/easyneg", "e2")):
        (models / f"{old}.safetensors").rename((models / old).with_name(f"{new}.safetensors"))
    return tmp_path / result.stdout.strip()


def test_renamed_files_are_found_by_their_hashes_at_every_door(renamed: Path, hires: Command, tmp_path: Path) -> None:
    fields = read_infotext(file_texts(renamed)["parameters"]).fields
    assert re.fullmatch(r"style: \w{12}", fields["Lora hashes"])
    assert re.fullmatch(r"easyneg: \w{12}", fields["TI hashes"])
    said = hires("info", renamed).stdout
    for old, new in (("model base", "b2"), ("LoRA style", "s2"), ("embedding easyneg", "e2")):
        assert re.search(rf"{old} \[\w{{10,12}}\]: found as {new}", said), said
    again = hires("txt2img", "--from", renamed)
    assert again.exit_code == 0, again.output
    assert open_picture(tmp_path / again.stdout.strip()).tobytes() == open_picture(renamed).tobytes()
    assert "model base" in again.stderr and "found as b2" in again.stderr
    result = hires("verify", renamed)
    assert result.exit_code == 0, result.output
    assert "equal" in result.stdout and "note: LoRA style" in result.stdout


def test_a_redrawn_picture_is_verified_by_its_workflow_with_a_renamed_model(
    renamed: Path, hires: Command, tmp_path: Path
) -> None:
    """It was made of another picture, so infotext alone cannot draw it; the workflow names the model as it was."""
    (tmp_path / "input").mkdir()
    shutil.copy(renamed, tmp_path / "input" / "x.png")
    flags = ["--by", "1", "--tile", "64", "--steps", "2", "--denoise", "0.5", "--seed", "1", "-m", "b2"]
    result = hires("sd-upscale", "input/x.png", "-p", "a fox", *flags)
    assert result.exit_code == 0, result.output
    made = tmp_path / result.stdout.strip().splitlines()[-1]
    models = tmp_path / "models" / "checkpoints"
    (models / "b2.safetensors").rename(models / "b3.safetensors")
    result = hires("verify", made)
    assert result.exit_code == 0, result.output
    assert re.search(r"note: model b2 \[\w{10}\]: found as b3", result.stdout)


def test_a_file_of_the_name_with_another_hash_is_said(renamed: Path, hires: Command, tmp_path: Path) -> None:
    """The name alone would take the wrong file: that of the hash is taken."""
    models = tmp_path / "models" / "checkpoints"
    data = bytearray((models / "b2.safetensors").read_bytes())
    data[-2:] = b"\0\0"
    (models / "base.safetensors").write_bytes(data)
    assert hires("verify", renamed).exit_code == 0
    (models / "b2.safetensors").unlink()
    result = hires("info", renamed)
    assert re.search(r"model base \[\w{10}\]: base.safetensors is here with another hash, \w{10}", result.stdout)
