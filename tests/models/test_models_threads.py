"""The number of threads that share the work changes no number: networks on their own, and a whole picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.activations import QuickGELUActivation

from hires.api import Engine, HiresFix, Txt2Img
from hires.models.checkpoint import Checkpoint, load_checkpoint
from hires.models.precision import hold
from hires.models.threads import SteadyQuickGELU, steady_gelu
from hires.pocket import BUILT_IN_FOLDER, BUILT_IN_NAME
from hires.settings import load_settings
from hires.steady import SteadyConv2d, SteadySiLU, steady_layers

MEASURED = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
"""Whether this is a processor on which equal bits were seen; others may divide sums of their own."""
THREADS = (1, 2, 4, 8)


@pytest.fixture(autouse=True)
def own_threads() -> Iterator[None]:
    known = torch.get_num_threads()
    yield
    torch.set_num_threads(known)


def results(run: Callable[[], Tensor], threads: tuple[int, ...] = THREADS) -> list[Tensor]:
    """What `run` gives with so many threads, one after the other."""
    found = []
    for number in threads:
        torch.set_num_threads(number)
        with torch.inference_mode():
            found.append(run())
    return found


def check_equal(run: Callable[[], Tensor], threads: tuple[int, ...] = THREADS) -> None:
    first, *others = results(run, threads)
    for other in others:
        torch.testing.assert_close(other, first, rtol=0, atol=2e-5)
        if MEASURED:
            assert torch.equal(other, first)


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def built_in() -> Checkpoint:
    return load_checkpoint(BUILT_IN_FOLDER / "checkpoints" / BUILT_IN_NAME)


@pytest.mark.parametrize(("batch", "height", "width"), [(1, 20, 20), (2, 20, 20), (2, 24, 17)])
def test_the_unet(built_in: Checkpoint, batch: int, height: int, width: int) -> None:
    model = built_in.model
    assert model is not None
    x, steps = noise(batch, 4, height, width), torch.full((batch,), 500.0)
    context = noise(batch, 77, model.unet.config.cross_attention_dim)
    check_equal(lambda: model.predict(x, steps, context))


def test_the_autoencoder(built_in: Checkpoint) -> None:
    vae = built_in.vae
    assert vae is not None
    check_equal(lambda: vae.decode_raw(noise(1, 4, 20, 21)))
    check_equal(lambda: vae.encode(torch.sigmoid(noise(1, 168, 160, 3))))


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("biased", [False, True])
def test_a_convolution_of_points_is_one_whatever_the_threads(held: bool, biased: bool) -> None:
    layer = nn.Conv2d(24, 40, 1, bias=biased).requires_grad_(False)
    weight, bias = layer.weight.half().float(), None if layer.bias is None else layer.bias.half().float()
    if held:
        hold(layer.half(), torch.float32)
    else:
        layer.load_state_dict({"weight": weight} | ({} if bias is None else {"bias": bias}))
        steady_layers(layer)
    assert isinstance(layer, SteadyConv2d)
    for shape in ((1, 24, 5, 5), (3, 24, 9, 7), (1, 24, 40, 33)):
        for x in (noise(*shape), noise(*shape).to(memory_format=torch.channels_last)):
            check_equal(lambda x=x: layer(x))  # type: ignore[misc]
            torch.testing.assert_close(layer(x), functional.conv2d(x, weight, bias), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("settings", [{"stride": 2}, {"padding": 1}, {"groups": 4}])
def test_other_convolutions_stay_what_they_are(settings: dict[str, int]) -> None:
    layer, x = nn.Conv2d(8, 8, 1, **settings), noise(2, 8, 6, 5)
    expected = layer(x)
    steady_layers(layer)
    assert torch.equal(layer(x), expected)


def test_activations_whose_numbers_do_not_come_out_even() -> None:
    x = noise(3, 333, 2 * 111) * 3
    gate = x.chunk(2, dim=-1)[1]
    threads = (1, 2, 3, 5, 7)
    for act, plain in (
        (steady_gelu, functional.gelu),
        (SteadySiLU(), functional.silu),
        (SteadyQuickGELU(), QuickGELUActivation()),
    ):
        for given in (x, gate):
            before = given.clone()
            check_equal(lambda act=act, given=given: act(given), threads)  # type: ignore[misc]
            assert torch.equal(given, before), "what comes in is left"
            torch.testing.assert_close(act(given), plain(given))


def test_gradients_go_through_them() -> None:
    network = nn.Sequential(nn.Conv2d(3, 5, 1), nn.SiLU(), QuickGELUActivation())
    x = noise(1, 3, 7, 7)
    network(x).sum().backward()
    expected = [value.grad for value in network.parameters()]
    network.zero_grad()
    steady_layers(network)
    network(x).sum().backward()
    for value, before in zip(network.parameters(), expected, strict=True):
        torch.testing.assert_close(value.grad, before)


def test_a_picture_of_two_passes(tmp_path: Path) -> None:
    hires = HiresFix(scale=1.5, upscaler="hires-pocket-x4", steps=3, denoise=0.6)
    request = Txt2Img(prompt="1girl, (hat:1.2), beach", checkpoint=BUILT_IN_NAME, seed=5, steps=4, hires=hires)
    drawn = []
    for threads in (1, 2, 4):
        engine = Engine(load_settings({"output_dir": tmp_path / str(threads), "threads": threads}))
        drawn.append(np.asarray(engine.txt2img(request).pictures[0]).astype(int))
    for other in drawn[1:]:
        assert abs(other - drawn[0]).max() <= 1
        if MEASURED:
            assert (other == drawn[0]).all()
