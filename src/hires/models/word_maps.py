"""Where in a picture a network looks for each word: its cross-attention, noted while it runs (as in DAAM, Tang et al.
2022), at the middle resolutions, where words have places and not yet only edges."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from hires.models.walk import Patch, Place

REDUCTIONS = (2, 4)
"""Of the latent's sides, in the layers that are noted."""


@dataclass(frozen=True, eq=False)
class WordMaps(Patch):
    """Notes what it sees in the list it was made with: (tokens, h, w), the mean over heads of softmax(q k), for the
    first of a batch. The pass itself stays as it is."""

    noted: list[Tensor] = field(default_factory=list)

    def weighted(self, q: Tensor, k: Tensor, v: Tensor, heads: int, place: Place) -> Tensor | None:
        cells = q.shape[1]
        reduction = round(math.sqrt(math.prod(place.size) / cells))
        height, width = (-(-side // max(reduction, 1)) for side in place.size)
        if not place.crosswise or reduction not in REDUCTIONS or height * width != cells:
            return None
        queries, keys = (t[0].reshape(-1, heads, t.shape[-1] // heads).transpose(0, 1).float() for t in (q, k))
        weights = (queries @ keys.transpose(1, 2) * queries.shape[-1] ** -0.5).softmax(dim=-1).mean(dim=0)
        self.noted.append(weights.T.reshape(-1, height, width).cpu())
        return None

    def mean(self) -> Tensor | None:
        """Of all that was noted, at the finest size among it, (tokens, h, w); None where no layer was noted."""
        if not self.noted:
            return None
        size = max((tuple(seen.shape[1:]) for seen in self.noted), key=math.prod)
        spread = [interpolate(seen[None], size=size, mode="bilinear")[0] for seen in self.noted]
        return torch.stack(spread).mean(dim=0)
