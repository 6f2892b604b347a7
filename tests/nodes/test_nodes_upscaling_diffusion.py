"""LDSR and the SD x4 upscaler run: four times the size, as their published pipelines draw, the same over tiles."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    LDMSuperResolutionPipeline,
    StableDiffusionUpscalePipeline,
)
from PIL import Image
from tests.models.original_layouts import THIN_LDSR, THIN_X4, write_thin
from torch import Tensor

from hires.api import Engine, Extras
from hires.errors import HiresError, Interrupted, SettingError
from hires.models.ldsr import LdsrModel
from hires.models.sd_x4 import SdX4Model
from hires.models.upscale_names import upscaler_names
from hires.nodes import upscaling, upscaling_diffusion
from hires.nodes.context import Counts, RunContext
from hires.nodes.upscaling_diffusion import Drawing, draw_larger, drawing_run, filled_up
from hires.sampling.levels import scaled_linear_levels
from hires.settings import Settings
from hires.text.encode import encode_comfy
from hires.tiling.drawn import drawing_plan, fused, shares


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    root = tmp_path_factory.mktemp("drawing")
    write_thin(THIN_LDSR, root / "models" / "LDSR" / "model.ckpt")
    write_thin(THIN_X4, root / "models" / "upscale_models" / "some-x4.safetensors")
    return Engine(Settings(root / "models", root / "input", root / "outputs", root / "cache"))


@pytest.fixture
def context(engine: Engine) -> RunContext:
    return engine._context(Counts())


def picture(height: int, width: int) -> Tensor:
    return torch.rand(height, width, 3, generator=torch.Generator().manual_seed(5))


def ldsr(engine: Engine) -> LdsrModel:
    model = engine.store.drawing_upscaler("model.ckpt")
    assert isinstance(model, LdsrModel)
    return model


def sd_x4(engine: Engine) -> SdX4Model:
    model = engine.store.drawing_upscaler("some-x4")
    assert isinstance(model, SdX4Model)
    return model


def published_schedule(betas: tuple[float, float], **options: Any) -> DDIMScheduler:
    """DDIM as latent-diffusion has it: every n-th timestep from 1, the last step down to timestep 0."""
    return DDIMScheduler(
        beta_start=betas[0],
        beta_end=betas[1],
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        **options,
    )


def test_they_are_listed_by_what_their_files_hold(engine: Engine) -> None:
    names = upscaler_names(engine.store)
    assert "LDSR" in names and "SD x4 upscaler" in names
    assert not {"model", "some-x4"} & set(names)


def test_ldsr_draws_what_the_published_pipeline_draws(engine: Engine, context: RunContext) -> None:
    model = replace(ldsr(engine), eta=0.0)  # the pipeline's own noise between steps cannot be seeded
    source = picture(64, 64)
    made = draw_larger(context, model, source, Drawing(steps=4, seed=3))
    pipeline = LDMSuperResolutionPipeline(model.decoder, model.unet, published_schedule(model.betas))
    pipeline.set_progress_bar_config(disable=True)
    low = source.movedim(-1, 0)[None] * 2 - 1
    generator = torch.Generator().manual_seed(3)
    expected = pipeline(low, num_inference_steps=4, eta=0.0, generator=generator, output_type="np").images[0]
    assert made.shape == (256, 256, 3)
    # an entry of the codebook that is a hair nearer may be another one; all else is the same
    difference = np.abs(made.numpy() - expected).max(axis=-1)
    assert np.quantile(difference, 0.99) < 1e-4


def test_sd_x4_draws_what_the_published_pipeline_draws(engine: Engine, context: RunContext) -> None:
    model = sd_x4(engine)
    source = picture(64, 64)
    made = draw_larger(context, model, source, Drawing(steps=2, seed=3, prompt="a cat", cfg=5.0, noise_level=30))
    decoder: Any = AutoencoderKL.from_config(dict(model.decoder.config), scaling_factor=model.latent_scale)
    decoder.load_state_dict(model.decoder.state_dict())
    pipeline = StableDiffusionUpscalePipeline(
        decoder,
        cast(Any, None),
        cast(Any, None),
        model.unet,
        DDPMScheduler(beta_start=0.0001, beta_end=0.02, beta_schedule="scaled_linear"),
        published_schedule(model.betas, prediction_type="v_prediction"),
    )
    pipeline.set_progress_bar_config(disable=True)
    told, untold = (encode_comfy(model.clip, text)[0] for text in ("a cat", ""))
    expected = pipeline(
        image=source.movedim(-1, 0)[None],
        num_inference_steps=2,
        guidance_scale=5.0,
        noise_level=30,
        generator=torch.Generator().manual_seed(3),
        prompt_embeds=told,
        negative_prompt_embeds=untold,
        output_type="np",
    ).images[0]
    assert np.abs(made.numpy() - expected).max() < 1e-3


def test_steps_are_those_that_were_asked_for(engine: Engine) -> None:
    model = ldsr(engine)
    levels = scaled_linear_levels(*model.betas)
    plan = drawing_run(model, levels, Drawing())
    assert plan.steps == 100 and plan.options["eta"] == 1.0
    assert torch.equal(levels.timestep(plan.sigmas[:3]), torch.tensor([991.0, 981.0, 971.0]))
    assert plan.sigmas[-1] == levels.sigmas[0]
    assert float(levels.sigmas[0]) == pytest.approx((0.0015 / (1 - 0.0015)) ** 0.5, rel=1e-5)
    assert drawing_run(model, levels, Drawing(steps=30)).steps == 30


@pytest.mark.parametrize("height, width", [(24, 40), (65, 71)])
def test_any_size_gives_four_times_it(engine: Engine, context: RunContext, height: int, width: int) -> None:
    source = picture(height, width)
    made = draw_larger(context, ldsr(engine), source, Drawing(steps=1))
    assert made.shape == (4 * height, 4 * width, 3)
    assert float(made.min()) >= 0 and float(made.max()) <= 1


def test_a_seed_gives_the_same_each_time(engine: Engine, context: RunContext, monkeypatch: pytest.MonkeyPatch) -> None:
    latents = latents_of(monkeypatch)
    for seed in (1, 1, 2):
        draw_larger(context, ldsr(engine), picture(24, 40), Drawing(steps=2, seed=seed))
    assert torch.equal(latents[0], latents[1]) and not torch.equal(latents[0], latents[2])


def latents_of(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """What would be decoded from now on, which takes longer than all else."""
    latents: list[Tensor] = []

    def kept(context: RunContext, model: LdsrModel, latent: Tensor) -> Tensor:
        latents.append(latent)
        return torch.zeros(256, 384, 3)

    monkeypatch.setattr(upscaling_diffusion, "_decoded", kept)
    return latents


def test_tiles_of_a_network_that_looks_at_no_neighbour_give_the_whole(
    engine: Engine, context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = replace(ldsr(engine))
    object.__setattr__(model, "predict", lambda x, timestep, low: 0.3 * x + 0.2 * low)
    latents = latents_of(monkeypatch)
    for tile in (96, 40):
        draw_larger(context, model, picture(64, 96), Drawing(steps=3, tile=tile))
    assert (latents[0] - latents[1]).abs().max() < 1e-5


def test_tiles_are_weighed_to_one_and_one_tile_is_handed_on() -> None:
    plan = drawing_plan(50, 90, 40, 10, "LDSR")
    x = torch.rand(1, 3, 50, 90)
    assert len(plan.boxes) > 1 and plan.effective_overlap >= 10
    assert torch.allclose(fused(plan, shares(plan), x, x, lambda part, low: part), x, atol=1e-6)
    one = drawing_plan(50, 90, 96, 10, "LDSR")
    answer = torch.rand(1, 3, 50, 90)
    assert fused(one, shares(one), x, x, lambda part, low: answer) is answer


def test_the_web_ui_fills_up_to_its_own_sizes() -> None:
    low = torch.rand(1, 3, 65, 130)
    assert filled_up(low, 8, "webui").shape == (1, 3, 128, 192)
    filled = filled_up(low, 8, "exact")
    assert filled.shape == (1, 3, 72, 136)
    assert torch.equal(filled[:, :, :65, :130], low) and torch.equal(filled[:, :, 71, 0], low[:, :, 64, 0])


def test_without_a_prompt_there_is_one_call_a_step(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upscaling_diffusion, "_decoded", lambda context, model, latent: torch.zeros(256, 256, 3))
    calls = 0
    predict = SdX4Model.predict

    def counted(self: SdX4Model, *given: Any) -> Tensor:
        nonlocal calls
        calls += 1
        return predict(self, *given)

    monkeypatch.setattr(SdX4Model, "predict", counted)
    for prompt, cfg, expected in (("", 9.0, 2), ("a cat", 9.0, 4), ("a cat", 1.0, 2)):
        calls, context = 0, engine._context(Counts())
        draw_larger(context, sd_x4(engine), picture(8, 8), Drawing(steps=2, prompt=prompt, cfg=cfg))
        assert calls == expected
        assert context.counts.denoiser_calls == 2


def test_values_out_of_range_are_refused(engine: Engine, context: RunContext) -> None:
    for drawing in (Drawing(noise_level=351), Drawing(steps=1001), Drawing(tile=16)):
        with pytest.raises(SettingError):
            draw_larger(context, ldsr(engine), picture(8, 8), drawing)


def test_it_stops_when_asked(engine: Engine) -> None:
    context, stop = engine._context(Counts()), threading.Event()
    object.__setattr__(context, "stop", stop)
    stop.set()
    with pytest.raises(Interrupted):
        draw_larger(context, ldsr(engine), picture(8, 8), Drawing(steps=1))


def save(path: Path, height: int, width: int, channels: int = 3) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_a_file_is_enlarged_to_any_size_with_its_alpha(engine: Engine, tmp_path: Path) -> None:
    source = save(tmp_path / "a.png", 20, 30, 4)
    done = engine.upscale(source, upscaler="ldsr", scale=2, steps=1, seed=7)
    assert done.picture.size == (60, 40) and done.picture.mode == "RGBA"
    assert done.notes and done.notes[0].startswith("LDSR: 64x64 latent cells in one piece")
    assert "Postprocess steps: 1, Postprocess seed: 7" in done.picture.info["extras"]


def test_the_web_ui_brings_a_picture_to_a_quarter_first(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[int, ...]] = []

    def draw(context: RunContext, model: LdsrModel, part: Tensor, drawing: Drawing, rule: str) -> Tensor:
        drawn.append(tuple(part.shape))
        assert rule == "webui"
        return part.repeat_interleave(4, 0).repeat_interleave(4, 1)

    monkeypatch.setattr(upscaling, "draw_larger", draw)
    done = engine.upscale(save(tmp_path / "a.png", 23, 30), upscaler="LDSR", scale=2, rule="webui")
    assert drawn == [(12, 15, 3)], "23 x 30 by 2 / 4, rounded up"
    assert done.picture.size == (56, 40), "60 x 46 floored to multiples of 8"


def test_what_cannot_be_is_told_in_one_line(engine: Engine, tmp_path: Path) -> None:
    source = save(tmp_path / "a.png", 20, 30)
    with pytest.raises(HiresError, match="LDSR cannot draw with the edge wrap"):
        engine.upscale(source, upscaler="LDSR", edge="wrap")
    assert "LDSR" in "\n".join(engine.upscale_plan(source, engine.prepare_extras(Extras(upscaler="LDSR"))))


def test_where_memory_runs_out_it_is_drawn_in_smaller_tiles(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    context, model, sides = engine._context(Counts()), replace(ldsr(engine)), []

    def predict(x: Tensor, timestep: Tensor, low: Tensor) -> Tensor:
        sides.append(x.shape[-1])
        if x.shape[-1] > 40:
            raise MemoryError("out of memory")
        return 0.3 * x + 0.2 * low

    object.__setattr__(model, "predict", predict)
    latents = latents_of(monkeypatch)
    draw_larger(context, model, picture(64, 96), Drawing(steps=2, tile=70))
    assert sides[0] == 64 and set(sides[1:]) == {32}, "70 and 35 brought down to multiples of eight"
    object.__setattr__(model, "predict", lambda x, timestep, low: 0.3 * x + 0.2 * low)
    draw_larger(context, model, picture(64, 96), Drawing(steps=2))
    assert (latents[0] - latents[1]).abs().max() < 1e-5
