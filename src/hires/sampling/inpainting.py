"""Sampling under a mask as the A1111 web UI does it: the estimate is mixed with the original after every call.

Latents are in the scaled space, (batch, 4, h, w); nmask is (1 or batch, 1, h, w), 1 = repaint.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, dataclass, replace
from typing import Literal

from torch import Tensor

from hires.imaging.batches import repeat_to
from hires.imaging.soft_inpainting import SoftInpainting, blended, schedule_weights
from hires.sampling.state import Prediction

Denoiser = Callable[[Tensor, Tensor, int], Prediction]


@dataclass(frozen=True, eq=False)
class Masking:
    """What a latent that is drawn under a mask began as, in the VAE's raw scale, and, for a soft mask, the sliders."""

    original: Tensor
    soft: SoftInpainting | None = None

    def items(self, first: int, last: int) -> Masking:
        """That of a part of the batch."""
        return replace(self, original=repeat_to(self.original, last)[first:])

    @property
    def key(self) -> bytes:
        """Names the sliders; the original and the mask have keys of their own."""
        return repr(("webui", None if self.soft is None else astuple(self.soft))).encode()


def masked_webui(
    denoise: Denoiser,
    nmask: Tensor,
    latent: Tensor,
    noise: Tensor,
    *,
    space: Literal["ve", "vp"],
    soft: SoftInpainting | None = None,
    original: bool = False,
    mask_at: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Denoiser:
    """A denoiser that answers the original latent outside the mask.

    Samplers in sigma's scale: D = D nmask + z (1 - nmask) after every call. Samplers in the variance-preserving scale
    (DDIM, PLMS, UniPC): x is mixed so before every call, with z at the noise level of x; the web UI, and `original`
    with it, takes z without noise. With soft inpainting the shares and the mixing are its own. mask_at(nmask, sigma)
    may give another mask for a noise level.
    """

    def mixed(at: Tensor, below: Tensor, sigma: Tensor) -> Tensor:
        share = nmask if mask_at is None else mask_at(nmask, sigma)
        if soft is not None:
            return blended(below, at, schedule_weights(share, float(sigma), soft), soft)
        return at * share + below * (1.0 - share)

    def after(x: Tensor, sigma: Tensor, number: int) -> Prediction:
        answer = denoise(x, sigma, number)
        return Prediction(mixed(answer.denoised, latent, sigma), answer.uncond)

    def before(x: Tensor, sigma: Tensor, number: int) -> Prediction:
        below = latent * (sigma**2 + 1.0) ** 0.5 if original else latent + sigma * noise
        seen = mixed(x, below, sigma)
        answer = denoise(seen, sigma, number)
        # the sampler goes on from x with the noise that was seen in the mixture
        moved = x - seen
        return Prediction(answer.denoised + moved, None if answer.uncond is None else answer.uncond + moved)

    return before if space == "vp" else after


def start_factor(sigma: float, multiplier: float, extra: float) -> float:
    """What unit noise is scaled by before a run that begins at sigma adds it: `multiplier`, and `extra` more of the
    scaled noise in the latent's own scale (the web UI's extra noise), in either of the two scales."""
    return multiplier * (1 + extra / sigma)
