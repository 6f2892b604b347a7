"""Groups of flags that commands share: each flag stands once, and a command names the groups that it takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import typer

from hires.commands import flags

Command = Callable[..., None]
Group = Mapping[str, Any]
"""Name and annotation of each flag. All of them are None where they were not given."""
Given = dict[str, Any]
"""All that a command was given by its flags' names: its own ones and those of its groups."""

MACHINE: Group = {
    "models_dir": flags.ModelsDir,
    "output_dir": flags.OutputDir,
    "device": flags.Device,
    "weights": flags.Weights,
    "memory": flags.Memory,
    "workers": flags.Workers,
    "together": flags.Together,
}
FILES: Group = {"format": flags.Format, "quality": flags.Quality}
MODEL: Group = {"checkpoint": flags.Checkpoint, "vae": flags.VaeFile}
VAE: Group = {"vae_mode": flags.VaeMode, "vae_tile": flags.VaeTile}
SAMPLING: Group = {
    "sampler": flags.Sampler,
    "schedule": flags.Schedule,
    "cfg": flags.Cfg,
    "seed": flags.Seed,
}
DIALECT: Group = {"clip_skip": flags.ClipSkip, "dialect": flags.Dialect}
STEERING: Group = {"control": flags.Control, "style": flags.StyleNames, "styles": flags.StyleFiles}
BATCHES: Group = {
    "batch_size": Annotated[int | None, typer.Option(help="Pictures at once [1].")],
    "batch_count": Annotated[int | None, typer.Option(help="Batches one after the other [1].")],
}
NOISE: Group = {
    "variation_seed": flags.Seed,
    "variation_strength": Annotated[float | None, typer.Option(help="0 to 1: how far towards the variation seed.")],
    "rng": Annotated[str | None, typer.Option(help="Random numbers as of NV (CUDA's, on any machine) or CPU.")],
    "emphasis": Annotated[str | None, typer.Option(help="Original, No norm, Ignore, None or ComfyUI.")],
    "eta": Annotated[float | None, typer.Option(help="Noise of ancestral and SDE samplers, 0 to 1.")],
}
FINER: Group = {
    "sampling": Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A1111's further options, like schedule_rho=5; see docs/numbers.md."),
    ],
    "fp8": Annotated[
        str | None,
        typer.Option(help="Hold the UNet's weights in 8 bits: Enable, Enable for SDXL or Disable [Disable]."),
    ],
    "face_restoration": Annotated[
        str | None, typer.Option("--restore-faces", help="Restore faces by CodeFormer or GFPGAN, or none.")
    ],
    "face_weight": Annotated[float | None, typer.Option(help="CodeFormer: 0 changes a face most, 1 least [0.5].")],
    "token_merging": Annotated[
        float | None, typer.Option(help="Share of like tokens, 0 to 1, that share self-attention: faster, coarser [0].")
    ],
    "seamless": Annotated[
        str | None, typer.Option(help="Pictures that go on at their other side: both, x or y (A1111's Tiling).")
    ],
}
REFINER: Group = {
    "refiner": Annotated[str | None, typer.Option(help="Checkpoint that takes over during sampling.")],
    "switch_at": Annotated[float | None, typer.Option(help="Refiner: when this share of the noise is gone [0.8].")],
}
SECOND_PASS: Group = {
    "upscaler": Annotated[str | None, typer.Option(help="Latent, Latent (bicubic) ..., None, Lanczos, Nearest.")],
    "scale": Annotated[float | None, typer.Option(help="Hires pass: enlarge by this factor [2].")],
    "hires_size": Annotated[
        str | None, typer.Option(help="Hires pass: WIDTHxHEIGHT instead of a factor; 0 for one side keeps the aspect.")
    ],
    "denoise": Annotated[float | None, typer.Option(help="Hires pass: denoising strength, 0 to 1 [0.7].")],
    "hires_steps": Annotated[int | None, typer.Option(help="Hires pass: steps, 0 = as the first pass.")],
    "hires_sampler": Annotated[str | None, typer.Option(help="Hires pass: another sampler.")],
    "hires_schedule": Annotated[str | None, typer.Option(help="Hires pass: another schedule.")],
    "hires_prompt": Annotated[str | None, typer.Option(help="Hires pass: another prompt.")],
    "hires_negative": Annotated[str | None, typer.Option(help="Hires pass: another negative prompt.")],
    "hires_cfg": Annotated[float | None, typer.Option(help="Hires pass: another guidance scale.")],
    "token_merging_hires": Annotated[
        float | None, typer.Option("--hires-token-merging", help="Hires pass: another share of merged tokens.")
    ],
    "hires_checkpoint": Annotated[str | None, typer.Option(help="Hires pass: another model.")],
}
TILES: Group = {
    "tile": flags.Tile,
    "tile_overlap": flags.TileOverlap,
    "tile_batch": flags.TileBatch,
    "tile_method": flags.TileMethod,
    "jitter": flags.Jitter,
    "region": flags.RegionPrompt,
    "regions": flags.RegionFile,
    "region_background": flags.RegionBackground,
}
REDRAWING: Group = {
    "prompt": flags.Prompt,
    "negative": flags.Negative,
    "by": flags.By,
    "to": flags.To,
    "upscaler": flags.Upscaler,
    "denoise": flags.Denoise,
    "mend_above": flags.MendAbove,
    "noise": flags.NoiseFrom,
    "lock": flags.Lock,
    "size_conditioning": flags.SizeConditioning,
    "tile_prompts": flags.TilePrompts,
    "region": flags.TileRegion,
    "control": flags.OwnControl,
    "steps": flags.Steps,
    "batch_count": flags.BatchCount,
}


DRAWING = (MODEL, VAE, SAMPLING, BATCHES, DIALECT, STEERING, NOISE, FINER, REFINER)
"""What all that draws by a prompt takes."""
RUNNING = (FILES, MACHINE)


def takes(*groups: Group) -> Callable[[Command], Command]:
    """The command with the flags of these groups behind its own. What was given for all of them comes as `given`."""
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for group in groups
        for name, annotation in group.items()
    ]

    def with_groups(command: Command) -> Command:
        own = own_flags(command, "given")
        names = {parameter.name for parameter in own}

        def run(**given: Any) -> None:
            command(given, **{name: given[name] for name in names})

        return told_as(run, command, [*own, *shared])

    return with_groups


def own_flags(command: Command, without: str) -> list[inspect.Parameter]:
    """A command's flags, but for the parameter in which those that it shares come."""
    found = inspect.signature(command, eval_str=True).parameters.values()
    return [parameter for parameter in found if parameter.name != without]


def told_as(run: Command, command: Command, parameters: Sequence[inspect.Parameter]) -> Command:
    """A function under the name and words of another, with these flags: what Typer makes a command of."""
    merged = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = inspect.Signature(merged)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in merged}
    return run
