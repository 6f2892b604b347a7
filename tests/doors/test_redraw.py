"""`hires sd-upscale` and `hires ultimate`: files read where they are, plans, infotext, faults in a line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from hires.api import Engine
from hires.cli import app
from hires.errors import SettingError
from hires.imaging.inpaint_masks import blurred
from hires.imaging.pictures import open_picture
from hires.metadata.files import picture_texts
from hires.metadata.infotext import read_infotext
from hires.recipes.img2img_request import Inpaint
from hires.recipes.sd_upscale import SDUpscale
from hires.recipes.ultimate import UltimateUpscale

MODEL = ["-m", "thin_sd15", "--steps", "4", "--seed", "3"]


@pytest.fixture
def place(thin_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, value in (("MODELS_DIR", thin_models), ("CACHE_DIR", tmp_path / "cache"), ("DEVICE", "cpu")):
        monkeypatch.setenv(f"HIRES_{name}", str(value))
    (tmp_path / "elsewhere").mkdir()
    gradient = Image.linear_gradient("L").resize((50, 36)).convert("RGB")
    gradient.save(tmp_path / "elsewhere" / "small one.png")
    return tmp_path


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(words))
    return result.exit_code, result.output


def test_a_plan_says_what_the_run_then_costs(place: Path) -> None:
    words = ["ultimate", "elsewhere/small one.png", "--by", "2", "--tile", "64", "--padding", "16", *MODEL]
    code, said = run(*words, "--plan")
    assert code == 0 and "96x72 in 4 tiles" in said and "8 denoiser calls" in said
    assert not (place / "outputs").exists()
    code, said = run(*words)
    assert code == 0, said
    assert "seam index" in said and "8 denoiser calls" in said
    picture = open_picture(place / "outputs" / "ultimate_00001_.png")
    assert picture.size == (96, 72)
    fields = read_infotext(picture_texts(picture)["parameters"]).fields
    assert fields["Ultimate SD upscale tile_width"] == "64" and fields["Ultimate SD upscale padding"] == "16"
    assert fields["Denoising strength"] == "0.35" and fields["Size"] == "96x72"
    flow = json.loads(picture_texts(picture)["prompt"])
    assert [node["inputs"]["image"] for node in flow.values() if node["class_type"] == "LoadImage"] == ["small one.png"]


def test_sd_upscale_tells_its_settings_and_makes_variants(place: Path) -> None:
    code, said = run(
        "sd-upscale", "elsewhere/small one.png", "--by", "2", "--tile", "64", "--overlap", "16", *MODEL,
        "--preset", "a1111", "--batch-count", "2",
    )  # fmt: skip
    assert code == 0, said
    pictures = [open_picture(place / "outputs" / f"sd-upscale_0000{number}_.png") for number in (1, 2)]
    assert [picture.size for picture in pictures] == [(96, 72)] * 2
    fields = [read_infotext(picture_texts(picture)["parameters"]).fields for picture in pictures]
    assert [entry["Seed"] for entry in fields] == ["3", "4"]
    assert fields[0]["SD upscale overlap"] == "16" and fields[0]["SD upscale upscaler"] == "Lanczos"
    assert fields[0]["SD upscale scale factor"] == "2" and fields[0]["Redraw preset"] == "a1111"


@pytest.mark.parametrize(
    ("verb", "preset", "size"),
    [
        ("sd_upscale", "even", (96, 72)),
        ("sd_upscale", "a1111", (96, 72)),
        ("ultimate", "even", (96, 72)),
        ("ultimate", "a1111", (128, 128)),
        ("ultimate", "comfyui", (96, 72)),
    ],
)
def test_denoise_0_enlarges_alone(place: Path, verb: str, preset: str, size: tuple[int, int]) -> None:
    source = place / "elsewhere" / "small one.png"
    redraw = getattr(Engine(), verb)
    done = redraw(source, checkpoint="thin_sd15", preset=preset, denoise=0.0, tile_width=64, scale=2.0)
    assert done.counts.denoiser_calls == 0 and done.pictures[0].size == size
    plain = open_picture(source).resize(size, Image.Resampling.LANCZOS)
    levels = [abs(a - b) for a, b in zip(done.pictures[0].tobytes(), plain.tobytes(), strict=True)]
    assert sum(levels) / len(levels) < 3  # the aspect is kept by cutting a few columns


def test_regions_go_to_the_tiles_they_concern(place: Path) -> None:
    words = ["ultimate", "elsewhere/small one.png", "--tile", "64", "--padding", "16", *MODEL]
    code, said = run(*words, "--region", "0,0,1,0.4:sky", "-p", "sand")
    assert code == 0, said
    fields = read_infotext(picture_texts(open_picture(place / "outputs" / "ultimate_00001_.png"))["parameters"]).fields
    assert fields["Redraw regions"] == "0,0,1,0.4:sky"


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["sd-upscale", "elsewhere/small one.png", "--tile", "64", "--overlap", "64"], "overlap"),
        (["sd-upscale", "elsewhere/small one.png", "--preset", "comfyui"], "preset"),
        (["ultimate", "elsewhere/small one.png", "--mode", "Spiral"], "mode"),
        (["ultimate", "elsewhere/small one.png", "--by", "2", "--to", "64"], "contradict"),
        (["ultimate", "elsewhere/small one.png", "--to", "99999"], "99999"),
        (["ultimate", "nowhere.png"], "nowhere.png"),
        (["ultimate", "elsewhere/small one.png", "--upscaler", "Magic"], "Magic"),
        (["ultimate", "elsewhere/small one.png", "--denoise", "2"], "denoising strength"),
    ],
)
def test_mistakes_are_told_in_a_line(place: Path, words: list[str], fault: str) -> None:
    code, said = run(*words, "-m", "thin_sd15")
    assert code == 2 and fault in said and "fault in hires" not in said


def test_an_unknown_field_is_named(place: Path) -> None:
    with pytest.raises(SettingError, match="tile_size"):
        Engine().ultimate(place / "elsewhere" / "small one.png", tile_size=3)


def test_sizes_of_the_three_targets() -> None:
    assert UltimateUpscale(preset="a1111", scale=2).size(600, 800) == (1216, 1600)
    assert UltimateUpscale(scale=2).size(600, 801) == (1200, 1600)
    assert UltimateUpscale(width=2048, height=1024).size(600, 800) == (2048, 1024)
    assert SDUpscale(scale=1.5).size(333, 500) == (496, 744)
    for scale in (10.0, 13.0, 16.0):  # where the original's list of factors ends in nothing
        assert UltimateUpscale(scale=scale).size(64, 64) == (64 * scale, 64 * scale)


@pytest.mark.parametrize("command", ["sd-upscale", "ultimate", "tiled"])
def test_pictures_are_written_in_the_format_asked_for(place: Path, command: str) -> None:
    source = str(place / "elsewhere" / "small one.png")
    words = [command, source, "--format", "webp", "--quality", "60", "--denoise", "0", *MODEL]
    words += ["--scale", "1"] if command == "tiled" else ["--by", "2"]
    code, said = run(*words)
    assert code == 0, said
    (path,) = (place / "outputs").iterdir()
    assert path.suffix == ".webp" and str(path.relative_to(place)) in said
    picture = open_picture(path)
    assert path.read_bytes()[8:12] == b"WEBP" and "Seed: 3" in picture_texts(picture)["parameters"]
    code, said = run(command, source, "--format", "gif", *MODEL)
    assert code == 2 and "there is no format 'gif'" in said


@pytest.mark.parametrize("sampler", ["Euler", "DDIM"])
def test_the_webuis_cells_are_inpainted_one_after_the_other(place: Path, sampler: str) -> None:
    """The script draws each cell by img2img with a mask of it, only what is masked: the same bytes. A rectangle's last
    line and column belong to it there."""
    generator = np.random.default_rng(0)
    rough = Image.fromarray(generator.integers(0, 256, (6, 6, 3), np.uint8))
    rough.resize((128, 64), Image.Resampling.BICUBIC).save(place / "picture.png")
    engine, given = Engine(), {"prompt": "a house", "checkpoint": "thin_sd15", "steps": 4, "seed": 11, "denoise": 0.6}
    tiles = {"tile_width": 64, "tile_height": 64, "padding": 16, "mask_blur": 4}
    redrawn = engine.ultimate(
        place / "picture.png", scale=1.0, upscaler="None", preset="a1111", sampler=sampler, **tiles, **given
    )
    inpaint, over = Inpaint(4, 4, area="only masked", padding=16), place / "picture.png"
    kept = np.asarray(Image.open(over))
    for left in (0, 64):
        mask = Image.new("L", (128, 64))
        mask.paste(255, (left, 0, left + 65, 64))
        mask.save(place / "mask.png")
        sides = {"width": 128, "height": 128}
        drawn = engine.img2img(over, mask=place / "mask.png", inpaint=inpaint, sampler=sampler, **sides, **given)
        outside = np.asarray(blurred(mask, 4)) == 0
        made = np.asarray(drawn.pictures[0])
        assert outside.any() and (made[outside] == kept[outside]).all()
        over, kept = drawn.paths[0], made
    assert np.array_equal(redrawn.pictures[0], kept)
