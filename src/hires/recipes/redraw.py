"""What SD upscale and Ultimate SD upscale share: a picture is loaded, enlarged, redrawn by one node, and saved."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

from hires.errors import SettingError
from hires.imaging.upscalers import same_name
from hires.recipes.controlnets import Shown
from hires.recipes.draft import Draft, Link
from hires.recipes.facts import ModelFacts
from hires.recipes.infotext import infotext, number
from hires.recipes.request import Txt2Img
from hires.recipes.samplers import node_names, sampler_inputs
from hires.recipes.txt2img import guided, guided_pass, saved, vae_of
from hires.tiling.redraw import RedrawPlan
from hires.tiling.regions import Region

Facts = Mapping[str, ModelFacts]
SAMPLING = (
    "seed",
    "sampler_name",
    "scheduler",
    "dialect",
    "rng",
    "ensd",
    "eta",
    "s_churn",
    "s_tmin",
    "s_tmax",
    "s_noise",
)
"""What the nodes that redraw take of a sampling node's inputs."""
ENLARGING: dict[str, Any] = {
    "scale_by": 1.0,
    "max_side": 0,
    "upscaler_2": "None",
    "visibility": 0.0,
    "alpha": "keep",
    "edge": "clip",
    "rule": "exact",
    "tile": 0,
    "tiling": "exact",
    "steps": 0,
    "seed": 0,
    "prompt": "",
    "cfg": 9.0,
    "noise_level": 20,
}
"""The inputs of the enlarging node that stay as they are."""
NATIVE_CONTEXT = 64
TILE_PROMPTS = ("regions", "attention", "off")
TOLD = "Tile prompts told"
"""The infotext field that says which tiles were told what."""


@dataclass(frozen=True)
class Redrawing(ABC):
    """A picture enlarged and redrawn. `base` holds prompt, model, sampler, steps and seed as for txt2img.

    scale, or width and height in pixels (0: by scale), say the size. lock 0..1 keeps each tile's low frequencies at the
    enlarged picture's; regions are prompts for parts of the picture, of which each tile gets those that concern it;
    size_conditioning is what SDXL is told of a tile's place. noise "canvas" is drawn once for the whole picture.
    tile_prompts: "regions", "attention" (beside that, each tile is told those parts of the prompt that the model looks
    for there) or "off". mend_above: seam index above which a join is drawn once more, 0 for never.
    """

    base: Txt2Img = field(default_factory=Txt2Img)
    upscaler: str = "Lanczos"
    scale: float = 2.0
    width: int = 0
    height: int = 0
    denoise: float = 0.35
    preset: str = "even"
    noise: str = "canvas"
    lock: float = 1.0
    regions: tuple[Region, ...] = ()
    size_conditioning: str = "crop"
    tile_prompts: str = "regions"
    mend_above: float = 0.0

    def of(self, **changes: Any) -> Self:
        """With fields changed, its own or the base's."""
        own = {entry.name for entry in fields(self)}
        known = {entry.name for entry in fields(Txt2Img)}
        base = {name: value for name, value in changes.items() if name not in own}
        if strange := sorted(set(base) - known):
            raise SettingError(f"there is no field {strange[0]!r}")
        found = replace(self, **{name: value for name, value in changes.items() if name in own})
        return replace(found, base=replace(found.base, **base))

    def prepared(self, base: Txt2Img, native: int, upscaler: str) -> Self:
        """With the base's names and seeds found, and defaults by the model's own size."""
        return replace(self, base=base, upscaler=upscaler)

    def tile_base(self) -> Txt2Img:
        """The base with the size that is drawn at once, 0 for the model's own."""
        return self.base

    @abstractmethod
    def size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) of the result for a picture of this size."""

    @abstractmethod
    def plan(self, width: int, height: int) -> RedrawPlan:
        """The tiles of a picture of this size, once it is enlarged."""

    @abstractmethod
    def workflow(self, picture: str, size: tuple[int, int], facts: Facts, batch: int = 0) -> dict[str, Any]:
        """The nodes for a picture of the input folder, of `size` (width, height)."""


def check_redrawing(request: Redrawing) -> None:
    """Raise SettingError for the first value that is out of range."""
    if request.base.seamless != "off":
        raise SettingError("a seamless picture cannot be redrawn in tiles, which end within it", "Leave it out.")
    if request.base.face_restoration:
        raise SettingError("faces are not restored in tiles", "Restore those of the result: hires upscale.")
    ranges = (
        ("scale", request.scale, 0.05, 16),
        ("denoising strength", request.denoise, 0, 1),
        ("lock", request.lock, 0, 1),
        ("the seam index to mend above", request.mend_above, 0, 10),
    )
    for name, value, low, high in ranges:
        if not low <= value <= high:
            raise SettingError(f"{name} must be from {low} to {high}, not {value}")
    for name, chosen, known in (
        ("noise", request.noise, ("canvas", "tile")),
        ("size conditioning", request.size_conditioning, ("crop", "canvas", "native", "as given")),
        ("tile prompts", request.tile_prompts, TILE_PROMPTS),
    ):
        if chosen not in known:
            raise SettingError(f"unknown {name} {chosen!r}", f"Use one of {', '.join(known)}.")
    if request.tile_prompts == "attention" and request.preset != "even":
        raise SettingError(f"the preset {request.preset!r} tells every tile the same", "Use the preset even.")
    if request.base.batch_size < 1:
        raise SettingError("the batch size must be 1 or more")


def to_cells(side: float) -> int:
    """Pixels to the nearest multiple of 8."""
    return max(8, round(side / 8) * 8)


@dataclass(frozen=True)
class Drawing:
    """A workflow that redraws, up to the node that does: what that node is given."""

    draft: Draft
    inputs: dict[str, Any]


def begin(
    request: Redrawing, picture: str, size: tuple[int, int], facts: Facts, index: int, *, stretch: bool
) -> Drawing:
    """Load, enlarge to `size` (width, height), and encode the prompts. stretch: to that size whatever the aspect."""
    draft, base = Draft(), request.base
    image = draft.add("LoadImage", image=picture).out()
    upscaler = "Lanczos" if same_name(request.upscaler, "None") else request.upscaler
    to: dict[str, Any] = {"resize": "to", "width": size[0], "height": size[1], "crop": not stretch}
    image = draft.add("HiresUpscale", image=image, upscaler=upscaler, **to, **ENLARGING).out()
    if stretch:
        scaled: dict[str, Any] = {"upscale_method": "lanczos", "width": size[0], "height": size[1], "crop": "disabled"}
        image = draft.add("ImageScale", image=image, **scaled).out()
    checkpoint = base.checkpoint or ""
    part = replace(guided_pass(base), shown=Shown(size))
    conditioned, vae = guided(draft, base, part, checkpoint, facts), vae_of(draft, base, checkpoint)
    words: dict[str, Any] = {} if request.tile_prompts == "regions" else {"tile_prompts": request.tile_prompts}
    if request.tile_prompts == "attention":
        prompt = draft.graph()[conditioned["positive"][0]]["inputs"]
        seen = {"image": image, "model": conditioned["model"], "vae": vae, "native_size": facts[checkpoint].native_size}
        words["tile_prompt"] = draft.add("HiresTilePrompts", title="Words of each tile", **seen, **prompt).out()
    for region in request.regions:
        conditioned |= _with_region(draft, conditioned, region)
    sampling = sampler_inputs(base, base.sampler, base.schedule, index)
    inputs = {name: value for name, value in sampling.items() if name in SAMPLING}
    inputs |= conditioned | words | {"image": image, "vae": vae}
    inputs |= {"steps": base.steps, "cfg": base.cfg, "denoise": request.denoise}
    inputs |= {"preset": request.preset, "noise": request.noise, "lock": request.lock}
    return Drawing(draft, inputs | {"size_conditioning": request.size_conditioning})


def _with_region(draft: Draft, conditioned: Mapping[str, Any], region: Region) -> dict[str, Any]:
    """Both sides with a region's prompts beside them, in force in its rectangle."""
    place: dict[str, Any] = {
        "x": region.x,
        "y": region.y,
        "width": min(region.width, 1 - region.x),
        "height": min(region.height, 1 - region.y),
    }
    clip = _clip_of(draft, conditioned["positive"])
    sides = {}
    for side, text in (("positive", region.prompt), ("negative", region.negative)):
        sides[side] = conditioned[side]
        if text:
            encoded = draft.add("CLIPTextEncode", title="Region", text=text, **clip).out()
            placed = draft.add("ConditioningSetAreaPercentage", conditioning=encoded, strength=1.0, **place).out()
            both = {"conditioning_1": conditioned[side], "conditioning_2": placed}
            sides[side] = draft.add("ConditioningCombine", **both).out()
    return sides


def _clip_of(draft: Draft, prompt: Link) -> dict[str, Any]:
    """The inputs of the first prompt's node, without its text."""
    graph = draft.graph()
    inputs = graph[prompt[0]]["inputs"]
    while "conditioning_1" in inputs:
        inputs = graph[inputs["conditioning_1"][0]]["inputs"]
    return {name: value for name, value in inputs.items() if name != "text"}


def finish(drawing: Drawing, made: Link, prefix: str, text: str, base: Txt2Img) -> dict[str, Any]:
    """Save what was made, in the format of `base`, with its infotext and what its tiles were told."""
    draft = drawing.draft
    told: str | Link = text
    if "tile_prompt" in drawing.inputs:
        told = draft.add("HiresInfotextField", parameters=text, name=TOLD, value=[made[0], 1]).out()
    saved(draft, made, prefix, told, base)
    return draft.graph()


def redraw_infotext(request: Redrawing, size: tuple[int, int], own: Mapping[str, str], facts: Facts, index: int) -> str:
    """A1111's paragraph, with the fields of the method; those of hires alone where they are not the defaults."""
    extra = {"Denoising strength": number(request.denoise), **own}
    told = {
        "Redraw preset": (request.preset, "even"),
        "Redraw noise": (request.noise, "canvas"),
        "Redraw lock": (number(request.lock), "1"),
        "Redraw size conditioning": (request.size_conditioning, "crop"),
        "Tile prompts": (request.tile_prompts, "regions"),
        "Redraw mend above": (number(request.mend_above), "0"),
    }
    extra |= {key: value for key, (value, default) in told.items() if value != default or key == "Redraw preset"}
    if request.regions:
        extra["Redraw regions"] = "; ".join(_region_text(region) for region in request.regions)
    base = replace(request.base, width=size[0], height=size[1], extra_fields=request.base.extra_fields | extra)
    return infotext(base, facts, index)


def _region_text(region: Region) -> str:
    place = ",".join(number(value) for value in (region.x, region.y, region.width, region.height))
    return ":".join([place, region.prompt, region.negative]).rstrip(":")


def sampler_of(request: Redrawing) -> str:
    """The sampler by its node's name."""
    return node_names(request.base.sampler, request.base.schedule, request.base.dialect)[0]
