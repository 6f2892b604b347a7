"""Enlarging four times by networks that draw the result step by step: LDSR and the SD x4 upscaler."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from hires.errors import SettingError
from hires.models.ldsr import LdsrModel
from hires.models.sd_x4 import LARGEST_NOISE_LEVEL, SdX4Model
from hires.nodes.context import RunContext
from hires.sampling.levels import NoiseLevels, denoised, scaled_linear_levels
from hires.sampling.run import latent as latent_of
from hires.sampling.run import make_plan, sample, start
from hires.sampling.schedules_webui import timesteps
from hires.sampling.state import Plan, Prediction
from hires.text.encode import encode_comfy
from hires.tiling.blend import smaller_until_it_fits
from hires.tiling.drawn import Predict, drawing_plan, fused, shares
from hires.tiling.plan import TilePlan
from hires.tiling.upscale_passes import Rule
from hires.tiling.vae_tiled import decode_tiled

DiffusionUpscaler = LdsrModel | SdX4Model
TILE = 128
"""Latent cells, which are pixels of the small picture."""
SMALLEST_TILE = 32
SMALLEST_SIDE = 64
"""What both were trained on; smaller pictures are drawn within one of this size."""
WEBUI_GRID, WEBUI_SIDE = 64, 128


@dataclass(frozen=True)
class Drawing:
    """How a picture is drawn. steps 0: as many as the upscaler was published with. tile in latent cells.

    prompt, cfg and noise_level (0 to 350) are the SD x4 upscaler's: what the picture shows, how much that counts, and
    how much of the small picture may be drawn anew.
    """

    steps: int = 0
    seed: int = 0
    tile: int = TILE
    prompt: str = ""
    cfg: float = 9.0
    noise_level: int = 20

    def check(self) -> None:
        """Raise SettingError for the first value that is out of range."""
        if not 0 <= self.steps <= 1000:
            raise SettingError(f"the steps of an upscaler must be from 1 to 1000, not {self.steps}")
        if not 0 <= self.noise_level <= LARGEST_NOISE_LEVEL:
            raise SettingError(f"the noise level must be from 0 to {LARGEST_NOISE_LEVEL}, not {self.noise_level}")
        if self.tile < SMALLEST_TILE:
            raise SettingError(f"a tile of {self.tile} is too small for an upscaler that draws", "Take 64 or more.")


@torch.inference_mode()
def draw_larger(
    context: RunContext, model: DiffusionUpscaler, picture: Tensor, drawing: Drawing, rule: Rule = "exact"
) -> Tensor:
    """picture (h, w, 3) in 0..1 -> (4 h, 4 w, 3). The same seed gives the same noise whatever the tile.

    "webui" fills the picture up to multiples of 64, at least 128, as the A1111 web UI does for LDSR; "exact" to what
    the network needs.
    """
    drawing.check()
    height, width = picture.shape[:2]
    low = filled_up(picture.movedim(-1, 0)[None] * 2 - 1, model.granularity, rule)
    generator = torch.Generator().manual_seed(drawing.seed)
    levels = scaled_linear_levels(*model.betas)
    if isinstance(model, SdX4Model):
        low = with_noise(low, levels, drawing.noise_level, generator)
        predict = _told(model, drawing)
    else:
        predict = _untold(model)
    noise = torch.randn(1, model.channels, *low.shape[2:], generator=generator)

    def sampled(tile: int) -> Tensor:
        return _sampled(context, model, levels, replace(drawing, tile=tile), predict, low, noise)

    latent = smaller_until_it_fits(sampled, drawing.tile, SMALLEST_TILE, f"drawing with {model.title}")
    return _decoded(context, model, latent)[: height * model.scale, : width * model.scale]


def filled_up(low: Tensor, granularity: int, rule: Rule) -> Tensor:
    """(1, 3, h, w) with its last row and column repeated until both sides will do."""
    height, width = low.shape[2:]
    tall, wide = filled_size(height, width, granularity, rule)
    return pad(low, (0, wide - width, 0, tall - height), mode="replicate")


def filled_size(height: int, width: int, granularity: int, rule: Rule) -> tuple[int, int]:
    """The sides that are drawn for a picture of height x width."""
    grid, least = (WEBUI_GRID, WEBUI_SIDE) if rule == "webui" else (granularity, SMALLEST_SIDE)
    tall, wide = (max(math.ceil(side / grid) * grid, least) for side in (height, width))
    return tall, wide


def tiles_of(model: DiffusionUpscaler, height: int, width: int, tile: int, rule: Rule) -> TilePlan:
    """The tiles in which a picture of height x width is drawn."""
    return _tiles(model, *filled_size(height, width, model.granularity, rule), tile)


def _tiles(model: DiffusionUpscaler, height: int, width: int, tile: int) -> TilePlan:
    """Tiles of a latent that overlap by a quarter, their sides brought down to what the network takes."""
    tile = tile // model.granularity * model.granularity
    return drawing_plan(height, width, tile, tile // 4, model.title)


def with_noise(low: Tensor, levels: NoiseLevels, noise_level: int, generator: torch.Generator) -> Tensor:
    """The small picture at the level of a timestep, in unit variance."""
    noise = torch.randn(low.shape, generator=generator)
    return levels.scaled(low + noise * levels.sigmas[noise_level], levels.sigmas[noise_level])


Call = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(x of unit variance, timestep, picture) -> the network's raw answer."""


def _untold(model: LdsrModel) -> Call:
    return model.predict


def _told(model: SdX4Model, drawing: Drawing) -> Call:
    """With guidance towards the prompt; without a prompt there is nothing to guide to, and one call is enough."""
    context = encode_comfy(model.clip, drawing.prompt)[0]
    empty = encode_comfy(model.clip, "")[0]

    def call(x: Tensor, timestep: Tensor, low: Tensor) -> Tensor:
        told = model.predict(x, timestep, low, context, drawing.noise_level)
        if not drawing.prompt.strip() or drawing.cfg == 1:
            return told
        untold = model.predict(x, timestep, low, empty, drawing.noise_level)
        return untold + drawing.cfg * (told - untold)

    return call


def drawing_run(model: DiffusionUpscaler, levels: NoiseLevels, drawing: Drawing) -> Plan:
    """DDIM over evenly spaced timesteps down to the first one, as latent-diffusion has it."""
    steps = timesteps(drawing.steps or model.steps, original=False)
    sigmas = torch.cat([levels.sigmas[steps].flip(0), levels.sigmas[:1]])
    options = {"eta": model.eta}
    return make_plan("ddim_timesteps", sigmas, drawing.seed, options, dialect="webui", levels=levels)


def _sampled(
    context: RunContext,
    model: DiffusionUpscaler,
    levels: NoiseLevels,
    drawing: Drawing,
    call: Call,
    low: Tensor,
    noise: Tensor,
) -> Tensor:
    height, width = low.shape[2:]
    tiles = _tiles(model, height, width, drawing.tile)
    context.note(tiles.describe())
    weights = shares(tiles)
    plan = drawing_run(model, levels, drawing)

    def denoise(x: Tensor, sigma: Tensor, number: int) -> Prediction:
        timestep = levels.timestep(sigma).reshape(1)
        predict: Predict = lambda part, picture: call(part, timestep, picture)  # noqa: E731
        answer = fused(tiles, weights, levels.scaled(x, sigma), low, predict)
        context.counts.denoiser_calls += 1
        context.counts.tile_calls += len(tiles.boxes)
        return Prediction(denoised(model.prediction, answer, x, sigma, levels))

    state = start(plan, torch.zeros_like(noise), noise)
    state = sample(
        plan,
        state,
        denoise,
        on_step=lambda report: context.progress(report.step, plan.steps),
        interrupted=context.is_stopped,
    )
    context.counts.computed_steps += plan.steps
    return latent_of(plan, state)


def _decoded(context: RunContext, model: DiffusionUpscaler, latent: Tensor) -> Tensor:
    """A latent (1, channels, h, w) -> (4 h, 4 w, 3) in 0..1, over tiles that equal the whole."""
    raw = model.quantised(latent) if isinstance(model, LdsrModel) else latent / model.latent_scale
    where: dict[str, Any] = {"device": model.device, "dtype": model.decoder_dtype}
    decoder: Any = model.decoder  # both kinds of autoencoder have the same decoder

    def decoded(tile: int) -> Tensor:
        def on_tile(done: int, total: int) -> None:
            context.check_interrupted()

        return decode_tiled(decoder, raw, tile, "exact", on_tile=on_tile, note=context.note, **where)

    pixels = smaller_until_it_fits(decoded, TILE, SMALLEST_TILE, f"decoding with {model.title}")
    return pixels[0].add_(1).div_(2).clamp_(0, 1).movedim(0, -1)
