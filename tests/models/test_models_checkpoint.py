"""Checkpoints: numbers against the written-out network and ComfyUI's, families and sizes, predictions."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from hires.errors import ModelFileError
from hires.models.build import check
from hires.models.checkpoint import Placement, load_checkpoint, load_text_encoders, load_unet, load_vae
from hires.models.contents import weights_contents
from hires.models.sizes import text_config, unet_config, vae_config
from hires.models.weights import TensorInfo, Weights


def yardstick() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ldm_network", Path(__file__).parent / "ldm_network.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def relative(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).norm() / theirs.norm())


def inputs(model, height: int, width: int) -> dict[str, torch.Tensor | None]:
    generator = torch.Generator().manual_seed(3)
    wide = model.unet.config.cross_attention_dim
    vector = torch.randn(2, model.vector_width, generator=generator) if model.vector_width else None
    return {
        "x": torch.randn(2, model.in_channels, height, width, generator=generator),
        "timestep": torch.tensor([801.0, 3.25]),
        "context": torch.randn(2, 154, wide, generator=generator),
        "vector": vector,
    }


@pytest.mark.parametrize(
    ("name", "family", "channels", "kinds"),
    [
        ("thin_sd15", "sd1", 4, ["l"]),
        ("thin_sd15_inpainting", "sd1", 9, ["l"]),
        ("thin_sdxl_base", "sdxl", 4, ["l", "g"]),
        ("thin_sdxl_refiner", "sdxl_refiner", 4, ["g"]),
    ],
)
@pytest.mark.parametrize("size", [(16, 16), (11, 13)])
def test_unet_agrees_with_the_written_out_network(
    thin_models: Path, name: str, family: str, channels: int, kinds: list[str], size: tuple[int, int]
) -> None:
    path = thin_models / "checkpoints" / f"{name}.safetensors"
    checkpoint = load_checkpoint(path)
    model = checkpoint.model
    assert model is not None and checkpoint.clip is not None and checkpoint.vae is not None
    assert (checkpoint.family, model.in_channels, model.prediction) == (family, channels, "eps")
    assert [clip.kind for clip in checkpoint.clip.clips] == kinds
    assert checkpoint.dtype == "float32" and checkpoint.size == path.stat().st_size
    given = inputs(model, *size)
    expected = yardstick().unet(load_file(path), **given)
    assert relative(model.predict(**given), expected) < 1e-5


def test_vae_encode_is_comfyuis(thin_models: Path, reference: Path) -> None:
    vae = load_vae(thin_models / "checkpoints" / "thin_sd15.safetensors")
    image = torch.from_numpy(np.array(Image.open(reference / "ref_a.png").convert("RGB"))).float()[None] / 255
    expected = torch.from_numpy(np.load(reference / "expected.npz")["vae_encode"])
    assert relative(vae.encode(image), expected) < 1e-5


def test_vae_decode_is_in_range_and_sides_are_cropped_in_the_centre(thin_models: Path) -> None:
    vae = load_vae(thin_models / "checkpoints" / "thin_sd15.safetensors")
    image = torch.rand(1, 21, 30, 3, generator=torch.Generator().manual_seed(1))
    latent = vae.encode(image)
    assert latent.shape == (1, 4, 2, 3)
    assert torch.equal(latent, vae.encode(image[:, 2:18, 3:27]))  # rests of 5 and 6: offsets 2 and 3
    decoded = vae.decode(latent * 3)
    assert decoded.shape == (1, 16, 24, 3) and decoded.dtype == torch.float32
    assert 0 <= float(decoded.min()) < float(decoded.max()) <= 1


def test_openclip_projection_and_heads(thin_models: Path) -> None:
    path = thin_models / "checkpoints" / "thin_sdxl_base.safetensors"
    clip = load_checkpoint(path, Placement(weights="float32")).clip
    assert clip is not None
    small, big = clip.clips
    tensors = load_file(path)
    assert big.projection is not None and small.projection is None
    assert torch.equal(big.projection, tensors["conditioner.embedders.1.model.text_projection"])
    assert (small.module.config.num_attention_heads, big.module.config.num_attention_heads) == (4, 2)
    assert (small.module.config.hidden_act, big.module.config.hidden_act) == ("quick_gelu", "gelu")
    joined = tensors["conditioner.embedders.1.model.transformer.resblocks.2.attn.in_proj_weight"]
    attention = big.module.encoder.layers[2].self_attn
    for third, name in enumerate(("q_proj", "k_proj", "v_proj")):
        assert torch.equal(getattr(attention, name).weight, joined[128 * third : 128 * (third + 1)])


def test_float32_text_is_held_in_float16_as_comfyui_does(thin_models: Path) -> None:
    path = thin_models / "checkpoints" / "thin_sd15.safetensors"
    rounded, exact = load_checkpoint(path).clip, load_checkpoint(path, Placement(weights="float32")).clip
    assert rounded is not None and exact is not None
    assert {p.dtype for p in rounded.clips[0].module.parameters()} == {torch.float16}
    words = torch.tensor([[49406, 320, 736, 49407]])
    ours = rounded.clips[0].module(words).last_hidden_state
    theirs = exact.clips[0].module
    for parameter in theirs.parameters():
        parameter.data = parameter.data.half().float()
    assert ours.dtype == torch.float32
    assert torch.equal(ours, theirs(words).last_hidden_state)
    assert rounded.identity != exact.identity


class Shapes(Weights):
    """A file of which only the shapes are known."""

    def read(self, key: str) -> torch.Tensor:
        return torch.zeros(self.tensors[key].shape)


def layout_contents(reference: Path, name: str, drop: tuple[str, ...] = ()):
    layout = json.loads((reference / "layouts.json").read_text())[name]
    tensors = {
        key: TensorInfo(tuple(shape), torch.float16) for key, shape in layout.items() if not key.startswith(drop)
    }
    return weights_contents(Shapes(Path(f"{name}.safetensors"), tensors))


@pytest.mark.parametrize(
    ("name", "unet"),
    [
        (
            "sd15",
            {
                "attention_head_dim": (8,) * 4,
                "cross_attention_dim": 768,
                "in_channels": 4,
                "use_linear_projection": False,
            },
        ),
        ("sd15_inpainting", {"in_channels": 9, "cross_attention_dim": 768}),
        ("sd21", {"attention_head_dim": (5, 10, 20, 20), "cross_attention_dim": 1024, "use_linear_projection": True}),
        (
            "sdxl_base",
            {
                "block_out_channels": (320, 640, 1280),
                "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
                "transformer_layers_per_block": (1, 2, 10),
                "attention_head_dim": (5, 10, 20),
                "cross_attention_dim": 2048,
                "projection_class_embeddings_input_dim": 2816,
            },
        ),
        (
            "sdxl_refiner",
            {
                "block_out_channels": (384, 768, 1536, 1536),
                "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
                "transformer_layers_per_block": (1, 4, 4, 4),
                "attention_head_dim": (6, 12, 24, 24),
                "projection_class_embeddings_input_dim": 2560,
            },
        ),
    ],
)
def test_sizes_of_full_layouts(reference: Path, name: str, unet: dict[str, object]) -> None:
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    contents = layout_contents(reference, name)
    assert contents.unet is not None and contents.vae is not None
    config = unet_config(contents.unet.pieces, contents.hints)
    assert {key: config[key] for key in unet} == unet
    with torch.device("meta"):
        check(dict(UNet2DConditionModel(**config).named_parameters()), contents.unet.pieces, "unet")
        vae = AutoencoderKL(**vae_config(contents.vae.pieces, contents.hints))
        check(dict(vae.named_parameters()), contents.vae.pieces, "vae")
        for kind, text in contents.texts:
            settings = text_config(text.pieces, kind, contents.hints)
            assert settings["num_attention_heads"] == {"l": 12, "h": 16, "g": 20}[kind]
            module = CLIPTextModel(CLIPTextConfig(**settings))
            check(dict(module.named_parameters()), text.pieces, "text")


@pytest.fixture
def thin(thin_models: Path) -> dict[str, torch.Tensor]:
    return load_file(thin_models / "checkpoints" / "thin_sd15.safetensors")


def saved(tmp_path: Path, tensors: dict[str, torch.Tensor], config: object = None, **metadata: str) -> Path:
    path = tmp_path / "model.safetensors"
    stated = {"hires.config": json.dumps(config or {"clip_l": {"num_attention_heads": 4}}), **metadata}
    save_file({key: value.contiguous() for key, value in tensors.items()}, path, metadata=stated)
    return path


def test_prediction_is_stated_by_caller_then_metadata_then_marks(tmp_path: Path, thin: dict[str, torch.Tensor]) -> None:
    assert load_unet(saved(tmp_path, thin)).prediction == "eps"
    assert load_unet(saved(tmp_path, thin, {"prediction": "v"})).prediction == "v"
    assert load_unet(saved(tmp_path, thin, **{"modelspec.prediction_type": "v"})).prediction == "v"
    marked = thin | {"v_pred": torch.tensor([]), "ztsnr": torch.tensor([])}
    model = load_unet(saved(tmp_path, marked))
    assert (model.prediction, model.zero_terminal_snr) == ("v", True)
    assert load_unet(saved(tmp_path, marked), prediction="eps").prediction == "eps"
    assert load_unet(saved(tmp_path, marked, {"prediction": "eps"})).prediction == "eps"


def test_sd2_v_is_told_by_the_spread_of_one_bias(reference: Path) -> None:
    from hires.models.contents import SD2_V_KEY, family_of, prediction_of

    contents = layout_contents(reference, "sd21")
    assert contents.unet is not None
    key = "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias"
    assert contents.unet.pieces[SD2_V_KEY].key == key
    assert family_of(contents.unet.pieces) == "sd2"
    assert prediction_of(contents, "sd2") == ("eps", False)
    spread = torch.linspace(-1, 1, 320)

    class Spread(Shapes):
        def read(self, key: str) -> torch.Tensor:
            return spread

    for scale, prediction in ((0.2, "v"), (0.1, "eps")):  # standard deviations 0.115 and 0.058
        spread = torch.linspace(-scale, scale, 320)
        wide = weights_contents(Spread(Path("sd21"), contents.unet.weights.tensors))
        assert prediction_of(wide, "sd2")[0] == prediction


def test_parts_that_a_file_lacks_are_none(tmp_path: Path, thin: dict[str, torch.Tensor]) -> None:
    unet_only = {key: value for key, value in thin.items() if key.startswith("model.")}
    checkpoint = load_checkpoint(saved(tmp_path, unet_only))
    assert checkpoint.model is not None and checkpoint.clip is None and checkpoint.vae is None


def test_files_of_one_network(tmp_path: Path, thin: dict[str, torch.Tensor]) -> None:
    whole = load_checkpoint(saved(tmp_path, thin))
    assert whole.model is not None and whole.vae is not None and whole.clip is not None

    def only(prefix: str) -> dict[str, torch.Tensor]:
        return {key[len(prefix) :]: value for key, value in thin.items() if key.startswith(prefix)}

    given = inputs(whole.model, 8, 8)
    unet = load_unet(saved(tmp_path, only("model.diffusion_model.")))
    assert torch.equal(unet.predict(**given), whole.model.predict(**given))
    latent = torch.randn(1, 4, 4, 4)
    assert torch.equal(load_vae(saved(tmp_path, only("first_stage_model."))).decode(latent), whole.vae.decode(latent))
    text = load_text_encoders([saved(tmp_path, only("cond_stage_model.transformer."))])
    words = torch.tensor([[49406, 320, 49407]])
    ours, theirs = (one.clips[0].module(words).last_hidden_state for one in (text, whole.clip))
    assert text.family == "sd1" and torch.equal(ours, theirs)
    with pytest.raises(ModelFileError, match=r"model\.safetensors: there is no UNet in this file, so"):
        load_checkpoint(saved(tmp_path, only("first_stage_model.")))
    with pytest.raises(ModelFileError, match="there is no VAE in this file"):
        load_vae(saved(tmp_path, only("model.diffusion_model.")))


@pytest.mark.parametrize("key", ["down_blocks", "input_blocks.4.1.proj_in.weight", "out.2.bias", "time_embed.0.weight"])
def test_missing_tensors_are_named(tmp_path: Path, thin: dict[str, torch.Tensor], key: str) -> None:
    ldm = {"down_blocks": "input_blocks."}.get(key, key)
    broken = {name: value for name, value in thin.items() if not name.startswith(f"model.diffusion_model.{ldm}")}
    with pytest.raises(
        ModelFileError, match=r"^model\.safetensors: .*(missing|no down blocks).*\(.*model\.safetensors\)"
    ):
        load_checkpoint(saved(tmp_path, broken))


def test_wrong_shapes_and_hints_are_named(tmp_path: Path, thin: dict[str, torch.Tensor]) -> None:
    bent = thin | {"model.diffusion_model.out.2.bias": torch.zeros(5)}
    with pytest.raises(ModelFileError, match=r"out\.2\.bias has shape \[5\], not \[4\]"):
        load_checkpoint(saved(tmp_path, bent))
    with pytest.raises(ModelFileError, match="32 channels, which 24 norm groups do not divide"):
        load_checkpoint(saved(tmp_path, thin, {"unet": {"norm_num_groups": 24}}))
    with pytest.raises(ModelFileError, match="5 attention heads do not divide"):
        load_checkpoint(saved(tmp_path, thin, {"unet": {"num_attention_heads": 5}}))
    with pytest.raises(ModelFileError, match="prediction type 'banana' is unknown"):
        load_checkpoint(saved(tmp_path, thin, {"prediction": "banana"}))
    with pytest.raises(ModelFileError, match="not an object of objects"):
        load_checkpoint(saved(tmp_path, thin, {"unet": 3}))


def test_other_families_are_refused_by_name(tmp_path: Path, thin_models: Path) -> None:
    marks = {
        "Stable Diffusion 3": "model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight",
        "Flux": "double_blocks.0.img_attn.qkv.weight",
        "Stable Video Diffusion": "model.diffusion_model.input_blocks.1.0.time_stack.in_layers.0.weight",
        "Stable Cascade": "clip_txt_mapper.weight",
    }
    for name, key in marks.items():
        with pytest.raises(ModelFileError, match=f"this is {name}, which hires does not run"):
            load_checkpoint(saved(tmp_path, {key: torch.zeros(2, 2)}))
    with pytest.raises(ModelFileError, match="this is a LoRA; it holds no UNet"):
        load_checkpoint(thin_models / "loras" / "lora_thin_sd15.safetensors")
    with pytest.raises(ModelFileError, match="this is an upscaler"):
        load_checkpoint(thin_models / "upscale_models" / "upscaler_esrgan_x4.safetensors")


def test_identity_follows_content_and_choices(tmp_path: Path, thin: dict[str, torch.Tensor]) -> None:
    path = saved(tmp_path, thin)
    models = [
        load_unet(path, identity="a"),
        load_unet(path, identity="b"),
        load_unet(path, identity="a", prediction="v"),
        load_unet(path, Placement(weights="float16"), identity="a"),
    ]
    assert len({model.identity for model in models}) == 4
    assert load_unet(path, Placement(weights="float32"), identity="a").identity == models[0].identity
