"""Training that goes on from a checkpoint starts with that checkpoint's answers."""

from pathlib import Path

import pytest
import torch

from hires.errors import ModelFileError
from hires.models.checkpoint import Checkpoint
from hires.pocket import BUILT_IN_FOLDER, BUILT_IN_NAME
from hires.pocket.start import read_start, sizes_of, started_model, started_vae
from hires.pocket.train_vae import decode, latent_mean
from hires.pocket.words import Words
from hires.text.tokenizer import tokenize

BUILT_IN = BUILT_IN_FOLDER / "checkpoints" / BUILT_IN_NAME


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return read_start(BUILT_IN)


def test_the_autoencoder_answers_as_in_the_checkpoint_at_unit_scale(checkpoint: Checkpoint) -> None:
    assert checkpoint.vae is not None
    vae, original = started_vae(checkpoint).eval(), checkpoint.vae.vae
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.inference_mode():
        latent = latent_mean(vae, pixels)
        torch.testing.assert_close(latent, latent_mean(original, pixels) * 0.18215, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(decode(vae, latent), decode(original, latent / 0.18215), rtol=1e-4, atol=1e-4)


def test_text_encoder_and_unet_answer_as_in_the_checkpoint(checkpoint: Checkpoint) -> None:
    assert checkpoint.model is not None and checkpoint.clip is not None
    text = "1girl, red hair, beach"
    words = Words(tokenize(text))
    network = started_model(checkpoint, words).eval()
    whole = Words(range(49406))
    tokens = torch.from_numpy(words.tokens([text])), torch.from_numpy(whole.tokens([text]))
    noisy = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        predicted = network(noisy, torch.tensor([500]), tokens[0])
        context = checkpoint.clip.clips[0].module(input_ids=tokens[1])[0]
        expected = checkpoint.model.predict(noisy, torch.tensor([500.0]), context)
    torch.testing.assert_close(predicted, expected, rtol=1e-4, atol=1e-4)


def test_the_sizes_are_the_checkpoints(checkpoint: Checkpoint) -> None:
    assert checkpoint.model is not None
    sizes = sizes_of(checkpoint)
    assert sizes.unet == tuple(checkpoint.model.unet.config.block_out_channels)
    assert len(sizes.vae) == 4


def test_another_file_is_refused(tmp_path: Path, thin_models: Path) -> None:
    with pytest.raises(ModelFileError, match="no file"):
        read_start(tmp_path / "missing.safetensors")
    for path in thin_models.rglob("*sdxl*.safetensors"):
        with pytest.raises(ModelFileError, match=r"no complete SD 1\.x checkpoint"):
            read_start(path)
        break
    else:
        raise AssertionError("there is no SDXL checkpoint to try")
