"""ControlNets and T2I-Adapters of random weights: both layouts, what they add, and files of other kinds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ControlNetModel, ControlNetUnionModel, T2IAdapter, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn

from hires.errors import ModelFileError
from hires.models.checkpoint import CPU, Checkpoint, load_checkpoint
from hires.models.controlnet import ControlNet, hint_side, load_controlnet
from hires.models.export import ldm_unet_tensors
from hires.models.keys import UNET_ENDS, module_unet_blocks, renamed, unet_block_names


@pytest.fixture(scope="module", params=["thin_sd15", "thin_sdxl_base"])
def checkpoint(request: pytest.FixtureRequest, thin_models: Path) -> Checkpoint:
    return load_checkpoint(thin_models / "checkpoints" / f"{request.param}.safetensors")


@pytest.fixture(scope="module")
def sd15(thin_models: Path) -> Checkpoint:
    return load_checkpoint(thin_models / "checkpoints" / "thin_sd15.safetensors")


SIZES = (
    "in_channels",
    "down_block_types",
    "block_out_channels",
    "norm_num_groups",
    "cross_attention_dim",
    "transformer_layers_per_block",
    "attention_head_dim",
    "use_linear_projection",
    "class_embed_type",
    "projection_class_embeddings_input_dim",
)


def sizes(unet: UNet2DConditionModel) -> dict[str, Any]:
    """Arguments that make a ControlNet of the UNet's sizes."""
    return {name: unet.config[name] for name in SIZES} | {
        "layers_per_block": unet.config.layers_per_block[0],
        "conditioning_embedding_out_channels": (16, 32, 96, 256),
    }


def random_net(unet: UNet2DConditionModel, seed: int = 0) -> ControlNetModel:
    """A ControlNet of the UNet's sizes, its zero convolutions filled."""
    net = ControlNetModel(**sizes(unet))
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=draw) / parameter[0].numel() ** 0.5)
            elif name.endswith("bias"):
                parameter.copy_(torch.randn(parameter.shape, generator=draw) * 0.05)
    return net.eval()


def single_file(net: nn.Module, prefix: str = "control_model.") -> dict[str, Tensor]:
    """The net's tensors by the single-file layout's keys, written out from its block order."""
    tensors = {name: value.detach() for name, value in net.named_parameters()}
    names = {module: ldm for ldm, module in (UNET_ENDS | unet_block_names(module_unet_blocks(tensors))).items()}
    result = {}
    for name, value in tensors.items():
        part, _, leaf = name.rpartition(".")
        if part.startswith("controlnet_down_blocks."):
            key = f"zero_convs.{part.split('.')[1]}.0.{leaf}"
        elif part == "controlnet_mid_block":
            key = f"middle_block_out.0.{leaf}"
        elif part == "controlnet_cond_embedding.conv_in":
            key = f"input_hint_block.0.{leaf}"
        elif part == "controlnet_cond_embedding.conv_out":
            key = f"input_hint_block.14.{leaf}"
        elif part.startswith("controlnet_cond_embedding.blocks."):
            key = f"input_hint_block.{2 * int(part.split('.')[2]) + 2}.{leaf}"
        else:
            key = renamed(name, names) or name
        result[prefix + key] = value.contiguous()
    return result


def loaded(tensors: Mapping[str, Tensor], path: Path) -> ControlNet:
    save_file({key: value.detach().contiguous().clone() for key, value in tensors.items()}, path)
    return load_controlnet(path, CPU, path.stem)


def inputs(checkpoint: Checkpoint) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor]:
    model = checkpoint.model
    draw = torch.Generator().manual_seed(1)
    vector = torch.randn(2, model.vector_width, generator=draw) if model.vector_width else None
    context = torch.randn(2, 77, model.unet.config.cross_attention_dim, generator=draw)
    hint = torch.rand(2, 3, 64, 96, generator=draw)
    return torch.randn(2, 4, 8, 12, generator=draw), torch.tensor([300.0, 300.0]), context, vector, hint


@pytest.mark.parametrize("layout", ["diffusers", "control_model.", ""])
def test_it_adds_what_diffusers_adds(checkpoint: Checkpoint, tmp_path: Path, layout: str) -> None:
    net = random_net(checkpoint.model.unet)
    tensors = dict(net.named_parameters()) if layout == "diffusers" else single_file(net, layout)
    x, t, context, vector, hint = inputs(checkpoint)
    ours = loaded(tensors, tmp_path / "net.safetensors").bound(checkpoint.model)
    got = ours.residuals(x, t, context, vector, hint)
    with torch.inference_mode():
        skips, middle = net(x, t, context, hint, class_labels=vector, return_dict=False)
        expected = checkpoint.model.unet(
            x,
            t,
            context,
            class_labels=vector,
            down_block_additional_residuals=skips,
            mid_block_additional_residual=middle,
        ).sample
    for number, skip in enumerate(skips):
        torch.testing.assert_close(got.skips[number], skip, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(got.middle, middle, rtol=1e-4, atol=1e-4)
    answer = checkpoint.model.predict(x, t, context, vector, control=got)
    torch.testing.assert_close(answer, expected, rtol=1e-4, atol=1e-4)


def test_zero_convolutions_add_nothing(sd15: Checkpoint, tmp_path: Path) -> None:
    net = ControlNetModel(**sizes(sd15.model.unet))
    ours = loaded(dict(net.named_parameters()), tmp_path / "zero.safetensors")
    x, t, context, vector, hint = inputs(sd15)
    answer = sd15.model.predict(x, t, context, vector, control=ours.residuals(x, t, context, vector, hint))
    torch.testing.assert_close(answer, sd15.model.predict(x, t, context, vector), rtol=0, atol=1e-6)


def test_a_torch_file(sd15: Checkpoint, tmp_path: Path) -> None:
    net = random_net(sd15.model.unet)
    torch.save({"state_dict": single_file(net)}, tmp_path / "net.pth")
    assert load_controlnet(tmp_path / "net.pth", CPU, "k").module is not None


def test_difference_is_added_to_the_unets_weights(sd15: Checkpoint, tmp_path: Path) -> None:
    net = random_net(sd15.model.unet)
    base = ldm_unet_tensors(sd15.model.unet)
    tensors = single_file(net)
    minus = {
        key: value - base.get(key.removeprefix("control_model."), torch.zeros(())) for key, value in tensors.items()
    }
    handle = loaded(minus | {"difference": torch.zeros(1)}, tmp_path / "diff.safetensors")
    assert handle.module is None
    x, t, context, vector, hint = inputs(sd15)
    got = handle.bound(sd15.model).residuals(x, t, context, vector, hint)
    whole = loaded(tensors, tmp_path / "whole.safetensors").residuals(x, t, context, vector, hint)
    torch.testing.assert_close(got.middle, whole.middle, rtol=1e-3, atol=1e-3)


def test_control_lora_is_built_over_the_unet(sd15: Checkpoint, tmp_path: Path) -> None:
    own = {key: value for key, value in single_file(random_net(sd15.model.unet), "").items() if "zero_convs" in key}
    own |= {
        key: value
        for key, value in single_file(random_net(sd15.model.unet), "").items()
        if key.startswith(("input_hint_block", "middle_block_out"))
    }
    base = ldm_unet_tensors(sd15.model.unet)
    layer = "input_blocks.1.1.transformer_blocks.0.attn1.to_q"
    shape = base[f"{layer}.weight"].shape
    up, down = torch.randn(shape[0], 2), torch.randn(2, shape[1])
    tensors = own | {f"{layer}.up": up, f"{layer}.down": down, "lora_controlnet": torch.zeros(0)}
    handle = loaded(tensors, tmp_path / "lora.safetensors")
    bound = handle.bound(sd15.model)
    weights = dict(bound.module.named_parameters())
    name = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight"
    torch.testing.assert_close(weights[name], dict(sd15.model.unet.named_parameters())[name] + up @ down)
    assert bound.identity != handle.identity
    assert bound.residuals(*inputs(sd15)).middle is not None


def test_union_types_change_the_answer(checkpoint: Checkpoint, tmp_path: Path) -> None:
    config = sizes(checkpoint.model.unet)
    width = config["block_out_channels"][0]
    torch.manual_seed(0)
    union = ControlNetUnionModel(
        **config, addition_time_embed_dim=256, num_control_type=8, num_trans_channel=width, num_proj_channel=width
    )
    with torch.no_grad():
        for parameter in union.parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.randn(parameter.shape) / parameter[0].numel() ** 0.5)
    handle = loaded(dict(union.named_parameters()), tmp_path / "union.safetensors")
    x, t, context, vector, hint = inputs(checkpoint)
    answers = [replace(handle, types=types).residuals(x, t, context, vector, hint).middle for types in ((), (0,), (6,))]
    assert not torch.allclose(answers[0], answers[1], atol=1e-3)
    assert not torch.allclose(answers[1], answers[2], atol=1e-3)
    control_type = torch.zeros(1, 8)
    control_type[0, 6] = 1.0
    with torch.inference_mode():
        labels = None if vector is None else vector[:1]
        inputs_of_one = (x[:1], t[:1], context[:1], [hint[:1]], control_type, [6])
        _, middle = union(*inputs_of_one, class_labels=labels, return_dict=False)
    torch.testing.assert_close(answers[2][:1], middle, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("spelling", ["diffusers", "authors"])
def test_adapters(sd15: Checkpoint, tmp_path: Path, spelling: str) -> None:
    torch.manual_seed(0)
    widths = list(sd15.model.unet.config.block_out_channels)
    adapter = T2IAdapter(in_channels=3, channels=widths, num_res_blocks=2, downscale_factor=8)
    tensors = dict(adapter.named_parameters())
    if spelling == "authors":
        renamed_ones = {}
        for key, value in tensors.items():
            parts = key.removeprefix("adapter.").split(".")
            if parts[0] == "body":
                level = int(parts[1])
                parts = (
                    ["body", str(2 * level), *parts[2:]]
                    if parts[2] == "in_conv"
                    else ["body", str(2 * level + int(parts[3])), *parts[4:]]
                )
            renamed_ones[".".join(parts)] = value
        tensors = renamed_ones
    handle = loaded(tensors, tmp_path / "adapter.safetensors")
    assert handle.is_adapter and handle.multiple == 8
    x, t, context, vector, hint = inputs(sd15)
    got = handle.bound(sd15.model).residuals(x, t, context, vector, hint)
    with torch.inference_mode():
        features = adapter(hint)
    assert sorted(got.inputs) == [2, 5, 8, 11] and not got.skips
    for number, feature in zip((2, 5, 8, 11), features, strict=True):
        torch.testing.assert_close(got.inputs[number], feature)
    assert sd15.model.predict(x, t, context, control=got).shape == x.shape


def test_xl_adapters_reach_the_middle(tmp_path: Path) -> None:
    adapter = T2IAdapter(3, [16, 32, 64, 64], 2, 16, adapter_type="full_adapter_xl")
    handle = loaded(dict(adapter.named_parameters()), tmp_path / "xl.safetensors")
    hint = torch.rand(1, 3, 128, 64)
    got = handle.residuals(torch.zeros(1, 4, 16, 8), torch.zeros(1), torch.zeros(1, 77, 8), None, hint)
    assert sorted(got.inputs) == [3, 5, 8] and got.middle is not None and got.middle.shape == (1, 64, 4, 2)
    assert hint_side(9, handle.multiple) == 80 and hint_side(9, 1) == 72


def test_wrong_files_and_families_are_named(sd15: Checkpoint, thin_models: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="a checkpoint, not a ControlNet"):
        load_controlnet(thin_models / "checkpoints" / "thin_sd15.safetensors", CPU, "x")
    net = random_net(sd15.model.unet)
    tensors = dict(net.named_parameters())
    handle = loaded(tensors, tmp_path / "net.safetensors")
    config = type(sd15.model.unet.config)({**sd15.model.unet.config, "cross_attention_dim": 99})
    other = replace(sd15.model, unet=type("Other", (), {"config": config})())
    with pytest.raises(ModelFileError, match="texts of width 64, the model's are 99"):
        handle.bound(other)
    del tensors["controlnet_mid_block.weight"]
    with pytest.raises(ModelFileError, match="not whole: tensor controlnet_mid_block"):
        loaded(tensors, tmp_path / "cut.safetensors")
