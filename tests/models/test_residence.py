"""Weights that are moved away free their memory, come back by themselves, and are never harmed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from hires.models.budget import resident_bytes
from hires.models.residence import bring_back, movable_bytes, move_away

CPU = torch.device("cpu")
LARGE = 64_000_000


@pytest.fixture
def mapped(tmp_path: Path) -> nn.Module:
    """A layer whose weights lie in a file."""
    path = tmp_path / "weights.safetensors"
    save_file(
        {"weight": torch.arange(LARGE // 4, dtype=torch.float32).reshape(4000, 4000), "bias": torch.ones(4000)}, path
    )
    layer = nn.Linear(1, 1)
    with safe_open(path, "pt") as file:
        for name in ("weight", "bias"):
            setattr(layer, name, nn.Parameter(file.get_tensor(name), requires_grad=False))
    return layer


def test_weights_in_a_file_leave_memory_and_come_back_as_they_were(mapped: nn.Module) -> None:
    total = float(mapped.weight.double().sum())
    assert movable_bytes(mapped, CPU) == LARGE + 16_000
    before = resident_bytes()
    move_away(mapped, CPU)
    assert before - resident_bytes() > 0.8 * LARGE
    assert float(mapped.weight.double().sum()) == total


def test_weights_of_their_own_stay_and_are_not_counted() -> None:
    layer = nn.Linear(1000, 1000)
    kept = layer.weight.detach().clone()
    assert movable_bytes(layer, CPU) == 0
    move_away(layer, CPU)
    assert torch.equal(layer.weight, kept)


class Recorded(nn.Module):
    """Two layers that write down where they are told to go."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.places: list[str] = []

    def to(self, *args: Any, **kwargs: Any) -> Recorded:
        self.places.append(str(args[0]))
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.second(self.first(x))
        return out


def test_on_an_accelerator_they_go_to_main_memory_and_back_at_the_first_use() -> None:
    device = torch.device("cuda:0")
    for use in (
        lambda net: net(torch.ones(4)),
        lambda net: net.second(torch.ones(4)),
        lambda net: bring_back(net, device),
    ):
        net = Recorded()
        move_away(net, device)
        move_away(net, device)
        assert net.places == ["cpu"]
        use(net)
        use(net)
        assert net.places == ["cpu", "cuda:0"]
        move_away(net, device)
        assert net.places == ["cpu", "cuda:0", "cpu"]
