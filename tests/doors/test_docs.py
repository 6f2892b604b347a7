"""Every example of the README and of docs/ is run, small and with few steps, in a folder as a user would have it."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hires.cli import app
from hires.imaging.pictures import open_picture
from hires.metadata.files import picture_texts

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMES = {"my_model": "thin_sd15", "sd_xl_base_1.0": "thin_sdxl_base", "sd_xl_refiner_1.0": "thin_sdxl_refiner"}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)


COMMANDS = [
    (page.name, line)
    for page in PAGES
    for block in blocks(page, "bash")
    for line in block.splitlines()
    if line.startswith("hires ")
]
SCRIPTS = [(page.name, block) for page in PAGES for block in blocks(page, "python")]


@pytest.fixture(scope="module")
def home(thin_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with models of the names that the pages use, a picture and workflows."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "models" / "checkpoints").mkdir(parents=True)
    (folder / "input").mkdir()
    for picture in (ROOT / "docs" / "images" / "img2img").glob("*.png"):
        shutil.copy(picture, folder)
    for name, layout in NAMES.items():
        shutil.copy(
            thin_models / "checkpoints" / f"{layout}.safetensors", folder / "models/checkpoints" / f"{name}.safetensors"
        )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HIRES_CACHE_DIR", str(folder / "cache"))
        patch.setenv("HIRES_DEVICE", "cpu")
        made = CliRunner().invoke(app, ["txt2img", "1girl", "-m", "hires-pocket", "--steps", "1", "--size", "64"])
        assert made.exit_code == 0, made.output
    prompt = picture_texts(open_picture(folder / "outputs" / "txt2img_00001_.png"))["prompt"]
    (folder / "workflow.json").write_text(prompt)
    (folder / "other.json").write_text(json.dumps(json.loads(prompt)))
    return folder


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_command(page: str, line: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    monkeypatch.setenv("HIRES_CACHE_DIR", str(home / "cache"))
    monkeypatch.setenv("HIRES_DEVICE", "cpu")
    words = shlex.split(line, comments=True)[1:]
    if words[0] == "txt2img":
        if "-m" not in words and "--from" not in words:
            words += ["-m", "hires-pocket"]
        elif "--size" in words:
            words[words.index("--size") + 1] = "128"
        elif "-m" in words:
            words += ["--size", "128"]
        words += ["--steps", "20"] if "--switch-step" in words else ["--steps", "2", "--hires-steps", "1"]
        if "--scale" not in line and "--hires" not in line and "--denoise" not in line:
            words = [word for word in words if word not in ("--hires-steps", "1")]
    if words[0] == "img2img":
        words += ["--steps", "2", *(() if "--outpaint" in words else ("--size", "64"))]
    if words[0] == "hires":
        words += ["--hires-steps", "1"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(("page", "script"), SCRIPTS)
def test_script(page: str, script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HIRES_CACHE_DIR", str(tmp_path / "cache"))
    exec(compile(script, page, "exec"), {})


def test_there_are_examples() -> None:
    assert len(COMMANDS) > 12 and len(SCRIPTS) >= 3
