"""Conditioning for parts of a picture, and what of it the guidance is told."""

from __future__ import annotations

import pytest
import torch

from hires.models.handles import DiffusionModel
from hires.nodes import areas
from hires.nodes.context import RunContext
from hires.nodes.resolve import EMPTY_INPAINT_LATENT, resolve
from hires.sampling.levels import standard_levels

SHAPE = (1, 4, 16, 24)


def prompt(value: float = 1.0, **options: object) -> list[tuple[torch.Tensor, dict]]:
    return [(torch.full((1, 77, 64), value), dict(options))]


@pytest.fixture
def model(context: RunContext) -> DiffusionModel:
    found = context.store.checkpoint("thin_sd15").model
    assert found is not None
    return found


@pytest.fixture
def inpainting(context: RunContext) -> DiffusionModel:
    found = context.store.checkpoint("thin_sd15_inpainting").model
    assert found is not None
    return found


def test_areas_are_counted_in_latent_cells(model: DiffusionModel) -> None:
    given = areas.set_area(conditioning=prompt(), width=96, height=128, x=90, y=8, strength=1.5)
    positive, negative = resolve(model, standard_levels(), given, prompt(0.0), SHAPE)
    assert positive[0].area == (16, 12, 1, 11) and positive[0].strength == 1.5
    assert [cond.area for cond in negative] == [None, (16, 12, 1, 11)]  # the counterpart for one batch
    assert torch.equal(negative[1].context, negative[0].context) and negative[1].strength == 1.5


@pytest.mark.parametrize(
    ("fractions", "area"),
    [((0.5, 0.75, 0.25, 0.0), (12, 12, 0, 6)), ((0.0, 0.01, 1.0, 1.0), (1, 1, 16, 24))],
)
def test_fractions_are_rounded_and_at_least_a_cell(
    model: DiffusionModel, fractions: tuple[float, float, float, float], area: tuple[int, ...]
) -> None:
    width, height, x, y = fractions
    given = areas.set_area_percentage(conditioning=prompt(), width=width, height=height, x=x, y=y)
    assert resolve(model, standard_levels(), given, [], SHAPE)[0][0].area == area


def test_strength_alone(model: DiffusionModel) -> None:
    given = areas.set_area_strength(conditioning=prompt(strength=1.0), strength=3.0)
    cond = resolve(model, standard_levels(), given, [], SHAPE)[0][0]
    assert cond.strength == 3.0 and cond.area is None


def test_a_mask_weighs_and_may_bound(model: DiffusionModel) -> None:
    mask = torch.zeros(128, 192)
    mask[16:48, 80:184] = 1.0
    given = areas.set_mask(conditioning=prompt(), mask=mask, strength=0.5, set_cond_area="mask bounds")
    cond = resolve(model, standard_levels(), given, [], SHAPE)[0][0]
    assert cond.area == (8, 13, 2, 10)  # 4 rows of cells, made 8
    assert cond.mask is not None and cond.mask.shape == (1, 16, 24)
    assert float(cond.mask[0, 3, 12]) == 0.5 and float(cond.mask[0, 8, 12]) == 0.0
    plain = areas.set_mask(conditioning=prompt(), mask=mask, set_cond_area="default")
    assert resolve(model, standard_levels(), plain, [], SHAPE)[0][0].area is None


def test_the_box_does_not_depend_on_the_strength(model: DiffusionModel) -> None:
    mask = torch.zeros(1, 16, 24)
    mask[:, :12, 4:] = 1.0
    given = areas.set_mask(conditioning=prompt(), mask=mask, strength=0.0, set_cond_area="mask bounds")
    assert resolve(model, standard_levels(), given, [], SHAPE)[0][0].area == (12, 20, 0, 4)


def test_an_empty_mask_has_the_smallest_box(model: DiffusionModel) -> None:
    given = areas.set_mask(conditioning=prompt(), mask=torch.zeros(1, 16, 24), set_cond_area="mask bounds")
    assert resolve(model, standard_levels(), given, [], SHAPE)[0][0].area == (8, 8, 0, 0)


def test_masks_are_brought_to_the_batch(model: DiffusionModel) -> None:
    given = areas.set_mask(conditioning=prompt(), mask=torch.rand(2, 16, 24), set_cond_area="default")
    for batch in (1, 2, 5):
        cond = resolve(model, standard_levels(), given, [], (batch, 4, 16, 24))[0][0]
        assert cond.mask is not None and len(cond.mask) == batch


def test_inpainting_without_anything_given_is_all_masked(inpainting: DiffusionModel) -> None:
    concat = resolve(inpainting, standard_levels(), prompt(), [], SHAPE)[0][0].concat
    assert concat is not None and concat.shape == (1, 5, 16, 24)
    assert float(concat[:, 0].min()) == 1.0
    assert concat[0, 1:, 3, 3].tolist() == pytest.approx(EMPTY_INPAINT_LATENT)


def test_inpainting_falls_back_to_the_latent_and_its_noise_mask(inpainting: DiffusionModel) -> None:
    """ComfyUI: VAEEncodeForInpaint before an inpainting checkpoint, without InpaintModelConditioning."""
    latent, mask = torch.randn(SHAPE), torch.rand(1, 1, 16, 24)
    concat = resolve(inpainting, standard_levels(), prompt(), prompt(), SHAPE, (latent, mask))[1][0].concat
    assert concat is not None
    assert torch.equal(concat, torch.cat([mask.round(), latent], dim=1))


def test_inpainting_shows_what_the_entry_says(inpainting: DiffusionModel) -> None:
    picture, mask = torch.randn(2, 4, 16, 24), torch.zeros(1, 1, 128, 192)
    mask[..., 96:] = 1.0
    given = prompt(concat_latent_image=picture, concat_mask=mask)
    other = (torch.zeros(SHAPE), torch.ones(1, 1, 16, 24))
    concat = resolve(inpainting, standard_levels(), given, [], (2, 4, 16, 24), other)[0][0].concat
    assert concat is not None and concat.shape == (2, 5, 16, 24)
    assert torch.equal(concat[:, 1:], picture * inpainting.latent_scale)
    assert torch.equal(concat[1, 0, 0], (torch.arange(24) >= 12).float())


def test_plain_networks_get_no_more_channels(model: DiffusionModel) -> None:
    given = prompt(concat_latent_image=torch.zeros(SHAPE), concat_mask=torch.ones(1, 1, 16, 24))
    assert resolve(model, standard_levels(), given, [], SHAPE)[0][0].concat is None
