"""The nodes of Tiled Diffusion over the thin checkpoints."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from hires.errors import Interrupted, SettingError
from hires.models.checkpoint import Checkpoint
from hires.nodes.conditioning import text_encode
from hires.nodes.context import Counts, RunContext
from hires.nodes.joint import Spot, joint_tiles
from hires.nodes.regions import REGION
from hires.nodes.sampling import ksampler
from hires.nodes.tiled_diffusion import (
    hires_region,
    hires_regions,
    hires_tiled_diffusion,
    noise_inversion,
    spot_diffusion_params,
    tiled_diffusion,
)
from hires.nodes.types import LatentDict
from hires.text.vectors import size_vector_refiner, size_vector_sdxl
from hires.tiling.joint import spot_shifts
from hires.tiling.regions import Region, write_regions

SIZE = (16, 24)


@pytest.fixture
def sd15(context: RunContext) -> Checkpoint:
    return context.store.checkpoint("thin_sd15.safetensors")


def empty(batch: int = 1) -> LatentDict:
    return {"samples": torch.zeros(batch, 4, *SIZE)}


def drawn(context: RunContext, checkpoint: Checkpoint, model: Any = None, **given: Any) -> Tensor:
    clip = checkpoint.clip
    inputs: dict[str, Any] = {
        "model": model or checkpoint.model,
        "seed": 3,
        "steps": 2,
        "cfg": 4.0,
        "sampler_name": "euler_ancestral",
        "scheduler": "normal",
        "positive": text_encode(text="a castle", clip=clip),
        "negative": text_encode(text="", clip=clip),
        "latent_image": empty(),
        "context": context,
    }
    return ksampler(**{**inputs, **given})["samples"]


def test_the_packs_node_takes_pixels(sd15: Checkpoint, context: RunContext) -> None:
    whole = tiled_diffusion(model=sd15.model, tile_width=192, tile_height=128)
    tiles = tiled_diffusion(model=sd15.model, tile_width=96, tile_height=96, tile_overlap=32)
    plain = drawn(context, sd15)
    assert torch.equal(drawn(context, sd15, whole), plain)
    assert not torch.equal(drawn(context, sd15, tiles), plain)
    found = joint_tiles(tiles, torch.zeros(3), 0)
    assert found is not None and (found.tile, found.overlap, found.published) == ((12, 12), 4, True)


def test_models_without_tiles_have_none(sd15: Checkpoint) -> None:
    assert joint_tiles(sd15.model, torch.zeros(3), 0) is None


def test_spot_diffusion_takes_its_seed_or_the_runs(sd15: Checkpoint, context: RunContext) -> None:
    model = tiled_diffusion(model=sd15.model, method="SpotDiffusion", tile_width=64, tile_height=64, tile_overlap=0)
    own = spot_diffusion_params(model=model, shift_method="sorted", seed=9)
    by_run, by_node = joint_tiles(model, torch.zeros(6), 4), joint_tiles(own, torch.zeros(6), 4)
    assert by_run is not None and by_run.shifts == spot_shifts("random", 4, 5, (8, 8))
    assert by_node is not None and by_node.shifts == spot_shifts("sorted", 9, 5, (8, 8))
    assert len({m.identity for m in (sd15.model, model, own)}) == 3 and Spot().seed is None
    assert torch.isfinite(drawn(context, sd15, own)).all()


def test_tile_calls_are_counted_and_can_be_interrupted(sd15: Checkpoint, context: RunContext) -> None:
    model = hires_tiled_diffusion(model=sd15.model, tile_width=8, tile_height=8, overlap=0, tile_batch=2)
    context.counts = Counts()
    shown: list[tuple[int, int]] = []
    view = context.for_node("1", "", {}, lambda value, total, preview: shown.append((value, total)))
    drawn(view, sd15, model)
    assert (context.counts.denoiser_calls, context.counts.tile_calls) == (2, 6)
    assert shown == [(0, 6), (1, 6), (2, 6), (3, 6), (3, 6), (4, 6), (5, 6), (6, 6)]

    def stop(value: int, total: int, preview: object) -> None:
        if value == 4:
            raise Interrupted

    with pytest.raises(Interrupted):
        drawn(context.for_node("1", "", {}, stop), sd15, model, seed=4)


def test_settings_are_not_mixed_up_in_the_cache_of_steps(sd15: Checkpoint, context: RunContext) -> None:
    settings = [{"method": method} for method in ("Cosine", "MultiDiffusion", "Mixture of Diffusers", "SpotDiffusion")]
    settings += [{"jitter": True}, {"overlap": 2}, {"tile_width": 16}, {"window": "linear"}]
    results = []
    for extra in settings:
        model = hires_tiled_diffusion(model=sd15.model, **{"tile_width": 8, "tile_height": 8, "overlap": 4, **extra})
        results.append(drawn(context, sd15, model))
    assert len({tuple(result.flatten().tolist()) for result in results}) == len(settings)


def test_a_run_in_two_parts_goes_on_with_the_jittered_grid(sd15: Checkpoint, context: RunContext) -> None:
    model = hires_tiled_diffusion(model=sd15.model, tile_width=8, tile_height=8, overlap=0, jitter=True)
    later = joint_tiles(model, torch.zeros(3), 0, first_step=3)
    first = joint_tiles(model, torch.zeros(6), 0)
    assert later is not None and first is not None and later.key(0) == first.key(3)


def test_jitter_and_spot_diffusion_contradict_each_other(sd15: Checkpoint) -> None:
    with pytest.raises(SettingError):
        hires_tiled_diffusion(model=sd15.model, method="SpotDiffusion", jitter=True)


# ---- SDXL -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "sizes"),
    [("crop", (2048, 1536, 400, 200, 512, 640)), ("native", (512, 640, 0, 0, 512, 640))],
)
def test_a_tile_of_sdxl_is_told_its_place(context: RunContext, mode: str, sizes: tuple[float, ...]) -> None:
    model = context.store.checkpoint("thin_sdxl_base.safetensors").model
    tiles = joint_tiles(hires_tiled_diffusion(model=model, micro_cond=mode), torch.zeros(3), 0)
    assert tiles is not None
    pooled = torch.rand(1, model.vector_width - 6 * 256)
    told = tiles.vector(size_vector_sdxl(pooled, 2048, 1536), (64, 80, 75, 37), (256, 192))
    scale = 1024 / 1536
    expected = (*sizes[:2], 600 * scale, 296 * scale, *sizes[4:]) if mode == "crop" else sizes
    torch.testing.assert_close(told, size_vector_sdxl(pooled, *expected))


def test_the_refiner_keeps_its_score(context: RunContext) -> None:
    model = context.store.checkpoint("thin_sdxl_refiner.safetensors").model
    tiles = joint_tiles(hires_tiled_diffusion(model=model, micro_cond="native"), torch.zeros(3), 0)
    assert tiles is not None
    pooled = torch.rand(1, model.vector_width - 5 * 256)
    told = tiles.vector(size_vector_refiner(pooled, 2048, 1536, 0, 0, 2.5), (64, 80, 75, 37), (256, 192))
    torch.testing.assert_close(told, size_vector_refiner(pooled, 512, 640, 0, 0, 2.5))


# ---- regions and inversion ------------------------------------------------------------------------------------------


def test_regions_from_json(sd15: Checkpoint, context: RunContext) -> None:
    regions = [Region(0, 0, 0.5, 1, "red", seed=1), Region(0.5, 0, 0.5, 1, "blue", "green", seed=2)]
    text = write_regions(regions)
    positive, negative = hires_regions(
        clip=sd15.clip, text="a castle", negative_text="", regions=text, background="off"
    )
    assert [options.get(REGION) is not None for _, options in positive] == [False, True, True]
    torch.testing.assert_close(positive[1][0], text_encode(text="a castle, red", clip=sd15.clip)[0][0])
    torch.testing.assert_close(negative[2][0], text_encode(text="green", clip=sd15.clip)[0][0])
    given = {"positive": positive, "negative": negative}
    both = drawn(context, sd15, **given)
    assert torch.isfinite(both).all() and not torch.equal(both, drawn(context, sd15))


def test_regions_that_leave_canvas_bare_are_refused_or_filled(sd15: Checkpoint, context: RunContext) -> None:
    base = text_encode(text="a castle", clip=sd15.clip)
    none = text_encode(text="", clip=sd15.clip)
    results = {}
    for background in ("fill", "on"):
        sides = hires_region(
            positive=base, negative=none, region_positive=text_encode(text="red", clip=sd15.clip), region_negative=none,
            x=0.5, y=0.0, width=0.5, height=1.0, blend="Background", background=background,
        )  # fmt: skip
        results[background] = drawn(context, sd15, positive=sides[0], negative=sides[1], steps=1)
    assert not torch.equal(results["fill"], results["on"])
    off = [[(tensor, {**options, "under_regions": ("off", options["under_regions"][1])}) if "under_regions" in options
            else (tensor, options) for tensor, options in side] for side in sides]  # fmt: skip
    with pytest.raises(SettingError, match="50% of the picture uncovered"):
        drawn(context, sd15, positive=off[0], negative=off[1])


def test_inverted_noise_takes_the_place_of_the_seeds(sd15: Checkpoint, context: RunContext) -> None:
    latent: LatentDict = {"samples": torch.randn(1, 4, *SIZE, generator=torch.Generator().manual_seed(1))}
    image = torch.rand(1, SIZE[0] * 8, SIZE[1] * 8, 3)
    model = hires_tiled_diffusion(model=sd15.model, tile_width=8, tile_height=8, overlap=4)
    texts = {"positive": text_encode(text="a castle", clip=sd15.clip), "negative": text_encode(text="", clip=sd15.clip)}
    given = {"model": model, "latent_image": latent, "image": image, "steps": 2, "context": context, **texts}
    inverted = noise_inversion(**given, renoise_strength=0.0)
    assert torch.equal(inverted["samples"], latent["samples"]) and "inverted" in inverted
    seeds = [
        drawn(context, sd15, latent_image=inverted, denoise=0.5, seed=seed, sampler_name="euler") for seed in (1, 2)
    ]
    assert torch.equal(seeds[0], seeds[1])
    mixed = noise_inversion(**given, renoise_strength=1.0)
    seeds = [drawn(context, sd15, latent_image=mixed, denoise=0.5, seed=seed, sampler_name="euler") for seed in (1, 2)]
    assert not torch.equal(seeds[0], seeds[1])
    webui = drawn(context, sd15, latent_image=inverted, denoise=0.5, dialect="webui", sampler_name="euler")
    assert torch.isfinite(webui).all()
    small = {**inverted, "samples": latent["samples"][..., :16]}
    with pytest.raises(SettingError):
        drawn(context, sd15, latent_image=small, denoise=0.5)
    assert replace(inverted["inverted"]).fresh is None
