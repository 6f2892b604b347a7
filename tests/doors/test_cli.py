"""The `hires` command as a user meets it: what it prints, how it ends, what it leaves behind."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from hires.cli import app
from hires.imaging.pictures import open_picture
from hires.metadata.files import picture_texts

SMALL = ["--size", "64", "--steps", "2", "--seed", "3"]


@pytest.fixture
def hires(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run a command in an empty folder, with its own cache and log."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HIRES_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HIRES_LOG", str(tmp_path / "hires.log"))
    monkeypatch.setenv("HIRES_DEVICE", "cpu")

    def run(*words: object) -> Result:
        return CliRunner().invoke(app, [str(word) for word in words])

    return run


def one_line(result: Result, *parts: str) -> None:
    """A user's error: exit code 2 and a single line on standard error that holds all parts."""
    assert result.exit_code == 2, result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("hires: ")]
    assert len(lines) == 1
    assert "Traceback" not in result.stderr
    for part in parts:
        assert part in lines[0]


def test_txt2img_prints_the_picture(hires: Callable[..., Result], tmp_path: Path) -> None:
    result = hires("txt2img", "1girl, smile", *SMALL, "--scale", "2", "--hires-steps", "2", "--output-dir", "out")
    assert result.exit_code == 0, result.output
    path = tmp_path / result.stdout.strip()
    assert open_picture(path).size == (128, 128)
    assert "4 denoiser calls" in result.stderr
    assert "DPM++ 2M Karras, 2 steps at 64x64, then 2 at 128x128 (Latent, denoising 0.7), seed 3" in result.stderr


def test_what_will_disappoint_is_noted_beforehand(hires: Callable[..., Result]) -> None:
    flags = ["--steps", "1", "--size", "70x64", "--denoise", "0.3", "--output-dir", "out"]
    result = hires("txt2img", "1girl <lora:style:0.8>", *flags)
    assert result.exit_code == 0, result.output
    for note in ("70x64 is drawn as 64x64", "needs a denoising strength of 0.5", "there is no LoRA 'style'"):
        assert note in result.stderr


def test_from_a_picture_with_an_override(hires: Callable[..., Result], tmp_path: Path) -> None:
    first = hires("txt2img", "1girl, smile", *SMALL, "--denoise", "0.5", "--output-dir", "out").stdout.strip()
    again = hires("txt2img", "--from", first, "--output-dir", "out").stdout.strip()
    other = hires("txt2img", "--from", first, "--denoise", "0.8", "--output-dir", "out").stdout.strip()
    pictures = [open_picture(tmp_path / name) for name in (first, again, other)]
    assert pictures[0].tobytes() == pictures[1].tobytes()
    assert pictures[0].tobytes() != pictures[2].tobytes()
    assert "Denoising strength: 0.8" in picture_texts(pictures[2])["parameters"]


def test_run_takes_several_workflows(hires: Callable[..., Result], tmp_path: Path) -> None:
    first = tmp_path / hires("txt2img", "1girl", *SMALL, "--output-dir", "out").stdout.strip()
    prompt = json.loads(picture_texts(open_picture(first))["prompt"])
    (tmp_path / "one.json").write_text(json.dumps(prompt))
    changed = {key: {**node, "inputs": {**node["inputs"]}} for key, node in prompt.items()}
    next(node for node in changed.values() if node["class_type"] == "KSampler")["inputs"]["steps"] = 1
    (tmp_path / "two.json").write_text(json.dumps(changed))
    result = hires("run", "one.json", "two.json", "--output-dir", "out2")
    assert result.exit_code == 0, result.output
    assert "one.json" in result.stdout and "two.json" in result.stdout
    assert len(list((tmp_path / "out2").glob("*.png"))) == 2
    assert result.stdout.count("CLIPTextEncode: reused") == 2


def test_one_bad_workflow_does_not_stop_the_others(hires: Callable[..., Result], tmp_path: Path) -> None:
    first = tmp_path / hires("txt2img", "1girl", *SMALL, "--output-dir", "out").stdout.strip()
    (tmp_path / "good.json").write_text(picture_texts(open_picture(first))["prompt"])
    (tmp_path / "bad.json").write_text('{"1": {"class_type": "KSampler", "inputs": {}}')
    result = hires("run", "bad.json", "good.json", "--output-dir", "out2")
    assert result.exit_code == 2
    assert "bad.json" in result.stderr and "Traceback" not in result.stderr
    assert len(list((tmp_path / "out2").glob("*.png"))) == 1


def test_models_lists_the_built_in_model(hires: Callable[..., Result]) -> None:
    result = hires("models")
    assert result.exit_code == 0
    line = next(line for line in result.stdout.splitlines() if "hires-pocket" in line)
    assert "float16" in line and "25 MB" in line


def test_samplers_lists_both_dialects(hires: Callable[..., Result]) -> None:
    result = hires("samplers")
    assert result.exit_code == 0
    for name in ("DPM++ 2M SDE Heun", "dpmpp_2m_sde_heun", "Restart", "er_sde", "Align Your Steps", "linear_quadratic"):
        assert name in result.stdout


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (["--sampler", "Eular"], ["Sampler not found: 'Eular'", "Euler"]),
        (["--checkpoint", "nothing"], ["'nothing'", "checkpoints"]),
        (["--size", "0"], ["--size cannot be 0x0"]),
        (["--size", "1000000"], ["16 to 16384 pixels, not 1000000"]),
        (["--size", "a lot"], ["--size must look like 768x512"]),
        (["--switch-at", "0.5"], ["no refiner"]),
        (["--no-hires", "--scale", "2"], ["contradict"]),
        (["--device", "abacus"], ["abacus"]),
        (["--weights", "int3"], ["int3"]),
    ],
)
def test_a_mistake_is_one_line(
    hires: Callable[..., Result], flags: list[str], parts: list[str], tmp_path: Path
) -> None:
    one_line(hires("txt2img", "1girl", *SMALL, "--output-dir", "out", *flags), *parts)
    assert not (tmp_path / "out").exists()


def test_a_corrupt_checkpoint_is_one_line(hires: Callable[..., Result], tmp_path: Path) -> None:
    folder = tmp_path / "models" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "broken.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{not json at all")
    (folder / "photo.ckpt").write_bytes(b"\xff\xd8\xff\xe0" + b"\0" * 200)
    for name in ("broken", "photo"):
        one_line(hires("txt2img", "1girl", *SMALL, "--checkpoint", name, "--output-dir", "out"), name)
    assert not (tmp_path / "out").exists()


def test_a_picture_without_parameters_is_one_line(hires: Callable[..., Result], tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.png")
    one_line(hires("txt2img", "--from", "plain.png"), "plain.png", "no generation parameters")
    one_line(hires("txt2img"), "no prompt")


def test_a_full_disk_is_one_line_and_leaves_nothing(
    hires: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    save = Image.Image.save

    def full(self: Image.Image, file: Path, **options: object) -> None:
        save(self, file, **options)
        with Path(file).open("r+b") as stream:
            stream.truncate(100)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Image.Image, "save", full)
    one_line(hires("txt2img", "1girl", *SMALL, "--output-dir", "out"), "no space left")
    assert list((tmp_path / "out").iterdir()) == []


def test_an_output_folder_that_cannot_be_is_one_line(hires: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    one_line(hires("txt2img", "1girl", *SMALL, "--output-dir", "file"), "cannot write")
    assert (tmp_path / "file").read_text() == "mine"


def test_our_own_fault_keeps_its_traceback_in_the_log(
    hires: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("hires.api.Engine.models", fail)
    result = hires("models")
    assert result.exit_code == 1
    assert "a fault in hires: ZeroDivisionError" in result.stderr and "Traceback" not in result.stderr
    assert "ZeroDivisionError: division by zero" in (tmp_path / "hires.log").read_text()


def test_control_c_stops_between_steps_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hires", "txt2img", "1girl", "--size", "256", "--steps", "10000"]
    environment = {**os.environ, "HIRES_CACHE_DIR": str(tmp_path / "cache"), "HIRES_DEVICE": "cpu"}
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    assert process.stderr is not None
    deadline = time.monotonic() + 120
    while not (tmp_path / "cache").exists() and time.monotonic() < deadline:
        time.sleep(0.2)  # the cache of hashes is written just before the model is loaded
    time.sleep(3)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors.strip().splitlines()[-1] == "hires: stopped; what was finished before is kept"
    assert "Traceback" not in errors and output == ""
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".png", ".tmp")]


def test_help_does_not_load_torch(tmp_path: Path) -> None:
    script = "import sys; import hires.cli; sys.exit(any(m in sys.modules for m in ('torch', 'diffusers', 'gradio')))"
    assert subprocess.run([sys.executable, "-c", script], cwd=tmp_path).returncode == 0
