"""How large the latents and pictures of a workflow will be, read from the graph before any of it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from hires.errors import HiresError
from hires.graph.node_check import ValidNode
from hires.graph.validate import ValidatedWorkflow
from hires.imaging.sizes import LATENT
from hires.imaging.targets import by_factor, to_size
from hires.nodes.context import RunContext

SAMPLERS = (
    "KSampler",
    "KSamplerAdvanced",
    "SamplerCustom",
    "SamplerCustomAdvanced",
    "KSampler (Efficient)",
    "KSampler Adv. (Efficient)",
)
SAME_LATENT = (
    *SAMPLERS,
    "SetLatentNoiseMask",
    "HiresLatentMask",
    "HiresLatentFill",
    "LatentFlip",
    "NoiseInversion_TiledDiffusion",
)


@dataclass(frozen=True)
class Extent:
    """A batch of latents in cells, or of pictures in pixels."""

    batch: int
    height: int
    width: int

    def times(self, factor: float) -> Extent:
        return replace(self, height=max(1, round(self.height * factor)), width=max(1, round(self.width * factor)))


class Extents:
    """Of a validated workflow: `of(node_id, input)` is what comes in there, None where only running it would tell."""

    def __init__(self, workflow: ValidatedWorkflow, context: RunContext) -> None:
        self._workflow, self._context = workflow, context
        self._known: dict[str, Extent | None] = {}

    def into(self, node: ValidNode, name: str) -> Extent | None:
        """What a linked input brings."""
        source = self.source(node, name)
        return None if source is None else self.out_of(source)

    def source(self, node: ValidNode, name: str) -> ValidNode | None:
        """The node that an input comes from."""
        link = node.links.get(name)
        return None if link is None else self._workflow.nodes.get(link.node)

    def out_of(self, node: ValidNode) -> Extent | None:
        """What a node gives: its latent, or else its picture."""
        if node.id not in self._known:
            self._known[node.id] = None  # a loop finds nothing, rather than never ending
            with suppress(HiresError):  # a file that is not there is told when its node runs
                self._known[node.id] = self._extent(node)
        return self._known[node.id]

    def loader(self, node: ValidNode, name: str) -> ValidNode | None:
        """The node that loads the model, or VAE, of an input: through whatever patches it on the way."""
        seen: set[str] = set()
        source = self.source(node, name)
        while source is not None and source.id not in seen:
            seen.add(source.id)
            onward = next((own for own in (name, "model", "vae", "guider") if own in source.links), None)
            if onward is None:
                return source
            source = self.source(source, onward)
        return None

    def on_the_way(self, node: ValidNode, name: str, types: tuple[str, ...]) -> ValidNode | None:
        """The last node of some types that the model of an input passes."""
        seen: set[str] = set()
        source = self.source(node, name)
        while source is not None and source.id not in seen:
            if source.type.name in types:
                return source
            seen.add(source.id)
            source = self.source(source, "model")
        return None

    def _extent(self, node: ValidNode) -> Extent | None:
        kind = node.type.name
        if kind in SAME_LATENT:
            names = ("samples", "latent_image", "latent")
            return next((self.into(node, name) for name in names if name in node.links), None)
        if kind.removeprefix("Hires").startswith("VAEDecode"):
            latent = self.into(node, "samples")
            return None if latent is None else latent.times(LATENT)
        if kind.removeprefix("Hires").startswith("VAEEncode"):
            picture = self.into(node, "pixels")
            return None if picture is None else replace(
                picture, height=picture.height // LATENT, width=picture.width // LATENT
            )  # fmt: skip
        rule = RULES.get(kind)
        return None if rule is None else rule(self, node)

    def _empty(self, node: ValidNode) -> Extent | None:
        width, height, batch = (node.constants.get(name) for name in ("width", "height", "batch_size"))
        if width is None or height is None:
            return None
        return Extent(int(batch or 1), int(height) // LATENT, int(width) // LATENT)

    def _to_size(self, node: ValidNode, name: str, unit: int) -> Extent | None:
        before = self.into(node, name)
        width, height = node.constants.get("width"), node.constants.get("height")
        if before is None or width is None or height is None:
            return None
        if not width and not height:
            return before
        high, wide = int(height) // unit, int(width) // unit
        high = high or max(1, round(before.height * wide / before.width))
        wide = wide or max(1, round(before.width * high / before.height))
        return Extent(before.batch, high, wide)

    def _by_factor(self, node: ValidNode, name: str) -> Extent | None:
        before, factor = self.into(node, name), node.constants.get("scale_by")
        return None if before is None or factor is None else before.times(float(factor))

    def _repeated(self, node: ValidNode) -> Extent | None:
        before, amount = self.into(node, "samples"), node.constants.get("amount")
        return None if before is None or amount is None else replace(before, batch=before.batch * int(amount))

    def _enlarged(self, node: ValidNode) -> Extent | None:
        before, loader = self.into(node, "image"), self.source(node, "upscale_model")
        if before is None or loader is None or "model_name" not in loader.constants:
            return None
        return before.times(self._context.store.upscaler(str(loader.constants["model_name"])).scale)

    def _redrawn(self, node: ValidNode) -> Extent | None:
        before, factor = self.into(node, "image"), node.constants.get("upscale_by")
        return None if before is None or factor is None else before.times(float(factor))

    def _hires_upscaled(self, node: ValidNode) -> Extent | None:
        before, given = self.into(node, "image"), {**node.type.defaults, **node.constants}
        if before is None or given["upscaler"] == "None":
            return before
        if given["resize"] == "by":
            width, height = before.width, before.height
            target = by_factor(width, height, given["scale_by"], given["max_side"], given["rule"])
        else:
            goal = (given["width"], given["height"])
            target = to_size(before.width, before.height, goal, given["crop"], given["rule"])
        return Extent(before.batch, target.delivered[1], target.delivered[0])

    def _file(self, node: ValidNode) -> Extent | None:
        from PIL import Image

        with suppress(OSError), Image.open(self._context.input_path(str(node.constants["image"]))) as picture:
            return Extent(1, picture.height, picture.width)
        return None


RULES: Mapping[str, Callable[[Extents, ValidNode], Any]] = {
    "EmptyLatentImage": Extents._empty,
    "EmptySD3LatentImage": Extents._empty,
    "LatentUpscale": lambda of, node: of._to_size(node, "samples", LATENT),
    "LatentUpscaleBy": lambda of, node: of._by_factor(node, "samples"),
    "LatentCrop": lambda of, node: of._to_size(node, "samples", LATENT),
    "RepeatLatentBatch": Extents._repeated,
    "ImageScale": lambda of, node: of._to_size(node, "image", 1),
    "ImageScaleBy": lambda of, node: of._by_factor(node, "image"),
    "ImageUpscaleWithModel": Extents._enlarged,
    "LoadImage": Extents._file,
    "HiresLoadPicture": Extents._file,
    "HiresUpscale": Extents._hires_upscaled,
    "HiresResizeMode": lambda of, node: of._to_size(node, "image", 1),
    "HiresInpaintArea": lambda of, node: of._to_size(node, "image", 1),
    "HiresFlatten": lambda of, node: of.into(node, "image"),
    "HiresInpaintSketch": lambda of, node: of.into(node, "image"),
    "HiresFillMasked": lambda of, node: of.into(node, "image"),
    "HiresUltimateUpscale": lambda of, node: of.into(node, "image"),
    "HiresSDUpscale": lambda of, node: of.into(node, "image"),
    "UltimateSDUpscale": Extents._redrawn,
    "UltimateSDUpscaleNoUpscale": lambda of, node: of.into(node, "upscaled_image"),
    "UltimateSDUpscaleCustomSample": Extents._redrawn,
}
