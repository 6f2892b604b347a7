"""Merging of checkpoint files: the closed form of every tensor, inpainting models, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from hires.errors import Interrupted, ModelFileError, SettingError
from hires.models.merge_files import plan_merge, usual_key, write_merge
from hires.models.weights import open_weights

UNET, TEXT, VAE = "model.diffusion_model.", "cond_stage_model.transformer.text_model.", "first_stage_model."
INPUT = f"{UNET}input_blocks.0.0.weight"


def tensors(seed: int, channels: int = 4, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """A few tensors of every kind that a checkpoint has."""
    numbers = torch.Generator().manual_seed(seed)
    shapes = {INPUT: (8, channels, 3, 3), f"{UNET}out.2.bias": (4,), f"{TEXT}final_layer_norm.weight": (6,)}
    shapes |= {f"{VAE}decoder.conv_in.weight": (5, 4, 3, 3), "alphas_cumprod": (10,)}
    made = {key: torch.randn(shape, generator=numbers).to(dtype) for key, shape in shapes.items()}
    made[f"{TEXT}embeddings.position_ids"] = torch.arange(seed, seed + 7)[None]
    made["model_ema.num_updates"] = torch.tensor(seed)
    return made


def merged(folder: Path, method: str, *models: dict[str, Tensor], multiplier: float = 0.3, **options: object) -> Path:
    opened = []
    for number, model in enumerate(models):
        path = folder / f"{number}.safetensors"
        save_file(model, path)
        opened.append(open_weights(path))
    second, third = (opened[place] if len(opened) > place else None for place in (1, 2))
    plan = plan_merge(method, opened[0], second, third, multiplier, **options)  # type: ignore[arg-type]
    out = folder / "merged.safetensors"
    write_merge(plan, out, {"made": "here"})
    return out


@hypothesis_settings(max_examples=20)
@given(multiplier=st.floats(0, 1))
def test_a_weighted_sum_of_every_tensor_that_belongs_to_a_model(
    tmp_path_factory: pytest.TempPathFactory, multiplier: float
) -> None:
    a, b = tensors(1), tensors(2)
    made = load_file(merged(tmp_path_factory.mktemp("sum"), "weighted sum", a, b, multiplier=multiplier))
    assert made.keys() == a.keys()
    kept = {"alphas_cumprod", f"{TEXT}embeddings.position_ids", "model_ema.num_updates"}
    for key in a:
        expected = a[key] if key in kept else a[key] * (1 - multiplier) + b[key] * multiplier
        assert torch.equal(made[key], expected), key


def test_a_difference_is_added_and_is_nothing_where_the_third_lacks_a_tensor(tmp_path: Path) -> None:
    a, b, c = tensors(1), tensors(2), tensors(3)
    del c[f"{UNET}out.2.bias"]
    made = load_file(merged(tmp_path, "add difference", a, b, c, multiplier=0.75))
    assert torch.equal(made[INPUT], a[INPUT] + (b[INPUT] - c[INPUT]) * 0.75)
    assert torch.equal(made[f"{UNET}out.2.bias"], a[f"{UNET}out.2.bias"])
    assert torch.equal(made["alphas_cumprod"], a["alphas_cumprod"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_merging_nothing_in_gives_the_first_to_the_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    a = tensors(1, dtype=dtype)
    for folder, method, others in (
        ("sum", "weighted sum", [tensors(2)]),
        ("difference", "add difference", [tensors(2), tensors(3)]),
        ("none", "no interpolation", []),
    ):
        (tmp_path / folder).mkdir()
        made = load_file(merged(tmp_path / folder, method, a, *others, multiplier=0.0))
        assert made.keys() == a.keys()
        for key in a:
            assert made[key].dtype == a[key].dtype and torch.equal(made[key], a[key]), key


def test_the_first_four_channels_of_an_inpainting_model_are_merged(tmp_path: Path) -> None:
    a, b = tensors(1, channels=9), tensors(2)
    opened = []
    for name, model in (("a", a), ("b", b)):
        save_file(model, tmp_path / f"{name}.safetensors")
        opened.append(open_weights(tmp_path / f"{name}.safetensors"))
    plan = plan_merge("weighted sum", *opened, None, 0.4)
    assert plan.suffix == ".inpainting"
    made = load_file(merged(tmp_path, "weighted sum", a, b, multiplier=0.4))
    assert torch.equal(made[INPUT][:, :4], a[INPUT][:, :4] * 0.6 + b[INPUT] * 0.4)
    assert torch.equal(made[INPUT][:, 4:], a[INPUT][:, 4:])
    added = load_file(merged(tmp_path, "add difference", a, b, tensors(3), multiplier=1.0))
    expected = a[INPUT][:, :4] + (b[INPUT] - tensors(3)[INPUT])
    torch.testing.assert_close(added[INPUT][:, :4], expected)
    with pytest.raises(ModelFileError, match=r"b\.safetensors and a|a\.safetensors is an inpainting model \(9"):
        plan_merge("weighted sum", opened[1], opened[0], None, 0.4)


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    a = tensors(1)
    wider = {**tensors(2), INPUT: torch.zeros(16, 4, 3, 3)}
    with pytest.raises(ModelFileError, match=r"input_blocks\.0\.0\.weight is 8x4x3x3 in one and 16x4x3x3"):
        merged(tmp_path, "weighted sum", a, wider)
    with pytest.raises(ModelFileError, match="have no difference"):
        merged(tmp_path, "add difference", a, tensors(2), wider)
    with pytest.raises(ModelFileError, match="no tensor in common"):
        merged(tmp_path, "weighted sum", a, {"lora.up.weight": torch.zeros(2)})
    with pytest.raises(SettingError, match="no regular expression"):
        merged(tmp_path, "no interpolation", a, discard="(")
    with pytest.raises(SettingError, match="discards every tensor"):
        merged(tmp_path, "no interpolation", a, discard=".")


def test_half_vae_and_discarding(tmp_path: Path) -> None:
    a = tensors(1)
    vae = {"decoder.conv_in.weight": torch.full((5, 4, 3, 3), 2.0), "decoder.conv_out.bias": torch.ones(3)}
    out = merged(tmp_path, "no interpolation", a, half=True, vae=vae, discard="^model_ema|alphas")
    made = load_file(out)
    assert made.keys() == (a.keys() | {f"{VAE}decoder.conv_out.bias"}) - {"alphas_cumprod", "model_ema.num_updates"}
    assert torch.equal(made[INPUT], a[INPUT].half())
    assert torch.equal(made[f"{VAE}decoder.conv_in.weight"], torch.full((5, 4, 3, 3), 2.0).half())
    assert made[f"{TEXT}embeddings.position_ids"].dtype == torch.int64
    with safe_open(out, framework="pt") as file:
        assert file.metadata() == {"format": "pt", "made": "here"}


def test_the_first_files_keys_are_todays(tmp_path: Path) -> None:
    """SD 1.x' first checkpoints leave out a level: they merge with newer ones all the same."""
    a = {key.replace("transformer.text_model.", "transformer."): value for key, value in tensors(1).items()}
    key = f"{TEXT}final_layer_norm.weight"
    assert usual_key("cond_stage_model.transformer.final_layer_norm.weight") == key == usual_key(key)
    made = load_file(merged(tmp_path, "weighted sum", a, tensors(2), multiplier=0.5))
    torch.testing.assert_close(made[key], (tensors(1)[key] + tensors(2)[key]) / 2)


def test_torch_files_are_read_and_a_stop_ends_the_writing(tmp_path: Path) -> None:
    a, b = tensors(1), tensors(2)
    torch.save({"state_dict": a}, tmp_path / "a.ckpt")
    save_file(b, tmp_path / "b.safetensors")
    plan = plan_merge(
        "weighted sum", open_weights(tmp_path / "a.ckpt"), open_weights(tmp_path / "b.safetensors"), None, 0.5
    )
    told: list[tuple[int, int]] = []
    write_merge(plan, tmp_path / "c.safetensors", {}, on_progress=lambda done, total: told.append((done, total)))
    assert told == [(number, len(a)) for number in range(1, len(a) + 1)]
    assert torch.equal(load_file(tmp_path / "c.safetensors")[INPUT], a[INPUT] * 0.5 + b[INPUT] * 0.5)
    with pytest.raises(Interrupted):
        write_merge(plan, tmp_path / "d.safetensors", {}, stopped=lambda: True)
