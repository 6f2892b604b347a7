"""Latents mixed, joined and regrouped."""

from __future__ import annotations

import pytest
import torch

from hires.nodes import latent_algebra as nodes
from hires.nodes.types import LatentDict


def latent(seed: int, batch: int = 1, height: int = 4, width: int = 6) -> LatentDict:
    return {"samples": torch.randn(batch, 4, height, width, generator=torch.Generator().manual_seed(seed))}


def test_blend_of_one_is_the_first_alone() -> None:
    a, b = latent(1), latent(2)
    assert torch.equal(nodes.latent_blend(samples1=a, samples2=b, blend_factor=1.0)["samples"], a["samples"])
    mixed = nodes.latent_blend(samples1=a, samples2=b, blend_factor=0.25)["samples"]
    assert torch.allclose(mixed, a["samples"] * 0.25 + b["samples"] * 0.75)


def test_the_second_is_brought_to_the_firsts_size_and_batch() -> None:
    a, b = latent(1, batch=3), latent(2, batch=2, height=8, width=12)
    total = nodes.latent_add(samples1=a, samples2=b)["samples"]
    assert total.shape == a["samples"].shape
    difference = nodes.latent_subtract(samples1=a, samples2=b)["samples"]
    assert torch.allclose(total + difference, 2 * a["samples"], atol=1e-5)
    assert torch.allclose(total[2] - a["samples"][2], total[0] - a["samples"][0], atol=1e-5)


def test_multiplying_keeps_mask_and_rows() -> None:
    given: LatentDict = {**latent(1), "noise_mask": torch.ones(1, 1, 4, 6), "batch_index": [3]}
    result = nodes.latent_multiply(samples=given, multiplier=-2.0)
    assert torch.equal(result["samples"], given["samples"] * -2)
    assert result["noise_mask"] is given["noise_mask"] and result["batch_index"] == [3]


def test_interpolation_turns_direction_and_length_apart() -> None:
    a: LatentDict = {"samples": torch.tensor([2.0, 0, 0, 0]).reshape(1, 4, 1, 1)}
    b: LatentDict = {"samples": torch.tensor([0, 6.0, 0, 0]).reshape(1, 4, 1, 1)}
    half = nodes.latent_interpolate(samples1=a, samples2=b, ratio=0.5)["samples"].flatten()
    assert half.tolist() == pytest.approx([4 / 2**0.5, 4 / 2**0.5, 0, 0])
    assert torch.allclose(nodes.latent_interpolate(samples1=a, samples2=b, ratio=1.0)["samples"], a["samples"])
    nothing: LatentDict = {"samples": torch.zeros(1, 4, 1, 1)}
    assert torch.equal(nodes.latent_interpolate(samples1=nothing, samples2=nothing)["samples"], nothing["samples"])


def test_pasting_in_latent_cells_through_a_mask() -> None:
    target, source = latent(1, height=8, width=8), latent(2, batch=1, height=4, width=4)
    mask = torch.zeros(1, 32, 32)
    mask[:, :, 16:] = 1
    pasted = nodes.latent_composite_masked(destination=target, source=source, x=16, y=8, mask=mask)["samples"]
    assert torch.equal(pasted[..., 1:5, 4:6], source["samples"][..., 2:])
    assert torch.equal(pasted[..., 1:5, 2:4], target["samples"][..., 1:5, 2:4])
    whole = nodes.latent_composite_masked(destination=target, source=source, resize_source=True)["samples"]
    assert not torch.isclose(whole, target["samples"]).any()


def test_joined_batches_keep_their_rows() -> None:
    a, b = latent(1, batch=2), latent(2, batch=1)
    b["batch_index"] = [7]
    joined = nodes.latent_batch(samples1=a, samples2=b)
    assert joined["samples"].shape[0] == 3 and joined["batch_index"] == [0, 1, 7]


def test_seeds_of_a_batch_fixed_and_free() -> None:
    given: LatentDict = {**latent(1, batch=3), "batch_index": [4, 5, 6]}
    assert nodes.latent_batch_seed_behavior(samples=given)["batch_index"] == [4, 4, 4]
    assert "batch_index" not in nodes.latent_batch_seed_behavior(samples=given, seed_behavior="random")
    assert given["batch_index"] == [4, 5, 6]


def test_regrouping_keeps_items_rows_and_masks() -> None:
    first, second, third = latent(1, batch=3), latent(2, batch=2), latent(3, batch=1, height=5)
    second["noise_mask"] = torch.zeros(1, 1, 32, 48)
    groups = nodes.rebatch_latents(latents=[first, second, third], batch_size=[2])  # type: ignore[arg-type]
    assert [len(group["samples"]) for group in groups] == [2, 2, 1, 1]
    assert [group["batch_index"] for group in groups] == [[0, 1], [2, 3], [4], [5]]
    assert ["noise_mask" in group for group in groups] == [False, True, True, False]
    assert groups[1]["noise_mask"].shape == (2, 1, 32, 48)
    assert groups[1]["noise_mask"].mean(dim=(1, 2, 3)).tolist() == [1.0, 0.0]
    assert torch.equal(groups[1]["samples"][1], second["samples"][0])
