"""Enlarging pictures as the web UI's Extras do: by name of upscaler, to any size, with alpha; and their files."""

from __future__ import annotations

import hashlib
import math
from functools import partial
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor

from hires.errors import SettingError
from hires.graph.declare import node
from hires.graph.inputs import Bool, Choice, FileChoice, Float, Int, OptionalInput, Text
from hires.imaging.alpha import ALPHA_MODES, AlphaMode, enlarge_with_alpha
from hires.imaging.sizes import LARGEST, check_size
from hires.imaging.strips import as_stored, new_pixels, rows_at_once
from hires.imaging.targets import Target, by_factor, to_size
from hires.imaging.upscalers import PLAIN
from hires.models.budget import stated_budget
from hires.models.needs import bytes_per_pixel
from hires.models.sd_x4 import LARGEST_NOISE_LEVEL
from hires.models.upscale import UpscaleModel
from hires.models.upscale_drawing import drawing_file
from hires.models.upscale_names import find_upscaler, upscaler_file
from hires.nodes.context import RunContext
from hires.nodes.types import Image
from hires.nodes.upscaling_diffusion import TILE, DiffusionUpscaler, Drawing, draw_larger, tiles_of
from hires.tiling.plan import TilePlan
from hires.tiling.upscale import CPU_TILE, TILES, Edge, Enlarger, Kept, Pixels, enlarging_plan
from hires.tiling.upscale_a1111 import TILE as A1111_TILE
from hires.tiling.upscale_a1111 import a1111_plan, enlarge_as_a1111
from hires.tiling.upscale_passes import (
    RULES,
    Passes,
    Rule,
    as_tensor,
    enlarge_to,
    enlarge_whole,
    passes,
    resized,
)

UpscalerTitle = Annotated[str, FileChoice("upscalers")]
Resize = Annotated[Literal["by", "to"], Choice(("by", "to"))]
Factor = Annotated[float, Float(0.05, 16.0, 0.05)]
Side = Annotated[int, Int(1, LARGEST)]
Visibility = Annotated[float, Float(0.0, 1.0, 0.001)]
Tiling = Literal["exact", "a1111"]
TILINGS: tuple[Tiling, ...] = ("exact", "a1111")
MOST_ON_THE_WAY = 4
"""A picture between two runs of a network may have this many times the pixels that the result may have."""


@node("HiresUpscale", title="Upscale (hires)", category="image/upscaling", outputs=("IMAGE",))
def hires_upscale(
    *,
    image: Image,
    upscaler: UpscalerTitle = "Lanczos",
    resize: Resize = "by",
    scale_by: Factor = 4.0,
    width: Side = 512,
    height: Side = 512,
    crop: Annotated[bool, Bool()] = True,
    max_side: Annotated[int, Int(0, LARGEST)] = 0,
    upscaler_2: UpscalerTitle = "None",
    visibility: Visibility = 0.0,
    alpha: Annotated[AlphaMode, Choice(ALPHA_MODES)] = "keep",
    edge: Annotated[Edge, Choice(("clip", "wrap"))] = "clip",
    rule: Annotated[Rule, Choice(RULES)] = "exact",
    tile: Annotated[int, Int(0, 8192, 8)] = 0,
    tiling: Annotated[Tiling, Choice(TILINGS), OptionalInput] = "exact",
    steps: Annotated[int, Int(0, 1000), OptionalInput] = 0,
    seed: Annotated[int, Int(0, 2**64 - 1), OptionalInput] = 0,
    prompt: Annotated[str, Text(multiline=True), OptionalInput] = "",
    cfg: Annotated[float, Float(1.0, 30.0, 0.1), OptionalInput] = 9.0,
    noise_level: Annotated[int, Int(0, LARGEST_NOISE_LEVEL), OptionalInput] = 20,
    context: RunContext,
) -> Tensor:
    """Enlarge by an upscaler's name, in tiles that equal the whole; None changes nothing. tile 0: what fits.

    steps (0: its own number) and seed are for upscalers that draw, LDSR and SD x4; prompt, cfg and noise_level for the
    latter.
    """
    first = find_upscaler(context.store, upscaler)
    if first == "None":
        context.note("the upscaler None changes nothing")
        return image
    old_height, old_width = image.shape[1:3]
    if resize == "by":
        target = by_factor(old_width, old_height, scale_by, max_side, rule)
    else:
        target = to_size(old_width, old_height, (width, height), crop, rule)
    for size in (target.size, target.delivered):
        check_size(*size, context.max_megapixels, "the enlarged picture", len(image))
    drawing = Drawing(steps, seed, tile or TILE, prompt, cfg, noise_level)
    work = _Work(context, target, rule, edge, tile or None, tiling, alpha, drawing)
    second = find_upscaler(context.store, upscaler_2)
    blended = visibility > 0 and second not in ("None", first)
    made = [work.enlarged(picture, first) for picture in image]
    if blended:
        others = [work.enlarged(picture, second) for picture in image]
        made = [mixed(one, other, visibility, rule) for one, other in zip(made, others, strict=True)]
    cut = [cut_middle(one, target.crop) for one in made]
    return cut[0][None] if len(cut) == 1 else torch.stack(cut)  # a large picture in a file stays there


class _Work:
    """One node's run: what all its pictures share, and how many tiles are done."""

    def __init__(
        self,
        context: RunContext,
        target: Target,
        rule: Rule,
        edge: Edge,
        tile: int | None,
        tiling: Tiling,
        alpha: AlphaMode,
        drawing: Drawing,
    ) -> None:
        self.context, self.target, self.rule = context, target, rule
        self.edge, self.tile, self.tiling, self.alpha, self.drawing = edge, tile, tiling, alpha, drawing
        self._said: set[str] = set()
        self._pictures = 0

    def enlarged(self, picture: Tensor, title: str) -> Tensor:
        """(h, w, 3 or 4) -> (H, W, 3 or 4) of the target's size, before it is cut."""
        width, height = self.target.size
        if title in PLAIN:

            def plain(part: Tensor) -> Tensor:
                made = resized(part.numpy(), width, height, title, rule=self.rule, edge=self.edge)
                return torch.from_numpy(np.ascontiguousarray(made))

            return enlarge_with_alpha(picture, plain, self.alpha)
        store, file = self.context.store, upscaler_file(self.context.store, title)
        if drawing_file(store.find("upscale_models", file)) is not None:
            drawer = store.drawing_upscaler(file)
            return enlarge_with_alpha(picture, lambda part: self._by_drawing(part, drawer), self.alpha)
        model = store.upscaler(file)
        return enlarge_with_alpha(picture, lambda part: self._by_network(part, model, file), self.alpha)

    def _by_drawing(self, picture: Tensor, model: DiffusionUpscaler) -> Tensor:
        """(h, w, 3) -> (H, W, 3). The web UI brings a picture to a quarter of the target first, and draws once."""
        if self.edge != "clip":
            raise SettingError(f"{model.title} cannot draw with the edge {self.edge}", "Use another upscaler.")
        height, width = picture.shape[:2]
        source = picture.numpy()
        if self.rule == "webui":
            height, width = quartered((height, width), self.target.factor, model.scale)
            source = resized(source, width, height, "Lanczos", rule=self.rule)
            goal = (self.target.size[1], self.target.size[0])
            steps = Passes(((height * model.scale, width * model.scale),), goal)
        else:
            steps = network_steps(self.context, model.scale, (height, width), self.target, self.rule)

        def draw(part: Pixels) -> Pixels:
            made = draw_larger(self.context, model, as_tensor(part)[0], self.drawing, self.rule)
            pixels: Pixels = made.numpy()
            return pixels

        return as_tensor(enlarge_whole(source, draw, steps, rule=self.rule))[0]

    def _by_network(self, picture: Tensor, model: UpscaleModel, file: str) -> Tensor:
        """(h, w, 3) -> (H, W, 3). A network for grey pictures sees one channel where all are the same."""
        if self.tiling == "a1111":
            return self._as_a1111(picture, model)
        enlarger = network_enlarger(self.context, model)
        steps = network_steps(self.context, model.scale, (picture.shape[0], picture.shape[1]), self.target, self.rule)
        source = picture.numpy()
        grey = model.network.input_channels == 1 and bool((picture == picture[..., :1]).all())
        made = enlarge_to(
            source[..., :1] if grey else source,
            enlarger,
            steps,
            rule=self.rule,
            tile=self.tile,
            edge=self.edge,
            available=free_room(self.context, model),
            on_plan=self._say,
            on_tile=self.context.progress,
            keep=partial(self._kept, model, file),
        )
        self._pictures += 1
        return as_tensor(made)[0].expand(-1, -1, 3)

    def _kept(self, model: UpscaleModel, file: str, number: int, plan: TilePlan, source: Pixels) -> Kept | None:
        """Where the finished tiles of a network's run outlive the process. Other tiles are other pieces."""
        tiles = hashlib.sha256(repr((plan.cores, plan.halo)).encode()).hexdigest()
        pieces = self.context.pieces(f"enlarged {model.identity} {self._pictures} {number} {tiles}")
        if self.context.share is None or len(plan.cores) == 1:
            return pieces
        return self.context.share(source, plan, file, model.scale, edge=self.edge, kept=pieces)

    def _as_a1111(self, picture: Tensor, model: UpscaleModel) -> Tensor:
        """(h, w, 3) -> (H, W, 3) over the web UI's tiles, which are in 8 bits."""
        if self.edge != "clip":
            raise SettingError(f"A1111's tiles know no edge {self.edge}", "Use the tiling exact.")
        steps = network_steps(self.context, model.scale, (picture.shape[0], picture.shape[1]), self.target, self.rule)
        tile = self.tile or A1111_TILE

        def enlarge(part: Pixels) -> Pixels:
            self._say(a1111_plan(part.shape[0], part.shape[1], tile))
            return enlarge_as_a1111(part, model.upscale, model.scale, tile=tile, on_tile=self.context.progress)

        source = as_stored(picture.numpy(), np.dtype(np.uint8))
        return as_tensor(enlarge_whole(source, enlarge, steps, rule=self.rule))[0]

    def _say(self, plan: TilePlan) -> None:
        line = plan.describe()
        if line not in self._said:
            self._said.add(line)
            self.context.note(line)


def network_enlarger(context: RunContext, model: UpscaleModel) -> Enlarger:
    """A loaded network with the surroundings that it needs and the memory that it takes."""
    halo = context.store.halos.of(model)
    if not halo.exact:
        context.note(f"this network looks at the whole picture: tiles differ from it by {halo.error * 255:.0f} of 255")
    return Enlarger(
        model.upscale,
        model.scale,
        halo.pixels,
        halo.cell,
        halo.minimum,
        bytes_per_pixel(model, halo.cell),
        CPU_TILE if model.device.type == "cpu" else TILES[0],
    )


def free_room(context: RunContext, model: UpscaleModel) -> int:
    """Bytes that a tile may take: what the budget leaves, else what is free on the device."""
    return (context.budget or stated_budget("auto", model.device)).room()


def network_steps(context: RunContext, scale: int, size: tuple[int, int], target: Target, rule: Rule) -> Passes:
    """The runs of a network of factor `scale` from `size` (height, width) to a target, within the settings' limits."""
    most = int(MOST_ON_THE_WAY * context.max_megapixels * 1e6)
    goal = (target.size[1], target.size[0])
    restore = target.factor == 1 or scale == 1
    return passes(size, goal, scale, restore=restore, rule=rule, most_pixels=most)


def plan_of(
    context: RunContext,
    title: str,
    width: int,
    height: int,
    target: Target,
    tile: int | None,
    rule: Rule,
    tiling: Tiling = "exact",
) -> list[TilePlan]:
    """The tiles that an upscaler will take, pass by pass; none for one that is no network."""
    if title in PLAIN:
        return []
    file = upscaler_file(context.store, title)
    size = (height, width)
    if drawing_file(context.store.find("upscale_models", file)) is not None:
        drawer = context.store.drawing_upscaler(file)
        if rule == "webui":
            starts = [quartered(size, target.factor, drawer.scale)]
        else:
            starts = _starts(size, network_steps(context, drawer.scale, size, target, rule))
        return [tiles_of(drawer, *start, tile or TILE, rule) for start in starts]
    model = context.store.upscaler(file)
    starts = _starts(size, network_steps(context, model.scale, size, target, rule))
    if tiling == "a1111":
        return [a1111_plan(*start, tile or A1111_TILE) for start in starts]
    enlarger = network_enlarger(context, model)
    available = free_room(context, model)
    return [enlarging_plan(*start, enlarger, tile, available=available) for start in starts]


def _starts(size: tuple[int, int], steps: Passes) -> list[tuple[int, int]]:
    """What each run begins with."""
    return [size, *steps.sizes[:-1]][: len(steps.sizes)]


def quartered(size: tuple[int, int], factor: float, scale: int) -> tuple[int, int]:
    """What the web UI brings a picture (height, width) to before an upscaler of factor `scale` draws it."""
    return math.ceil(size[0] * factor / scale), math.ceil(size[1] * factor / scale)


def mixed(first: Tensor, second: Tensor, visibility: float, rule: Rule) -> Tensor:
    """(1 - visibility) * first + visibility * second; "webui" rounds both to 8 bits and the result down to them."""
    made = torch.from_numpy(new_pixels(*first.shape))
    step = rows_at_once(made[0].numpy())
    for top in range(0, len(made), step):
        rows = slice(top, top + step)
        if rule == "exact":
            made[rows] = first[rows] * (1 - visibility) + second[rows] * visibility
        else:
            levels = (first[rows] * 255).round() * (1 - visibility) + (second[rows] * 255).round() * visibility
            made[rows] = levels.floor() / 255
    return made


def cut_middle(picture: Tensor, size: tuple[int, int] | None) -> Tensor:
    """(h, w, channels) -> its middle of (width, height); black (clear, with alpha) where it does not reach.

    Where it reaches everywhere, no pixel is copied.
    """
    if size is None or (picture.shape[1], picture.shape[0]) == size:
        return picture
    width, height = size
    if picture.shape[0] >= height and picture.shape[1] >= width:
        top, left = picture.shape[0] // 2 - height // 2, picture.shape[1] // 2 - width // 2
        return picture[top : top + height, left : left + width]
    canvas = torch.zeros(height, width, picture.shape[-1])
    top, left = height // 2 - picture.shape[0] // 2, width // 2 - picture.shape[1] // 2
    rows = slice(max(top, 0), min(top + picture.shape[0], height))
    columns = slice(max(left, 0), min(left + picture.shape[1], width))
    part = picture[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    canvas[rows, columns] = part
    return canvas
