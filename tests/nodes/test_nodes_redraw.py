"""Redrawing in tiles: nothing denoised changes nothing, noise belongs to the canvas, tiles see what concerns them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from hires.errors import Interrupted, SettingError
from hires.nodes import redraw_run
from hires.nodes.context import RunContext
from hires.nodes.redraw import hires_sd_upscale, hires_ultimate_upscale, redrawn, ultimate_of
from hires.nodes.redraw_brush import Brush, Cut
from hires.nodes.redraw_comfy import (
    enlarged,
    ultimate_upscale,
    ultimate_upscale_custom,
    ultimate_upscale_no_upscale,
)
from hires.nodes.redraw_run import planned_calls, steps_at
from hires.nodes.samplers import ChosenSampler
from hires.sampling.noise import Anchor, image_noise, initial_noise, start_stream
from hires.tiling.redraw import Ultimate

COMFY = {
    "mode_type": "Linear",
    "seam_fix_mode": "None",
    "sampler_name": "euler",
    "scheduler": "normal",
    "tile_width": 64,
    "tile_height": 64,
    "tile_padding": 16,
    "mask_blur": 4,
    "steps": 2,
    "cfg": 2.0,
}
OURS = {
    "sampler_name": "euler",
    "scheduler": "normal",
    "tile_width": 64,
    "tile_height": 64,
    "steps": 2,
    "cfg": 2.0,
    "seed": 5,
}


def ultimate(**given: Any) -> Tensor:
    return hires_ultimate_upscale(**given)[0]


def sd_upscale(**given: Any) -> Tensor:
    return hires_sd_upscale(**given)[0]


@pytest.fixture(scope="module")
def picture() -> Tensor:
    generator = torch.Generator().manual_seed(3)
    coarse = torch.rand(1, 3, 12, 15, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, size=(96, 120), mode="bicubic").clamp(0, 1)
    return (fine.movedim(1, -1) * 255).round() / 255


def handles(context: RunContext, name: str = "thin_sd15") -> dict[str, Any]:
    loaded = context.store.checkpoint(name)
    width = 64 if name == "thin_sd15" else 128
    assert loaded.model is not None
    width = int(loaded.model.unet.config.cross_attention_dim)
    options = {"pooled_output": torch.full((1, loaded.model.vector_width - 6 * 256), 0.1)} if "xl" in name else {}
    texts = [[(torch.full((1, 77, width), value), dict(options))] for value in (0.4, 0.1)]
    return {"model": loaded.model, "vae": loaded.vae, "positive": texts[0], "negative": texts[1], "context": context}


@pytest.mark.parametrize("preset", ["even", "a1111", "comfyui"])
def test_ultimate_at_denoise_0_is_the_source(context: RunContext, picture: Tensor, preset: str) -> None:
    made = ultimate(
        image=picture, **handles(context), **OURS, denoise=0.0, seam_denoise=0.0, seams="Half Tile", preset=preset
    )
    assert torch.equal(made, picture)


@pytest.mark.parametrize("preset", ["even", "a1111"])
def test_sd_upscale_at_denoise_0_is_the_source(context: RunContext, picture: Tensor, preset: str) -> None:
    made = sd_upscale(image=picture, **handles(context), **OURS, denoise=0.0, overlap=16, preset=preset)
    assert torch.equal(made, picture)


@pytest.mark.parametrize("preset", ["even", "a1111", "comfyui"])
def test_every_preset_redraws_everything_within_its_calls(context: RunContext, picture: Tensor, preset: str) -> None:
    made = ultimate(
        image=picture, **handles(context), **OURS, denoise=0.5, seams="Half Tile + Intersections", preset=preset,
        padding=16, lock=0.0,
    )  # fmt: skip
    assert made.shape == picture.shape
    changed = (made - picture).abs().amax(dim=-1) > 1e-3
    assert changed.float().mean() > 0.9
    options = Ultimate((64, 64), padding=16, seams="Half Tile + Intersections", seam_padding=32)
    plan = ultimate_of(96, 120, options, preset)  # type: ignore[arg-type]
    assert context.counts.denoiser_calls == planned_calls(plan, "euler", 2, 0.5, 0.35, "comfyui")


@pytest.mark.parametrize("sampler", ["euler", "euler_ancestral", "dpmpp_2m_sde"])
@pytest.mark.parametrize("dialect", ["comfyui", "webui"])
def test_one_tile_draws_what_the_whole_canvas_would(
    context: RunContext, picture: Tensor, sampler: str, dialect: str
) -> None:
    """A tile of two that are cut from one canvas starts from the canvas's noise, also in the steps."""
    given = handles(context) | OURS | {"sampler_name": sampler, "dialect": dialect, "denoise": 0.5, "lock": 0.0}
    image = picture[:, :64]
    whole = sd_upscale(image=image, **given | {"tile_width": 128}, overlap=16)
    again = sd_upscale(image=image, **given | {"tile_width": 128}, overlap=32)
    assert torch.equal(whole, again)
    other = sd_upscale(image=image, **given | {"tile_width": 128, "seed": 6}, overlap=32)
    assert not torch.equal(whole, other)


def test_noise_is_cut_from_the_canvas() -> None:
    held: dict[Any, Any] = {}
    anchor = Anchor((12, 16), (3, 5), held)
    like = torch.zeros(1, 4, 6, 8)
    stream, other = start_stream("CPU", (7,), per_image=False, anchor=anchor), start_stream("CPU", (7,), False)
    for _ in range(3):
        drawn, stream = stream.draw(like)
        whole, other = other.draw(torch.zeros(1, 4, 12, 16))
        assert torch.equal(drawn, whole[..., 3:9, 5:13])
    moved = start_stream("CPU", (7,), per_image=False, anchor=Anchor((12, 16), (0, 0), held)).draw(like)[0]
    assert torch.equal(moved, initial_noise(7, (1, 4, 12, 16))[..., :6, :8])


def test_the_webuis_noise_is_cut_from_the_canvas_too() -> None:
    anchor = Anchor((12, 16), (2, 4))
    stream = start_stream("NV", (7,), per_image=True, anchor=anchor)
    drawn = stream.draw(torch.zeros(1, 4, 6, 8))[0]
    assert torch.equal(drawn, image_noise([7], (4, 12, 16), "NV")[..., 2:8, 4:12])


def test_the_lock_keeps_the_tone(context: RunContext, picture: Tensor) -> None:
    drift = {}
    for lock in (0.0, 1.0):
        made = ultimate(image=picture, **handles(context), **OURS, denoise=0.8, padding=16, lock=lock)
        drift[lock] = float((made.mean(dim=(0, 1, 2)) - picture.mean(dim=(0, 1, 2))).abs().max())
    assert drift[1.0] < drift[0.0] / 2


def test_joins_that_show_are_drawn_again(context: RunContext, picture: Tensor) -> None:
    given = handles(context) | OURS | {"image": picture, "denoise": 0.9, "padding": 0, "mask_blur": 0, "lock": 0.0}
    plain = ultimate(**given)
    calls = context.counts.denoiser_calls
    mended = ultimate(**given, mend_above=0.01)
    assert not torch.equal(plain, mended)
    assert any("drawn again" in note for note in context.notes)
    assert context.counts.denoiser_calls - calls < calls + 20


def test_sd_upscale_draws_beside_joins_that_show_again_from_the_source(context: RunContext, picture: Tensor) -> None:
    given = handles(context) | OURS | {"image": picture, "denoise": 0.9, "overlap": 0, "lock": 0.0}
    plain = sd_upscale(**given)
    calls = context.counts.denoiser_calls
    mended = sd_upscale(**given, mend_above=0.01)
    assert any("drawn again" in note for note in context.notes) and any("wider" in note for note in context.notes)
    assert not torch.equal(plain, mended)
    assert context.counts.denoiser_calls - calls == calls  # every join shows; the first round was known already
    unmended = sd_upscale(**given, mend_above=10.0)
    assert torch.equal(plain, unmended)


def test_what_is_drawn_beside_joins_is_cut_from_the_source(
    context: RunContext, picture: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuts: list[Cut] = []
    draw = redraw_run.draw_cut

    def watched(cut: Cut, *rest: Any, **more: Any) -> Any:
        cuts.append(cut)
        return draw(cut, *rest, **more)

    monkeypatch.setattr(redraw_run, "draw_cut", watched)
    given = handles(context) | OURS | {"image": picture, "denoise": 0.9, "overlap": 0, "lock": 0.0}
    sd_upscale(**given, mend_above=0.01)
    sizes = {(crop.height, crop.width) for cut in cuts for crop in cut.crops}
    assert len(sizes) > 1  # those of the first round, and wider ones
    for cut in cuts:
        for tile, crop in zip(cut.tiles, cut.crops, strict=True):
            assert torch.equal(tile, picture[:, crop.slices[0], crop.slices[1]])


def test_a_size_that_is_no_multiple_of_8_is_kept(context: RunContext, picture: Tensor) -> None:
    image = picture[:, :93, :115]
    made = ultimate(image=image, **handles(context), **OURS, denoise=0.4, padding=16)
    assert made.shape == image.shape


def test_progress_counts_tile_steps_and_stops(context: RunContext, picture: Tensor) -> None:
    seen: list[tuple[int, int]] = []
    watched = context.for_node("1", "key", {}, lambda value, total, preview: seen.append((value, total)))
    given = handles(context) | OURS | {"context": watched, "padding": 16}
    ultimate(image=picture, **given, denoise=0.4)
    assert seen[-1] == (8, 8) and [value for value, _ in seen] == sorted(value for value, _ in seen)
    done: list[int] = []

    def stop(index: int, tile: Tensor) -> None:
        done.append(index)
        assert tile.shape == (1, 80, 96, 3)
        if index == 1:
            raise Interrupted

    handle = handles(context)
    brush = Brush(
        **{name: handle[name] for name in ("model", "positive", "negative", "vae")},
        seed=1, steps=2, cfg=1.0, sampler="euler", scheduler="normal", denoise=0.4, seam_denoise=0.4,
    )  # fmt: skip
    with pytest.raises(Interrupted):
        redrawn(picture, ultimate_of(96, 120, Ultimate((64, 64), 16), "even"), brush, context, stop)
    assert done == [0, 1]


@pytest.mark.parametrize(
    ("steps", "denoise", "dialect", "run"),
    [
        (20, 0.75, "webui", 16),
        (20, 0.3, "webui", 7),
        (20, 1.0, "webui", 20),
        (20, 0.3, "comfyui", 20),
        (20, 0, "webui", 0),
    ],
)
def test_steps_of_a_tile(steps: int, denoise: float, dialect: str, run: int) -> None:
    assert steps_at("euler", steps, denoise, dialect) == run


def test_the_webuis_steps_are_run(context: RunContext, picture: Tensor) -> None:
    given = handles(context) | OURS | {"steps": 10, "denoise": 0.3, "dialect": "webui", "tile_width": 128}
    sd_upscale(image=picture[:, :64], **given, overlap=16)
    assert context.counts.denoiser_calls == 4


def test_an_overlap_as_wide_as_the_tile_is_refused(context: RunContext, picture: Tensor) -> None:
    with pytest.raises(SettingError, match="overlap of 64"):
        sd_upscale(image=picture, **handles(context), **OURS, overlap=64)


def test_sdxl_is_told_each_tiles_place(context: RunContext, picture: Tensor) -> None:
    given = handles(context, "thin_sdxl_base") | OURS | {"denoise": 0.5, "padding": 16, "lock": 0.0}
    made = {mode: ultimate(image=picture, **given, size_conditioning=mode) for mode in ("crop", "canvas", "native")}
    assert not torch.equal(made["crop"], made["canvas"]) and not torch.equal(made["crop"], made["native"])


# ---- the ComfyUI port -----------------------------------------------------------------------------------------------


def test_the_port_rounds_the_target_to_8_and_keeps_it_at_denoise_0(context: RunContext, picture: Tensor) -> None:
    upscaler = context.store.upscaler("upscaler_compact_x4.safetensors")
    given = handles(context) | COMFY
    made = ultimate_upscale(image=picture, **given, upscale_by=1.5, upscale_model=upscaler, denoise=0.0)
    assert made.shape == (1, 144, 176, 3)  # 120 * 1.5 = 180 = 22.5 * 8, halves to even
    assert torch.equal(made, enlarged(picture, 1.5, upscaler, context))
    assert enlarged(picture, 1.0, upscaler, context).shape == picture.shape


def test_the_port_draws_alike_with_its_own_sampler(context: RunContext, picture: Tensor) -> None:
    given = handles(context) | COMFY | {"denoise": 1.0, "seed": 4}
    plain = ultimate_upscale_no_upscale(upscaled_image=picture, **given)
    from hires.nodes.guiding import noise_levels
    from hires.sampling.schedules import run_sigmas

    sigmas = run_sigmas("euler", "normal", 2, noise_levels(given["model"]), 1.0)
    custom = ultimate_upscale_custom(
        image=picture, **given, upscale_by=1.0, custom_sampler=ChosenSampler("euler", {}), custom_sigmas=sigmas
    )
    assert torch.equal(plain, custom)


def test_the_ports_batches_are_cut_before_they_are_drawn(context: RunContext, picture: Tensor) -> None:
    given = handles(context) | COMFY | {"denoise": 0.5, "upscaled_image": picture}
    alone = ultimate_upscale_no_upscale(**given)
    together = ultimate_upscale_no_upscale(**given, batch_size=4)
    assert together.shape == alone.shape and not torch.equal(together, alone)
    with pytest.raises(SettingError, match="batches"):
        ultimate_upscale_no_upscale(**given, batch_size=2, force_uniform_tiles=False)


def test_the_port_without_uniform_tiles(context: RunContext, picture: Tensor) -> None:
    given = handles(context) | COMFY | {"denoise": 0.5, "upscaled_image": picture, "tiled_decode": True}
    made = ultimate_upscale_no_upscale(**given, force_uniform_tiles=False)
    assert made.shape == picture.shape and not torch.equal(made, picture)
