"""Nodes that change models: LoRAs, patches, merges, saved files and ControlNets, each through a run of the sampler."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ControlNetModel
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from hires.errors import ModelFileError, SettingError
from hires.graph.declare import NodeResult
from hires.models.checkpoint import Checkpoint, load_checkpoint, load_text_encoders, load_vae
from hires.models.layers import lay
from hires.nodes import controlnets, loras, merging, model_patches
from hires.nodes.context import RunContext
from hires.nodes.guiding import noise_levels
from hires.nodes.registry import node_registry
from hires.nodes.sampling import ksampler
from hires.nodes.steering import ControlLink, Steerings, spread_to_negative
from hires.nodes.types import ConditioningList
from hires.sampling.guidance import Cond, Seen

SPEC = {
    "LoraLoader": "model clip lora_name strength_model=1.0 strength_clip=1.0 -> MODEL CLIP",
    "LoraLoaderModelOnly": "model lora_name strength_model=1.0 -> MODEL",
    "HypernetworkLoader": "model hypernetwork_name strength=1.0 -> MODEL",
    "HyperTile": "model tile_size=256 swap_size=2 max_depth=0 scale_depth=False -> MODEL",
    "FreeU": "model b1=1.1 b2=1.2 s1=0.9 s2=0.2 -> MODEL",
    "FreeU_V2": "model b1=1.3 b2=1.4 s1=0.9 s2=0.2 -> MODEL",
    "PatchModelAddDownscale": "model block_number=3 downscale_factor=2.0 start_percent=0.0 end_percent=0.35 "
    "downscale_after_skip=True downscale_method upscale_method -> MODEL",
    "RescaleCFG": "model multiplier=0.7 -> MODEL",
    "PerpNeg": "model empty_conditioning neg_scale=1.0 -> MODEL",
    "ModelSamplingDiscrete": "model sampling zsnr=False -> MODEL",
    "ModelSamplingContinuousEDM": "model sampling sigma_max=120.0 sigma_min=0.002 -> MODEL",
    "SelfAttentionGuidance": "model scale=0.5 blur_sigma=2.0 -> MODEL",
    "PerturbedAttentionGuidance": "model scale=3.0 -> MODEL",
    "TomePatchModel": "model ratio=0.3 -> MODEL",
    "DifferentialDiffusion": "model strength=1.0 -> MODEL",
    "ModelMergeSimple": "model1 model2 ratio=1.0 -> MODEL",
    "ModelMergeBlocks": "model1 model2 input=1.0 middle=1.0 out=1.0 -> MODEL",
    "ModelMergeAdd": "model1 model2 -> MODEL",
    "ModelMergeSubtract": "model1 model2 multiplier=1.0 -> MODEL",
    "CLIPMergeSimple": "clip1 clip2 ratio=1.0 -> CLIP",
    "CLIPMergeAdd": "clip1 clip2 -> CLIP",
    "CLIPMergeSubtract": "clip1 clip2 multiplier=1.0 -> CLIP",
    "CheckpointSave": "model clip vae filename_prefix=checkpoints/ComfyUI ->",
    "ModelSave": "model filename_prefix=diffusion_models/ComfyUI ->",
    "CLIPSave": "clip filename_prefix=clip/ComfyUI ->",
    "VAESave": "vae filename_prefix=vae/ComfyUI_vae ->",
    "ControlNetLoader": "control_net_name -> CONTROL_NET",
    "DiffControlNetLoader": "model control_net_name -> CONTROL_NET",
    "SetUnionControlNetType": "control_net type -> CONTROL_NET",
    "ControlNetApply": "conditioning control_net image strength=1.0 -> CONDITIONING",
    "ControlNetApplyAdvanced": "positive negative control_net image strength=1.0 start_percent=0.0 end_percent=1.0 "
    "vae=None -> CONDITIONING CONDITIONING",
}


@pytest.mark.parametrize("name", list(SPEC))
def test_declarations_are_comfyuis(name: str) -> None:
    node = node_registry()[name]
    inputs = [
        entry.name
        if entry.default is type(entry).__dataclass_fields__["default"].default
        else f"{entry.name}={entry.default}"
        for entry in node.inputs
        if not entry.extra
    ]
    assert " ".join([*inputs, "->", *node.outputs]) == SPEC[name]
    assert node.is_output == (not node.outputs)


def test_per_block_merges_name_every_block() -> None:
    sd1, sdxl = (node_registry()[f"ModelMerge{family}"] for family in ("SD1", "SDXL"))
    assert len(sd1.inputs) == 2 + 2 + 12 + 3 + 12 + 1 and len(sdxl.inputs) == 2 + 2 + 9 + 3 + 9 + 1
    assert [entry.name for entry in sd1.inputs][2:6] == [
        "time_embed.",
        "label_emb.",
        "input_blocks.0.",
        "input_blocks.1.",
    ]


@pytest.fixture(scope="module")
def sd15(thin_models: Path) -> Checkpoint:
    return load_checkpoint(thin_models / "checkpoints" / "thin_sd15.safetensors")


@pytest.fixture(scope="module")
def other(sd15: Checkpoint) -> Checkpoint:
    """The same network with every weight halved."""
    names = [name for name, _ in sd15.model.unet.named_parameters()]
    unet, _ = lay(sd15.model.unet, None, dict.fromkeys(names, lambda weight: weight * 0.5))
    towers = []
    for tower in sd15.clip.clips:
        module, _ = lay(tower.module, None, {name: lambda w: w * 0.5 for name, _ in tower.module.named_parameters()})
        towers.append(replace(tower, module=module))
    clip = replace(sd15.clip, clips=tuple(towers), identity="half text")
    return replace(sd15, model=replace(sd15.model, unet=unet, identity="half"), clip=clip)


def text(seed: int = 0, **options: Any) -> ConditioningList:
    return [(torch.randn(1, 77, 64, generator=torch.Generator().manual_seed(seed)), options)]


def drawn(
    model: Any,
    context: RunContext,
    positive: ConditioningList | None = None,
    *,
    negative: ConditioningList | None = None,
    latent: Any = None,
) -> Tensor:
    """Three steps of KSampler."""
    return ksampler(
        model=model,
        seed=5,
        steps=3,
        cfg=6.0,
        sampler_name="euler",
        scheduler="normal",
        positive=positive or text(0),
        negative=negative or text(1),
        latent_image=latent or {"samples": torch.zeros(1, 4, 8, 8)},
        context=context,
    )["samples"]


PATCHES: dict[str, Callable[[Any], Any]] = {
    "deep shrink": lambda m: model_patches.add_downscale(model=m, downscale_method="bicubic", upscale_method="bicubic"),
    "freeu": lambda m: model_patches.freeu(model=m),
    "freeu 2": lambda m: model_patches.freeu_v2(model=m),
    "hypertile": lambda m: model_patches.hypertile(model=m, tile_size=32),
    "token merging": lambda m: model_patches.token_merging(model=m),
    "rescale": lambda m: model_patches.rescale_cfg(model=m),
    "perp": lambda m: model_patches.perp_neg(model=m, empty_conditioning=text(7)),
    "self-attention": lambda m: model_patches.self_attention_guidance(model=m),
    "perturbed": lambda m: model_patches.perturbed_attention(model=m),
    "v": lambda m: model_patches.sampling_discrete(model=m, sampling="v_prediction", zsnr=True),
    "lcm": lambda m: model_patches.sampling_discrete(model=m, sampling="lcm"),
    "x0": lambda m: model_patches.sampling_discrete(model=m, sampling="x0"),
    "edm": lambda m: model_patches.sampling_continuous_edm(model=m, sampling="edm", sigma_max=80.0),
}


@pytest.mark.parametrize("name", list(PATCHES))
def test_every_patch_changes_the_picture_and_the_key_but_not_the_model(
    name: str, sd15: Checkpoint, context: RunContext
) -> None:
    patched = PATCHES[name](sd15.model)
    assert patched.identity != sd15.model.identity
    # at 8 cells a side the middle of the network has one token, which makes attention trivial
    latent = {"samples": torch.zeros(1, 4, 16, 16)}
    plain = drawn(sd15.model, context, latent=latent)
    changed = drawn(patched, context, latent=latent)
    assert torch.isfinite(changed).all() and not torch.allclose(plain, changed, atol=1e-3)
    fresh = replace(context, trajectories=type(context.trajectories)(10**7))
    assert torch.equal(drawn(sd15.model, fresh, latent=latent), plain)
    assert torch.equal(drawn(patched, fresh, latent=latent), changed)


def test_patches_stack(sd15: Checkpoint, context: RunContext) -> None:
    both = PATCHES["freeu 2"](PATCHES["rescale"](PATCHES["perturbed"](sd15.model)))
    results = [drawn(PATCHES[name](sd15.model), context) for name in ("freeu 2", "rescale", "perturbed")]
    assert all(not torch.allclose(drawn(both, context), one, atol=1e-3) for one in results)


def test_the_last_replacement_of_guidance_counts(sd15: Checkpoint, context: RunContext) -> None:
    twice = model_patches.rescale_cfg(model=PATCHES["perp"](sd15.model), multiplier=0.7)
    assert torch.equal(drawn(twice, context), drawn(PATCHES["rescale"](sd15.model), context))


def test_noise_levels_follow_the_nodes(sd15: Checkpoint) -> None:
    lcm = noise_levels(model_patches.sampling_discrete(model=sd15.model, sampling="lcm"))
    assert len(lcm.sigmas) == 50 and float(lcm.timestep(lcm.sigmas[0])) == 19
    snr = noise_levels(model_patches.sampling_discrete(model=sd15.model, sampling="eps", zsnr=True))
    assert snr.sigma_max > 4000
    edm = model_patches.sampling_continuous_edm(model=sd15.model, sampling="eps", sigma_max=80.0, sigma_min=0.01)
    assert noise_levels(edm).sigma_max == pytest.approx(80.0, rel=1e-5)
    again = model_patches.sampling_discrete(model=edm, sampling="eps")
    assert noise_levels(again).sigma_max == pytest.approx(14.6146, rel=1e-4)
    with pytest.raises(SettingError, match="cosmos_rflow"):
        model_patches.sampling_continuous_edm(model=sd15.model, sampling="cosmos_rflow")
    with pytest.raises(SettingError, match="sigma_min 5"):
        model_patches.sampling_continuous_edm(model=sd15.model, sampling="eps", sigma_max=1.0, sigma_min=5.0)


def test_differential_diffusion_repaints_by_degrees(sd15: Checkpoint, context: RunContext) -> None:
    mask = torch.linspace(0, 1, 8).expand(1, 1, 8, 8)
    latent = {"samples": torch.randn(1, 4, 8, 8), "noise_mask": mask}
    plain = drawn(sd15.model, context, latent=latent)
    differing = drawn(model_patches.differential_diffusion(model=sd15.model), context, latent=latent)
    assert not torch.allclose(plain, differing, atol=1e-3)
    away = (differing - latent["samples"]).abs().mean(dim=(0, 1, 2))
    assert away[0] < 0.1 * away[-1]  # the last call repaints a little everywhere


# ---- LoRA -----------------------------------------------------------------------------------------------------------


def test_lora_loader(sd15: Checkpoint, context: RunContext) -> None:
    result = loras.load_lora(model=sd15.model, clip=sd15.clip, lora_name="lora_thin_sd15.safetensors", context=context)
    assert isinstance(result, NodeResult) and result.ui is None
    model, clip = result.outputs
    assert model.identity != sd15.model.identity and clip.identity != sd15.clip.identity
    same = loras.load_lora(
        model=sd15.model, clip=sd15.clip, lora_name="nowhere", strength_model=0.0, strength_clip=0.0, context=context
    )
    assert same == (sd15.model, sd15.clip)
    only = loras.load_lora_model_only(model=sd15.model, lora_name="lora_thin_sd15", context=context)
    assert isinstance(only, NodeResult) and only.ui is None
    assert torch.equal(drawn(only.outputs[0], context), drawn(model, context))
    assert context.store.lora("lora_thin_sd15") is context.store.lora("lora_thin_sd15.safetensors")


def test_a_lora_of_another_family(thin_models: Path, context: RunContext) -> None:
    sdxl = load_checkpoint(thin_models / "checkpoints" / "thin_sdxl_refiner.safetensors")
    with pytest.raises(ModelFileError, match="the model is the SDXL refiner"):
        loras.load_lora(model=sdxl.model, clip=sdxl.clip, lora_name="lora_thin_sd15", context=context)


# ---- merging and saving ---------------------------------------------------------------------------------------------


def first_weight(model: Any, name: str = "conv_in.weight") -> Tensor:
    found: Tensor = dict(model.unet.named_parameters())[name]
    return found


def test_merges_in_closed_form(sd15: Checkpoint, other: Checkpoint) -> None:
    one, half = sd15.model, other.model
    whole = first_weight(one)
    quarter = merging.merge_simple(model1=one, model2=half, ratio=0.25)
    torch.testing.assert_close(first_weight(quarter), whole * (0.25 + 0.75 * 0.5))
    torch.testing.assert_close(first_weight(merging.merge_add(model1=one, model2=half)), whole * 1.5)
    minus = merging.merge_subtract(model1=one, model2=half, multiplier=3.0)
    torch.testing.assert_close(first_weight(minus), whole * 1.5)
    same = merging.merge_simple(model1=one, model2=half, ratio=1.0)
    assert first_weight(same) is whole and same.identity != one.identity
    assert len({quarter.identity, minus.identity, one.identity}) == 3


def test_merge_by_blocks(sd15: Checkpoint, other: Checkpoint) -> None:
    merged = merging.merge_blocks(model1=sd15.model, model2=other.model, input=1.0, middle=0.5, out=0.0)
    factors = {
        "conv_in.weight": 1.0,
        "time_embedding.linear_1.weight": 1.0,
        "down_blocks.1.resnets.0.conv1.weight": 1.0,
        "mid_block.resnets.0.conv1.weight": 0.75,
        "up_blocks.0.resnets.0.conv1.weight": 0.5,
        "conv_out.weight": 0.5,
    }
    for name, factor in factors.items():
        torch.testing.assert_close(first_weight(merged, name), first_weight(sd15.model, name) * factor)
    node = node_registry()["ModelMergeSD1"]
    ratios = {**node.defaults, "input_blocks.1.": 0.0}
    block = node.function(model1=sd15.model, model2=other.model, **ratios)
    name = "down_blocks.0.resnets.0.conv1.weight"
    torch.testing.assert_close(first_weight(block, name), first_weight(sd15.model, name) * 0.5)
    for untouched in ("down_blocks.3.resnets.0.conv1.weight", "conv_in.weight"):
        assert first_weight(block, untouched) is first_weight(sd15.model, untouched)


def test_text_merges(sd15: Checkpoint, other: Checkpoint) -> None:
    name = "encoder.layers.0.mlp.fc1.weight"

    def held(stack: Any) -> Tensor:
        return dict(stack.clips[0].module.named_parameters())[name].float()

    whole = held(sd15.clip)
    for merged, factor in (
        (merging.clip_merge_simple(clip1=sd15.clip, clip2=other.clip, ratio=0.5), 0.75),
        (merging.clip_merge_add(clip1=sd15.clip, clip2=other.clip), 1.5),
        (merging.clip_merge_subtract(clip1=sd15.clip, clip2=other.clip, multiplier=2.0), 1.0),
    ):
        torch.testing.assert_close(held(merged), whole * factor, rtol=1e-3, atol=1e-4)
        assert merged.identity != sd15.clip.identity


def test_merging_two_families(sd15: Checkpoint, thin_models: Path) -> None:
    sdxl = load_checkpoint(thin_models / "checkpoints" / "thin_sdxl_refiner.safetensors")
    with pytest.raises(ModelFileError, match="two families cannot be merged: sd1 and sdxl_refiner"):
        merging.merge_add(model1=sd15.model, model2=sdxl.model)
    with pytest.raises(ModelFileError, match="text encoders of two families"):
        merging.clip_merge_add(clip1=sd15.clip, clip2=sdxl.clip)


@pytest.mark.parametrize("layout", ["thin_sd15", "thin_sdxl_base", "thin_sdxl_refiner"])
def test_saved_checkpoints_load_as_they_were(layout: str, thin_models: Path, context: RunContext) -> None:
    path = thin_models / "checkpoints" / f"{layout}.safetensors"
    source = load_checkpoint(path)
    context.extra_pnginfo = {"workflow": {"nodes": []}}
    paths = []
    for _ in range(2):
        result = merging.save_checkpoint(model=source.model, clip=source.clip, vae=source.vae, context=context)
        entry = result.ui["files"][0]  # type: ignore[index]
        paths.append(context.output_dir / entry["subfolder"] / entry["filename"])
    assert [one.name for one in paths] == ["ComfyUI_00001_.safetensors", "ComfyUI_00002_.safetensors"]
    with safe_open(paths[0], "pt") as saved, safe_open(path, "pt") as original:
        metadata = saved.metadata()
        ours, theirs = set(saved.keys()), set(original.keys())
    assert ours <= theirs and not [
        key for key in theirs - ours if "position_ids" not in key and "logit_scale" not in key
    ]
    assert json.loads(metadata["workflow"]) == {"nodes": []} and metadata["modelspec.predict_key"] == "epsilon"
    again = load_checkpoint(paths[0])
    assert again.family == source.family
    for part in ("unet",):
        before, after = dict(source.model.unet.named_parameters()), dict(again.model.unet.named_parameters())
        assert all(torch.equal(before[name], after[name]) for name in before), part


def test_single_parts_load_again(sd15: Checkpoint, context: RunContext) -> None:
    merging.save_model(model=sd15.model, context=context)
    merging.save_clip(clip=sd15.clip, context=context)
    merging.save_vae(vae=sd15.vae, context=context)
    files = sorted(
        path.relative_to(context.output_dir).as_posix() for path in context.output_dir.rglob("*.safetensors")
    )
    assert files == [
        "clip/ComfyUI_clip_l_00001_.safetensors",
        "diffusion_models/ComfyUI_00001_.safetensors",
        "vae/ComfyUI_vae_00001_.safetensors",
    ]
    clip = load_text_encoders([context.output_dir / files[0]])
    assert clip.clips[0].layers == sd15.clip.clips[0].layers
    assert load_vae(context.output_dir / files[2]).decode(torch.zeros(1, 4, 8, 8)).shape == (1, 64, 64, 3)


def test_saving_stays_in_the_output_folder(sd15: Checkpoint, context: RunContext) -> None:
    with pytest.raises(SettingError, match="leads out of the output folder"):
        merging.save_vae(vae=sd15.vae, filename_prefix="../../x", context=context)


# ---- ControlNets ----------------------------------------------------------------------------------------------------


@pytest.fixture
def net(sd15: Checkpoint, context: RunContext, tmp_path: Path) -> Any:
    config = sd15.model.unet.config
    torch.manual_seed(0)
    module = ControlNetModel(
        block_out_channels=config.block_out_channels,
        attention_head_dim=config.attention_head_dim,
        cross_attention_dim=config.cross_attention_dim,
    )
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim > 1:
                parameter.normal_().div_(parameter[0].numel() ** 0.5)
    folder = tmp_path / "more" / "controlnet"
    folder.mkdir(parents=True)
    save_file(
        {name: value.detach().contiguous() for name, value in module.named_parameters()}, folder / "net.safetensors"
    )
    store = type(context.store)([*context.store.folders, tmp_path / "more"], cache_dir=tmp_path)
    return controlnets.load_controlnet(control_net_name="net.safetensors", context=replace(context, store=store))


def hint(seed: int = 0, batch: int = 1) -> Tensor:
    return torch.rand(batch, 64, 64, 3, generator=torch.Generator().manual_seed(seed))


def test_a_controlnet_steers_and_zero_strength_does_not(sd15: Checkpoint, net: Any, context: RunContext) -> None:
    plain = drawn(sd15.model, context)
    assert controlnets.apply_controlnet(conditioning=text(0), control_net=net, image=hint(), strength=0.0)[0][1] == {}
    steered = drawn(
        sd15.model, context, controlnets.apply_controlnet(conditioning=text(0), control_net=net, image=hint())
    )
    assert not torch.allclose(plain, steered, atol=1e-3)
    both = controlnets.apply_controlnet_advanced(positive=text(0), negative=text(1), control_net=net, image=hint())
    torch.testing.assert_close(drawn(sd15.model, context, both[0], negative=both[1]), steered, rtol=1e-4, atol=1e-4)


def test_a_range_outside_the_schedule_does_nothing(sd15: Checkpoint, net: Any, context: RunContext) -> None:
    never = controlnets.apply_controlnet_advanced(
        positive=text(0), negative=text(1), control_net=net, image=hint(), start_percent=1.0, end_percent=1.0
    )
    assert torch.equal(drawn(sd15.model, context, never[0], negative=never[1]), drawn(sd15.model, context))
    late = controlnets.apply_controlnet_advanced(
        positive=text(0), negative=text(1), control_net=net, image=hint(), start_percent=0.5
    )
    assert not torch.allclose(
        drawn(sd15.model, context, late[0], negative=late[1]), drawn(sd15.model, context), atol=1e-3
    )


def seen_by(model: Any, height: int = 8, width: int = 8, place: tuple[int, int, int, int] | None = None) -> Seen:
    place = place or (height, width, 0, 0)
    x = torch.randn(2, 4, *place[:2], generator=torch.Generator().manual_seed(2))
    context = torch.randn(2, 77, 64, generator=torch.Generator().manual_seed(3))
    return Seen(x, torch.full((2,), 500.0), context, None, 3.0, (place,), (height, width), 1)


def test_two_in_a_chain_add_up(sd15: Checkpoint, net: Any) -> None:
    levels = noise_levels(sd15.model)
    first = controlnets.apply_controlnet(conditioning=text(0), control_net=net, image=hint(1), strength=0.5)
    both = controlnets.apply_controlnet(conditioning=first, control_net=net, image=hint(2), strength=2.0)
    link = both[0][1]["control"]
    assert isinstance(link, ControlLink) and link.previous is first[0][1]["control"]
    chain = Steerings(sd15.model, levels).of(both[0][1])
    assert chain is not None
    got = chain.residuals(seen_by(sd15.model))
    parts = [net.residuals(*[getattr(seen_by(sd15.model), n) for n in ("x", "timestep", "context", "vector")],
             hint(seed).movedim(-1, 1)) for seed in (1, 2)]  # fmt: skip
    assert got is not None and got.middle is not None
    torch.testing.assert_close(got.middle, parts[0].middle * 0.5 + parts[1].middle * 2.0, rtol=1e-4, atol=1e-4)


def test_hints_are_cut_to_the_entrys_area(sd15: Checkpoint, net: Any) -> None:
    steering = Steerings(sd15.model, noise_levels(sd15.model)).of({"control": ControlLink(net, hint(), 1.0)})
    assert steering is not None
    picture = hint().movedim(-1, 1)
    cut = steering._cuts(seen_by(sd15.model, place=(4, 6, 2, 1)), "picture")
    torch.testing.assert_close(cut, picture[:, :, 16:48, 8:56])
    batch = Steerings(sd15.model, noise_levels(sd15.model)).of({"control": ControlLink(net, hint(0, 3), 1.0)})
    assert batch is not None and batch._cuts(seen_by(sd15.model), "picture").shape == (2, 3, 64, 64)


def test_entries_that_share_a_link_share_its_steering(sd15: Checkpoint, net: Any) -> None:
    positive, negative = controlnets.apply_controlnet_advanced(
        positive=[*text(0), *text(4)], negative=text(1), control_net=net, image=hint()
    )
    ready = Steerings(sd15.model, noise_levels(sd15.model))
    found = [ready.of(options) for _, options in [*positive, *negative]]
    assert found[0] is found[1] is found[2] and found[0] is not None
    stronger = ControlLink(net, hint(), 0.5)
    assert ready.of({"control": stronger}).key != found[0].key  # type: ignore[union-attr]
    assert ready.of({}) is None


def test_the_old_node_reaches_the_negative_side_in_turn() -> None:
    def entry(control: Any = None, area: Any = None) -> Cond:
        return Cond(torch.zeros(1, 77, 8), area=area, control=control)

    class Marker:
        def __init__(self, name: str) -> None:
            self.key = name.encode()

        def residuals(self, seen: Seen) -> None:
            return None

    a, b = Marker("a"), Marker("b")
    positive, asks = [entry(a), entry(b, area=(1, 1, 0, 0)), entry(b)], [True, True, True]
    got = spread_to_negative(positive, asks, [entry(), entry(), entry(area=(1, 1, 0, 0))])
    assert [cond.control for cond in got] == [a, b, None]
    taken = [entry(b), entry()]
    assert spread_to_negative(positive, asks, taken) == taken
    assert [c.control for c in spread_to_negative(positive, [False] * 3, [entry()])] == [None]
    assert spread_to_negative(positive, asks, []) == []


def test_union_types_by_name(net: Any) -> None:
    assert controlnets.set_union_type(control_net=net, type="tile").types == (6,)
    assert controlnets.set_union_type(control_net=net, type="auto").types == ()


def test_a_difference_needs_its_own_loader(context: RunContext, tmp_path: Path) -> None:
    folder = tmp_path / "more" / "controlnet"
    folder.mkdir(parents=True)
    save_file({"difference": torch.zeros(1)}, folder / "diff.safetensors")
    store = type(context.store)([tmp_path / "more"], cache_dir=tmp_path)
    with pytest.raises(ModelFileError, match=r"differences from a model.*\(diff\)"):
        controlnets.load_controlnet(control_net_name="diff", context=replace(context, store=store))
