from __future__ import annotations

import warnings

import pytest
import torch
import torchsde
from hypothesis import given, settings
from hypothesis import strategies as st

from hires.sampling import noise, philox
from hires.sampling.brownian import BrownianTree, brownian_noise


def test_the_first_numbers_of_a_seed() -> None:
    first = noise.initial_noise(0, (1, 4, 8, 8)).flatten()[:3].tolist()
    assert first == pytest.approx([-1.1258398, -1.1523602, -0.2505786], abs=1e-6)
    image = noise.standard_normal("CPU", 0, (4, 64, 64)).flatten()[:6].tolist()
    assert image == pytest.approx([-1.1258398, -1.1523602, -0.2505786, -0.4338788, 0.8487104, 0.6920092], abs=1e-6)


def test_initial_noise_is_what_the_seeded_global_generator_would_give() -> None:
    state = torch.get_rng_state()
    drawn = noise.initial_noise(7, (2, 4, 5, 5))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(7)
    expected = torch.randn(2, 4, 5, 5)
    torch.set_rng_state(state)
    assert torch.equal(drawn, expected)


def test_batch_index_takes_images_out_of_the_stream() -> None:
    generator = torch.Generator().manual_seed(3)
    images = [torch.randn(1, 4, 5, 5, generator=generator) for _ in range(4)]
    drawn = noise.initial_noise(3, (3, 4, 5, 5), batch_index=[3, 1, 3])
    assert torch.equal(drawn, torch.cat([images[3], images[1], images[3]]))
    assert not torch.equal(noise.initial_noise(3, (2, 4, 5, 5)), noise.initial_noise(3, (2, 4, 5, 5), [0, 1]))
    assert torch.equal(noise.initial_noise(3, (2, 4, 8, 8)), noise.initial_noise(3, (2, 4, 8, 8), [0, 1]))


def test_ddim_lays_other_noise_on_the_kept_part() -> None:
    initial = noise.initial_noise(5, (1, 4, 8, 8))
    assert noise.mask_noise("euler", initial, 5) is initial
    assert torch.equal(noise.mask_noise("ddim", initial, 5), noise.initial_noise(6, (1, 4, 8, 8)))


def test_philox_vectors() -> None:
    first = [-0.9246624, -0.4253439, -2.6438458, 0.1451839, -0.1208666, -0.5797257, -0.6228516, -0.3283871]
    assert philox.normal(0, 0, (4, 64, 64)).flatten()[:8].tolist() == pytest.approx(first, abs=2e-6)
    second = [0.1808258, -0.5522627, 0.9238134, -0.7349703]
    assert philox.normal(0, 1, (4, 64, 64)).flatten()[:4].tolist() == pytest.approx(second, abs=2e-6)


def test_philox_uses_the_whole_seed() -> None:
    assert not torch.equal(philox.normal(5, 0, (16,)), philox.normal(5 + 2**32, 0, (16,)))
    sample = philox.normal(2**63 + 11, 0, (100_000,))
    assert float(sample.mean()) == pytest.approx(0, abs=0.02)
    assert float(sample.std()) == pytest.approx(1, abs=0.02)


def test_slerp_vector() -> None:
    low, high = (noise.standard_normal("CPU", seed, (4, 8, 8)) for seed in (1, 2))
    expected = [-1.5994666, -0.2500612, -1.1322143, -2.2001686]
    assert noise.slerp(0.3, low, high).flatten()[:4].tolist() == pytest.approx(expected, rel=1e-5)


def test_slerp_of_equal_noises_is_that_noise() -> None:
    low = noise.standard_normal("CPU", 1, (4, 8, 8))
    assert torch.allclose(noise.slerp(0.3, low, low), low)
    assert torch.allclose(noise.slerp(0.3, low, low * 3), 0.7 * low + 0.3 * (low * 3))


@given(st.floats(0, 1))
def test_slerp_goes_from_one_noise_to_the_other(t: float) -> None:
    low, high = (noise.standard_normal("CPU", seed, (1, 8, 4)) for seed in (1, 2))
    ends = {0.0: low, 1.0: high}
    mixed = noise.slerp(t, low, high)
    assert torch.isfinite(mixed).all()
    if t in ends:
        assert torch.allclose(mixed, ends[t], atol=1e-5)


def test_seed_resize_keeps_the_middle_of_the_smaller_picture() -> None:
    small = noise.standard_normal("CPU", 4, (4, 8, 8))
    full = noise.standard_normal("CPU", 4, (4, 10, 12))
    pasted = noise.image_noise([4], (4, 10, 12), resize_from=(64, 64))[0]
    assert torch.equal(pasted[:, 1:9, 2:10], small)
    assert torch.equal(pasted[:, 0], full[:, 0])
    cropped = noise.image_noise([4], (4, 4, 8), resize_from=(64, 64))[0]
    assert torch.equal(cropped, small[:, 2:6, :])


@pytest.mark.parametrize("source", ["CPU", "NV"])
def test_an_image_has_the_same_noise_in_any_batch(source: noise.Source) -> None:
    batch = noise.image_noise([3, 9], (4, 5, 7), source, subseeds=[1, 2], subseed_strength=0.2)
    alone = noise.image_noise([9], (4, 5, 7), source, subseeds=[2], subseed_strength=0.2)
    assert torch.equal(batch[1:], alone)


@pytest.mark.parametrize("source", ["CPU", "NV"])
@pytest.mark.parametrize("per_image", [False, True])
def test_a_stream_goes_on_from_its_state(source: noise.Source, per_image: bool) -> None:
    x = torch.zeros(2, 4, 5, 5)
    stream = noise.start_stream(source, (1, 2) if per_image else (1,), per_image)
    first, after = stream.draw(x)
    second, _ = after.draw(x)
    assert not torch.equal(first, second)
    assert torch.equal(after.draw(x)[0], second)
    assert torch.equal(noise.skip_one(stream, x).draw(x)[0], second)
    if per_image:
        assert torch.equal(first[1], noise.standard_normal(source, 2, (4, 5, 5)))


def test_brownian_golden() -> None:
    tree = BrownianTree(0.0291675, 14.614642, 0, (1, 4, 8, 8))
    increment = tree.increment(7, 14.614642).flatten()[:3].tolist()
    assert increment == pytest.approx([-1.4330271, 0.1721684, -1.5322664], abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**64 - 1), st.floats(0.01, 15), st.floats(0.01, 15))
def test_the_path_is_torchsdes(seed: int, start: float, end: float) -> None:
    start, end = sorted((start, end))
    ours = BrownianTree(0.0291675, 14.614642, seed, (1, 2, 3, 3)).increment(start, end)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = torchsde.BrownianTree(0.0291675, torch.zeros(1, 2, 3, 3), 14.614642, entropy=seed)(start, end)
    assert torch.equal(ours, theirs)


def test_path_increments_add_up_and_do_not_depend_on_the_order_asked() -> None:
    tree = BrownianTree(0.1, 10.0, 5, (4,))
    late, early = tree.increment(3.0, 7.0), tree.increment(0.5, 3.0)
    fresh = BrownianTree(0.1, 10.0, 5, (4,))
    assert torch.equal(fresh.increment(0.5, 3.0), early)
    assert torch.equal(fresh.increment(3.0, 7.0), late)
    assert torch.allclose(fresh.increment(0.5, 7.0), early + late, atol=1e-5)


def test_step_noise_of_a_path() -> None:
    x = torch.zeros(2, 4, 3, 3)
    sigma, sigma_next = torch.tensor(5.0), torch.tensor(2.0)
    down = brownian_noise((0.1, 10.0), (5,), x)(sigma, sigma_next)
    tree = BrownianTree(0.1, 10.0, 5, x.shape)
    assert torch.allclose(down, -tree.increment(2.0, 5.0) / 3.0**0.5)
    each = brownian_noise((0.1, 10.0), (5, 6), x, per_image=True)(sigma, sigma_next)
    alone = brownian_noise((0.1, 10.0), (6,), x[1:], per_image=True)(sigma, sigma_next)
    assert torch.equal(each[1:], alone)
    nv = brownian_noise((0.1, 10.0), (5,), x, source="NV")(sigma, sigma_next)
    assert not torch.equal(nv, down)
    assert torch.isfinite(nv).all()
