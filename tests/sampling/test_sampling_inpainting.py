"""Masks in the web UI's way: what the network sees and what the sampler is answered, in both scales."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hires.imaging.soft_inpainting import SoftInpainting
from hires.sampling.inpainting import Masking, masked_webui, start_factor
from hires.sampling.levels import noised, standard_levels
from hires.sampling.run import make_plan, start
from hires.sampling.state import Prediction

SHAPE = (2, 4, 6, 5)


def drawn(seed: int) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


X, LATENT, NOISE = drawn(1), drawn(2), drawn(3)
HALF = torch.zeros(1, 1, *SHAPE[2:])
HALF[..., 3:] = 1


class Network:
    """Answers half of what it sees, and remembers that."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def __call__(self, x: Tensor, sigma: Tensor, call: int) -> Prediction:
        self.seen.append(x)
        return Prediction(x * 0.5, x * 0.25)


def test_in_sigmas_scale_the_estimate_is_mixed_after_the_call() -> None:
    network = Network()
    answer = masked_webui(network, HALF, LATENT, NOISE, space="ve")(X, torch.tensor(2.0), 0)
    assert torch.equal(network.seen[0], X)
    assert torch.equal(answer.denoised, X * 0.5 * HALF + LATENT * (1 - HALF))
    assert answer.uncond is not None and torch.equal(answer.uncond, X * 0.25)


@pytest.mark.parametrize("original", [False, True])
def test_in_the_variance_preserving_scale_x_is_mixed_before_it(original: bool) -> None:
    sigma = torch.tensor(2.0)
    network = Network()
    answer = masked_webui(network, HALF, LATENT, NOISE, space="vp", original=original)(X, sigma, 0)
    seen = network.seen[0]
    below = LATENT * 5**0.5 if original else LATENT + 2 * NOISE  # without noise, x at unit variance is the latent
    assert torch.allclose(seen, X * HALF + below * (1 - HALF))
    assert torch.allclose(X - answer.denoised, seen - seen * 0.5, atol=1e-6)  # the noise that was seen goes on
    assert torch.equal(seen[..., 3:], X[..., 3:])


def test_a_soft_mask_keeps_more_of_the_original_the_higher_the_noise() -> None:
    share = torch.full((1, 1, *SHAPE[2:]), 0.5)
    soft = SoftInpainting()
    far = []
    for sigma in (0.1, 1.0, 10.0):
        answer = masked_webui(Network(), share, LATENT, NOISE, space="ve", soft=soft)(X, torch.tensor(sigma), 0)
        far.append(float((answer.denoised - LATENT).norm()))
    assert far[0] > far[1] > far[2]
    ends = torch.tensor([0.0, 1.0]).reshape(1, 1, 1, 2).expand(1, 1, 6, 2)
    parts = [part[..., :2] for part in (X, LATENT, NOISE)]
    answer = masked_webui(Network(), ends, parts[1], parts[2], space="ve", soft=soft)(parts[0], torch.tensor(1.0), 0)
    assert torch.allclose(answer.denoised[..., 0], parts[1][..., 0], atol=1e-3)
    assert torch.allclose(answer.denoised[..., 1], parts[0][..., 1] * 0.5, atol=1e-3)


def test_extra_noise_counts_from_the_latent_in_both_scales() -> None:
    """x = z + noise (m sigma + m e) in one scale, sqrt(a) z + sqrt(1 - a) m noise + sqrt(a) m e noise in the other."""
    multiplier, extra, levels = 0.9, 0.05, standard_levels()
    for sampler in ("euler", "ddim_timesteps"):
        sigma = levels.sigmas[400].clone()
        plan = make_plan(sampler, torch.stack([sigma, torch.tensor(0.0)]), [0, 0], levels=levels, dialect="webui")
        x = start(plan, LATENT, NOISE * start_factor(float(sigma), multiplier, extra)).x
        own = multiplier * NOISE
        if sampler == "euler":
            assert torch.allclose(x, noised(LATENT, own, sigma, pure=False) + extra * own, atol=1e-5)
        else:
            a = 1 / (sigma**2 + 1)
            assert torch.allclose(x, a.sqrt() * (LATENT + extra * own) + (1 - a).sqrt() * own, atol=1e-5)


def test_a_part_of_a_batch_keeps_its_own_original() -> None:
    masking = Masking(LATENT)
    assert torch.equal(masking.items(1, 2).original, LATENT[1:2])
    assert torch.equal(Masking(LATENT[:1]).items(2, 3).original, LATENT[:1])
    assert masking.key != Masking(LATENT, SoftInpainting()).key != Masking(LATENT, SoftInpainting(2)).key
