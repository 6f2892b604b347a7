"""What a picture in the making looks like: three colours as weighted sums of a latent's channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from hires.pocket import BUILT_IN_NAME, INPAINTING_NAME

if TYPE_CHECKING:
    from torch import Tensor

Weights = Sequence[Sequence[float]]
CHANNELS = 4
POCKET: Weights = (
    (0.202, 0.037, -0.153),
    (-0.107, -0.268, -0.230),
    (0.236, 0.103, 0.095),
    (0.016, -0.033, -0.206),
    (0.271, 0.178, 0.164),
)
COLOURS: Mapping[str, Weights] = {
    "sd1": ((0.298, 0.207, 0.208), (0.187, 0.286, 0.173), (-0.158, 0.189, 0.264), (-0.184, -0.271, -0.473)),
    "sdxl": (
        (0.3448, 0.4168, 0.4395),
        (-0.1953, -0.0290, 0.0250),
        (0.1074, 0.0886, -0.0163),
        (-0.3730, -0.2499, -0.2088),
    ),
    BUILT_IN_NAME: POCKET,
    INPAINTING_NAME: POCKET,
}
"""A row a channel of the latent: red, green, blue about -1..1; a fifth row is what an empty latent shows. The web UI's
for both families; the built-in models' own, fitted to their decoder."""


def preview_picture(latent: Tensor, model: str, family: str) -> Image.Image | None:
    """The first picture of a latent (batch, 4, height/8, width/8) at the model's scale, with twice the latent's sides;
    None for what has another shape."""
    shape: Sequence[int] = getattr(latent, "shape", ())
    if len(shape) != 4 or shape[1] != CHANNELS:
        return None
    weights = np.asarray(COLOURS.get(model) or COLOURS["sdxl" if family.startswith("sdxl") else "sd1"], np.float32)
    channels = latent[0].detach().float().cpu().numpy()
    colours = np.tensordot(channels, weights[:CHANNELS], axes=(0, 0)) + weights[CHANNELS:].sum(0)
    pixels = np.clip((colours + 1.0) * 127.5, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels).resize((pixels.shape[1] * 2, pixels.shape[0] * 2), Image.Resampling.BILINEAR)


def preview_png(latent: Tensor, model: str, family: str) -> bytes | None:
    """That picture as a PNG."""
    picture = preview_picture(latent, model, family)
    if picture is None:
        return None
    out = BytesIO()
    picture.save(out, format="PNG")
    return out.getvalue()
