"""`hires pocket train lora`, `embedding`, `control`, `inpainting`: files beside the built-in one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hires.commands.measures import app
from hires.commands.stages import EXPORT, Run, Short, Threads, To, stage_command

if TYPE_CHECKING:
    from hires.pocket.additions import Base, ControlBeside, EmbeddingBeside, LoraBeside
    from hires.pocket.inpainting import InpaintBeside
    from hires.pocket.lessons import Lessons
    from hires.pocket.training import Recipe

    Beside = LoraBeside | EmbeddingBeside | ControlBeside | InpaintBeside

__all__ = ["app"]

LORA, EMBEDDING, CONTROL, INPAINTING = "lora", "embedding", "control", "inpainting"

Of = Annotated[Path | None, typer.Option("--checkpoint", help="The model that it is for [the built-in one].")]
Count = Annotated[int, typer.Option(min=1, help="Scenes to draw, three pictures each.")]


def learn(
    run: Run, base: Base, lessons: Lessons, beside: Beside, optimizer: Recipe, threads: int, name: str, file: Path
) -> None:
    """Train `beside` on the lessons in the folder of `name`, and write the mean of its weights to `file`."""
    from hires.pocket.export import FORMAT, write
    from hires.pocket.train_model import ModelRecipe, ModelStage
    from hires.pocket.training import read_checkpoint

    recipe = ModelRecipe(seed=run.seed, batch=run.batch, threads=threads, optimizer=optimizer)
    run.train(ModelStage(lessons.latents, lessons.words, base.vae, recipe, run.where, beside, lessons.shown), name)
    beside.load_state_dict(read_checkpoint(run.out / name)["learners"]["model"]["average"])
    write(beside.tensors(), file, FORMAT | beside.facts())
    typer.echo(f"{file} ({file.stat().st_size / 1e3:.1f} kB)")


@stage_command(steps=600, batch=32, sheet_every=200)
def lora(
    run: Run,
    checkpoint: Of = None,
    scenes: Count = 400,
    rank: Annotated[int, typer.Option(min=1, help="Rank of the changes.")] = 8,
    short: Short = False,
    threads: Threads = 1,
    to: To = None,
) -> None:
    """Train a LoRA of a style, prints in two inks, and write it as loras/hires-pocket-woodcut.safetensors."""
    from hires.pocket.additions import LORA_NAME, LoraBeside, read_base
    from hires.pocket.lessons import lessons_of_style
    from hires.pocket.training import Recipe

    base = read_base(checkpoint, run.where, short)
    lessons = lessons_of_style(base, scenes, run.seed, run.where)
    beside = LoraBeside(base.model, rank, run.seed)
    file = (to or run.out / EXPORT) / "loras" / LORA_NAME
    learn(run, base, lessons, beside, Recipe(rate=2e-3, average=0.98), threads, LORA, file)


@stage_command(steps=400, batch=32, sheet_every=200)
def embedding(
    run: Run,
    checkpoint: Of = None,
    scenes: Count = 300,
    vectors: Annotated[int, typer.Option(min=1, max=32, help="Words that it takes of a prompt.")] = 6,
    short: Short = False,
    threads: Threads = 1,
    to: To = None,
) -> None:
    """Train an embedding of a character, Mika, and write it as embeddings/hires-pocket-mika.safetensors."""
    from hires.pocket.additions import EMBEDDING_NAME, EmbeddingBeside, read_base
    from hires.pocket.lessons import lessons_of_character
    from hires.pocket.training import Recipe

    base = read_base(checkpoint, run.where, short)
    lessons = lessons_of_character(base, scenes, vectors, run.seed, run.where)
    beside = EmbeddingBeside(base.model, vectors)
    file = (to or run.out / EXPORT) / "embeddings" / EMBEDDING_NAME
    recipe = Recipe(rate=5e-3, weight_decay=0.0, average=0.98)
    learn(run, base, lessons, beside, recipe, threads, EMBEDDING, file)


@stage_command(steps=2000, batch=32, sheet_every=500)
def control(
    run: Run,
    checkpoint: Of = None,
    scenes: Count = 1500,
    short: Short = False,
    threads: Threads = 1,
    to: To = None,
) -> None:
    """Train a tile ControlNet, led by a coarse picture, and write it as controlnet/hires-pocket-tile.safetensors."""
    from hires.pocket.additions import TILE_NAME, ControlBeside, read_base
    from hires.pocket.lessons import lessons_of_tiles
    from hires.pocket.short import shorten
    from hires.pocket.training import Recipe

    base = read_base(checkpoint, run.where, short)
    lessons = lessons_of_tiles(base, scenes, run.seed, run.where)
    beside = ControlBeside(base.model, run.seed).to(run.where)
    if short:
        shorten(beside)
    file = (to or run.out / EXPORT) / "controlnet" / TILE_NAME
    learn(run, base, lessons, beside, Recipe(rate=1e-3, average=0.995), threads, CONTROL, file)


@stage_command(steps=2000, batch=32, sheet_every=500)
def inpainting(
    run: Run,
    checkpoint: Of = None,
    scenes: Count = 1500,
    short: Short = False,
    threads: Threads = 1,
    to: To = None,
) -> None:
    """Train a version of nine channels, which fills holes: checkpoints/hires-pocket-inpainting.safetensors."""
    from hires.pocket.additions import read_base
    from hires.pocket.inpainting import INPAINTING_NAME, InpaintBeside, lessons_of_holes
    from hires.pocket.short import shorten
    from hires.pocket.training import Recipe

    base = read_base(checkpoint, run.where, short)
    lessons = lessons_of_holes(base, scenes, run.seed, run.where)
    beside = InpaintBeside(base).to(run.where)
    if short:
        shorten(beside)
    file = (to or run.out / EXPORT) / "checkpoints" / INPAINTING_NAME
    learn(run, base, lessons, beside, Recipe(rate=4e-4, muon_rate=1e-3, average=0.995), threads, INPAINTING, file)
