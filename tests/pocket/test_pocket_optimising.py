"""Muon and short products: singular values, what they are for, and that they stay near the exact numbers."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hires.pocket.muon import Muon, inner_matrices, orthogonalised
from hires.pocket.short import ShortConv2d, ShortLinear, shorten
from hires.pocket.training import Learner, Recipe


@given(rows=st.integers(1, 40), columns=st.integers(1, 40), seed=st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_singular_values_come_near_one_and_directions_stay(rows: int, columns: int, seed: int) -> None:
    matrix = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    found = orthogonalised(matrix)
    inside = torch.diagonal(left.T @ found @ right.T)
    # small singular values may be left behind: five iterations bring 1/50 of the norm to one
    large = values > values.max() / 20
    assert torch.all((inside[large] > 0.5) & (inside[large] < 1.3))
    assert torch.linalg.norm(found - left @ torch.diag(inside) @ right) < 0.1 * found.norm()


def test_a_step_of_muon_measures_what_adams_does() -> None:
    weight = nn.Parameter(torch.zeros(48, 16, 3, 3))
    weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)) * 1e-6
    Muon([weight], lr=0.01, momentum=0.9, weight_decay=0.0).step()
    assert weight.detach().square().mean().sqrt().item() == pytest.approx(0.01 * 0.2, rel=0.2)
    assert (weight * weight.grad).sum() < 0


def test_muon_decays_weights_and_leaves_those_without_a_gradient() -> None:
    decayed, left = nn.Parameter(torch.ones(4, 4)), nn.Parameter(torch.ones(4, 4))
    decayed.grad = torch.zeros(4, 4)
    Muon([decayed, left], lr=0.1, momentum=0.9, weight_decay=0.5).step()
    assert torch.allclose(decayed, torch.full((4, 4), 0.95))
    assert torch.equal(left, torch.ones(4, 4))


class Net(nn.Module):
    """One layer of every kind."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(5, 8)
        self.conv_in = nn.Conv2d(3, 8, 3, padding=1)
        self.inner = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.norm = nn.GroupNorm(2, 8)
        self.linear = nn.Linear(8, 6)
        self.conv_out = nn.Conv2d(8, 3, 1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        features = self.norm(self.inner(self.conv_in(pixels)))
        answer: torch.Tensor = self.linear(features.mean((2, 3))) + self.conv_out(features).mean()
        return answer


def test_muon_is_for_what_lies_inside() -> None:
    net = Net()
    assert [id(one) for one in inner_matrices(net)] == [id(net.inner.weight), id(net.linear.weight)]
    learner = Learner(net, Recipe(rate=1e-3, muon_rate=1e-2))
    given_to = [
        id(one) for optimizer, _ in learner.optimizers for group in optimizer.param_groups for one in group["params"]
    ]
    assert sorted(given_to) == sorted(id(one) for one in net.parameters())


def test_short_products_stay_near_and_in_float32() -> None:
    torch.manual_seed(0)
    net, pixels = Net(), torch.randn(4, 3, 12, 12)
    exact = net(pixels)
    names = list(net.state_dict())
    short = copy.deepcopy(shorten(net))
    found = short(pixels)
    assert found.dtype == torch.float32 and not torch.equal(found, exact)
    assert torch.allclose(found, exact, atol=0.03)
    assert list(short.state_dict()) == names
    assert isinstance(short.linear, ShortLinear) and isinstance(short.conv_in, ShortConv2d)
    found.sum().backward()
    assert all(one.grad is not None and one.grad.dtype == torch.float32
               for name, one in short.named_parameters() if not name.startswith("words"))  # fmt: skip
