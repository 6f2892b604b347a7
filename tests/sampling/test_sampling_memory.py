"""A call of the network that is more than the memory holds is made in parts, with the same result."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor

from hires.sampling.guidance import Cond, Guidance
from hires.sampling.levels import standard_levels


class Cramped:
    """A pointwise network on a device that holds so many rows at a time."""

    prediction: Literal["eps"] = "eps"

    def __init__(self, rows: int, error: Exception | None = None) -> None:
        self.rows, self.error = rows, error or torch.OutOfMemoryError("CUDA out of memory")
        self.calls: list[int] = []

    def predict(self, x: Tensor, timestep: Tensor, context: Tensor, vector: Tensor | None = None) -> Tensor:
        self.calls.append(len(x))
        if len(x) > self.rows:
            raise self.error
        return x * 0.3 + context.mean(dim=(1, 2))[:, None, None, None]


def guidance(network: Cramped, conds: int) -> Guidance:
    texts = torch.randn(conds + 1, 1, 5, 8, generator=torch.Generator().manual_seed(1))
    positive = tuple(Cond(text) for text in texts[1:])
    return Guidance(network, standard_levels(), positive, (Cond(texts[0]),), 7.0)


@pytest.mark.parametrize(("rows", "calls"), [(8, [8]), (4, [8, 4, 4]), (2, [8, 4, 2, 2, 2, 2])])
def test_calls_are_halved_until_they_fit(rows: int, calls: list[int]) -> None:
    x, sigma = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(2)), torch.tensor(3.0)
    network = Cramped(rows)
    cut = guidance(network, 3)
    whole = guidance(Cramped(100), 3)(x, sigma, 0).denoised
    assert torch.allclose(cut(x, sigma, 0).denoised, whole, atol=1e-6)
    assert network.calls == calls
    network.calls.clear()
    cut(x, sigma, 1)
    assert max(network.calls) <= rows, "what did not fit once is not tried again"


def test_what_does_not_fit_alone_is_told() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        guidance(Cramped(1), 1)(torch.ones(2, 4, 8, 8), torch.tensor(3.0), 0)


def test_other_errors_are_not_taken_for_it() -> None:
    network = Cramped(1, RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes"):
        guidance(network, 1)(torch.ones(1, 4, 8, 8), torch.tensor(3.0), 0)
    assert network.calls == [2]
