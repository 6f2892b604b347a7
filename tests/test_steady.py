"""Moments, SiLU and convolutions that do not depend on how a picture is cut."""

from __future__ import annotations

import pytest
import torch
from diffusers import AutoencoderKL
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tiling.autoencoders import autoencoder
from torch import Tensor, nn
from torch.nn.functional import group_norm, pad, silu

from hires.steady import CACHED, Moments, SteadyGroupNorm, channels_last, moments, silu_in_place, steady, steady_conv2d


def planes(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3)) * 0.5 + 40.0


@pytest.mark.parametrize("shape", [(1, 8, 5, 7), (1, 16, 1, 1), (1, 8, 3, CACHED // 8 + 5), (1, 64, 70, 90)])
@pytest.mark.parametrize("last", [False, True])
def test_moments_are_those_in_float64(shape: tuple[int, ...], last: bool) -> None:
    x = channels_last(planes(*shape)) if last else planes(*shape)
    found = moments(x, 4)
    grouped = x[0].double().reshape(4, -1)
    torch.testing.assert_close(found.mean, grouped.mean(1), rtol=1e-13, atol=0)
    torch.testing.assert_close(found.variance, grouped.var(1, correction=0), rtol=1e-9, atol=1e-12)


@given(rows=st.integers(1, 29), columns=st.integers(1, 39))
def test_parts_give_the_wholes_float32(rows: int, columns: int) -> None:
    x = planes(1, 8, 30, 40)
    parts = [x[:, :, :rows, :columns], x[:, :, :rows, columns:], x[:, :, rows:]]
    total: Moments | None = None
    for part in parts:
        total = moments(part, 2) if total is None else total.merged(moments(part, 2))
    assert total is not None
    whole = moments(x, 2)
    assert total.count == whole.count
    assert torch.equal(total.mean.float(), whole.mean.float())
    torch.testing.assert_close(total.variance, whole.variance, rtol=1e-9, atol=0)


@pytest.mark.parametrize("shape", [(2, 8, 5, 7), (1, 8, 12), (3, 8, 12)])
def test_group_norm_is_pytorchs(shape: tuple[int, ...]) -> None:
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(4))
    norm = SteadyGroupNorm(4, 8).requires_grad_(False)
    norm.weight.uniform_(0.5, 2.0)
    norm.bias.uniform_(-1.0, 1.0)
    torch.testing.assert_close(norm(x), group_norm(x, 4, norm.weight, norm.bias, norm.eps))


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@settings(max_examples=25, deadline=None)
@given(numbers=st.integers(1, 300_000))
def test_silu_is_the_same_wherever_a_number_stands(count: int, numbers: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        x = torch.randn(numbers, generator=torch.Generator().manual_seed(numbers))
        alone = torch.cat([silu(pad(part, (0, -len(part) % 64)))[: len(part)] for part in x.split(1 << 14)])
        assert torch.equal(silu_in_place(x.clone()), alone)
    finally:
        torch.set_num_threads(before)


def test_few_channels_are_convolved_alike_in_parts() -> None:
    x, weight = planes(1, 3, 150, 170), torch.randn(16, 3, 3, 3, generator=torch.Generator().manual_seed(5))
    whole = steady_conv2d(x, weight, None, 1, 1)
    part = steady_conv2d(x[:, :, 10:130, 20:140], weight, None, 1, 1)
    torch.testing.assert_close(part[:, :, 1:-1, 1:-1], whole[:, :, 11:129, 21:139], rtol=1e-5, atol=1e-4)
    assert whole.is_contiguous()


def test_a_view_of_one_picture_is_laid_out_in_full() -> None:
    picture = torch.rand(20, 30, 3)
    view = picture.movedim(-1, 0)[None]
    assert channels_last(view).stride() == (1800, 1, 90, 3)
    assert torch.equal(channels_last(view), view)


def test_an_autoencoder_is_made_steady_once() -> None:
    vae: AutoencoderKL = autoencoder()
    vae.to(memory_format=torch.channels_last)
    latent = torch.randn(1, 4, 6, 9, generator=torch.Generator().manual_seed(6))
    with torch.no_grad():
        before = vae.decode(latent).sample
        steady(vae)
        after = vae.decode(latent).sample
        steady(vae)
        again = vae.decode(latent).sample
    assert torch.equal(after, again)
    assert all(len(module._forward_hooks) <= 1 for module in vae.modules())
    assert all(module.weight.is_contiguous() for module in vae.modules() if isinstance(module, nn.Conv2d))
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)
