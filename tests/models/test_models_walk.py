"""The written-out pass against diffusers' own, and the patches that act in it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hires.imaging.resample import resample
from hires.models.checkpoint import load_checkpoint
from hires.models.handles import DiffusionModel
from hires.models.hypernetwork import load_hypernetwork
from hires.models.patches import (
    AttentionRecord,
    DeepShrink,
    FreeU,
    Hypernetwork,
    HyperTile,
    TokenMerging,
    ValuesOnly,
    low_frequencies_scaled,
    patched,
)
from hires.models.walk import Attend, Patch, Place, Residuals, walk

Inputs = tuple[Tensor, Tensor, Tensor, Tensor | None]


@pytest.fixture(scope="module", params=["thin_sd15", "thin_sdxl_base", "thin_sdxl_refiner"])
def model(request: pytest.FixtureRequest, thin_models: Path) -> DiffusionModel:
    found = load_checkpoint(thin_models / "checkpoints" / f"{request.param}.safetensors").model
    assert found is not None
    return found


@pytest.fixture(scope="module")
def sd15(thin_models: Path) -> DiffusionModel:
    found = load_checkpoint(thin_models / "checkpoints" / "thin_sd15.safetensors").model
    assert found is not None
    return found


def inputs_for(model: DiffusionModel, height: int = 16, width: int = 24) -> Inputs:
    draw = torch.Generator().manual_seed(3)
    vector = torch.randn(2, model.vector_width, generator=draw) if model.vector_width else None
    context = torch.randn(2, 77, model.unet.config.cross_attention_dim, generator=draw)
    x = torch.randn(2, model.in_channels, height, width, generator=draw)
    return x, torch.tensor([10.0, 500.0]), context, vector


@dataclass(frozen=True)
class Watch(Patch):
    """Changes nothing and notes where it was."""

    places: list[Place] = field(default_factory=list)

    def after_input(self, h: Tensor, place: Place) -> Tensor:
        self.places.append(place)
        return h

    def attention(self, attend: Attend, q: Tensor, k: Tensor, v: Tensor, place: Place) -> Tensor:
        self.places.append(place)
        return attend(q, k, v)


@pytest.mark.parametrize("sides", [(16, 24), (9, 13)])
def test_the_pass_is_the_modules_own(model: DiffusionModel, sides: tuple[int, int]) -> None:
    x, t, context, vector = inputs_for(model, *sides)
    watch = Watch()
    with torch.inference_mode():
        expected = model.predict(x, t, context, vector)
        plain = walk(model.unet, x, t, context, vector)
        watched = patched(model, watch).predict(x, t, context, vector, sigma=2.0)
    torch.testing.assert_close(plain, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(watched, expected, rtol=0, atol=1e-5)
    assert {place.size for place in watch.places} == {sides} and {place.sigma for place in watch.places} == {2.0}


def test_blocks_are_numbered_as_latent_diffusion_does(sd15: DiffusionModel) -> None:
    watch = Watch()
    patched(sd15, watch).predict(*inputs_for(sd15))
    attended = {(place.stage, place.block) for place in watch.places if place.crosswise}
    inputs = {("input", n) for n in (1, 2, 4, 5, 7, 8)}
    assert attended == inputs | {("middle", 0)} | {("output", n) for n in range(3, 12)}
    assert [p.block for p in watch.places if p.stage == "input" and not p.crosswise][-1] == 11


def test_residuals_land_as_diffusers_puts_them(sd15: DiffusionModel) -> None:
    x, t, context, _ = inputs_for(sd15)
    draw = torch.Generator().manual_seed(4)
    watch = Watch()
    shapes: list[torch.Size] = []

    @dataclass(frozen=True)
    class Shapes(Patch):
        def after_input(self, h: Tensor, place: Place) -> Tensor:
            shapes.append(h.shape)
            return h

    patched(sd15, Shapes()).predict(x, t, context)
    skips = [torch.randn(shape, generator=draw) for shape in shapes]
    middle = torch.randn(shapes[-1], generator=draw)
    with torch.inference_mode():
        expected = sd15.unet(
            x, t, context, down_block_additional_residuals=skips, mid_block_additional_residual=middle
        ).sample
    got = patched(sd15, watch).predict(x, t, context, control=Residuals(dict(enumerate(skips)), middle))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_adapter_features_land_as_diffusers_puts_them(sd15: DiffusionModel) -> None:
    x, t, context, _ = inputs_for(sd15)
    widths = sd15.unet.config.block_out_channels
    features = [torch.randn(2, width, 16 >> level, 24 >> level) for level, width in enumerate(widths)]
    with torch.inference_mode():
        expected = sd15.unet(x, t, context, down_intrablock_additional_residuals=list(features)).sample
    got = sd15.predict(x, t, context, control=Residuals(inputs={2 + 3 * n: f for n, f in enumerate(features)}))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_residuals_add_up() -> None:
    one, two = Residuals({0: torch.ones(1)}, None, {2: torch.ones(1)}), Residuals({0: torch.ones(1)}, torch.ones(1))
    both = one + two
    assert both.skips[0].item() == 2 and both.middle is not None and both.inputs[2].item() == 1


def shrink(**changes: object) -> DeepShrink:
    patch = DeepShrink(3, 2.0, 15.0, 2.7, True, "bicubic", "bicubic", resample)
    return replace(patch, **changes)  # type: ignore[arg-type]


def test_deep_shrink_acts_within_its_levels_only(sd15: DiffusionModel) -> None:
    inputs = inputs_for(sd15)
    plain = sd15.predict(*inputs)
    shrunk = patched(sd15, shrink())
    assert torch.allclose(shrunk.predict(*inputs, sigma=2.0), plain, atol=1e-5)
    inside = shrunk.predict(*inputs, sigma=5.0)
    assert inside.shape == plain.shape and not torch.allclose(inside, plain, atol=1e-2)
    before = patched(sd15, shrink(behind_skip=False)).predict(*inputs, sigma=5.0)
    assert not torch.allclose(before, inside, atol=1e-3)


@given(st.integers(1, 12), st.floats(0.5, 4.0), st.booleans())
@settings(max_examples=6, deadline=None)
def test_deep_shrink_keeps_the_size_for_any_block_and_factor(
    thin_models: Path, block: int, factor: float, behind: bool
) -> None:
    model = load_checkpoint(thin_models / "checkpoints" / "thin_sd15.safetensors").model
    assert model is not None
    inputs = inputs_for(model)
    got = patched(model, shrink(block=block, factor=factor, behind_skip=behind)).predict(*inputs, sigma=5.0)
    assert got.shape == (2, 4, 16, 24) and torch.isfinite(got).all()


def test_freeu_scales_half_the_channels_and_the_lowest_frequencies() -> None:
    place = Place("output", 0, 1.0, (8, 8))
    h, skip = torch.randn(2, 8, 8, 8), torch.full((2, 8, 8, 8), 3.0)
    one, low = FreeU({8: (1.5, 0.2)}, 1).before_output(h, skip, place)
    torch.testing.assert_close(one[:, :4], h[:, :4] * 1.5)
    torch.testing.assert_close(one[:, 4:], h[:, 4:])
    torch.testing.assert_close(low, skip * 0.2)
    two, _ = FreeU({8: (1.5, 1.0)}, 2).before_output(h, skip, place)
    mean = h.mean(1)
    share = (mean - mean.amin((1, 2), True)) / (mean.amax((1, 2), True) - mean.amin((1, 2), True))
    torch.testing.assert_close(two[:, :4], h[:, :4] * (1 + 0.5 * share[:, None]))
    same = FreeU({16: (2.0, 2.0)}, 1).before_output(h, skip, place)
    assert same[0] is h and same[1] is skip


def test_high_frequencies_pass() -> None:
    checker = torch.tensor([[1.0, -1.0] * 4, [-1.0, 1.0] * 4] * 4)[None, None]
    torch.testing.assert_close(low_frequencies_scaled(checker, 0.0), checker, atol=1e-5, rtol=0)


def test_hypertile_is_attention_within_tiles() -> None:
    """A tile a side of 4 x 4 tokens: queries of each tile meet the keys of one run of tokens."""
    seen: list[tuple[int, ...]] = []

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        seen.append((*q.shape, *k.shape))
        return q

    q = torch.arange(64.0).reshape(1, 64, 1)
    patch = HyperTile(4, 1, 0, False)
    got = patch.attention(attend, q, q, q, Place("input", 1, 1.0, (8, 8)))
    assert torch.equal(got, q) and seen == [(4, 16, 1, 1, 64, 1)]
    deeper = torch.zeros(1, 16, 1)
    assert patch.attention(attend, deeper, deeper, deeper, Place("input", 4, 1.0, (8, 8))) is deeper


def test_hypertile_in_one_tile_changes_nothing(sd15: DiffusionModel) -> None:
    inputs = inputs_for(sd15)
    torch.testing.assert_close(
        patched(sd15, HyperTile(256, 2, 3, True)).predict(*inputs), sd15.predict(*inputs), rtol=0, atol=1e-5
    )
    tiled = patched(sd15, HyperTile(4, 3, 1, False))
    assert torch.equal(tiled.predict(*inputs, sigma=1.0), tiled.predict(*inputs, sigma=1.0))
    assert not torch.allclose(tiled.predict(*inputs), sd15.predict(*inputs), atol=1e-3)


def test_token_merging_of_equal_tokens_changes_nothing() -> None:
    q = torch.ones(2, 64, 4)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        assert q.shape[1] == 64 - 32
        return q * 3

    got = TokenMerging(0.5).attention(attend, q, q, q, Place("input", 1, 1.0, (8, 8)))
    torch.testing.assert_close(got, q * 3)


def test_token_merging_without_merging_is_a_permutation_undone() -> None:
    q = torch.randn(2, 64, 4)
    got = TokenMerging(0.02).attention(lambda q, k, v: q, q, q, q, Place("input", 1, 1.0, (8, 8)))
    changed = (got != q).any(-1).sum(-1)
    assert (changed <= 2).all()
    assert TokenMerging(0.0).attention(lambda q, k, v: q, q, q, q, Place("input", 1, 1.0, (8, 8))) is q


def test_token_merging_as_a1111_sets_it_up(sd15: DiffusionModel) -> None:
    """Against the paper's rule token by token: of each 2x2 block the first stays, others join the likest."""
    height, width, ratio = 4, 6, 0.4
    tokens = torch.randn(1, height * width, 8, generator=torch.Generator().manual_seed(5))
    q = torch.randn(1, height * width, 8, generator=torch.Generator().manual_seed(6))
    place = Place("input", 1, 1.0, (height, width), tokens=tokens)
    seen: list[Tensor] = []

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        seen.append(q)
        return q * 2

    got = TokenMerging(ratio, webui=True).attention(attend, q, q, q, place)[0]
    stay = [y * width + x for y in range(0, height, 2) for x in range(0, width, 2)]
    others = [token for token in range(height * width) if token not in stay]
    unit = tokens[0] / tokens[0].norm(dim=-1, keepdim=True)
    best = {token: max(stay, key=lambda one, token=token: float(unit[token] @ unit[one])) for token in others}
    by_likeness = sorted(others, key=lambda token: -float(unit[token] @ unit[best[token]]))
    gone = by_likeness[: int(height * width * ratio)]
    expected = q[0].clone()
    for one in stay:
        joined = [token for token in gone if best[token] == one]
        expected[[one, *joined]] = q[0, [one, *joined]].mean(dim=0)
    torch.testing.assert_close(got, expected * 2)
    assert seen[0].shape[1] == height * width - len(gone)


def test_token_merging_in_both_dialects_changes_the_network(sd15: DiffusionModel) -> None:
    inputs = inputs_for(sd15)
    plain = sd15.predict(*inputs)
    made = [patched(sd15, TokenMerging(0.5, webui)).predict(*inputs, sigma=1.0) for webui in (False, True)]
    again = patched(sd15, TokenMerging(0.5, webui=True)).predict(*inputs, sigma=2.0)
    assert torch.equal(made[1], again), "no chance is in it"
    assert not torch.allclose(made[0], made[1], atol=1e-4) and not torch.allclose(made[1], plain, atol=1e-4)


def test_values_only_leaves_out_the_middles_self_attention(sd15: DiffusionModel) -> None:
    q, k, v = (torch.randn(1, 4, 8) for _ in range(3))
    patch = ValuesOnly()
    assert patch.weighted(q, k, v, 2, Place("middle", 0, 1.0, (2, 2))) is v
    assert patch.weighted(q, k, v, 2, Place("input", 1, 1.0, (2, 2))) is None
    assert patch.weighted(q, k, v, 2, Place("middle", 0, 1.0, (2, 2), crosswise=True)) is None


def test_a_record_notes_the_middle_and_changes_nothing(sd15: DiffusionModel) -> None:
    inputs = inputs_for(sd15)
    record = AttentionRecord()
    got = patched(sd15, record).predict(*inputs)
    torch.testing.assert_close(got, sd15.predict(*inputs), rtol=0, atol=1e-5)
    (weights,) = record.noted
    assert weights.shape == (2 * 8, 6, 6)
    torch.testing.assert_close(weights.sum(-1), torch.ones(16, 6))


def test_hypernetworks_change_keys_and_values(sd15: DiffusionModel, tmp_path: Path) -> None:
    width = sd15.unet.config.cross_attention_dim
    layers = {"linear.0.weight": torch.eye(width), "linear.0.bias": torch.zeros(width)}
    torch.save({width: [layers, layers], "activation_func": "relu", "step": 3}, tmp_path / "h.pt")
    networks = load_hypernetwork(tmp_path / "h.pt")
    x, t, context, _ = inputs_for(sd15)
    only_cross = {width: networks[width]}
    got = patched(sd15, Hypernetwork(only_cross, 1.0)).predict(x, t, context)
    # k + H(k) with the identity doubles the text; self-attention of that width is doubled as well where there is any
    if width not in sd15.unet.config.block_out_channels:
        torch.testing.assert_close(got, sd15.predict(x, t, context * 2), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(got, sd15.predict(x, t, context), atol=1e-3)


def test_patches_change_the_identity(sd15: DiffusionModel) -> None:
    one, two = patched(sd15, shrink(), 1), patched(sd15, shrink(), 2)
    assert len({sd15.identity, one.identity, two.identity}) == 3
    assert not sd15.patches and not sd15.wants_sigma and one.wants_sigma
    assert math.isfinite(one.latent_scale)
