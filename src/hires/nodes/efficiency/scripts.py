"""Scripts: what a sampler of the pack does beside its first pass. Each node adds to an incoming script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from hires.errors import SettingError
from hires.graph.context import Context
from hires.graph.declare import node
from hires.graph.inputs import Bool, Choice, Extra, FileChoice, Float, Int, Socket
from hires.imaging.resample import LATENT_METHODS
from hires.nodes.context import RunContext
from hires.nodes.efficiency.loading import DependenciesInput, Wanted
from hires.nodes.efficiency.migrations import migrate_hires_fix, migrate_tiled_upscaler
from hires.nodes.efficiency.values import Axis, AxisInput, EffSeed, Strength, Word, WordOff, drawn_seed, fresh_if_random
from hires.nodes.types import MAX_RESOLUTION, Denoise, Steps

CATEGORY = "Efficiency Nodes/Scripts"
UPSCALE_TYPES = ("latent", "pixel", "both")
SAME = "(use same)"
BLANK = "_"
"""What the pack's lists hold where another pack is missing."""
TRAINED = ("city96.v1", "city96.xl", "ttl_nn.SDXL", "ttl_nn.SD 1.x")
"""Networks that enlarge latents; bislerp takes their place here."""
PREPROCESSORS = ("none", "CannyEdgePreprocessor", BLANK)
PAIRS = ("Positive Prompt S/R", "Negative Prompt S/R")
"""Axes that may be both X and Y."""
LORA_PLOT = ("LoRA Batch", "LoRA Wt", "LoRA MStr", "LoRA CStr")
NEEDS_LOADER = (
    "Checkpoint", "Refiner", "LoRA", "LoRA Stacks", *LORA_PLOT, *PAIRS, "AScore+", "AScore-", "Clip Skip",
    "Clip Skip (Refiner)", "ControlNetStrength", "ControlNetStart%", "ControlNetEnd%",
)  # fmt: skip


@dataclass(frozen=True)
class NoiseControl:
    """Where noise comes from, and a second seed's noise mixed in by `weight` (None: not)."""

    source: str
    seed: int | None
    weight: float


@dataclass(frozen=True)
class ControlOption:
    """A ControlNet for a later pass; `preprocessor` makes its hint of the picture."""

    name: str
    strength: float
    preprocessor: str = "none"
    shows_hints: bool = False


@dataclass(frozen=True)
class HiresFix:
    """A second pass over the enlarged result; seed None is the first pass's."""

    kind: str
    checkpoint: str
    latent_upscaler: str
    pixel_upscaler: str
    factor: float
    seed: int | None
    steps: int
    denoise: float
    iterations: int
    control: ControlOption | None
    reduction: str


@dataclass(frozen=True)
class TiledUpscale:
    """A pass in tiles over the enlarged picture."""

    factor: float
    tile_size: int
    strategy: str
    steps: int
    seed: int
    denoise: float
    control: ControlOption | None


@dataclass(frozen=True, eq=False)
class XyPlot:
    """A grid over two axes."""

    x: Axis
    y: Axis
    spacing: int
    vertical_labels: bool
    shows_plot: bool
    wanted: Wanted | None


@dataclass(frozen=True, eq=False)
class Script:
    """What the scripts in a row ask for."""

    noise: NoiseControl | None = None
    hires: HiresFix | None = None
    tiled: TiledUpscale | None = None
    plot: XyPlot | None = None


ScriptInput = Annotated[Script, Socket("SCRIPT")]


@node("Noise Control Script", category=CATEGORY, outputs=("SCRIPT",), fingerprint=fresh_if_random)
def noise_control(
    *,
    rng_source: Annotated[str, Choice(("cpu", "gpu", "nv"))],
    cfg_denoiser: Annotated[bool, Bool(), "Has no effect: both sides are always evaluated alike."] = False,
    add_seed_noise: Annotated[bool, Bool()] = False,
    seed: EffSeed = 0,
    weight: Annotated[float, Float(0.0, 1.0, 0.001)] = 0.015,
    script: ScriptInput | None = None,
) -> Script:
    """Choose the generator of the first pass's noise, and mix a second seed's noise in."""
    control = NoiseControl(rng_source.upper(), drawn_seed(seed) if add_seed_noise else None, weight)
    return replace(script or Script(), noise=control)


def known_files(
    upscale_type: str = "latent",
    hires_ckpt_name: str = SAME,
    pixel_upscaler: str = "",
    use_controlnet: bool = False,
    control_net_name: str = BLANK,
    preprocessor: str = BLANK,
    *,
    context: Context,
) -> bool | str:
    """Only what is used must be there: workflows name upscalers and ControlNets that they do not run."""
    used: list[tuple[str, str, Sequence[str]]] = [("upscale_type", upscale_type, UPSCALE_TYPES)]
    if upscale_type != "pixel":
        used.append(("hires_ckpt_name", hires_ckpt_name, [SAME, *context.files("checkpoints")]))
    if upscale_type != "latent":
        used.append(("pixel_upscaler", pixel_upscaler, context.files("upscale_models")))
    if use_controlnet and control_net_name != BLANK:
        used.append(("control_net_name", control_net_name, context.files("controlnet")))
        used.append(("preprocessor", preprocessor, PREPROCESSORS))
    for name, value, known in used:
        folded = {entry.replace("\\", "/").lower() for entry in known}
        if value is not None and value.replace("\\", "/").lower() not in folded:
            return f"{name} {value!r} is not among {', '.join(known) or 'the files here (there are none)'}"
    return True


@node(
    "HighRes-Fix Script",
    category=CATEGORY,
    outputs=("SCRIPT",),
    validate=known_files,
    fingerprint=fresh_if_random,
    migrate=migrate_hires_fix,
)
def hires_fix_script(
    *,
    upscale_type: Annotated[str, Choice(UPSCALE_TYPES)],
    hires_ckpt_name: Annotated[str, FileChoice("checkpoints", also=(SAME,), default=SAME)],
    latent_upscaler: Annotated[str, Choice((*LATENT_METHODS, *TRAINED))],
    pixel_upscaler: Annotated[str, FileChoice("upscale_models", default="")],
    upscale_by: Annotated[float, Float(0.01, 8.0, 0.05)] = 1.25,
    use_same_seed: Annotated[bool, Bool()] = True,
    seed: EffSeed = 0,
    hires_steps: Steps = 12,
    denoise: Denoise = 0.56,
    iterations: Annotated[int, Int(0, 5, 1)] = 1,
    use_controlnet: Annotated[bool, Bool()] = False,
    control_net_name: Annotated[str, FileChoice("controlnet", also=(BLANK,), default=BLANK)],
    strength: Strength = 1.0,
    preprocessor: Annotated[str, Choice(PREPROCESSORS, default="none")],
    preprocessor_imgs: Annotated[bool, Bool()] = False,
    script: ScriptInput | None = None,
    pixel_reduction: Annotated[str, Choice(("nearest-exact", "lanczos")), Extra] = "nearest-exact",
) -> Script:
    """Enlarge the result and draw over it, as latent or by a network over its pixels."""
    control = None
    if use_controlnet and control_net_name != BLANK:
        control = ControlOption(control_net_name, strength, preprocessor, preprocessor_imgs)
    fix = HiresFix(
        upscale_type,
        hires_ckpt_name,
        latent_upscaler,
        pixel_upscaler,
        upscale_by,
        None if use_same_seed else drawn_seed(seed),
        hires_steps,
        denoise,
        iterations,
        control,
        pixel_reduction,
    )
    return replace(script or Script(), hires=fix)


@dataclass(frozen=True)
class TileFile(FileChoice):
    """ControlNets whose names say that they are for tiles."""

    def available(self, context: Context) -> Sequence[Any]:
        return [*self.also, *(name for name in context.files(self.kind) if "tile" in name.lower())]


def known_tile_net(use_controlnet: bool = False, tile_controlnet: str = BLANK, *, context: Context) -> bool | str:
    """The tile ControlNet must be there only if it is used."""
    names = [name.replace("\\", "/").lower() for name in context.files("controlnet")]
    if not use_controlnet or tile_controlnet is None or tile_controlnet.replace("\\", "/").lower() in (BLANK, *names):
        return True
    return f"there is no ControlNet {tile_controlnet!r}"


@node(
    "Tiled Upscaler Script",
    category=CATEGORY,
    outputs=("SCRIPT",),
    validate=known_tile_net,
    fingerprint=fresh_if_random,
    migrate=migrate_tiled_upscaler,
)
def tiled_upscaler_script(
    *,
    upscale_by: Annotated[float, Float(0.01, 8.0, 0.05)] = 1.25,
    tile_size: Annotated[int, Int(256, MAX_RESOLUTION, 64)] = 512,
    tiling_strategy: Annotated[str, Choice(("random", "random strict", "padded", "simple", "none"))],
    tiling_steps: Steps = 30,
    seed: EffSeed = 0,
    denoise: Denoise = 0.4,
    use_controlnet: Annotated[bool, Bool()] = False,
    tile_controlnet: Annotated[str, TileFile("controlnet", also=(BLANK,), default=BLANK)],
    strength: Strength = 1.0,
    script: ScriptInput | None = None,
) -> Script:
    """Enlarge the picture and draw over it in tiles."""
    used = use_controlnet and tile_controlnet != BLANK
    control = ControlOption(tile_controlnet, strength) if used else None
    tiled = TiledUpscale(upscale_by, tile_size, tiling_strategy, tiling_steps, drawn_seed(seed), denoise, control)
    return replace(script or Script(), tiled=tiled)


@node("XY Plot", category=CATEGORY, outputs=("SCRIPT",))
def xy_plot(
    *,
    grid_spacing: Annotated[int, Int(0, 500, 5)] = 0,
    XY_flip: WordOff,
    Y_label_orientation: Annotated[str, Choice(("Horizontal", "Vertical"))],
    cache_models: Annotated[Word, "Has no effect: models are kept as long as there is room."],
    ksampler_output_image: Annotated[str, Choice(("Images", "Plot"))],
    dependencies: DependenciesInput | None = None,
    X: AxisInput | None = None,
    Y: AxisInput | None = None,
    context: RunContext,
) -> Script:
    """A grid of pictures over one or two axes."""
    x, y = X or Axis("Nothing", ("",)), Y or Axis("Nothing", ("",))
    _check_axes(x, y, dependencies)
    x, y = _without_repeats(x, y)
    if XY_flip == "True":
        x, y = y, x
    vertical = Y_label_orientation == "Vertical"
    return Script(plot=XyPlot(x, y, grid_spacing, vertical, ksampler_output_image == "Plot", dependencies))


def _check_axes(x: Axis, y: Axis, wanted: Wanted | None) -> None:
    kinds = (x.kind, y.kind)
    if x.kind == y.kind and x.kind not in ("Nothing", *PAIRS):
        raise SettingError(f"XY Plot: both axes vary {x.kind}", "Give Y another input.")
    if all(kind in ("LoRA", "LoRA Stacks") for kind in kinds):
        raise SettingError("XY Plot: both axes vary LoRAs", "Use the LoRA Plot input for two axes.")
    if any(kind in LORA_PLOT for kind in kinds) and not all(kind in LORA_PLOT for kind in kinds):
        raise SettingError("XY Plot: a LoRA Plot needs both of its outputs", "Connect its X and its Y.")
    for kind in kinds:
        if kind in NEEDS_LOADER and wanted is None:
            raise SettingError(f"XY Plot: {kind} needs the loader", "Connect its DEPENDENCIES output to the plot.")


def _without_repeats(x: Axis, y: Axis) -> tuple[Axis, Axis]:
    """What both axes would set is left to the one that is there for it: schedulers, VAEs."""
    for index, (one, other) in enumerate(((x, y), (y, x))):
        values = one.values
        if (one.kind, other.kind) == ("Sampler", "Scheduler"):
            values = tuple((sampler, None) for sampler, _ in values)
        elif (one.kind, other.kind) == ("Checkpoint", "VAE"):
            values = tuple((name, skip, None) for name, skip, _ in values)
        if values is not one.values:
            x, y = (replace(one, values=values), y) if index == 0 else (x, replace(one, values=values))
    return x, y
