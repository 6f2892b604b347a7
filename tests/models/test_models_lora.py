"""LoRA: formulas in closed form, every spelling of the names, what is shared and what is copied, and misfits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from hires.errors import ModelFileError
from hires.models.checkpoint import Checkpoint, load_checkpoint
from hires.models.keys import module_unet_blocks, renamed, unet_block_names
from hires.models.layers import lay
from hires.models.lora import LoraFile, apply_lora, open_lora
from hires.models.lora_formulas import KINDS, changed, kind_of

LAYER = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
OUT = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0"
TEXT_LAYER = "encoder.layers.0.self_attn.q_proj"


@pytest.fixture(scope="module")
def sd15(thin_models: Path) -> Checkpoint:
    return load_checkpoint(thin_models / "checkpoints" / "thin_sd15.safetensors")


@pytest.fixture(scope="module")
def sdxl(thin_models: Path) -> Checkpoint:
    return load_checkpoint(thin_models / "checkpoints" / "thin_sdxl_base.safetensors")


@pytest.fixture(scope="module")
def kohya(thin_models: Path) -> LoraFile:
    return open_lora(thin_models / "loras" / "lora_thin_sd15.safetensors", "kohya")


def written(tensors: Mapping[str, Tensor], path: Path, **metadata: str) -> LoraFile:
    save_file({key: value.contiguous() for key, value in tensors.items()}, path, metadata=metadata)
    return open_lora(path, str(path))


def weight(module: torch.nn.Module, path: str, leaf: str = "weight") -> Tensor:
    found: Tensor = dict(module.named_parameters())[f"{path}.{leaf}"]
    return found


def pair(shape: torch.Size | tuple[int, ...], rank: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    tail = shape[2:]
    up = torch.randn(shape[0], rank, *[1] * len(tail), generator=draw)
    return up, torch.randn(rank, shape[1], *tail, generator=draw)


def test_kohya_file_adds_alpha_over_rank_times_up_times_down(
    sd15: Checkpoint, kohya: LoraFile, thin_models: Path
) -> None:
    applied = apply_lora(sd15.model, sd15.clip, kohya, te=0.5, unet=0.8)
    assert applied.model is not None and applied.clip is not None and applied.warning is None
    tensors = load_file(thin_models / "loras" / "lora_thin_sd15.safetensors")
    stem = "lora_unet_" + LAYER.replace(".", "_")
    delta = tensors[f"{stem}.lora_up.weight"] @ tensors[f"{stem}.lora_down.weight"] * (2.0 / 4.0)
    expected = weight(sd15.model.unet, LAYER) + 0.8 * delta
    torch.testing.assert_close(weight(applied.model.unet, LAYER), expected)
    stem = "lora_te_text_model_" + TEXT_LAYER.replace(".", "_")
    delta = tensors[f"{stem}.lora_up.weight"] @ tensors[f"{stem}.lora_down.weight"] * (2.0 / 4.0)
    held = weight(sd15.clip.clips[0].module, TEXT_LAYER)
    expected = (held.float() + 0.5 * delta).to(held.dtype)
    torch.testing.assert_close(weight(applied.clip.clips[0].module, TEXT_LAYER), expected)


def test_untouched_tensors_are_shared_and_the_base_stays(sd15: Checkpoint, kohya: LoraFile) -> None:
    before = {name: value.clone() for name, value in sd15.model.unet.named_parameters()}
    applied = apply_lora(sd15.model, sd15.clip, kohya)
    after = dict(applied.model.unet.named_parameters())
    copied = [name for name, value in sd15.model.unet.named_parameters() if after[name] is not value]
    assert all(torch.equal(value, before[name]) for name, value in sd15.model.unet.named_parameters())
    targeted = {stem for stem in kohya.stems if stem.startswith("lora_unet_")}
    assert {"lora_unet_" + name.removesuffix(".weight").replace(".", "_") for name in copied} == targeted
    assert applied.model.unet.down_blocks[0].resnets[0] is sd15.model.unet.down_blocks[0].resnets[0]


def test_identity_follows_file_and_strength(sd15: Checkpoint, kohya: LoraFile) -> None:
    keys = {
        apply_lora(sd15.model, sd15.clip, file, te, unet, blocks).model.identity
        for file, te, unet, blocks in (
            (kohya, 1.0, 1.0, None),
            (kohya, 1.0, 0.5, None),
            (replace(kohya, identity="other"), 1.0, 1.0, None),
            (kohya, 1.0, 1.0, {"input_blocks": 0.5}),
        )
    }
    assert len(keys | {sd15.model.identity}) == 5
    unchanged = apply_lora(sd15.model, sd15.clip, kohya, te=1.0, unet=0.0)
    assert unchanged.model is sd15.model and unchanged.clip.identity != sd15.clip.identity


def spellings(stem: str, ldm: str) -> dict[str, tuple[str, str]]:
    """spelling -> keys of up and down."""
    flat, ldm_flat = stem.replace(".", "_"), ldm.replace(".", "_")
    processor = stem.replace(".to_", ".processor.to_").removesuffix(".0")
    return {
        "kohya": (f"lora_unet_{flat}.lora_up.weight", f"lora_unet_{flat}.lora_down.weight"),
        "kohya over latent-diffusion": (
            f"lora_unet_{ldm_flat}.lora_up.weight",
            f"lora_unet_{ldm_flat}.lora_down.weight",
        ),
        "lycoris": (f"lycoris_{flat}.lora_up.weight", f"lycoris_{flat}.lora_down.weight"),
        "peft": (f"unet.{stem}.lora_B.weight", f"unet.{stem}.lora_A.weight"),
        "diffusers": (f"unet.{stem}.lora.up.weight", f"unet.{stem}.lora.down.weight"),
        "processor": (f"unet.{processor}_lora.up.weight", f"unet.{processor}_lora.down.weight"),
        "bare processor": (f"{processor}_lora.up.weight", f"{processor}_lora.down.weight"),
        "generic": (f"diffusion_model.{ldm}.lora_up.weight", f"diffusion_model.{ldm}.lora_down.weight"),
        "generic peft": (f"diffusion_model.{ldm}.lora_B.weight", f"diffusion_model.{ldm}.lora_A.weight"),
    }


@pytest.mark.parametrize("path", [LAYER, OUT])
@pytest.mark.parametrize("spelling", list(spellings("a.to_q", "b.to_q")))
def test_every_spelling_means_the_same_layer(sd15: Checkpoint, tmp_path: Path, path: str, spelling: str) -> None:
    base = weight(sd15.model.unet, path)
    names = {
        module: ldm
        for ldm, module in unet_block_names(module_unet_blocks(dict(sd15.model.unet.named_parameters()))).items()
    }
    up, down = pair(base.shape)
    keys = spellings(path, renamed(path, names) or "")[spelling]
    applied = apply_lora(
        sd15.model, None, written(dict(zip(keys, (up, down), strict=True)), tmp_path / "a.safetensors")
    )
    torch.testing.assert_close(weight(applied.model.unet, path), base + up @ down)
    assert applied.warning is None


@pytest.mark.parametrize(
    ("tower", "prefix"),
    [
        (0, "lora_te1_text_model_encoder_layers_0_self_attn_q_proj"),
        (1, "lora_te2_text_model_encoder_layers_0_self_attn_q_proj"),
        (0, "text_encoder.text_model.encoder.layers.0.self_attn.q_proj"),
        (1, "text_encoder_2.text_model.encoder.layers.0.self_attn.q_proj"),
        (1, "text_encoders.clip_g.transformer.text_model.encoder.layers.0.self_attn.q_proj"),
        (0, "text_encoder.text_model.encoder.layers.0.self_attn.to_q"),
    ],
)
def test_text_spellings_of_two_towers(sdxl: Checkpoint, tmp_path: Path, tower: int, prefix: str) -> None:
    base = weight(sdxl.clip.clips[tower].module, TEXT_LAYER)
    up, down = pair(base.shape)
    file = written({f"{prefix}.lora_up.weight": up, f"{prefix}.lora_down.weight": down}, tmp_path / "t.safetensors")
    applied = apply_lora(sdxl.model, sdxl.clip, file, te=0.5)
    changed_towers = [
        index
        for index, (old, new) in enumerate(zip(sdxl.clip.clips, applied.clip.clips, strict=True))
        if old.module is not new.module
    ]
    assert changed_towers == [tower]
    expected = (base.float() + 0.5 * (up @ down)).to(base.dtype)
    torch.testing.assert_close(weight(applied.clip.clips[tower].module, TEXT_LAYER), expected)


# ---- formulas -------------------------------------------------------------------------------------------------------


def apply_kind(base: Tensor, parts: dict[str, Tensor], alpha: float | None = None, strength: float = 1.0) -> Tensor:
    kind = kind_of(parts)
    assert kind is not None
    return changed(kind, base, parts, alpha, strength)


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_convolution_lora_is_two_convolutions() -> None:
    base, x = noise(6, 4, 3, 3), noise(1, 4, 9, 9, seed=2)
    up, down = pair(base.shape, 3)
    conv = torch.nn.functional.conv2d
    merged = conv(x, apply_kind(base, {"up": up, "down": down}, 6.0, 0.5), padding=1)
    apart = conv(x, base, padding=1) + 0.5 * 2.0 * conv(conv(x, down, padding=1), up)
    torch.testing.assert_close(merged, apart, rtol=1e-4, atol=1e-4)


def test_tucker_lora_is_three_convolutions() -> None:
    base, x = torch.zeros(6, 4, 3, 3), noise(1, 4, 9, 9, seed=2)
    up, mid, down = noise(6, 2, 1, 1), noise(2, 2, 3, 3, seed=3), noise(2, 4, 1, 1, seed=4)
    conv = torch.nn.functional.conv2d
    merged = conv(x, apply_kind(base, {"up": up, "mid": mid, "down": down}), padding=1)
    torch.testing.assert_close(merged, conv(conv(conv(x, down), mid, padding=1), up), rtol=1e-4, atol=1e-4)


def test_loha_is_a_product_of_products() -> None:
    a, b, c, d = noise(4, 2), noise(2, 6, seed=2), noise(4, 2, seed=3), noise(2, 6, seed=4)
    got = apply_kind(torch.zeros(4, 6), {"w1_a": a, "w1_b": b, "w2_a": c, "w2_b": d}, 1.0)
    torch.testing.assert_close(got, (a @ b) * (c @ d) * 0.5)


def test_lokr_is_a_kronecker_product_with_alpha_only_where_it_has_a_rank() -> None:
    first, second = noise(2, 3), noise(4, 2, seed=2)
    whole = apply_kind(torch.zeros(8, 6), {"kw1": first, "kw2": second}, 0.5)
    torch.testing.assert_close(whole, torch.kron(first, second))
    a, b = noise(4, 3, seed=3), noise(3, 2, seed=4)
    factored = apply_kind(torch.zeros(8, 6), {"kw1": first, "kw2_a": a, "kw2_b": b}, 1.5)
    torch.testing.assert_close(factored, torch.kron(first, a @ b) * 0.5)


def test_lokr_of_convolutions() -> None:
    first, second = noise(2, 3), noise(2, 1, 3, 3, seed=2)
    got = apply_kind(torch.zeros(4, 3, 3, 3), {"kw1": first, "kw2": second})
    torch.testing.assert_close(got[:2, 1], first[0, 1] * second[:, 0])


def test_glora_multiplies_and_adds() -> None:
    base = noise(5, 4)
    a1, a2, b1, b2 = noise(4, 2, seed=2), noise(2, 4, seed=3), noise(5, 2, seed=4), noise(2, 4, seed=5)
    got = apply_kind(base, {"a1": a1, "a2": a2, "b1": b1, "b2": b2}, 2.0)
    torch.testing.assert_close(got, base + base @ a1 @ a2 + b1 @ b2, rtol=1e-5, atol=1e-5)


def test_ia3_scales_inputs_or_outputs() -> None:
    base, factors = noise(3, 4), noise(4)
    on_input = apply_kind(base, {"ia3": factors, "on_input": torch.tensor([True])}, strength=0.5)
    torch.testing.assert_close(on_input, base * (1 + 0.5 * factors))
    on_output = apply_kind(base, {"ia3": factors[:3], "on_input": torch.tensor([False])})
    torch.testing.assert_close(on_output, base * (1 + factors[:3, None]))


def test_dora_gives_columns_the_stored_norm() -> None:
    base, magnitude = noise(6, 4), torch.rand(1, 4) + 0.5
    up, down = pair(base.shape)
    got = apply_kind(base, {"up": up, "down": down, "dora_scale": magnitude})
    torch.testing.assert_close(got.norm(dim=0), magnitude[0], rtol=1e-5, atol=1e-5)
    half = apply_kind(base, {"up": up, "down": down, "dora_scale": magnitude}, strength=0.5)
    torch.testing.assert_close(half, (got + base) / 2, rtol=1e-5, atol=1e-5)


@given(st.sampled_from([(3, 4), (2, 4, 4)]), st.floats(0.0, 1.0))
@settings(max_examples=10, deadline=None)
def test_oft_and_boft_keep_norms_at_full_strength_and_all_at_none(shape: tuple[int, ...], strength: float) -> None:
    blocks = noise(*shape, shape[-1])
    base = noise(shape[-2] * shape[-1], 5, seed=9)
    full = apply_kind(base, {"blocks": blocks})
    torch.testing.assert_close(full.norm(dim=0), base.norm(dim=0), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(full, base, atol=1e-3)
    torch.testing.assert_close(apply_kind(base, {"blocks": blocks}, strength=0.0), base, rtol=1e-5, atol=1e-5)
    if len(shape) == 2:
        blended = apply_kind(base, {"blocks": blocks}, strength=strength)
        torch.testing.assert_close(blended, base + strength * (full - base), rtol=1e-4, atol=1e-4)


def test_oft_constraint_bounds_the_turn() -> None:
    blocks, base = noise(2, 4, 4) * 10, noise(8, 3)
    near = apply_kind(base, {"blocks": blocks}, alpha=1e-3)
    assert float((near - base).norm() / base.norm()) < 5e-3


def test_kinds_are_told_by_their_parts() -> None:
    assert len({kind.name for kind in KINDS}) == len(KINDS)
    assert kind_of({"up": 0}) is None and kind_of({"diff_b": 0}) is None


# ---- files ----------------------------------------------------------------------------------------------------------


def test_differences_of_weights_biases_and_norms(sd15: Checkpoint, tmp_path: Path) -> None:
    names = dict(sd15.model.unet.named_parameters())
    resnet = "lora_unet_down_blocks_0_resnets_0"
    tensors = {
        f"{resnet}_conv1.diff": torch.ones_like(names["down_blocks.0.resnets.0.conv1.weight"]),
        f"{resnet}_conv1.diff_b": torch.ones_like(names["down_blocks.0.resnets.0.conv1.bias"]),
        f"{resnet}_norm1.w_norm": torch.ones_like(names["down_blocks.0.resnets.0.norm1.weight"]),
        f"{resnet}_norm1.b_norm": torch.ones_like(names["down_blocks.0.resnets.0.norm1.bias"]),
        "lora_unet_conv_in.set_weight": torch.zeros_like(names["conv_in.weight"]),
    }
    applied = apply_lora(sd15.model, None, written(tensors, tmp_path / "full.safetensors"), unet=0.25)
    after = dict(applied.model.unet.named_parameters())
    for layer in ("conv1", "norm1"):
        for leaf in ("weight", "bias"):
            name = f"down_blocks.0.resnets.0.{layer}.{leaf}"
            torch.testing.assert_close(after[name], names[name] + 0.25)
    assert not after["conv_in.weight"].any()


def test_convolutions_keep_their_memory_layout(sd15: Checkpoint, tmp_path: Path) -> None:
    path = "down_blocks.0.resnets.0.conv1"
    base = weight(sd15.model.unet, path)
    up, down = pair(base.shape)
    stem = f"lora_unet_{path.replace('.', '_')}"
    file = written({f"{stem}.lora_up.weight": up, f"{stem}.lora_down.weight": down}, tmp_path / "c.safetensors")
    after = weight(apply_lora(sd15.model, None, file).model.unet, path)
    assert after.stride() == base.stride() and after.dtype == base.dtype


def test_several_loras_compose_and_round_once(tmp_path: Path) -> None:
    layer = torch.nn.Linear(8, 8, dtype=torch.float16).requires_grad_(False)
    steps = [noise(8, 8, seed=seed) * 1e-3 for seed in range(5)]
    module, layers = layer, None
    for step in steps:
        module, layers = lay(module, layers, {"weight": lambda weight, step=step: weight + step})
    expected = (layer.weight.float() + sum(steps)).half()
    assert torch.equal(module.weight, expected)
    assert layers is not None and layers.base is layer


def test_block_weights_scale_by_the_longest_prefix(sd15: Checkpoint, kohya: LoraFile) -> None:
    full = apply_lora(sd15.model, sd15.clip, kohya)
    blocks = {"input_blocks": 0.0, "input_blocks.1": 0.5, "middle_block": 0.0, "output_blocks": 0.0, "text": 0.0}
    part = apply_lora(sd15.model, sd15.clip, kohya, block_weights=blocks)
    base, whole, half = (weight(m.unet, LAYER) for m in (sd15.model, full.model, part.model))
    torch.testing.assert_close(half - base, (whole - base) / 2, rtol=1e-4, atol=1e-6)
    middle = LAYER.replace("down_blocks.0", "mid_block")
    assert weight(part.model.unet, middle) is weight(sd15.model.unet, middle)
    assert part.clip is sd15.clip


def test_cut_rank(sd15: Checkpoint, tmp_path: Path) -> None:
    base = weight(sd15.model.unet, LAYER)
    up, down = pair(base.shape, 4)
    stem = "lora_unet_" + LAYER.replace(".", "_")
    tensors = {f"{stem}.lora_up.weight": up, f"{stem}.lora_down.weight": down, f"{stem}.alpha": torch.tensor(2.0)}
    applied = apply_lora(sd15.model, None, written(tensors, tmp_path / "r.safetensors"), dyn=1)
    torch.testing.assert_close(weight(applied.model.unet, LAYER), base + 0.5 * up[:, :1] @ down[:1])


def test_what_does_not_fit_is_named_by_block(
    sd15: Checkpoint, kohya: LoraFile, tmp_path: Path, thin_models: Path
) -> None:
    tensors = load_file(thin_models / "loras" / "lora_thin_sd15.safetensors")
    tensors["lora_unet_up_blocks_9_attentions_0_proj_in.lora_up.weight"] = torch.zeros(4, 2)
    tensors["lora_unet_up_blocks_9_attentions_0_proj_in.lora_down.weight"] = torch.zeros(2, 4)
    tensors["bundle_emb.words"] = torch.zeros(3)
    applied = apply_lora(sd15.model, sd15.clip, written(tensors, tmp_path / "odd.safetensors"))
    assert set(applied.unmatched.values()) == {"no such layer", "unknown key"}
    assert applied.warning == "2 parts were not used: bundle_emb (unknown key): 1, up_blocks_9 (no such layer): 1"
    assert apply_lora(sd15.model, None, kohya).warning is None


def test_another_family_is_named(sdxl: Checkpoint, sd15: Checkpoint, kohya: LoraFile, tmp_path: Path) -> None:
    stem = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k"
    tensors = {f"{stem}.lora_up.weight": torch.zeros(640, 4), f"{stem}.lora_down.weight": torch.zeros(4, 2048)}
    with pytest.raises(ModelFileError, match=r"made for SDXL, the model is Stable Diffusion 1\.x"):
        apply_lora(sd15.model, sd15.clip, written(tensors, tmp_path / "xl.safetensors"))
    lenient = apply_lora(sd15.model, sd15.clip, written(tensors, tmp_path / "xl2.safetensors"), strict=False)
    assert lenient.model is sd15.model and lenient.unmatched
    flux = {"lora_unet_double_blocks_0_img_attn_qkv.lora_up.weight": torch.zeros(4, 2)}
    with pytest.raises(ModelFileError, match="made for Flux, the model is SDXL"):
        apply_lora(sdxl.model, sdxl.clip, written(flux, tmp_path / "flux.safetensors"))
    stated = {f"{stem}.lora_up.weight": torch.zeros(3, 4), f"{stem}.lora_down.weight": torch.zeros(4, 5)}
    file = written(stated, tmp_path / "meta.safetensors", ss_base_model_version="sd_v2")
    with pytest.raises(ModelFileError, match=r"made for Stable Diffusion 2\.x"):
        apply_lora(sd15.model, sd15.clip, file)


def test_a_checkpoint_is_no_lora(thin_models: Path) -> None:
    with pytest.raises(ModelFileError, match="a checkpoint, not a LoRA"):
        open_lora(thin_models / "checkpoints" / "thin_sd15.safetensors", "x")
