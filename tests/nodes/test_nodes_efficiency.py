"""The Efficiency nodes: the same pictures as the nodes they stand for, shared work, and older files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ControlNetModel
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from hires.errors import ModelFileError, SettingError
from hires.graph.cache import ResultCache
from hires.graph.declare import NodeResult
from hires.graph.execute import execute
from hires.graph.ui_values import widget_values
from hires.graph.validate import validate
from hires.graph.workflow import Workflow
from hires.models.store import ModelStore
from hires.nodes import loras, sampling
from hires.nodes.conditioning import set_last_layer, text_encode, text_encode_refiner
from hires.nodes.context import RunContext
from hires.nodes.efficiency import samplers as eff
from hires.nodes.efficiency import scripts, stacks, tiles, xy_files, xy_numbers
from hires.nodes.efficiency.evaluate import evaluate
from hires.nodes.efficiency.loaders import efficient_loader, efficient_loader_sdxl
from hires.nodes.efficiency.noise import initial_noise_of
from hires.nodes.efficiency.pictures import image_overlay
from hires.nodes.efficiency.values import Axis, ControlUse, LoraUse
from hires.nodes.efficiency.xy_manual import manual_entry
from hires.nodes.image_sizes import image_scale_by, image_upscale_with_model
from hires.nodes.latents import latent_upscale_by
from hires.nodes.registry import node_registry
from hires.nodes.vae import vae_decode, vae_encode
from hires.sampling import philox
from hires.sampling.guidance import Cond
from hires.sampling.noise import initial_noise
from hires.sampling.trajectories import TrajectoryCache

CKPT, LORA = "thin_sd15.safetensors", "lora_thin_sd15.safetensors"
REGISTRY = node_registry()
NET_SIZES = (
    "down_block_types", "block_out_channels", "norm_num_groups", "cross_attention_dim", "attention_head_dim",
    "transformer_layers_per_block", "use_linear_projection",
)  # fmt: skip


def loaded(context: RunContext, **changes: Any) -> tuple[Any, ...]:
    settings: dict[str, Any] = {
        "ckpt_name": CKPT, "vae_name": "Baked VAE", "lora_name": "None", "positive": "a red (barn:1.3)",
        "negative": "blurry", "token_normalization": "none", "weight_interpretation": "comfy",
        "empty_latent_width": 64, "empty_latent_height": 64,
    }  # fmt: skip
    return efficient_loader(**(settings | changes), context=context)


def drawn(context: RunContext, loader: tuple[Any, ...], **changes: Any) -> NodeResult:
    model, positive, negative, latent, vae, *_ = loader
    settings: dict[str, Any] = {
        "model": model, "seed": 3, "steps": 3, "cfg": 5.0, "sampler_name": "euler", "scheduler": "karras",
        "positive": positive, "negative": negative, "latent_image": latent, "preview_method": "none",
        "vae_decode": "true", "optional_vae": vae,
    }  # fmt: skip
    return eff.ksampler_efficient(**(settings | changes), context=context)


def fresh(context: RunContext) -> RunContext:
    return replace(context, trajectories=TrajectoryCache(10**7))


# ---- loaders --------------------------------------------------------------------------------------------------------


def test_the_loader_is_the_core_nodes_in_a_row(context: RunContext) -> None:
    stack = [LoraUse(LORA, 0.3, 0.4)]
    result = loaded(
        context, lora_name=LORA, lora_model_strength=0.7, lora_clip_strength=0.5, lora_stack=stack, clip_skip=-2
    )
    checkpoint = context.store.checkpoint(CKPT)
    model: Any = checkpoint.model
    clip: Any = checkpoint.clip
    for unet, text in ((0.7, 0.5), (0.3, 0.4)):
        step = loras.load_lora(
            model=model, clip=clip, lora_name=LORA, strength_model=unet, strength_clip=text, context=context
        )
        model, clip = step.outputs if isinstance(step, NodeResult) else step
    assert clip is not None and model is not None
    expected = text_encode(text="a red (barn:1.3)", clip=set_last_layer(clip=clip, stop_at_clip_layer=-2))
    assert result[0].identity == model.identity
    assert torch.equal(result[1][0][0], expected[0][0])
    assert result[3]["samples"].shape == (1, 4, 8, 8)


def test_prompt_options_reach_the_encoder(context: RunContext) -> None:
    text = "a (red barn:1.3)"
    plain = loaded(context, positive=text)[1][0][0]
    assert not torch.equal(plain, loaded(context, positive=text, weight_interpretation="A1111")[1][0][0])
    assert not torch.equal(plain, loaded(context, positive=text, token_normalization="length")[1][0][0])


def test_the_refiner_s_prompts_carry_sizes_and_scores(context: RunContext) -> None:
    tuple_, latent, _, wanted = efficient_loader_sdxl(
        base_ckpt_name="thin_sdxl_base.safetensors", refiner_ckpt_name="thin_sdxl_refiner.safetensors",
        vae_name="Baked VAE", positive="a barn", negative="", token_normalization="none",
        weight_interpretation="comfy", empty_latent_width=128, empty_latent_height=64, batch_size=2, context=context,
    )  # fmt: skip
    clip = tuple_.refiner_clip
    assert clip is not None and tuple_.refiner_negative is not None and tuple_.refiner_positive is not None
    core = text_encode_refiner(ascore=2.0, width=128, height=64, text="", clip=clip)
    assert {name: value for name, value in tuple_.refiner_negative[0][1].items() if name != "pooled_output"} == {
        name: value for name, value in core[0][1].items() if name != "pooled_output"
    }
    assert torch.equal(tuple_.refiner_negative[0][0], core[0][0])
    assert tuple_.refiner_positive[0][1]["aesthetic_score"] == 6.0
    assert "width" not in tuple_.base_positive[0][1]
    assert latent["samples"].shape == (2, 4, 8, 16) and wanted.refiner is not None


def test_an_sdxl_run_adds_fresh_noise_at_the_cut_unless_asked_to_hand_it_over(context: RunContext) -> None:
    tuple_, latent, vae, _ = efficient_loader_sdxl(
        base_ckpt_name="thin_sdxl_base.safetensors", refiner_ckpt_name="thin_sdxl_refiner.safetensors",
        vae_name="Baked VAE", positive="a barn", negative="", token_normalization="none",
        weight_interpretation="comfy", empty_latent_width=64, empty_latent_height=64, context=context,
    )  # fmt: skip
    shared = {"noise_seed": 2, "steps": 3, "cfg": 4.0, "sampler_name": "euler", "scheduler": "normal"}
    run = {**shared, "sdxl_tuple": tuple_, "latent_image": latent, "preview_method": "none", "vae_decode": "false"}
    base = {"model": tuple_.base_model, "positive": tuple_.base_positive, "negative": tuple_.base_negative}
    refiner = {
        "model": tuple_.refiner_model, "positive": tuple_.refiner_positive, "negative": tuple_.refiner_negative
    }  # fmt: skip
    for handoff in (False, True):
        first = sampling.ksampler_advanced(
            **shared, **base, latent_image=latent, end_at_step=2, context=fresh(context),
            return_with_leftover_noise="enable" if handoff else "disable",
        )  # fmt: skip
        second = sampling.ksampler_advanced(
            **shared, **refiner, latent_image=first, start_at_step=2, context=fresh(context),
            add_noise="disable" if handoff else "enable",
        )  # fmt: skip
        got = eff.ksampler_sdxl_efficient(
            **run, refine_at_step=2, noise_handoff=handoff, optional_vae=vae, context=fresh(context)
        )
        assert torch.equal(got.outputs[1]["samples"], second["samples"])
    alone = eff.ksampler_sdxl_efficient(**run, optional_vae=vae, context=fresh(context))
    core = sampling.ksampler_advanced(**shared, **base, latent_image=latent, context=fresh(context))
    assert torch.equal(alone.outputs[1]["samples"], core["samples"])


# ---- samplers -------------------------------------------------------------------------------------------------------


def test_the_sampler_is_ksampler_and_vae_decode(context: RunContext) -> None:
    loader = loaded(context)
    context.prompt = {}
    model, positive, negative, latent, vae, *_ = loader
    result = drawn(context, loader, vae_decode="true", preview_method="auto")
    core = sampling.ksampler(
        model=model, seed=3, steps=3, cfg=5.0, sampler_name="euler", scheduler="karras", positive=positive,
        negative=negative, latent_image=latent, context=fresh(context),
    )  # fmt: skip
    assert torch.equal(result.outputs[3]["samples"], core["samples"])
    assert torch.equal(result.outputs[5], vae_decode(samples=core, vae=vae, context=context))
    assert result.outputs[0] is model and result.outputs[4] is vae
    assert result.ui is not None and len(result.ui["images"]) == 1


def test_what_is_decoded_and_shown(context: RunContext) -> None:
    loader = loaded(context)
    hidden = drawn(context, loader, preview_method="none")
    assert hidden.ui is not None and "images" not in hidden.ui and hidden.outputs[5].shape == (1, 64, 64, 3)
    undecoded = drawn(context, loader, vae_decode="false", preview_method="auto")
    assert undecoded.outputs[5].shape == (1, 1, 1, 3)
    without = drawn(context, loader, optional_vae=None, preview_method="auto")
    assert without.outputs[5].shape == (1, 1, 1, 3)
    assert without.ui is not None and any("no VAE" in line for line in without.ui["text"])


def test_a_random_seed_is_told(context: RunContext) -> None:
    loader = loaded(context)
    one, other = (drawn(context, loader, seed=-1, vae_decode="false") for _ in range(2))
    assert one.ui is not None and other.ui is not None and one.ui["text"] != other.ui["text"]
    seed = int(one.ui["text"][0].removeprefix("seed "))
    again = drawn(fresh(context), loader, seed=seed, vae_decode="false")
    assert torch.equal(again.outputs[3]["samples"], one.outputs[3]["samples"])


def test_the_states_of_version_1_9(context: RunContext) -> None:
    loader = loaded(context)
    script = hires(context, upscale_by=1.5)
    plain = drawn(context, loader)
    assert torch.equal(drawn(context, loader, script=script, sampler_state="Sample").outputs[5], plain.outputs[5])
    assert drawn(context, loader, script=script, sampler_state="Script").outputs[5].shape[1] > 64
    idle = drawn(context, loader, sampler_state="Script")
    assert idle.outputs[3] is loader[3] and idle.outputs[5].shape == (1, 1, 1, 3)


# ---- scripts --------------------------------------------------------------------------------------------------------


def hires(context: RunContext, **changes: Any) -> scripts.Script:
    settings: dict[str, Any] = {
        "upscale_type": "latent", "hires_ckpt_name": "(use same)", "latent_upscaler": "bicubic", "upscale_by": 1.25,
        "pixel_upscaler": "upscaler_compact_x4.safetensors", "hires_steps": 2, "denoise": 0.5,
        "control_net_name": "_", "preprocessor": "none",
    }  # fmt: skip
    return scripts.hires_fix_script(**(settings | changes))


def test_highres_fix_is_upscale_and_ksampler(context: RunContext) -> None:
    loader = loaded(context)
    model, positive, negative, *_ = loader
    base = drawn(context, loader).outputs[3]
    script = hires(context, iterations=2, use_same_seed=False, seed=8)
    result = drawn(context, loader, script=script).outputs[3]
    latent = base
    for _ in range(2):
        latent = latent_upscale_by(samples=latent, upscale_method="bicubic", scale_by=1.25, context=context)
        latent = sampling.ksampler(
            model=model, seed=8, steps=2, cfg=5.0, sampler_name="euler", scheduler="karras", positive=positive,
            negative=negative, latent_image=latent, denoise=0.5, context=fresh(context),
        )  # fmt: skip
    assert torch.equal(result["samples"], latent["samples"])
    idle = drawn(context, loader, script=hires(context, iterations=0))
    assert torch.equal(idle.outputs[3]["samples"], base["samples"])


def test_changing_the_second_pass_does_not_draw_the_first_again(context: RunContext) -> None:
    loader = loaded(context)
    drawn(context, loader, script=hires(context, denoise=0.5), steps=6)
    computed = context.counts.computed_steps
    drawn(context, loader, script=hires(context, denoise=0.9), steps=6)
    assert context.counts.computed_steps - computed == 2


def test_pixels_are_enlarged_without_a_second_pass(context: RunContext) -> None:
    loader = loaded(context)
    plain = drawn(context, loader)
    result = drawn(context, loader, script=hires(context, upscale_type="pixel", upscale_by=2.0))
    network = context.store.upscaler("upscaler_compact_x4")
    large = image_upscale_with_model(upscale_model=network, image=plain.outputs[5], context=context)
    expected = image_scale_by(image=large, upscale_method="nearest-exact", scale_by=0.5, context=context)
    assert torch.equal(result.outputs[5], expected)
    assert torch.equal(result.outputs[3]["samples"], plain.outputs[3]["samples"])
    both = drawn(context, loader, script=hires(context, upscale_type="both", upscale_by=2.0))
    assert both.outputs[5].shape == (1, 128, 128, 3)


def test_trained_latent_upscalers_have_a_stand_in(context: RunContext) -> None:
    loader = loaded(context)
    result = drawn(context, loader, script=hires(context, latent_upscaler="city96.xl", upscale_by=1.7))
    assert result.outputs[3]["samples"].shape == (1, 4, 12, 12)
    assert result.ui is not None and any("bislerp" in line for line in result.ui["text"])


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.floats(0.0, 1.0), st.integers(1, 3))
def test_mixed_noise(seed: int, other: int, weight: float, batch: int) -> None:
    latent = {"samples": torch.zeros(batch, 4, 2, 2)}
    got = initial_noise_of(scripts.NoiseControl("CPU", other, weight), "CPU")(latent, seed)  # type: ignore[arg-type]
    first, second = initial_noise(seed, (1, 4, 2, 2)), initial_noise(other, (1, 4, 2, 2))
    shares = [weight] if batch == 1 else [weight * item for item in range(batch)]
    expected = torch.cat([first * (1 - share) + second * share for share in shares])
    assert torch.allclose(got, expected, atol=1e-5)


def test_noise_of_cudas_generator(context: RunContext) -> None:
    control = scripts.NoiseControl("NV", None, 0.0)
    latent = {"samples": torch.zeros(1, 4, 2, 2)}
    assert torch.equal(initial_noise_of(control, "NV")(latent, 7), philox.normal(7, 0, (1, 4, 2, 2)))  # type: ignore[arg-type]
    loader = loaded(context)
    script = scripts.noise_control(rng_source="nv")
    changed = drawn(context, loader, script=script, vae_decode="false").outputs[3]["samples"]
    assert not torch.equal(changed, drawn(context, loader, vae_decode="false").outputs[3]["samples"])


def test_scripts_add_up() -> None:
    script = scripts.noise_control(rng_source="cpu", script=scripts.tiled_upscaler_script(
        tiling_strategy="simple", tile_controlnet="_"))  # fmt: skip
    assert script.noise is not None and script.tiled is not None and script.hires is None


# ---- tiles ----------------------------------------------------------------------------------------------------------


@given(
    st.sampled_from(["simple", "random", "random strict", "padded"]), st.integers(8, 64), st.integers(4, 200),
    st.integers(4, 200), st.integers(0, 2**64 - 1),
)  # fmt: skip
def test_tiles_cover_the_latent_and_keep_their_size(
    strategy: str, tile: int, height: int, width: int, seed: int
) -> None:
    for grid in tiles.tile_grids(strategy, tile, (height, width), seed, 2):
        covered = torch.zeros(height, width)
        for h, w, y, x in grid:
            assert h > 0 and w > 0 and y >= 0 and y + h <= height and x >= 0 and x + w <= width
            covered[y : y + h, x : x + w] += 1
            if strategy != "random":
                assert (h, w) == (min(tile, height), min(tile, width))
        assert covered.min() >= 1
        if strategy == "random":
            assert covered.max() == 1
    again = tiles.tile_grids(strategy, tile, (height, width), seed, 2)
    assert again == tiles.tile_grids(strategy, tile, (height, width), seed, 2)


def test_entries_are_cut_to_tiles_and_steps() -> None:
    cond = Cond(torch.zeros(1, 1, 1), area=(8, 8, 0, 0))
    split = tiles.tile_splitter("simple", 64, 0)
    parts = split([cond], torch.tensor([4.0, 2.0, 0.0]), (16, 16))
    assert [part.area for part in parts] == [(8, 8, 0, 0)] * 2  # of four tiles it lies in one
    for sigma, call in ((4.0001, 0), (4.0, 0), (2.5, 1), (2.0, 1), (0.1, 2), (0.0, 2)):
        assert sum(part.in_force(sigma, call) for part in parts) == 1


def test_one_tile_is_a_plain_second_pass(context: RunContext) -> None:
    """A tile that holds the whole latent gives what img2img over the enlarged picture gives."""
    loader = loaded(context)
    model, positive, negative, _, vae, *_ = loader
    plain = drawn(context, loader)
    script = scripts.tiled_upscaler_script(
        upscale_by=1.5, tile_size=512, tiling_strategy="simple", tiling_steps=2, seed=4, denoise=0.5,
        tile_controlnet="_",
    )  # fmt: skip
    got = drawn(context, loader, script=script)
    large = image_scale_by(image=plain.outputs[5], upscale_method="nearest-exact", scale_by=1.5, context=context)
    expected = sampling.ksampler(
        model=model, seed=4, steps=2, cfg=5.0, sampler_name="euler", scheduler="karras", positive=positive,
        negative=negative, latent_image=vae_encode(pixels=large, vae=vae, context=context), denoise=0.5,
        context=fresh(context),
    )  # fmt: skip
    scale = expected["samples"].abs().max()
    assert torch.allclose(got.outputs[3]["samples"] / scale, expected["samples"] / scale, atol=1e-5)


@pytest.mark.parametrize("strategy", ["random", "random strict", "padded", "simple"])
def test_every_strategy_draws(context: RunContext, strategy: str) -> None:
    script = scripts.Script(tiled=scripts.TiledUpscale(1.5, 64, strategy, 2, 4, 0.5, None))
    got = drawn(context, loaded(context), script=script)
    assert got.outputs[5].shape == (1, 96, 96, 3) and torch.isfinite(got.outputs[3]["samples"]).all()


@pytest.fixture
def with_net(context: RunContext, thin_models: Path, tmp_path: Path) -> RunContext:
    """A context that has a ControlNet of random weights, which act."""
    checkpoint = context.store.checkpoint(CKPT)
    assert checkpoint.model is not None
    config = checkpoint.model.unet.config
    net = ControlNetModel(**{name: config[name] for name in NET_SIZES}, layers_per_block=config.layers_per_block[0])
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw) * 0.05)
    (tmp_path / "models" / "controlnet").mkdir(parents=True)
    save_file(net.state_dict(), tmp_path / "models" / "controlnet" / "my_tile.safetensors")
    return replace(context, store=ModelStore([thin_models, tmp_path / "models"], cache_dir=tmp_path))


def test_controlnets_of_later_passes(with_net: RunContext) -> None:
    """They act on the later pass only, HighRes-Fix shows its hint if asked, and tiles take each its part of it."""
    loader = loaded(with_net)
    plain = drawn(with_net, loader, script=hires(with_net))
    steer = {"use_controlnet": True, "control_net_name": "my_tile.safetensors", "strength": 0.8}
    steered = drawn(with_net, loader, script=hires(with_net, **steer, preprocessor_imgs=True))
    assert not torch.equal(steered.outputs[5][:1], plain.outputs[5])
    assert steered.outputs[5].shape == (2, 80, 80, 3)
    edges = drawn(with_net, loader, script=hires(with_net, **steer, preprocessor="CannyEdgePreprocessor"))
    assert not torch.equal(edges.outputs[5], steered.outputs[5][:1])

    def tiled(tile_size: int, strength: float | None) -> Any:
        control = None if strength is None else scripts.ControlOption("my_tile.safetensors", strength)
        script = scripts.Script(tiled=scripts.TiledUpscale(2.0, tile_size, "simple", 2, 4, 0.5, control))
        return drawn(with_net, loader, script=script).outputs[3]["samples"]

    assert not torch.equal(tiled(64, 0.8), tiled(64, None))
    assert not torch.equal(tiled(64, 0.8), tiled(64, 0.4))
    assert torch.isfinite(tiled(64, 0.8)).all()


# ---- plots ----------------------------------------------------------------------------------------------------------


def plot(context: RunContext, wanted: Any = None, **axes: Axis) -> scripts.Script:
    settings: dict[str, Any] = {
        "XY_flip": "False", "Y_label_orientation": "Horizontal", "cache_models": "True",
        "ksampler_output_image": "Images",
    }  # fmt: skip
    return scripts.xy_plot(**(settings | axes), dependencies=wanted, context=context)


def test_a_plot_s_cells_are_the_runs_they_stand_for(context: RunContext) -> None:
    loader = loaded(context)
    script = plot(context, X=Axis("CFG Scale", (2.0, 6.0)), Y=Axis("Steps", (2, 3)))
    result = drawn(context, loader, script=script)
    images, latents = result.outputs[5], result.outputs[3]["samples"]
    assert images.shape == (4, 64, 64, 3)
    for column, cfg in enumerate((2.0, 6.0)):
        for row, steps in enumerate((2, 3)):
            alone = drawn(fresh(context), loader, cfg=cfg, steps=steps)
            assert torch.equal(latents[column * 2 + row], alone.outputs[3]["samples"][0])
            assert torch.equal(images[column * 2 + row], alone.outputs[5][0])


def test_a_plot_over_the_second_pass_draws_the_first_once(context: RunContext) -> None:
    """HighRes-Fix in every cell of a plot over noise in the second pass's checkpoint: one first pass."""
    loader = loaded(context)
    script = replace(plot(context, loader[6], X=Axis("VAE", ("Baked VAE", CKPT))), hires=hires(context).hires)
    drawn(context, loader, script=script, steps=5)
    assert context.counts.computed_steps == 5 + 2
    assert context.counts.reused_steps == 5 + 2


def test_axes_that_load(context: RunContext) -> None:
    loader = loaded(context)
    axis = xy_numbers.prompt_sr(target_prompt="positive", search_txt="red", replace_count=1, replace_1="blue")
    script = plot(context, loader[6], X=axis, Y=Axis("LoRA", ([LoraUse(LORA, 0.0, 0.0)], [LoraUse(LORA, 1.0, 1.0)])))
    images = drawn(context, loader, script=script).outputs[5]
    blue = loaded(context, positive="a blue (barn:1.3)", lora_name=LORA)
    assert torch.equal(images[0], drawn(context, loader).outputs[5][0])
    assert torch.equal(images[3], drawn(context, blue).outputs[5][0])


def test_a_lora_plot_joins_its_axes(context: RunContext) -> None:
    loader = loaded(context)
    x, y = xy_files.lora_plot(
        input_mode="X: LoRA Batch, Y: LoRA Weight", lora_name="None", X_batch_count=1, X_batch_sort="ascending",
        Y_batch_count=2, Y_first_value=0.5, Y_last_value=1.0, context=context,
    )  # fmt: skip
    images = drawn(context, loader, script=plot(context, loader[6], X=x, Y=y)).outputs[5]
    half = loaded(context, lora_name=LORA, lora_model_strength=0.5, lora_clip_strength=0.5)
    assert torch.equal(images[0], drawn(context, half).outputs[5][0])
    x, y = xy_files.lora_plot(
        input_mode="X: Model Strength, Y: Clip Strength", lora_name=LORA, X_batch_count=1, X_first_value=0.5,
        X_batch_sort="ascending", Y_batch_count=1, Y_first_value=0.5, context=context,
    )  # fmt: skip
    images = drawn(context, loader, script=plot(context, loader[6], X=x, Y=y)).outputs[5]
    assert torch.equal(images[0], drawn(context, half).outputs[5][0])


def test_the_sheet_has_room_for_labels(context: RunContext) -> None:
    loader = loaded(context)
    axes = {"X": Axis("CFG Scale", (2.0, 6.0)), "Y": Axis("Seeds++ Batch", (0, 1, 2))}
    script = plot(context, grid_spacing=5, ksampler_output_image="Plot", **axes)  # type: ignore[arg-type]
    sheet = drawn(context, loader, script=script, steps=1).outputs[5]
    assert sheet.shape[0] == 1 and sheet.shape[1] > 3 * 64 + 10 and sheet.shape[2] > 2 * 64 + 5
    assert torch.equal(sheet[0, 0, 0], torch.ones(3))


def test_plots_that_cannot_be(context: RunContext) -> None:
    loader = loaded(context)
    with pytest.raises(SettingError, match="both axes vary CFG Scale"):
        plot(context, X=Axis("CFG Scale", (1.0,)), Y=Axis("CFG Scale", (2.0,)))
    with pytest.raises(SettingError, match="needs the loader"):
        plot(context, X=Axis("Clip Skip", (-1,)))
    with pytest.raises(SettingError, match="LoRA Plot needs both"):
        plot(context, loader[6], X=Axis("LoRA Wt", ([LoraUse(None, 1.0, 1.0)],)))
    with pytest.raises(SettingError, match="RefineStep means nothing to KSampler"):
        drawn(context, loader, script=plot(context, X=Axis("RefineStep", (1, 2))))
    with pytest.raises(ModelFileError, match="need a VAE"):
        drawn(context, loader, script=plot(context, X=Axis("Steps", (1, 2))), optional_vae=None)


@given(st.integers(0, 50), st.floats(0.0, 100.0), st.floats(0.0, 100.0))
def test_linear_axes(count: int, first: float, last: float) -> None:
    values = xy_numbers.cfg_scale(batch_count=count, first_cfg=first, last_cfg=last).values
    assert len(values) == count
    if count:
        assert values[0] == round(first, 3)
    if count > 1:
        assert values[-1] == round(last, 3)


def test_axes_of_integers_and_seeds() -> None:
    assert xy_numbers.steps(target_parameter="steps").values == (10, 15, 20)
    assert xy_numbers.clip_skip(target_ckpt="Base").values == (-1, -2, -3)
    seeds = xy_numbers.seeds_batch(batch_count=2)
    assert xy_numbers.join_axes(XY_1=seeds, XY_2=seeds).values == (0, 1, 2, 3)
    with pytest.raises(SettingError, match="Both must vary the same"):
        xy_numbers.join_axes(XY_1=seeds, XY_2=Axis("Steps", (1,)))


def test_samplers_and_schedulers_as_axes() -> None:
    rows = {"sampler_1": "euler", "scheduler_1": "None", "sampler_2": "heun", "scheduler_2": "karras"}
    pairs = xy_numbers.sampler_scheduler(target_parameter="sampler & scheduler", input_count=3, **rows)
    assert pairs == Axis("Sampler", (("euler", None), ("heun", "karras")))
    schedulers = xy_numbers.sampler_scheduler(target_parameter="scheduler", input_count=3, **rows)
    assert schedulers == Axis("Scheduler", ("karras",))


def test_batches_of_files_stay_in_the_models_folders(context: RunContext) -> None:
    assert "thin_sd15.safetensors" in xy_files.batch_files(
        "checkpoints", "C:\\ComfyUI\\models\\checkpoints", False, "ascending", -1, context
    )
    with pytest.raises(SettingError, match="leads out of"):
        xy_files.batch_files("loras", "../../etc", True, "ascending", -1, context)
    with pytest.raises(SettingError, match="there are no loras"):
        xy_files.batch_files("loras", "/etc", True, "ascending", -1, context)


@pytest.mark.parametrize(
    ("kind", "text", "values"),
    [
        ("Seeds++ Batch", "3", (0, 1, 2)),
        ("Steps", "10; 20;\n30;", (10, 20, 30)),
        ("CFG Scale", "7;8.5", (7.0, 8.5)),
        ("Sampler", "euler;heun,karras", (("euler", None), ("heun", "karras"))),
        ("Sampler", "euler;heun;,simple", (("euler", "simple"), ("heun", "simple"))),
        ("Positive Prompt S/R", "red; blue", (("red", None), ("red", "blue"))),
        ("Checkpoint", "thin_sd15,-2", ((CKPT, -2, None),)),
        ("LoRA", f"{LORA},0.5,1", ([LoraUse(LORA, 0.5, 1.0)],)),
        ("LoRA", f"{LORA};,0.5", ([LoraUse(LORA, 0.5, 0.5)],)),
    ],
)
def test_axes_as_text(context: RunContext, kind: str, text: str, values: tuple[Any, ...]) -> None:
    assert manual_entry(plot_type=kind, plot_value=text, context=context) == Axis(kind, values)


def test_faults_in_axes_as_text(context: RunContext) -> None:
    for kind, text, message in (
        ("Steps", "ten", "'ten' is no value for Steps"),
        ("Steps", "1.5", "whole numbers"),
        ("Denoise", "2", "from 0 to 1"),
        ("Sampler", "eulr", "euler"),
        ("LoRA", "missing", "no 'missing' among the loras"),
        ("CFG Scale", "", "no values"),
    ):
        with pytest.raises(SettingError, match=message):
            manual_entry(plot_type=kind, plot_value=text, context=context)


# ---- stacks, pictures, expressions ----------------------------------------------------------------------------------


def test_a_stack_of_loras() -> None:
    rows: dict[str, Any] = {"lora_name_1": "a", "lora_wt_1": 0.5, "model_str_1": 0.1, "clip_str_1": 0.2}
    rows |= {"lora_name_2": "None", "lora_name_3": "b", "lora_wt_3": 0.7, "model_str_3": 0.3, "clip_str_3": 0.4}
    behind = [LoraUse("c", 1.0, 1.0)]
    assert stacks.lora_stacker(input_mode="simple", lora_count=3, lora_stack=behind, **rows) == [
        ("a", 0.5, 0.5), ("b", 0.7, 0.7), ("c", 1.0, 1.0)
    ]  # fmt: skip
    assert stacks.lora_stacker(input_mode="advanced", lora_count=2, **rows) == [("a", 0.1, 0.2)]


def test_a_control_axis_keeps_what_the_other_set() -> None:
    image = torch.zeros(1, 8, 8, 3)
    net: Any = object()
    x, y = xy_files.control_net_plot(
        control_net=net, image=image, plot_type="X: Strength, Y: End%", X_last_value=10.0, Y_last_value=10.0
    )
    assert [value[0].strength for value in x.values] == [0.0, 5.0, 10.0]
    assert [value[0].end for value in y.values] == [0.0, 1.0, 1.0]
    assert isinstance(x.values[0][0], ControlUse) and (x.kind, y.kind) == ("ControlNetStrength", "ControlNetEnd%")


def test_an_overlay_with_a_mask_is_seen_through(context: RunContext) -> None:
    base, over = torch.zeros(2, 8, 8, 3), torch.ones(1, 4, 4, 3)
    mask = torch.zeros(1, 4, 4)
    mask[:, :, 2:] = 1.0
    plain = {"base_image": base, "overlay_image": over, "overlay_resize": "None", "resize_method": "bilinear"}
    got = image_overlay(**plain, x_offset=2, y_offset=4, opacity=50.0, optional_mask=mask, context=context)  # type: ignore[arg-type]
    expected = torch.zeros(2, 8, 8, 3)
    expected[:, 4:8, 2:4] = 127 / 255
    assert torch.allclose(got, expected, atol=1.5 / 255)
    covered = image_overlay(**plain, x_offset=2, y_offset=4, opacity=50.0, context=context)  # type: ignore[arg-type]
    assert torch.equal(covered[:, 4:8, 2:6], torch.ones(2, 4, 4, 3))
    fit = image_overlay(**(plain | {"overlay_resize": "Fit"}), context=context)  # type: ignore[arg-type]
    assert torch.equal(fit, torch.ones(2, 8, 8, 3))


@given(st.integers(-48000, 48000), st.integers(-48000, 48000), st.integers(-48000, 48000))
def test_expressions_of_numbers(a: int, b: int, c: int) -> None:
    assert evaluate("((a + b) - c) / 2", {"a": a, "b": b, "c": c}) == ((a + b) - c) / 2
    assert evaluate("a if a > b else max(b, c)", {"a": a, "b": b, "c": c}) == (a if a > b else max(b, c))


@pytest.mark.parametrize(
    "text",
    ["__import__('os')", "a.b", "[1]", "9**9**9", "'x'*99999", "1/0", "a +", "(lambda: 1)()", "'%d' % 3", "open('x')",
     "-" * 5000 + "1", "(-8)**0.5"],
)  # fmt: skip
def test_expressions_that_are_refused(text: str) -> None:
    with pytest.raises(SettingError, match="has no value"):
        evaluate(text, {"a": 1})


# ---- older files ----------------------------------------------------------------------------------------------------


def test_an_old_loader_gets_the_prompt_options(context: RunContext) -> None:
    old = [CKPT, "Baked VAE", -1, "None", 1, 1, "barn", "blurry", 512, 768, 2]
    values, note = widget_values(REGISTRY["Efficient Loader"], old, context)
    assert values["token_normalization"] == "none" and values["weight_interpretation"] == "comfy"
    assert (values["empty_latent_width"], values["empty_latent_height"], values["batch_size"]) == (512, 768, 2)
    assert note is not None


def test_old_samplers(context: RunContext) -> None:
    node_type = REGISTRY["KSampler (Efficient)"]
    for state in ("Sample", "Script", "Hold"):
        old = [state, 5, "fixed", 20, 7, "euler", "normal", 1, "auto", "true"]
        values, _ = widget_values(node_type, old, context)
        assert (values["sampler_state"], values["seed"], values["steps"]) == (state, 5, 20)
        assert (values["preview_method"], values["vae_decode"]) == ("auto", "true")
    older = ["Sample", 5, "fixed", 20, 7, "euler", "normal", 1, "Disabled"]
    values, _ = widget_values(node_type, older, context)
    assert (values["preview_method"], values["vae_decode"]) == ("none", "true")
    today, note = widget_values(node_type, [-1, None, 20, 7, "euler", "normal", 1, "auto", "true"], context)
    assert today["seed"] == -1 and "sampler_state" not in today and note is None


def test_old_scripts(context: RunContext) -> None:
    values, _ = widget_values(REGISTRY["HighRes-Fix Script"], ["SD-Latent-Upscaler.v1", 1.5, 12, 0.6, 2], context)
    assert (values["upscale_type"], values["latent_upscaler"], values["iterations"]) == ("latent", "city96.v1", 2)
    assert values["use_same_seed"] is True
    blank = ["latent", "(use same)", "nearest-exact", "4x.pth", 1.25, False, 9, None, 12, 0.5, 1, "_", "_", 1, "_", "_"]
    values, _ = widget_values(REGISTRY["HighRes-Fix Script"], blank, context)
    assert (values["seed"], values["hires_steps"], values["use_controlnet"]) == (9, 12, False)
    noise, _ = widget_values(REGISTRY["Noise Control Script"], ["gpu", True, False, -1, None, 0.015], context)
    assert (noise["rng_source"], noise["seed"], noise["weight"]) == ("gpu", -1, 0.015)
    saved = [1.5, 640, "random strict", 12, 5, None, 0.56, True, "x_tile.pth", 1]
    tiled, _ = widget_values(REGISTRY["Tiled Upscaler Script"], saved, context)
    assert (tiled["tile_size"], tiled["denoise"], tiled["use_controlnet"]) == (640, 0.56, True)


def test_only_the_files_in_use_must_be_there(context: RunContext) -> None:
    assert scripts.known_files(upscale_type="latent", pixel_upscaler="4x.pth", context=context) is True
    answer = scripts.known_files(upscale_type="pixel", pixel_upscaler="4x.pth", context=context)
    assert isinstance(answer, str) and "4x.pth" in answer
    assert isinstance(scripts.known_files(upscale_type="pixels", context=context), str)


# ---- whole workflows ------------------------------------------------------------------------------------------------


def test_a_whole_workflow_with_a_plot_over_the_second_pass(context: RunContext) -> None:
    rows = {f"{name}_{i}": "None" for name in ("sampler", "scheduler") for i in range(1, 51)}
    rows |= {"sampler_1": "euler", "sampler_2": "dpmpp_2m"}
    workflow = {
        "1": {"class_type": "Efficient Loader", "inputs": {
            "ckpt_name": CKPT, "vae_name": "Baked VAE", "clip_skip": -1, "lora_name": "None",
            "lora_model_strength": 1, "lora_clip_strength": 1, "positive": "barn", "negative": "",
            "token_normalization": "none", "weight_interpretation": "comfy", "empty_latent_width": 64,
            "empty_latent_height": 64, "batch_size": 2}},
        "2": {"class_type": "XY Input: Sampler/Scheduler", "inputs": {
            "target_parameter": "sampler", "input_count": 2, **rows}},
        "3": {"class_type": "XY Plot", "inputs": {
            "grid_spacing": 0, "XY_flip": "False", "Y_label_orientation": "Vertical", "cache_models": "True",
            "ksampler_output_image": "Images", "dependencies": ["1", 6], "Y": ["2", 0]}},
        "4": {"class_type": "HighRes-Fix Script", "inputs": {
            "upscale_type": "latent", "hires_ckpt_name": "(use same)", "latent_upscaler": "area",
            "pixel_upscaler": "4x.pth", "upscale_by": 1.5, "use_same_seed": True, "seed": 0, "hires_steps": 2,
            "denoise": 0.5, "iterations": 1, "use_controlnet": False, "control_net_name": "_", "strength": 1,
            "preprocessor": "_", "preprocessor_imgs": False, "script": ["3", 0]}},
        "5": {"class_type": "KSampler (Efficient)", "inputs": {
            "model": ["1", 0], "seed": 1, "steps": 2, "cfg": 7, "sampler_name": "euler", "scheduler": "normal",
            "positive": ["1", 1], "negative": ["1", 2], "latent_image": ["1", 3], "denoise": 1,
            "preview_method": "auto", "vae_decode": "true", "optional_vae": ["1", 4], "script": ["4", 0]}},
    }  # fmt: skip
    checked = validate(Workflow.parse(workflow), REGISTRY, context)
    assert [str(fault) for fault in checked.faults] == []
    report = execute(checked, REGISTRY, context, ResultCache(10**8))
    report.raise_for_failure()
    assert report.value("5", 5).shape == (2, 96, 96, 3)
    again = execute(checked, REGISTRY, context, ResultCache(10**8))
    assert torch.equal(again.value("5", 5), report.value("5", 5))


def test_a_row_input_that_is_no_sampler_is_a_fault(context: RunContext) -> None:
    inputs: dict[str, Any] = {"target_parameter": "sampler", "input_count": 1}
    inputs |= {f"{name}_{i}": "None" for name in ("sampler", "scheduler") for i in range(1, 51)}
    workflow = {"2": {"class_type": "XY Input: Sampler/Scheduler", "inputs": inputs | {"sampler_7": "eulr"}}}
    faults = validate(Workflow.parse(workflow), REGISTRY, context, targets=["2"]).faults
    assert [fault.input for fault in faults] == ["sampler_7"]
