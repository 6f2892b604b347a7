"""The SD x4 upscaler from its single file: every tensor at its place, the numbers of the network written out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from tests.models.ldm_network import part
from tests.models.ldm_upscalers import decoder, spatial_transformer, unet
from tests.models.original_layouts import THIN_LDSR, THIN_X4, drawn, write_thin, x4_shapes

from hires.errors import ModelFileError
from hires.models.build import check
from hires.models.contents import find_texts, find_unet, find_vae
from hires.models.keys import Piece
from hires.models.sd_x4 import LABELS, SdX4Model, is_sd_x4, load_sd_x4, x4_unet_config
from hires.models.sizes import Hints, vae_config
from hires.models.upscale_drawing import drawing_file
from hires.models.weights import TensorInfo


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_thin(THIN_X4, tmp_path_factory.mktemp("x4") / "upscaler.safetensors")


@pytest.fixture(scope="module")
def model(file: Path) -> SdX4Model:
    return load_sd_x4(file)


def test_every_tensor_of_the_full_size_has_its_place() -> None:
    infos = {key: TensorInfo(shape, torch.float32) for key, shape in x4_shapes().items()}
    assert is_sd_x4(infos)
    found, vae = find_unet(infos), find_vae(infos)
    assert found is not None and vae is not None
    pieces = {**found, "class_embedding.weight": Piece(LABELS, infos[LABELS])}
    config = x4_unet_config(pieces, Hints())
    assert config["only_cross_attention"] == (True, True, True, False)
    assert config["attention_head_dim"] == (8, 8, 8, 8)
    with torch.device("meta"):
        network, autoencoder = UNet2DConditionModel(**config), AutoencoderKL(**vae_config(vae, Hints(), halvings=2))
    parameters = dict(network.named_parameters())
    check(parameters, pieces, "the UNet")
    assert set(pieces) == set(parameters), "no tensor is left over"
    assert sum(p.numel() for p in parameters.values()) == 473_398_020
    assert set(vae) == set(dict(autoencoder.named_parameters()))
    assert [kind for kind, _ in find_texts(infos)] == ["h"]


def test_the_network_is_the_published_one(model: SdX4Model) -> None:
    assert model.unet.config.only_cross_attention == (True, True, True, False)
    generator = torch.Generator().manual_seed(0)
    x, low = torch.randn(1, 4, 24, 16, generator=generator), torch.randn(1, 3, 24, 16, generator=generator)
    context = torch.randn(1, 77, 64, generator=generator)
    weights = part(dict(drawn(THIN_X4)), "model.diffusion_model.")
    expected = unet(weights, torch.cat([x, low], dim=1), torch.tensor([371.0]), spatial_transformer(context), label=20)
    made = model.predict(x, torch.tensor([371.0]), low, context, 20)
    assert (made - expected).abs().max() < 2e-5 * expected.std()
    assert (made - model.predict(x, torch.tensor([371.0]), low, context, 21)).abs().max() > 1e-3


def test_the_decoder_is_the_published_one(model: SdX4Model) -> None:
    latent = torch.randn(1, 4, 9, 7, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        made = model.decoder.decode(latent, return_dict=False)[0]
    assert (made - decoder(part(dict(drawn(THIN_X4)), "first_stage_model."), latent)).abs().max() < 1e-4


def test_it_is_told_by_its_tensors_and_others_are_refused(file: Path, tmp_path: Path) -> None:
    assert drawing_file(file) == "SD x4 upscaler"
    assert drawing_file(write_thin({"model.0.weight": (4, 3, 3, 3)}, tmp_path / "network.safetensors")) is None
    other = write_thin(THIN_LDSR, tmp_path / "model.ckpt")
    with pytest.raises(ModelFileError, match=r"^model\.ckpt: this is LDSR, not the SD x4 upscaler") as error:
        load_sd_x4(other)
    assert "\n" not in str(error.value)


def test_a_file_without_its_text_encoder_is_refused(tmp_path: Path) -> None:
    lacking = {key: shape for key, shape in THIN_X4.items() if not key.startswith("cond_stage_model.")}
    with pytest.raises(ModelFileError, match="text encoder is missing"):
        load_sd_x4(write_thin(lacking, tmp_path / "a.safetensors"))


def test_the_constants_are_those_of_its_configuration(model: SdX4Model) -> None:
    assert (model.betas, model.latent_scale, model.prediction, model.channels) == ((0.0001, 0.02), 0.08333, "v", 4)
    assert replace(model).clip.family == "sd2"
