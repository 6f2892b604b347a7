"""LDSR from the layout it was published in: every tensor at its place, the numbers of the network written out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DModel, VQModel
from tests.models.ldm_network import part
from tests.models.ldm_upscalers import attention_block, decoder, unet
from tests.models.original_layouts import (
    LDSR_UNET,
    SD21_UNET,
    THIN_LDSR,
    Shapes,
    drawn,
    first_stage_shapes,
    ldsr_shapes,
    text_shapes,
    unet_shapes,
    write_thin,
)
from tests.models.original_layouts import below as prefixed

from hires.errors import ModelFileError
from hires.models.build import check
from hires.models.inspection import inspect
from hires.models.ldsr import (
    LdsrModel,
    decoder_pieces,
    is_ldsr,
    ldsr_unet_config,
    load_ldsr,
    unet_pieces,
    vq_config,
    without_encoder,
)
from hires.models.upscale import load_upscaler
from hires.models.upscale_drawing import drawing_file
from hires.models.weights import TensorInfo


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_thin(THIN_LDSR, tmp_path_factory.mktemp("LDSR") / "model.ckpt")


@pytest.fixture(scope="module")
def model(file: Path) -> LdsrModel:
    return load_ldsr(file)


def infos(shapes: Shapes) -> dict[str, TensorInfo]:
    return {key: TensorInfo(shape, torch.float32) for key, shape in shapes.items()}


def test_the_layout_that_the_tests_write_is_the_published_one(reference: Path) -> None:
    """The same constructors at SD 2.1's sizes give that checkpoint's keys and shapes, all of them."""
    written = prefixed("model.diffusion_model.", unet_shapes(SD21_UNET))
    written |= prefixed("first_stage_model.", first_stage_shapes(128, (1, 2, 4, 4), 4))
    written |= prefixed("cond_stage_model.model.", text_shapes(1024, 24))
    published = json.loads((reference / "layouts.json").read_text(encoding="utf-8"))["sd21"]
    assert {key: list(shape) for key, shape in written.items()} == published


def test_every_tensor_of_the_full_size_has_its_place() -> None:
    shapes = infos(ldsr_shapes())
    assert is_ldsr(shapes)
    pieces = unet_pieces(shapes)
    with torch.device("meta"):
        network = UNet2DModel(**ldsr_unet_config(pieces))
        codebook = without_encoder(VQModel(**vq_config(decoder_pieces(shapes))))
    parameters = dict(network.named_parameters())
    check(parameters, pieces, "the UNet")
    assert set(pieces) == set(parameters), "no tensor is left over"
    assert sum(p.numel() for p in parameters.values()) == 113_622_563
    assert {piece.key for piece in pieces.values()} == {key for key in shapes if key.startswith("model_ema.")}
    check(dict(codebook.named_parameters()), decoder_pieces(shapes), "the decoder")
    assert set(decoder_pieces(shapes)) == set(dict(codebook.named_parameters()))
    assert network.config.down_block_types == (*("DownBlock2D",) * 3, "AttnDownBlock2D"), "at an eighth alone"


def test_the_network_is_the_published_one_with_its_running_averages(model: LdsrModel) -> None:
    names = {key.removeprefix("model.diffusion_model."): key for key in THIN_LDSR if key.startswith("model.")}
    weights = dict(drawn(THIN_LDSR))
    averages = {
        name: weights["model_ema." + key.removeprefix("model.").replace(".", "")] for name, key in names.items()
    }
    x, low = torch.randn(2, 1, 3, 24, 16, generator=torch.Generator().manual_seed(0)).unbind()
    expected = unet(averages, torch.cat([x, low], dim=1), torch.tensor([371.0]), attention_block)
    made = model.predict(x, torch.tensor([371.0]), low)
    assert (made - expected).abs().max() < 1e-5 * expected.std()


def test_a_file_without_averages_gives_its_weights(tmp_path: Path) -> None:
    kept = {key: shape for key, shape in THIN_LDSR.items() if not key.startswith("model_ema.")}
    model = load_ldsr(write_thin(kept, tmp_path / "model.safetensors"))
    x = torch.randn(1, 6, 16, 16, generator=torch.Generator().manual_seed(1))
    expected = unet(part(dict(drawn(kept)), "model.diffusion_model."), x, torch.tensor([9.0]), attention_block)
    assert (model.predict(x[:, :3], torch.tensor([9.0]), x[:, 3:]) - expected).abs().max() < 1e-5 * expected.std()


def test_the_decoder_takes_the_nearest_entries_of_the_codebook(model: LdsrModel) -> None:
    first_stage = part(dict(drawn(THIN_LDSR)), "first_stage_model.")
    codes = first_stage["quantize.embedding.weight"]
    latent = torch.randn(1, 3, 9, 7, generator=torch.Generator().manual_seed(2))
    chosen = model.quantised(latent)
    distances = (latent.movedim(1, -1)[..., None, :] - codes).norm(dim=-1)
    assert torch.allclose(chosen.movedim(1, -1), codes[distances.argmin(-1)])
    with torch.inference_mode():
        made = model.decoder.decode(latent, return_dict=False)[0]
    assert (made - decoder(first_stage, chosen)).abs().max() < 1e-4


def test_it_is_told_by_its_tensors_and_others_are_refused(file: Path, tmp_path: Path) -> None:
    assert drawing_file(file) == "LDSR"
    assert inspect(file, with_hash=False).kind == "upscaler"
    other = write_thin(
        prefixed("model.diffusion_model.", {"input_blocks.0.0.weight": (8, 4, 3, 3)}), tmp_path / "a.ckpt"
    )
    assert drawing_file(other) is None
    with pytest.raises(ModelFileError, match=r"^a\.ckpt: this is a checkpoint, not LDSR"):
        load_ldsr(other)
    with pytest.raises(ModelFileError, match="LDSR draws by diffusion"):
        load_upscaler(file)


def test_a_file_that_is_not_whole_is_refused_in_one_line(tmp_path: Path) -> None:
    lacking = dict(THIN_LDSR)
    del lacking["first_stage_model.decoder.mid.attn_1.norm.bias"]
    with pytest.raises(ModelFileError, match="LDSR's decoder is not whole: tensor decoder") as error:
        load_ldsr(write_thin(lacking, tmp_path / "b.ckpt"))
    assert "\n" not in str(error.value)
    wrong = {**THIN_LDSR, "model_ema.diffusion_modeltime_embed0weight": (64, 32)}
    with pytest.raises(ModelFileError, match="has shape"):
        load_ldsr(write_thin(wrong, tmp_path / "c.ckpt"))


def test_the_constants_are_those_of_its_configuration() -> None:
    assert (LDSR_UNET.width, LDSR_UNET.mult, LDSR_UNET.channels_in) == (160, (1, 2, 2, 4), 6)
    assert (LdsrModel.betas, LdsrModel.steps, LdsrModel.eta, LdsrModel.scale) == ((0.0015, 0.0155), 100, 1.0, 4)
