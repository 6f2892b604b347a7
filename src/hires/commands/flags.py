"""Flags that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ModelsDir = Annotated[Path | None, typer.Option(help="Folder with checkpoints/, vae/, loras/ ... (or A1111's names).")]
InputDir = Annotated[Path | None, typer.Option(help="Folder of the pictures that workflows load.")]
OutputDir = Annotated[Path | None, typer.Option(help="Folder for results.")]
CustomNodesDir = Annotated[
    Path | None, typer.Option(help="Folder of other people's nodes; their code is run with your rights.")
]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
Weights = Annotated[str | None, typer.Option(help="Hold weights as auto, float32, float16 or bfloat16.")]
Memory = Annotated[str | None, typer.Option(help="What a run may use, like 4GB (on the CPU: the whole process).")]
Workers = Annotated[
    str | None,
    typer.Option(help="Draw in so many processes, or on the Ray cluster at an address; see docs/scale.md."),
]
Together = Annotated[
    int | None,
    typer.Option(help="Pictures or cells through the network at once, where faster; equal up to rounding [1]."),
]
VaeMode = Annotated[
    str | None,
    typer.Option(help="Decode and encode: auto, untiled, exact, exact-lowram, exact-disk, fast or blend [auto]."),
]
VaeTile = Annotated[int | None, typer.Option(help="Side of the VAE's tiles in pixels, where it is tiled [512].")]
Tiled = Annotated[
    bool | None, typer.Option("--tiled/--no-tiled", help="Tiled Diffusion: denoise in tiles joined at every step.")
]
Tile = Annotated[str | None, typer.Option(help="Tile size in latent cells of 8 pixels, WIDTHxHEIGHT or one [96].")]
TileOverlap = Annotated[int | None, typer.Option(help="How far tiles overlap, in latent cells [48].")]
TileBatch = Annotated[int | None, typer.Option(help="Tiles at once [4].")]
TileMethod = Annotated[
    str | None, typer.Option(help="Cosine, MultiDiffusion, Mixture of Diffusers or SpotDiffusion [Cosine].")
]
Jitter = Annotated[bool | None, typer.Option("--jitter/--no-jitter", help="Move the tiles from step to step.")]
TilePrompts = Annotated[
    str | None,
    typer.Option(
        help="What tiles are told: the prompt and their part of the regions (regions), beside these only the words "
        "that the model looks for there (attention), or the prompt alone (off) [regions]."
    ),
]
MendAbove = Annotated[
    float | None, typer.Option(help="Draw joins of a higher seam index once more, as 1.03; 0 never [0].")
]
RegionPrompt = Annotated[
    list[str] | None,
    typer.Option(help="x,y,width,height:prompt[:negative[:Foreground[:feather[:seed]]]], in fractions. Repeatable."),
]
RegionFile = Annotated[Path | None, typer.Option(help='Regions as JSON {"bbox_controls": [...]}.')]
RegionBackground = Annotated[str | None, typer.Option(help="Under regions draw: fill (what is bare), on, off [fill].")]
StyleNames = Annotated[list[str] | None, typer.Option("--style", help="Lay this style over the prompts. Repeatable.")]
StyleFiles = Annotated[
    list[str] | None,
    typer.Option("--styles", help="CSV file of styles, or a pattern; of the settings else. Repeatable."),
]
Plan = Annotated[bool, typer.Option("--plan", help="Say the tiles and the memory it would take, and stop.")]

# ---- redrawing and drawing in tiles ---------------------------------------------------------------------------------

Prompt = Annotated[str | None, typer.Option("--prompt", "-p", help="What the picture shows.")]
Negative = Annotated[str | None, typer.Option("--negative", "-n", help="What to avoid.")]
By = Annotated[float | None, typer.Option(help="Enlarge by this factor [2].")]
To = Annotated[str | None, typer.Option(help="Enlarge to WIDTHxHEIGHT instead.")]
Upscaler = Annotated[str | None, typer.Option(help="See `hires upscalers` [Lanczos].")]
Denoise = Annotated[float | None, typer.Option(help="Denoising strength, 0 to 1 [0.35].")]
NoiseFrom = Annotated[str | None, typer.Option(help="Drawn for the whole canvas, or for each tile [canvas].")]
Lock = Annotated[float | None, typer.Option(help="0 to 1: hold low frequencies to the source's [1].")]
SizeConditioning = Annotated[str | None, typer.Option(help="What SDXL is told: crop, canvas or native.")]
TileRegion = Annotated[
    list[str] | None, typer.Option(help="x,y,width,height:prompt[:negative], in fractions. Repeatable.")
]
Checkpoint = Annotated[str | None, typer.Option("--checkpoint", "-m", help="Model by name or hash.")]
VaeFile = Annotated[str | None, typer.Option(help="A separate VAE file; Automatic: one of the model's own name.")]
Sampler = Annotated[str | None, typer.Option("--sampler", "-s", help="See `hires samplers`.")]
Schedule = Annotated[str | None, typer.Option(help="See `hires samplers`.")]
Steps = Annotated[int | None, typer.Option(help="Steps, of which the denoised share is made [20].")]
Cfg = Annotated[float | None, typer.Option(help="Guidance scale [7].")]
Seed = Annotated[int | None, typer.Option(help="-1 for a random one.")]
BatchCount = Annotated[int | None, typer.Option(help="Variants, each with the next seed [1].")]
Control = Annotated[
    list[str] | None,
    typer.Option(help="MODEL,PICTURE[,weight[,start[,end]]]: a ControlNet and what it is shown. Repeatable."),
]
OwnControl = Annotated[
    list[str] | None,
    typer.Option(
        "--control",
        help="MODEL[,PICTURE[,weight[,start[,end]]]]: a ControlNet and what it is shown [the picture itself]. "
        "Repeatable.",
    ),
]
ClipSkip = Annotated[int | None, typer.Option(help="1 = last layer of the text encoder.")]
Dialect = Annotated[str | None, typer.Option(help="Numbers as in the A1111 web UI (webui) or comfyui.")]
OverPlan = Annotated[
    bool, typer.Option("--plan", help="Say size, steps, calls, what of the mask is drawn and the memory, and stop.")
]
RedrawPlan = Annotated[bool, typer.Option("--plan", help="Say the tiles and denoiser calls, and stop.")]
Format = Annotated[str | None, typer.Option(help="png, jpg, webp or avif [png].")]
Quality = Annotated[int | None, typer.Option(help="Of JPEG, WebP and AVIF, 1 to 100 [90].")]
