"""img2img from Python and the command: step counts, masks, batches, folders, loopback, the second pass alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from tests.models.captioner_files import write_tagger
from typer.testing import CliRunner

from hires.api import Engine
from hires.cli import app
from hires.drawn import Drawn
from hires.errors import SettingError
from hires.imaging.inpaint_masks import blurred
from hires.imaging.pictures import open_picture
from hires.metadata.files import picture_texts
from hires.metadata.infotext import read_infotext
from hires.recipes.img2img_infotext import img2img_from
from hires.recipes.img2img_request import Inpaint, Outpaint, SoftInpainting
from hires.recipes.request import HiresFix, Refiner
from hires.settings import Settings

MODEL = ["-m", "thin_sd15", "--steps", "2", "--seed", "3"]
SIDE = 64


@pytest.fixture(scope="module")
def engine(thin_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = tmp_path_factory.mktemp("img2img")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("MODELS_DIR", thin_models), ("CACHE_DIR", folder / "cache"), ("DEVICE", "cpu")):
            patch.setenv(f"HIRES_{name}", str(value))
        patch.setenv("HIRES_OUTPUT_DIR", str(folder / "outputs"))
        return Engine()


@pytest.fixture
def place(thin_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, value in (("MODELS_DIR", thin_models), ("CACHE_DIR", tmp_path / "cache"), ("DEVICE", "cpu")):
        monkeypatch.setenv(f"HIRES_{name}", str(value))
    return tmp_path


def source(folder: Path, size: tuple[int, int] = (SIDE, SIDE), seed: int = 0, name: str = "source.png") -> Path:
    rough = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    Image.fromarray(rough).resize(size, Image.Resampling.BICUBIC).save(folder / name)
    return folder / name


def mask(folder: Path, box: tuple[int, int, int, int], size: tuple[int, int] = (SIDE, SIDE)) -> Path:
    made = Image.new("L", size)
    made.paste(255, box)
    made.save(folder / "mask.png")
    return folder / "mask.png"


def pixels(picture: Image.Image | Path) -> NDArray[np.uint8]:
    opened = open_picture(picture) if isinstance(picture, Path) else picture
    return np.asarray(opened.convert("RGB"))


def draw(engine: Engine, *pictures: Path, **options: Any) -> Drawn:
    told: dict[str, Any] = {"prompt": "a house", "checkpoint": "thin_sd15", "sampler": "Euler", "steps": 2, "seed": 11}
    return engine.img2img(pictures[0] if len(pictures) == 1 else list(pictures), **(told | options))


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(words))
    return result.exit_code, result.output


@pytest.mark.parametrize(
    ("denoise", "fix_steps", "calls"),
    [(0.75, False, 16), (0.5, False, 11), (0.3, False, 7), (1.0, False, 20), (0.3, True, 20), (0.0, True, 0)],
)
def test_how_many_of_20_steps_are_made(
    engine: Engine, tmp_path: Path, denoise: float, fix_steps: bool, calls: int
) -> None:
    done = draw(
        engine, source(tmp_path, (32, 32)), steps=20, denoise=denoise, fix_steps=fix_steps, seed=int(denoise * 100)
    )
    assert done.counts.denoiser_calls + done.counts.reused_steps == calls


def test_a_denoise_of_0_makes_one_faint_step_or_none(engine: Engine, tmp_path: Path) -> None:
    picture = source(tmp_path)
    none = draw(engine, picture, denoise=0.0, fix_steps=True)
    one = draw(engine, picture, denoise=0.0)
    assert (none.counts.denoiser_calls, one.counts.denoiser_calls) == (0, 1)
    apart = np.abs(pixels(none.pictures[0]).astype(int) - pixels(one.pictures[0]).astype(int)).mean()
    assert apart < np.abs(pixels(none.pictures[0]).astype(int) - pixels(draw(engine, picture).pictures[0])).mean()


def test_a_picture_is_the_same_alone_and_in_a_batch(engine: Engine, tmp_path: Path) -> None:
    picture = source(tmp_path)
    together = draw(engine, picture, batch_size=2, seed=20)
    alone = draw(engine, picture, seed=21)
    assert (pixels(together.pictures[1]) == pixels(alone.pictures[0])).all()
    assert (pixels(together.pictures[0]) != pixels(together.pictures[1])).any()
    counted = draw(engine, picture, batch_count=2, seed=20)
    assert (pixels(counted.pictures[1]) == pixels(alone.pictures[0])).all()
    seeds = [read_infotext(picture_texts(each)["parameters"]).fields["Seed"] for each in together.pictures]
    assert seeds == ["20", "21"]


def test_several_pictures_are_one_batch(engine: Engine, tmp_path: Path) -> None:
    first, second = source(tmp_path), source(tmp_path, seed=1, name="second.png")
    marked = mask(tmp_path, (8, 8, 40, 40))
    together = draw(engine, first, second, mask=marked, seed=30, inpaint=Inpaint(soft=SoftInpainting()))
    alone = draw(engine, second, mask=marked, seed=31, inpaint=Inpaint(soft=SoftInpainting()))
    assert (pixels(together.pictures[1]) == pixels(alone.pictures[0])).all()
    with pytest.raises(SettingError, match="batch of 2"):
        draw(engine, first, second, batch_size=3)


def test_a_white_mask_is_no_mask_and_a_black_one_keeps_all(engine: Engine, tmp_path: Path) -> None:
    picture = source(tmp_path)
    plain = draw(engine, picture)
    white = draw(engine, picture, mask=mask(tmp_path, (0, 0, SIDE, SIDE)))
    assert (pixels(white.pictures[0]) == pixels(plain.pictures[0])).all()
    black = draw(engine, picture, mask=mask(tmp_path, (0, 0, 0, 0)))
    assert (pixels(black.pictures[0]) == pixels(picture)).all()
    empty = draw(engine, picture, mask=mask(tmp_path, (0, 0, 0, 0)), inpaint=Inpaint(area="only masked"))
    assert (pixels(empty.pictures[0]) == pixels(plain.pictures[0])).all()


@pytest.mark.parametrize(
    ("sampler", "fill", "area"),
    [
        ("Euler a", "original", "whole picture"),
        ("DDIM", "fill", "whole picture"),
        ("UniPC", "latent noise", "only masked"),
        ("DPM++ 2M", "latent nothing", "only masked"),
    ],
)
def test_outside_the_mask_nothing_changes(engine: Engine, tmp_path: Path, sampler: str, fill: str, area: str) -> None:
    """Also for a picture whose sides are no multiples of 8."""
    size = (67, 58)
    picture, marked = source(tmp_path, size), mask(tmp_path, (20, 10, 50, 40), size)
    done = draw(
        engine, picture, mask=marked, sampler=sampler, steps=5, inpaint=Inpaint(2, 2, fill=fill, area=area, padding=4)
    )
    outside = np.asarray(blurred(Image.open(marked), 2)) == 0
    made, before = pixels(done.pictures[0]), pixels(picture)
    assert made.shape == before.shape and (made[outside] == before[outside]).all()
    assert (made[15:35, 25:45] != before[15:35, 25:45]).any(axis=-1).mean() > 0.5
    assert img2img_from(picture_texts(done.pictures[0])["parameters"]).inpaint == Inpaint(
        2, 2, fill=fill, area=area, padding=4
    )


@pytest.mark.parametrize("soft", [None, SoftInpainting()])
def test_the_mask_and_the_composite_are_written_beside_each_picture(
    engine: Engine, tmp_path: Path, soft: SoftInpainting | None
) -> None:
    """JPEG holds no transparency, so that composites are PNGs then."""
    picture, marked = source(tmp_path), mask(tmp_path, (16, 16, 48, 48))
    inpaint = Inpaint(2, 2, area="only masked", padding=4, soft=soft)
    how: dict[str, Any] = {"mask": marked, "inpaint": inpaint, "batch_size": 2, "format": "jpg"}
    done = draw(engine, picture, save_mask=True, save_mask_composite=True, **how)
    assert len(done.paths) == 2 and not any("mask" in path.name for path in done.paths)
    assert [path.name.split("_")[0] for path in done.masks] == ["img2img-mask", "img2img-mask-composite"] * 2
    assert [path.suffix for path in done.masks] == [".jpg", ".png"] * 2
    composite = Image.open(done.masks[1])
    assert composite.mode == "RGBA" and composite.size == (SIDE, SIDE)
    if soft is None:
        assert np.array_equal(composite.getchannel("A"), blurred(Image.open(marked), 2))
    laid = Image.alpha_composite(Image.open(picture).convert("RGBA"), composite)
    same = draw(engine, picture, **{**how, "batch_size": 1, "format": "png"})
    assert same.masks == [] and np.abs(pixels(laid).astype(int) - pixels(same.pictures[0])).max() <= 1
    assert draw(engine, picture, save_mask=True).masks == []


def test_each_fill_gives_another_picture(engine: Engine, tmp_path: Path) -> None:
    picture, marked = source(tmp_path), mask(tmp_path, (16, 16, 48, 48))
    made = [
        draw(engine, picture, mask=marked, denoise=0.5, inpaint=Inpaint(fill=fill)).pictures[0].tobytes()
        for fill in ("original", "fill", "latent noise", "latent nothing")
    ]
    assert len(set(made)) == 4


def test_an_inverted_mask_repaints_the_rest(engine: Engine, tmp_path: Path) -> None:
    picture, marked = source(tmp_path), mask(tmp_path, (0, 0, 32, SIDE))
    made = pixels(draw(engine, picture, mask=marked, inpaint=Inpaint(0, 0, invert=True)).pictures[0])
    assert (made[:, :32] == pixels(picture)[:, :32]).all() and (made[:, 40:] != pixels(picture)[:, 40:]).any()


def test_the_mask_may_be_what_is_transparent(engine: Engine, tmp_path: Path) -> None:
    layer = Image.open(source(tmp_path)).convert("RGBA")
    layer.putalpha(255)
    layer.paste((0, 0, 0, 0), (32, 0, 64, 64))
    layer.save(tmp_path / "layer.png")
    made = pixels(draw(engine, tmp_path / "layer.png", mask="alpha", inpaint=Inpaint(0, 0)).pictures[0])
    assert (made[:, :32] == pixels(layer)[:, :32]).all() and (made[:, 32:] != 255).any()
    with pytest.raises(SettingError, match="transparent"):
        draw(engine, source(tmp_path), mask="alpha")


def test_an_inpaint_sketch_repaints_what_was_painted(engine: Engine, tmp_path: Path) -> None:
    picture = source(tmp_path)
    painted = Image.open(picture).convert("RGB")
    painted.paste((255, 0, 0), (8, 8, 24, 24))
    painted.save(tmp_path / "painted.png")
    options = {"sketch": tmp_path / "painted.png", "denoise": 0.1, "fix_steps": True, "inpaint": Inpaint(0, 0)}
    made = pixels(draw(engine, picture, **options).pictures[0])
    assert (made[30:] == pixels(picture)[30:]).all()
    assert (made[8:24, 8:24] != pixels(picture)[8:24, 8:24]).any()


def test_outpainting_keeps_the_picture_in_its_middle(engine: Engine, tmp_path: Path) -> None:
    picture = source(tmp_path)
    for method, reach in (("fill", 2), ("noise", 4)):
        blur = Inpaint(1, 1, fill="fill" if method == "fill" else "original")
        around = Outpaint(("left", "right"), 30, method)
        made = pixels(draw(engine, picture, inpaint=blur, outpaint=around).pictures[0])
        assert made.shape == (64, 128, 3)
        inner = 2 + 3 * reach
        assert (made[:, 32 + inner : 96 - inner] == pixels(picture)[:, inner:-inner]).all()


def test_an_inpainting_checkpoint_is_shown_what_is_masked(engine: Engine, tmp_path: Path) -> None:
    picture, marked = source(tmp_path), mask(tmp_path, (16, 16, 48, 48))
    shown = {
        weight: draw(
            engine, picture, mask=marked, checkpoint="thin_sd15_inpainting", inpaint=Inpaint(mask_weight=weight)
        )
        for weight in (1.0, 0.2)
    }
    assert (pixels(shown[1.0].pictures[0]) != pixels(shown[0.2].pictures[0])).any()
    text = picture_texts(shown[0.2].pictures[0])["parameters"]
    assert "Conditional mask weight: 0.2" in text


def test_image_cfg_is_of_models_that_are_shown_the_picture(thin_models: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    weights = load_file(thin_models / "checkpoints" / "thin_sd15.safetensors")
    first = "model.diffusion_model.input_blocks.0.0.weight"
    more = torch.randn(weights[first].shape, generator=torch.Generator().manual_seed(1)) * 0.2
    weights[first] = torch.cat([weights[first], more], dim=1)
    save_file(weights, tmp_path / "checkpoints" / "pix2pix.safetensors")
    plain = thin_models / "checkpoints" / "thin_sd15.safetensors"
    (tmp_path / "checkpoints" / "plain.safetensors").write_bytes(plain.read_bytes())
    places = {f"{name}_dir": tmp_path / name for name in ("input", "output", "cache")}
    engine, picture = Engine(Settings(models_dir=tmp_path, device="cpu", keep_megabytes=0, **places)), source(tmp_path)
    made, texts = {}, {}
    for model, scale in (("pix2pix", 1.0), ("pix2pix", 1.5), ("pix2pix", 3.0), ("plain", 1.5), ("plain", 3.0)):
        drawn = draw(engine, picture, checkpoint=model, image_cfg_scale=scale).pictures[0]
        made[model, scale], texts[model, scale] = drawn.tobytes(), picture_texts(drawn)["parameters"]
    assert len({made["pix2pix", scale] for scale in (1.0, 1.5, 3.0)}) == 3
    assert made["plain", 1.5] == made["plain", 3.0] and "Image CFG" not in texts["plain", 3.0]
    assert "CFG scale: 7, Image CFG scale: 3, Seed: 11" in texts["pix2pix", 3.0]
    assert img2img_from(texts["pix2pix", 3.0]).image_cfg_scale == 3.0
    other = source(tmp_path, seed=5, name="other.png")
    again = draw(engine, other, checkpoint="pix2pix", denoise=1.0, image_cfg_scale=3.0)
    same = draw(engine, picture, checkpoint="pix2pix", denoise=1.0, image_cfg_scale=3.0)
    assert again.pictures[0].tobytes() != same.pictures[0].tobytes(), "what is shown beside the noise counts"


def test_noise_options_change_the_picture(engine: Engine, tmp_path: Path) -> None:
    picture = source(tmp_path)
    plain = pixels(draw(engine, picture).pictures[0])
    for other in ("noise_multiplier", "extra_noise"):
        assert (pixels(draw(engine, picture, **{other: 0.8}).pictures[0]) != plain).any()
    coloured = draw(engine, picture, color_correction=True)
    assert (pixels(coloured.pictures[0]) != plain).any()


def test_a_refiner_takes_over_under_the_mask(engine: Engine, tmp_path: Path) -> None:
    picture, marked = source(tmp_path), mask(tmp_path, (16, 16, 48, 48))
    taking_over = Refiner("thin_sd15_inpainting", switch_at=0.5, by_steps=True)
    done = draw(engine, picture, mask=marked, steps=8, denoise=0.5, refiner=taking_over, inpaint=Inpaint(0, 0))
    assert done.counts.denoiser_calls == 5
    made, before = pixels(done.pictures[0]), pixels(picture)
    assert (made[:16] == before[:16]).all()
    plain = draw(engine, picture, mask=marked, steps=8, denoise=0.5, inpaint=Inpaint(0, 0))
    assert (pixels(plain.pictures[0]) != made).any()


def test_resize_modes(engine: Engine, tmp_path: Path) -> None:
    picture = source(tmp_path, (80, 64))
    made = {
        mode: draw(engine, picture, resize_mode=mode, width=96, height=128, denoise=0.2)
        for mode in ("just resize", "crop and resize", "resize and fill", "latent upscale")
    }
    assert {done.pictures[0].size for done in made.values()} == {(96, 128)}
    assert len({done.pictures[0].tobytes() for done in made.values()}) == 4
    assert draw(engine, picture, scale=1.25).pictures[0].size == (96, 80)


def test_the_second_pass_alone_is_hires_fix_without_the_first(engine: Engine, tmp_path: Path) -> None:
    told: dict[str, Any] = {"prompt": "a house", "checkpoint": "thin_sd15", "steps": 3, "seed": 5}
    hires = HiresFix(upscaler="Lanczos", scale=1.5, denoise=0.6)
    whole = engine.txt2img(**told, width=64, height=64, hires=hires, save_first_pass=True)
    first, final = whole.pictures
    alone = engine.hires(whole.paths[0], **told, hires=hires)
    assert first.size == (64, 64) and (pixels(alone.pictures[0]) == pixels(final)).all()
    latent = engine.hires(source(tmp_path, (67, 64)), **told, hires=HiresFix(width=96, height=96, denoise=0.0))
    assert latent.pictures[0].size == (96, 96) and latent.counts.denoiser_calls == 0


def test_the_command_tells_all_it_did_and_takes_it_back(place: Path) -> None:
    source(place)
    mask(place, (16, 16, 48, 48))
    words = ["img2img", "source.png", "a house", "--mask", "mask.png", "--mask-blur", "2,3", "--only-masked"]
    code, said = run(*words, "--padding", "8", "--fill", "latent noise", "--denoise", "0.6", *MODEL)
    assert code == 0, said
    drawn = place / "outputs" / "img2img_00001_.png"
    request = img2img_from(picture_texts(open_picture(drawn))["parameters"])
    assert request.inpaint == Inpaint(2, 3, fill="latent noise", area="only masked", padding=8)
    code, said = run("img2img", "source.png", "--from", str(drawn), "--mask", "mask.png", "--output-dir", "again")
    assert code == 0, said
    assert (pixels(place / "again" / "img2img_00001_.png") == pixels(drawn)).all()
    code, said = run("img2img", "source.png", "--from", str(drawn))
    assert code == 2 and "mask" in said
    code, said = run("info", str(drawn))
    assert code == 0 and "not acted on" not in said


def test_a_picture_drawn_over_another_is_verified_by_that_one(place: Path) -> None:
    source(place)
    mask(place, (16, 16, 48, 48))
    code, said = run("img2img", "source.png", "a house", "--mask", "mask.png", "--output-dir", ".", *MODEL)
    assert code == 0, said
    code, said = run("verify", "img2img_00001_.png")
    assert code == 0 and "equal" in said, said
    source(place, seed=9)
    code, said = run("verify", "img2img_00001_.png")
    assert code == 1 and "source.png is another picture" in said
    (place / "source.png").unlink()
    code, said = run("verify", "img2img_00001_.png")
    assert code == 2 and "source.png" in said


def test_a_folder_goes_by_its_names_and_replaces_nothing(place: Path) -> None:
    for number, name in enumerate(("b10.png", "b2.png", "c.png")):
        (place / "in").mkdir(exist_ok=True)
        source(place / "in", seed=number, name=name)
    (place / "masks").mkdir()
    for name in ("b10.png", "b2.png"):
        mask(place / "masks", (8, 8, 40, 40)).rename(place / "masks" / name)
    (place / "in" / "notes.txt").write_text("no picture")
    words = ["img2img", "in", "a house", "--mask", "masks", "--output-dir", "made", *MODEL]
    code, said = run(*words)
    assert code == 0 and "c.png has no mask" in said
    assert [line for line in said.splitlines() if line.startswith("made")] == ["made/b2.png", "made/b10.png"]
    first = (place / "made" / "b2.png").read_bytes()
    code, said = run(*words)
    assert code == 0 and "made/b2-1.png" in said
    assert (place / "made" / "b2.png").read_bytes() == first
    assert sorted(path.name for path in (place / "made").iterdir()) == ["b10-1.png", "b10.png", "b2-1.png", "b2.png"]
    code, said = run(*words[:-8], "--output-dir", "more", "--save-mask", *MODEL)
    written = sorted(path.name for path in (place / "more").iterdir())
    assert code == 0 and written == ["b10-mask.png", "b10.png", "b2-mask.png", "b2.png"]


def test_a_broken_picture_of_a_folder_is_told_of_and_the_next_is_drawn(place: Path) -> None:
    (place / "in").mkdir()
    (place / "in" / "a.png").write_bytes(b"no picture")
    source(place / "in", name="b.png")
    code, said = run("img2img", "in", "--output-dir", "made", *MODEL)
    assert code == 2 and "a.png" in said and (place / "made" / "b.png").is_file()


def test_settings_come_from_the_pictures_themselves(place: Path) -> None:
    code, said = run(
        "txt2img", "a barn", "-m", "thin_sd15", "--size", "64", "--steps", "2", "--seed", "77", "--cfg", "3"
    )
    assert code == 0, said
    code, said = run("img2img", "outputs/txt2img_00001_.png", "snow", "--from-info", "--denoise", "0.5", "--cfg", "4")
    assert code == 0, said
    request = img2img_from(picture_texts(open_picture(place / "outputs" / "img2img_00001_.png"))["parameters"])
    assert (request.base.prompt, request.base.seed, request.base.steps) == ("snow a barn", 77, 2)
    assert (request.base.cfg, request.denoise) == (4.0, 0.5)
    code, said = run("hires", "outputs/txt2img_00001_.png", "--scale", "1.5", "--upscaler", "Lanczos")
    assert code == 0, said
    fields = read_infotext(picture_texts(open_picture(place / "outputs" / "hires_00001_.png"))["parameters"]).fields
    assert (fields["Seed"], fields["Hires upscale"], fields["Size"]) == ("77", "1.5", "64x64")


def test_loopback_draws_over_its_own_result(place: Path) -> None:
    source(place)
    words = ["img2img", "source.png", "a house", "--denoise", "0.8", "--loops", "3", "--final-denoise", "0.2"]
    code, said = run(*words, "--denoising-curve", "Aggressive", *MODEL)
    assert code == 0, said
    texts = [picture_texts(open_picture(place / "outputs" / f"img2img_0000{loop}_.png")) for loop in (1, 2, 3)]
    fields = [read_infotext(text["parameters"]).fields for text in texts]
    assert [field["Seed"] for field in fields] == ["3", "4", "5"]
    strengths = [float(field["Denoising strength"]) for field in fields]
    assert strengths == pytest.approx([0.8, 0.8 - 0.6 * np.sin(np.pi / 4), 0.2])
    assert {field["Denoising curve"] for field in fields} == {"Aggressive"}
    assert {field["Final denoising strength"] for field in fields} == {"0.2"}


def test_a_plan_says_what_the_run_then_costs(place: Path) -> None:
    """The box is the mask's 20x20 with 10 of blur's reach and 8 of padding on each side: 56 of 64."""
    source(place, (96, 96))
    mask(place, (30, 34, 50, 54), (96, 96))
    words = ["img2img", "source.png", "a house", "--mask", "mask.png", "--only-masked", "--padding", "8"]
    words += ["--size", "64", "--denoise", "0.5", "--batch-size", "2", *MODEL, "--steps", "20"]
    code, said = run(*words, "--plan")
    assert code == 0, said
    assert "source.png: 96x96 drawn at 64x64 (just resize), 11 of 20 steps, 22 denoiser calls" in said
    assert "the mask is 4.3 % of the picture, its box of 56x56 at 12,16 drawn at 1.14 times its size" in said
    assert "memory: " in said and "Img2img at 64x64" in said and not (place / "outputs").exists()
    code, said = run(*words)
    assert code == 0 and "22 denoiser calls" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"fix_steps": True}, "4 of 4 steps, 4 denoiser calls"),
        ({"denoise": 0.0}, "1 of 4 steps, 1 denoiser calls"),
        ({"denoise": 0.0, "fix_steps": True}, "0 of 4 steps, 0 denoiser calls"),
        ({"sampler": "Heun", "denoise": 0.5}, "3 of 4 steps, at most 6 denoiser calls"),
        ({"sampler": "DDIM", "denoise": 0.5, "batch_count": 2}, "3 of 4 steps, 6 denoiser calls"),
        ({"dialect": "comfyui", "denoise": 0.5, "batch_size": 2}, "4 of 4 steps, 4 denoiser calls"),
    ],
)
def test_steps_of_a_plan(engine: Engine, tmp_path: Path, options: dict[str, Any], said: str) -> None:
    told: dict[str, Any] = {"prompt": "a house", "checkpoint": "thin_sd15", "sampler": "Euler", "steps": 4, "seed": 1}
    picture = source(tmp_path)
    assert said in engine.img2img_plan(picture, **(told | options))
    calls = engine.img2img(picture, **(told | options)).counts.denoiser_calls
    promised = int(said.split(" denoiser")[0].split()[-1])
    assert promised - 1 <= calls <= promised if "at most" in said else calls == promised


def test_the_plan_of_the_second_pass_alone(place: Path, engine: Engine) -> None:
    picture = source(place)
    code, said = run(
        "hires", "source.png", "--scale", "1.5", "--hires-steps", "3", "--denoise", "0.4", *MODEL, "--plan"
    )
    assert code == 0 and "source.png: 64x64 enlarged to 96x96 by Latent, 3 of 3 steps, 3 denoiser calls" in said
    assert "memory: " in said and not (place / "outputs").exists()
    fields: dict[str, Any] = {"checkpoint": "thin_sd15", "steps": 2, "seed": 3}
    assert "0 of 2 steps, 0 denoiser calls" in engine.hires_plan(picture, hires=HiresFix(denoise=0.0), **fields)


def test_loopback_says_what_it_begins_from(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tagger says the colour of what it is shown; what random weights draw is of another."""
    Image.new("RGB", (SIDE, SIDE), (255, 0, 0)).save(place / "red.png")
    words = ["img2img", "red.png", "a house", "--loops", "2", "--append-interrogation", "DeepBooru", *MODEL]
    code, said = run(*words)
    assert code == 2 and "there is no model that tells what a picture shows" in said
    (place / "more").mkdir()
    for kind in ("checkpoints", "captioners"):
        (place / "more" / kind).mkdir()
    model = Path(os.environ["HIRES_MODELS_DIR"]) / "checkpoints" / "thin_sd15.safetensors"
    (place / "more" / "checkpoints" / model.name).symlink_to(model)
    write_tagger(place / "more" / "captioners" / "wd")
    monkeypatch.setenv("HIRES_MODELS_DIR", str(place / "more"))
    code, said = run(*words)
    assert code == 0, said
    first, second = (open_picture(place / "outputs" / f"img2img_0000{loop}_.png") for loop in (1, 2))
    assert img2img_from(picture_texts(first)["parameters"]).base.prompt == r"a house, red \(colour\)"
    shown = Engine().interrogate(place / "outputs" / "img2img_00001_.png", "deepbooru")
    expected = ", ".join(text for text in ("a house", shown) if text)
    assert img2img_from(picture_texts(second)["parameters"]).base.prompt == expected != r"a house, red \(colour\)"
    code, said = run("img2img", "red.png", "--loops", "2", "--append-interrogation", "someone", *MODEL)
    assert code == 2 and "Use one of None, CLIP, DeepBooru" in said


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["nowhere.png"], "nowhere.png"),
        (["source.png", "--denoise", "2"], "denoising strength"),
        (["source.png", "--mask", "nothing.png"], "nothing.png"),
        (["source.png", "--only-masked"], "mask"),
        (["source.png", "--mask", "alpha"], "transparent"),
        (["source.png", "--mask", "source.png", "--fill", "paint"], "--fill"),
        (["source.png", "--mask", "source.png", "--mask-blur", "soft"], "--mask-blur"),
        (["source.png", "--resize-mode", "9"], "--resize-mode"),
        (["source.png", "--size", "64", "--scale", "2"], "contradict"),
        (["source.png", "--outpaint", "north"], "direction"),
        (["source.png", "--outpaint-pixels", "8"], "--outpaint"),
        (["source.png", "--loops", "0"], "loops"),
        (["source.png", "--loops", "2", "--denoising-curve", "Wild"], "curve"),
        (["source.png", "--upscaler", "Magic"], "Magic"),
        (["source.png", "--noise-multiplier", "1.2", "--dialect", "comfyui"], "dialect"),
        (["source.png", "--inpaint-sketch", "small.png"], "own size"),
        (["."], "--resize-mode"),
    ],
)
def test_mistakes_are_told_in_a_line(place: Path, words: list[str], fault: str) -> None:
    source(place)
    source(place, (32, 32), name="small.png")
    if words == ["."]:
        words, fault = [str(place / "outputs")], "there is no picture"
        (place / "outputs").mkdir()
    code, said = run("img2img", *words, "-m", "thin_sd15", "--steps", "2")
    assert code == 2 and fault in said and "fault in hires" not in said
