"""ControlNet by mode: what each layer counts, on which side, within which region, and what the network is shown."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from hires.models.walk import Residuals
from hires.nodes.control_hints import CONTROL_MODES, hires_apply_controlnet, hires_inpaint_hint
from hires.nodes.redraw_conditioning import Canvas, cropped
from hires.nodes.steering import ControlLink, Steering
from hires.recipes.controlnets import CONTROL_MODES as NAMED_MODES
from hires.sampling.guidance import Seen
from hires.tiling.grid import Box

CPU = SimpleNamespace(device=torch.device("cpu"))


class Ones:
    """A network that adds one everywhere: `skips` layers of a ControlNet, or the features of an adapter."""

    placement, multiple = CPU, 1

    def __init__(self, skips: int = 12, inputs: tuple[int, ...] = (), middle: bool = True) -> None:
        self.skips, self.inputs, self.middle = skips, inputs, middle
        self.is_adapter = bool(inputs)
        self.hints: list[Tensor] = []

    def residuals(self, x: Tensor, timestep: Tensor, context: Tensor, vector: Any, hint: Tensor) -> Residuals:
        self.hints.append(hint)
        one = torch.ones(len(x), 2, 4, 4)
        return Residuals(
            dict.fromkeys(range(self.skips), one), one if self.middle else None, dict.fromkeys(self.inputs, one)
        )


def answered(net: Ones, **how: Any) -> Residuals:
    image = torch.zeros(1, 32, 32, 3)
    steering = Steering(net, image, 2.0, 99.0, 0.0, None, b"", **how)  # type: ignore[arg-type]
    x = torch.zeros(1, 4, 4, 4)
    seen = Seen(x, torch.zeros(1), torch.zeros(1, 77, 8), None, 1.0, ((4, 4, 0, 0),), (4, 4), 1)
    found = steering.residuals(seen)
    assert found is not None
    return found


def means(residuals: Residuals) -> tuple[list[float], list[float], float | None]:
    first = [float(residuals.skips[number].mean()) for number in sorted(residuals.skips)]
    behind = [float(residuals.inputs[number].mean()) for number in sorted(residuals.inputs)]
    return first, behind, None if residuals.middle is None else float(residuals.middle.mean())


def test_soft_weights_of_the_extension() -> None:
    skips, _, middle = means(answered(Ones(12), soft=True))
    assert skips == pytest.approx([2 * 0.825 ** (12 - layer) for layer in range(12)]) and middle == pytest.approx(2)
    assert skips[0] == pytest.approx(2 * 0.0994, rel=1e-2)
    # of SDXL's nine layers and middle, the first ten of the thirteen weights
    skips, _, middle = means(answered(Ones(9), soft=True))
    assert skips == pytest.approx([2 * 0.825 ** (12 - layer) for layer in range(9)])
    assert middle == pytest.approx(2 * 0.825**3)
    assert means(answered(Ones(12))) == ([2.0] * 12, [], 2.0)


def test_soft_weights_of_adapters() -> None:
    assert means(answered(Ones(0, (2, 5, 8, 11), middle=False), soft=True))[1] == pytest.approx([0.5, 1.24, 1.65, 2.0])
    _, behind, middle = means(answered(Ones(0, (3, 5, 8)), soft=True))
    assert behind == pytest.approx([0.5, 1.24, 1.65]) and middle == pytest.approx(2.0)


def test_a_unit_acts_in_its_region_alone() -> None:
    region = torch.zeros(1, 32, 32)
    region[:, :, 16:] = 1
    found = answered(Ones(), region=region)
    assert found.middle is not None
    for layer in (found.skips[0], found.middle):
        assert (layer[..., :2] == 0).all() and (layer[..., 2:] == 2).all()


def sides(mode: str, **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    entry = [(torch.zeros(1, 77, 8), {})]
    net: Any = Ones()
    made = hires_apply_controlnet(
        positive=entry, negative=entry, control_net=net, image=torch.zeros(1, 8, 8, 3), control_mode=mode, **more
    )
    return made[0][0][1], made[1][0][1]


WAYS = zip(CONTROL_MODES, (False, True, True), (True, True, False), strict=True)


@pytest.mark.parametrize(("mode", "soft", "both"), WAYS)
def test_modes(mode: str, soft: bool, both: bool) -> None:
    assert CONTROL_MODES == NAMED_MODES
    positive, negative = sides(mode)
    assert positive["control"].soft is soft and ("control" in negative) is both
    assert sides(mode, soft_weights=True)[0]["control"].soft
    assert sides(mode, strength=0.0) == ({}, {})


def test_an_inpainting_network_sees_minus_one_where_something_is_repainted() -> None:
    image = torch.rand(1, 8, 8, 3)
    mask = torch.zeros(1, 8, 8)
    mask[:, :4] = 1
    hint = hires_inpaint_hint(image=image, mask=mask)
    assert (hint[:, :4] == -1).all() and torch.equal(hint[:, 4:], image[:, 4:])
    small = hires_inpaint_hint(image=image, mask=mask[:, ::2, ::2])
    assert (small[:, :3] == -1).all() and torch.equal(small[:, 5:], image[:, 5:])


def test_a_tile_has_its_part_of_a_region() -> None:
    region = torch.zeros(1, 64, 64)
    region[:, :, 32:] = 1
    net: Any = Ones()
    link = ControlLink(net, torch.zeros(1, 64, 64, 3), 1.0, region=region)
    entries = [(torch.zeros(1, 77, 8), {"control": link})]
    canvas = Canvas((64, 64), (64, 64))
    parts = []
    for left in (0, 32):
        ((_, options),) = cropped(entries, canvas, Box(0, left, 32, left + 32), (32, 32))
        parts.append(float(options["control"].region.mean()))
        assert options["control"].region.shape == (1, 32, 32)
    assert parts == [0.0, 1.0]
