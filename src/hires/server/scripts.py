"""The web UI's scripts that requests may name: titles, tabs, and the order of their arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hires.errors import SettingError
from hires.server.faults import Refused

BOTH, IMG2IMG = ("txt2img", "img2img"), ("img2img",)


@dataclass(frozen=True)
class Argument:
    """One argument; the bounds are those of the web UI's form."""

    label: str
    default: Any
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    choices: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Script:
    """title in lower case. An always-on script works beside the others; of the rest a request names one."""

    title: str
    arguments: tuple[Argument, ...]
    tabs: tuple[str, ...] = BOTH
    always_on: bool = False

    def values(self, args: Sequence[Any]) -> dict[str, Any]:
        """The arguments by label; a shorter list leaves the rest at their defaults, surplus is ignored."""
        return {
            argument.label: _of_kind(self.title, argument, args[index] if index < len(args) else None)
            for index, argument in enumerate(self.arguments)
        }


def _of_kind(title: str, argument: Argument, value: Any) -> Any:
    """A value as the kind of its default, or the default for none."""
    default = argument.default
    if value is None:
        return default
    try:
        if isinstance(default, bool):
            return _as_bool(value)
        if isinstance(default, int) and float(value).is_integer():
            return int(value)
        if isinstance(default, int | float):
            return float(value)
        if isinstance(default, str) and not isinstance(value, list | dict):
            return str(value)
        if isinstance(default, list) and isinstance(value, list):
            return value
    except (TypeError, ValueError, OverflowError):
        pass
    raise SettingError(f"{title}: {argument.label} cannot be {str(value)[:80]!r}")


def _as_bool(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().lower() in ("true", "1", "yes", "on")
    return bool(value)


def _axis(letter: str) -> tuple[Argument, ...]:
    return (
        Argument(f"{letter.upper()} type", 0),
        Argument(f"{letter.upper()} values", ""),
        Argument(f"{letter.upper()} values dropdown", []),
    )


REGION = ("enable", False), ("x", 0.4), ("y", 0.4), ("w", 0.2), ("h", 0.2), ("prompt", ""), ("neg_prompt", "")
REGION_ARGUMENTS = (*REGION, ("blend_mode", "Background"), ("feather_ratio", 0.2), ("seed", -1))
REGIONS = 8
DIRECTIONS = ("left", "right", "up", "down")

SCRIPTS: tuple[Script, ...] = (
    Script(
        "prompt matrix",
        (
            Argument("Put variable parts at start of prompt", False),
            Argument("Use different seed for each picture", False),
            Argument("Select prompt", "positive", choices=("positive", "negative")),
            Argument("Select joining char", "comma", choices=("comma", "space")),
            Argument("Grid margins (px)", 0, 0, 500, 2),
        ),
    ),
    Script(
        "prompts from file or textbox",
        (
            Argument("Iterate seed every line", False),
            Argument("Use same random seed for all lines", False),
            Argument("Insert prompts at the", "start", choices=("start", "end")),
            Argument("List of prompt inputs", ""),
        ),
    ),
    Script(
        "x/y/z plot",
        (
            *(argument for letter in "xyz" for argument in _axis(letter)),
            Argument("Draw legend", True),
            Argument("Include Sub Images", False),
            Argument("Include Sub Grids", False),
            Argument("Keep -1 for seeds", False),
            Argument("Vary seeds for X", False),
            Argument("Vary seeds for Y", False),
            Argument("Vary seeds for Z", False),
            Argument("Grid margins (px)", 0, 0, 500, 2),
            Argument("Use text inputs instead of dropdowns", False),
        ),
    ),
    Script(
        "sd upscale",
        (
            Argument("info", ""),
            Argument("Tile overlap", 64, 0, 256, 16),
            Argument("Upscaler", "None"),
            Argument("Scale Factor", 2.0, 1.0, 4.0, 0.05),
        ),
        IMG2IMG,
    ),
    Script(
        "ultimate sd upscale",
        (
            Argument("info", ""),
            Argument("Tile width", 512, 0, 2048, 64),
            Argument("Tile height", 0, 0, 2048, 64),
            Argument("Mask blur", 8, 0, 64, 1),
            Argument("Padding", 32, 0, 512, 1),
            Argument("Seams fix width", 64, 0, 128, 1),
            Argument("Seams fix denoise", 0.35, 0.0, 1.0, 0.01),
            Argument("Seams fix padding", 16, 0, 128, 1),
            Argument("Upscaler", "None"),
            Argument("Upscaled", True),
            Argument("Type", 0, 0, 2, 1),
            Argument("Seams fix", False),
            Argument("Seams fix mask blur", 4, 0, 64, 1),
            Argument("Seams fix type", 0, 0, 3, 1),
            Argument("Target size type", 0, 0, 2, 1),
            Argument("Custom width", 2048, 64, 8192, 64),
            Argument("Custom height", 2048, 64, 8192, 64),
            Argument("Scale", 2.0, 1.0, 16.0, 0.01),
        ),
        IMG2IMG,
    ),
    Script(
        "loopback",
        (
            Argument("Loops", 4, 1, 32, 1),
            Argument("Final denoising strength", 0.5, 0.0, 1.0, 0.01),
            Argument("Denoising strength curve", "Linear", choices=("Aggressive", "Linear", "Lazy")),
            Argument("Append interrogated prompt at each iteration", "None", choices=("None", "CLIP", "DeepBooru")),
        ),
        IMG2IMG,
    ),
    Script(
        "outpainting mk2",
        (
            Argument("info", ""),
            Argument("Pixels to expand", 128, 8, 256, 8),
            Argument("Mask blur", 8, 0, 64, 1),
            Argument("Outpainting direction", list(DIRECTIONS), choices=DIRECTIONS),
            Argument("Fall-off exponent", 1.0, 0.0, 4.0, 0.01),
            Argument("Color variation", 0.05, 0.0, 1.0, 0.01),
        ),
        IMG2IMG,
    ),
    Script(
        "poor man's outpainting",
        (
            Argument("Pixels to expand", 128, 8, 256, 8),
            Argument("Mask blur", 4, 0, 64, 1),
            Argument("Masked content", 0, 0, 3, 1),
            Argument("Outpainting direction", list(DIRECTIONS), choices=DIRECTIONS),
        ),
        IMG2IMG,
    ),
    Script(
        "tiled diffusion",
        (
            Argument("Enabled", False),
            Argument("Method", "MultiDiffusion", choices=("MultiDiffusion", "Mixture of Diffusers")),
            Argument("Overwrite image size", False),
            Argument("Keep input image size", True),
            Argument("Image width", 1024, 256, 16384, 16),
            Argument("Image height", 1024, 256, 16384, 16),
            Argument("Latent tile width", 96, 16, 256, 16),
            Argument("Latent tile height", 96, 16, 256, 16),
            Argument("Latent tile overlap", 48, 0, 256, 4),
            Argument("Latent tile batch size", 4, 1, 8, 1),
            Argument("Upscaler", "None"),
            Argument("Scale Factor", 2.0, 1.0, 8.0, 0.05),
            Argument("Enable Noise Inversion", False),
            Argument("Inversion steps", 10, 1, 208, 1),
            Argument("Retouch", 1.0, 1.0, 100.0, 0.1),
            Argument("Renoise strength", 1.0, 0.0, 2.0, 0.01),
            Argument("Renoise kernel size", 64, 2, 512, 1),
            Argument("Move ControlNet tensor to CPU", False),
            Argument("Enable Control", False),
            Argument("Draw full canvas background", False),
            Argument("Causalize layers", False),
            *(
                Argument(f"region {index + 1} {label}", default)
                for index in range(REGIONS)
                for label, default in REGION_ARGUMENTS
            ),
            Argument("Jitter", False),  # ours, behind those of the extension
        ),
        always_on=True,
    ),
    Script(
        "kohya hrfix integrated",
        (
            Argument("Enabled", False),
            Argument("Block Number", 3, 1, 32, 1),
            Argument("Downscale Factor", 2.0, 1.0, 9.0, 0.1),
            Argument("Start Percent", 0.0, 0.0, 1.0, 0.01),
            Argument("End Percent", 0.35, 0.0, 1.0, 0.01),
            Argument("Downscale After Skip", True),
            Argument("Downscale Method", "bicubic"),
            Argument("Upscale Method", "bicubic"),
        ),
        always_on=True,
    ),
    Script(
        "tiled vae",
        (
            Argument("Enable Tiled VAE", False),
            Argument("Encoder Tile Size", 960, 256, 4096, 16),
            Argument("Decoder Tile Size", 64, 48, 512, 16),
            Argument("Move VAE to GPU", True),
            Argument("Fast Decoder", True),
            Argument("Fast Encoder", True),
            Argument("Fast Encoder Color Fix", False),
        ),
        always_on=True,
    ),
    Script("controlnet", (), always_on=True),
    Script(
        "soft inpainting",
        (
            Argument("Soft inpainting", False),
            Argument("Schedule bias", 1.0, 0.0, 8.0, 0.1),
            Argument("Preservation strength", 0.5, 0.0, 8.0, 0.05),
            Argument("Transition contrast boost", 4.0, 1.0, 32.0, 0.5),
            Argument("Mask influence", 0.0, 0.0, 1.0, 0.05),
            Argument("Difference threshold", 0.5, 0.0, 8.0, 0.25),
            Argument("Difference contrast", 2.0, 0.0, 8.0, 0.25),
        ),
        IMG2IMG,
        always_on=True,
    ),
    Script("refiner", (), always_on=True),
    Script("seed", (), always_on=True),
    Script("sampler", (), always_on=True),
)
"""Refiner, Seed and Sampler are taken and do nothing: the fields of the request count, as in the web UI."""
HARMLESS = ("adetailer", "animatediff", "roop", "reactor", "self attention guidance")
"""Extensions that clients name only to switch them off."""


def selected(name: str | None, tab: str) -> Script | None:
    """The script that a request names. Refused where there is none such in the tab."""
    if name is None or name.strip().lower() in ("", "none"):
        return None
    for script in SCRIPTS:
        if script.title == name.strip().lower() and not script.always_on and tab in script.tabs:
            return script
    raise Refused(422, f"Script '{name}' not found", hint=f"There are: {', '.join(titles(tab, always_on=False))}.")


def always_on(given: Mapping[str, Any], tab: str) -> dict[str, Sequence[Any]]:
    """The arguments of the always-on scripts that a request names, by title. Refused for one that is not there."""
    found: dict[str, Sequence[Any]] = {}
    for name, entry in given.items():
        title = name.strip().lower()
        args = entry.get("args") if isinstance(entry, Mapping) else None
        args = [args[key] for key in sorted(args)] if isinstance(args, Mapping) else args
        script = next((script for script in SCRIPTS if script.title == title), None)
        if script is not None and not script.always_on:
            raise Refused(422, "Cannot have a selectable script in the always on scripts params")
        if args is not None and not isinstance(args, list):
            raise Refused(422, f"Script '{name}' needs a list of arguments")
        if script is None or tab not in script.tabs:
            if title in HARMLESS and _is_off(args):
                continue
            raise Refused(
                422, f"Script '{name}' not found", hint=f"There are: {', '.join(titles(tab, always_on=True))}."
            )
        if args is not None:
            found[title] = args
    return found


def _is_off(args: Sequence[Any] | None) -> bool:
    return not args or args[0] in (False, None)


def titles(tab: str, *, always_on: bool | None = None) -> list[str]:
    """The titles of a tab's scripts, of both kinds or of one."""
    return [
        script.title
        for script in SCRIPTS
        if tab in script.tabs and (always_on is None or script.always_on == always_on)
    ]


def named(title: str) -> Script:
    """The script of a title that is there."""
    return next(script for script in SCRIPTS if script.title == title)
