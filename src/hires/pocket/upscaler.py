"""The x4 upscaler of the built-in model: Real-ESRGAN's compact network, trained on crops of our drawings.

Half of a batch is only downscaled (bicubic), half goes through `degrade`: blur, noise, JPEG, several kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import interpolate, pixel_shuffle

from hires.imaging.similarity import psnr, ssim
from hires.pocket.curves import contact_sheet
from hires.pocket.drawing import bicubic_down, degrade, draw, random_scene
from hires.pocket.shards import Shards
from hires.pocket.training import Learner, Recipe

SCALE = 4
HELD_OUT = 9_000_000_000
"""Seeds from here on are never trained on."""

Picture = NDArray[np.uint8]
Reduce = Callable[[Picture, np.random.Generator], Picture]
Enlarge = Callable[[Picture], Picture]


class Compact(nn.Module):
    """SRVGGNetCompact (Wang et al. 2021, Real-ESRGAN's animevideo models): convolutions with PReLU at the small size,
    then a pixel shuffle; what it adds is laid over the nearest neighbour."""

    def __init__(self, features: int = 48, convolutions: int = 12) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, features, 3, padding=1), nn.PReLU(features)]
        for _ in range(convolutions):
            layers += [nn.Conv2d(features, features, 3, padding=1), nn.PReLU(features)]
        layers.append(nn.Conv2d(features, 3 * SCALE**2, 3, padding=1))
        self.body = nn.ModuleList(layers)

    def start(self, generator: torch.Generator) -> None:
        """Weights of He et al. 2015 for PReLU; the last layer begins at zero, so that training starts from nearest."""
        for layer in self.body:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, a=0.25, generator=generator)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        last = self.body[-1]
        assert isinstance(last, nn.Conv2d)
        nn.init.zeros_(last.weight)

    def forward(self, pixels: Tensor) -> Tensor:
        """(batch, 3, h, w) in 0..1 -> (batch, 3, 4h, 4w) about 0..1."""
        features = pixels
        for layer in self.body:
            features = layer(features)
        return pixel_shuffle(features, SCALE) + interpolate(pixels, scale_factor=SCALE, mode="nearest")


def as_pixels(pictures: list[Picture]) -> Tensor:
    """Pictures of one size -> (batch, 3, height, width) in 0..1."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float().div(255)


def as_pictures(pixels: Tensor) -> NDArray[np.uint8]:
    """(batch, 3, height, width) in 0..1 -> (batch, height, width, 3)."""
    whole = pixels.clamp(0, 1).mul(255).round().to(torch.uint8)
    pictures: NDArray[np.uint8] = whole.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return pictures


def edges(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Differences to the right and the lower neighbour."""
    return pixels[..., :, 1:] - pixels[..., :, :-1], pixels[..., 1:, :] - pixels[..., :-1, :]


def edge_distance(first: Tensor, second: Tensor) -> Tensor:
    """Mean absolute difference of the two pictures' edges, which L1 alone leaves soft."""
    (right, below), (other_right, other_below) = edges(first), edges(second)
    return (right - other_right).abs().mean() + (below - other_below).abs().mean()


@dataclass(frozen=True)
class UpscalerRecipe:
    """`crop` is the side of a large crop in pixels, a multiple of 4; `clean` the share that is only downscaled."""

    seed: int = 0
    features: int = 48
    convolutions: int = 12
    batch: int = 12
    crop: int = 96
    clean: float = 0.5
    edge_weight: float = 0.1
    optimizer: Recipe = field(default_factory=lambda: Recipe(rate=1e-3, weight_decay=0.0, average=0.997))


class UpscalerStage:
    """Training of `Compact` on shards of drawings."""

    def __init__(self, shards: Shards, recipe: UpscalerRecipe, device: torch.device) -> None:
        self.shards, self.recipe, self.device = shards, recipe, device
        network = Compact(recipe.features, recipe.convolutions)
        network.start(torch.Generator().manual_seed(recipe.seed))
        self.learner = Learner(network.to(device).to(memory_format=torch.channels_last), recipe.optimizer)

    @property
    def learners(self) -> Mapping[str, Learner]:
        """The one network."""
        return {"upscaler": self.learner}

    @property
    def facts(self) -> Mapping[str, Any]:
        """What a checkpoint must share."""
        recipe = self.recipe
        return {"seed": recipe.seed, "features": recipe.features, "convolutions": recipe.convolutions}

    def batch(self, index: int) -> tuple[Tensor, Tensor]:
        """Small and large crops (batch, 3, side, side) of step `index`."""
        rng = np.random.default_rng([self.recipe.seed, index])
        large = [random_crop(self.shards.random_picture(rng), self.recipe.crop, rng) for _ in range(self.recipe.batch)]
        small = [clean(crop, rng) if rng.random() < self.recipe.clean else mixed(crop, rng) for crop in large]
        return as_pixels(small).to(self.device), as_pixels(large).to(self.device)

    def step(self, index: int, progress: float, share: float) -> dict[str, Tensor]:
        """L1 and a tenth of the edges' L1."""
        small, large = self.batch(index)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            result = self.learner.network(small.contiguous(memory_format=torch.channels_last)).float()
        distance, edge = (result - large).abs().mean(), edge_distance(result, large)
        norm = self.learner.update(distance + self.recipe.edge_weight * edge, share, index)
        decibels = -10 * (result.detach() - large).square().mean((1, 2, 3)).log10().mean()
        return {"l1": distance.detach(), "edge": edge.detach(), "psnr": decibels, "gradient": norm}

    def sheet(self) -> NDArray[np.uint8]:
        """Four drawings: bicubic above, ours in the middle, the drawing below."""
        network = self.learner.average
        large = [held_out(index, 256) for index in range(4)]
        small = [mixed(picture, np.random.default_rng(index)) for index, picture in enumerate(large)]
        rows = [[enlarge(picture) for picture in small] for enlarge in (resampled("bicubic"), by_network(network))]
        return contact_sheet([np.stack(row) for row in [*rows, large]])


def random_crop(picture: Picture, side: int, rng: np.random.Generator) -> Picture:
    """A square part, mirrored now and then: drawings have no writing."""
    top, left = (int(rng.integers(length - side + 1)) for length in picture.shape[:2])
    crop = picture[top : top + side, left : left + side]
    return np.ascontiguousarray(crop[:, ::-1] if rng.random() < 0.5 else crop)


def clean(picture: Picture, rng: np.random.Generator) -> Picture:
    """Bicubic downscaling alone."""
    return bicubic_down(picture, SCALE)


def mixed(picture: Picture, rng: np.random.Generator) -> Picture:
    """Everything that `degrade` does."""
    return degrade(picture, rng, SCALE)


def held_out(index: int, side: int) -> Picture:
    """A drawing that was not trained on."""
    return draw(random_scene(HELD_OUT + index), side, side)


def resampled(kernel: str) -> Enlarge:
    """Pillow's enlargement by a kernel's name."""
    method = {
        "nearest": Image.Resampling.NEAREST,
        "bilinear": Image.Resampling.BILINEAR,
        "bicubic": Image.Resampling.BICUBIC,
        "lanczos": Image.Resampling.LANCZOS,
    }[kernel]

    def enlarge(picture: Picture) -> Picture:
        height, width = picture.shape[:2]
        return np.asarray(Image.fromarray(picture).resize((width * SCALE, height * SCALE), method))

    return enlarge


def by_network(network: Callable[[Tensor], Tensor]) -> Enlarge:
    """Enlargement by a network on pixels (1, 3, h, w) in 0..1, on the device where its weights are."""
    device = next(network.parameters()).device if isinstance(network, nn.Module) else torch.device("cpu")

    def enlarge(picture: Picture) -> Picture:
        with torch.inference_mode():
            result: Picture = as_pictures(network(as_pixels([picture]).to(device)))[0]
        return result

    return enlarge


@dataclass(frozen=True)
class Score:
    """Means over the held-out drawings."""

    psnr: float
    ssim: float


def measure(network: Callable[[Tensor], Tensor], count: int = 24, side: int = 512) -> dict[str, dict[str, Score]]:
    """Scores by degradation ("bicubic", "mixed") and by method, on `count` held-out drawings of `side` pixels."""
    methods = {name: resampled(name) for name in ("nearest", "bilinear", "bicubic", "lanczos")}
    methods["hires-pocket-x4"] = by_network(network)
    drawings = [held_out(index, side) for index in range(count)]
    reductions: dict[str, Reduce] = {"bicubic": clean, "mixed": mixed}
    table: dict[str, dict[str, Score]] = {}
    for what, reduce in reductions.items():
        small = [reduce(picture, np.random.default_rng([index, 1])) for index, picture in enumerate(drawings)]
        table[what] = {}
        for name, enlarge in methods.items():
            pairs = [(enlarge(low), high) for low, high in zip(small, drawings, strict=True)]
            decibels = [psnr(*pair) for pair in pairs]
            alike = [ssim(*pair) for pair in pairs]
            table[what][name] = Score(float(np.mean(decibels)), float(np.mean(alike)))
    return table


def as_table(scores: Mapping[str, Mapping[str, Score]]) -> str:
    """Scores in Markdown."""
    lines = ["| degraded by | enlarged by | PSNR (dB) | SSIM |", "|---|---|---|---|"]
    for what, methods in scores.items():
        lines += [f"| {what} | {name} | {score.psnr:.2f} | {score.ssim:.4f} |" for name, score in methods.items()]
    return "\n".join(lines)
