"""Diffusers folders, written by diffusers and transformers themselves, and one file made of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors import safe_open
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from hires.errors import ModelFileError
from hires.models.checkpoint import Checkpoint, Placement, load_checkpoint
from hires.models.export import to_single_file

EXACT = Placement(weights="float32")
WORDS = torch.tensor([[49, 12, 7, 3, 48, 0]])


@dataclass(frozen=True)
class Folder:
    path: Path
    unet: UNet2DConditionModel
    vae: AutoencoderKL
    texts: dict[str, torch.nn.Module]


def small_text(kind: str, heads: int, activation: str, projected: bool, layers: int = 2) -> torch.nn.Module:
    config = CLIPTextConfig(
        vocab_size=50, hidden_size=64, intermediate_size=96, num_hidden_layers=layers, num_attention_heads=heads,
        max_position_embeddings=16, hidden_act=activation, projection_dim=32, bos_token_id=47, eos_token_id=48,
    )  # fmt: skip
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)


def small_folder(path: Path, family: str, **saving: object) -> Folder:
    """A folder of small random networks with everything off the rules: heads, norm groups, attention levels."""
    torch.manual_seed({"sd1": 1, "sd2": 2, "sdxl": 3}[family])
    extra: dict[str, object] = {}
    texts = {"text_encoder": small_text("l", 8, "quick_gelu", False)}
    context = 64
    if family == "sd2":
        extra = {"use_linear_projection": True}
        texts = {"text_encoder": small_text("h", 2, "gelu", False)}
    if family == "sdxl":
        extra = {
            "use_linear_projection": True,
            "transformer_layers_per_block": (1, 2, 3),
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 32 + 6 * 8,
        }
        texts["text_encoder_2"] = small_text("g", 4, "gelu", True)
        context = 128
    unet = UNet2DConditionModel(
        block_out_channels=(32, 64, 64), layers_per_block=1, cross_attention_dim=context, attention_head_dim=(4, 4, 2),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), norm_num_groups=16, **extra,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(8, 16, 16, 24), layers_per_block=1, latent_channels=4, norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, scaling_factor=0.2,
    )  # fmt: skip
    for module in (unet, vae, *texts.values()):
        for parameter in module.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
            parameter.data = parameter.data.half().float()  # so that one file in float16 loses nothing
        module.eval().requires_grad_(False)
    unet.save_pretrained(path / "unet", **saving)
    vae.save_pretrained(path / "vae", **saving)
    for name, text in texts.items():
        text.save_pretrained(path / name)
    (path / "scheduler").mkdir()
    prediction = "v_prediction" if family == "sd2" else "epsilon"
    (path / "scheduler" / "scheduler_config.json").write_text(json.dumps({"prediction_type": prediction}))
    (path / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    return Folder(path, unet, vae, texts)


def numbers(checkpoint: Checkpoint) -> list[torch.Tensor]:
    """What a checkpoint computes from fixed inputs: UNet at an odd size, VAE both ways, every text tower."""
    generator = torch.Generator().manual_seed(9)
    model, vae, clip = checkpoint.model, checkpoint.vae, checkpoint.clip
    assert model is not None and vae is not None and clip is not None
    x = torch.randn(1, 4, 7, 10, generator=generator)
    context = torch.randn(1, 5, model.unet.config.cross_attention_dim, generator=generator)
    vector = torch.randn(1, model.vector_width, generator=generator) if model.vector_width else None
    image = torch.rand(1, 16, 24, 3, generator=generator)
    outputs = [model.predict(x, torch.tensor([321.0]), context, vector), vae.encode(image), vae.decode(x)]
    outputs += [one.module(WORDS, output_hidden_states=True).hidden_states[-2] for one in clip.clips]
    return outputs + [one.projection for one in clip.clips if one.projection is not None]


@pytest.mark.parametrize(
    "saving", [{}, {"safe_serialization": False}, {"variant": "fp16"}, {"max_shard_size": "100KB"}]
)
def test_folder_computes_what_diffusers_does(tmp_path: Path, saving: dict[str, object]) -> None:
    folder = small_folder(tmp_path, "sd1", **saving)
    checkpoint = load_checkpoint(folder.path, EXACT)
    assert (checkpoint.family, checkpoint.prediction) == ("sd1", "eps")
    model, vae, clip = checkpoint.model, checkpoint.vae, checkpoint.clip
    assert model is not None and vae is not None and clip is not None
    assert model.latent_scale == 0.2
    x, context = torch.randn(1, 4, 7, 10), torch.randn(1, 5, 64)
    expected = folder.unet(x, 5.0, context).sample
    assert torch.allclose(model.predict(x, torch.tensor([5.0]), context), expected, atol=1e-5)
    decoded = ((folder.vae.decode(x).sample + 1) / 2).clamp(0, 1).movedim(1, -1)
    assert torch.allclose(vae.decode(x), decoded, atol=1e-5)
    ours, theirs = (one(WORDS).last_hidden_state for one in (clip.clips[0].module, folder.texts["text_encoder"]))
    assert torch.equal(ours, theirs)


def test_sdxl_vector_is_diffusers_added_conditions(tmp_path: Path) -> None:
    folder = small_folder(tmp_path, "sdxl")
    model = load_checkpoint(folder.path, EXACT).model
    assert model is not None and model.family == "sdxl" and model.vector_width == 80
    x, context, pooled = torch.randn(1, 4, 8, 8), torch.randn(1, 5, 128), torch.randn(1, 32)
    sizes = torch.tensor([[768.0, 512.0, 0.0, 8.0, 1024.0, 640.0]])
    sinusoids = folder.unet.add_time_proj(sizes.flatten()).reshape(1, -1)
    added = {"text_embeds": pooled, "time_ids": sizes}
    expected = folder.unet(x, 40.0, context, added_cond_kwargs=added).sample
    ours = model.predict(x, torch.tensor([40.0]), context, torch.cat([pooled, sinusoids], dim=-1))
    assert torch.allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_one_file_of_a_folder_computes_the_same(tmp_path: Path, family: str) -> None:
    folder = small_folder(tmp_path / "folder", family)
    out = tmp_path / "one.safetensors"
    to_single_file(folder.path, out)
    with safe_open(out, framework="pt") as file:
        config = json.loads(file.metadata()["hires.config"])
        keys = set(file.keys())
        assert {file.get_slice(key).get_dtype() for key in keys} == {"F16"}
    assert config["unet"] == {"num_attention_heads": [4, 4, 2], "norm_num_groups": 16}
    assert config["vae"]["norm_num_groups"] == 4
    assert "model.diffusion_model.input_blocks.2.0.op.weight" in keys
    assert "first_stage_model.decoder.mid.attn_1.proj_out.weight" in keys
    whole, one = load_checkpoint(folder.path, EXACT), load_checkpoint(out, EXACT)
    assert (one.family, one.prediction) == (family, "v" if family == "sd2" else "eps")
    assert whole.clip is not None and one.clip is not None
    assert [c.kind for c in one.clip.clips] == {"sd1": ["l"], "sd2": ["h"], "sdxl": ["l", "g"]}[family]
    for ours, theirs in zip(numbers(one), numbers(whole), strict=True):
        assert torch.equal(ours, theirs)


def test_one_file_of_a_loaded_checkpoint_has_the_same_tensors(thin_models: Path, tmp_path: Path) -> None:
    source = thin_models / "checkpoints" / "thin_sdxl_base.safetensors"
    to_single_file(load_checkpoint(source, EXACT), tmp_path / "again.safetensors", dtype=torch.float32)
    with safe_open(source, framework="pt") as one, safe_open(tmp_path / "again.safetensors", framework="pt") as other:
        assert set(one.keys()) - set(other.keys()) == {"conditioner.embedders.1.model.logit_scale"}
        for key in other.keys():  # noqa: SIM118
            assert torch.equal(one.get_tensor(key), other.get_tensor(key)), key


def test_sd2_text_without_its_last_layer_keeps_layer_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hires.models import build

    monkeypatch.setattr(build, "OPENCLIP_H_WIDTH", 64)
    monkeypatch.setattr(build, "OPENCLIP_H_LAYERS", 3)
    folder = small_folder(tmp_path, "sd2")
    for placement in (EXACT, Placement()):
        clip = load_checkpoint(folder.path, placement).clip
        assert clip is not None and clip.clips[0].depth == 3
        module = clip.clips[0].module
        states = module(WORDS, output_hidden_states=True).hidden_states
        assert len(states) == 4 and torch.equal(states[-1], states[-2])
        theirs = folder.texts["text_encoder"](WORDS).last_hidden_state
        assert torch.allclose(module(WORDS).last_hidden_state, theirs, atol=1e-5)


def test_broken_folders_say_what_lacks(tmp_path: Path) -> None:
    folder = small_folder(tmp_path / "m", "sd1", max_shard_size="100KB").path
    next((folder / "unet").glob("*-00002-of-*")).unlink()
    with pytest.raises(ModelFileError, match=r"unet has \d+ of \d+ weight shards"):
        load_checkpoint(folder)
    for file in (folder / "unet").iterdir():
        file.unlink()
    with pytest.raises(ModelFileError, match="has no UNet weights"):
        load_checkpoint(folder)
    (folder / "model_index.json").write_text("{")
    with pytest.raises(ModelFileError, match=r"model_index\.json is not readable JSON"):
        load_checkpoint(folder)
