"""`hires pocket train lora`, `embedding`, `control`, `inpainting`: files beside the built-in model, made from it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hires.commands.measures import app
from hires.commands.stages import EXPORT, FLAGS, Run, Short, Threads, To, stage_command

if TYPE_CHECKING:
    from hires.pocket.additions import Base, ControlBeside, EmbeddingBeside, LoraBeside
    from hires.pocket.inpainting import InpaintBeside
    from hires.pocket.lessons import Lessons
    from hires.pocket.training import Recipe

    Beside = LoraBeside | EmbeddingBeside | ControlBeside | InpaintBeside

__all__ = ["app"]

LORA, EMBEDDING, CONTROL, INPAINTING = "lora", "embedding", "control", "inpainting"
ADDITION: dict[str, Any] = FLAGS | {
    "checkpoint": Annotated[Path | None, typer.Option(help="The model that it is for [the built-in one].")],
    "scenes": Annotated[int, typer.Option(min=1, help="Scenes to draw, three pictures each.")],
    "short": Short,
    "threads": Threads,
    "to": To,
}
"""The flags that all of them have."""


@dataclass(frozen=True)
class Addition(Run):
    """What a command was given by those flags."""

    checkpoint: Path | None
    scenes: int
    short: bool
    threads: int
    to: Path | None

    @cached_property
    def base(self) -> Base:
        """The model that it is for."""
        from hires.pocket.additions import read_base

        return read_base(self.checkpoint, self.where, self.short)

    def learn(self, beside: Beside, lessons: Lessons, optimizer: Recipe, name: str, file: str) -> None:
        """Train `beside` on the lessons in the folder of `name`; write the mean of its weights to `file`, a path in a
        models folder."""
        from hires.pocket.export import FORMAT, write
        from hires.pocket.short import shorten
        from hires.pocket.train_model import ModelRecipe, ModelStage
        from hires.pocket.training import read_checkpoint

        if self.short:
            shorten(beside)
        recipe = ModelRecipe(seed=self.seed, batch=self.batch, threads=self.threads, optimizer=optimizer)
        latents, words, vae = lessons.latents, lessons.words, self.base.vae
        self.train(ModelStage(latents, words, vae, recipe, self.where, beside, lessons.shown), name)
        beside.load_state_dict(read_checkpoint(self.out / name)["learners"]["model"]["average"])
        path = (self.to or self.out / EXPORT) / file
        write(beside.tensors(), path, FORMAT | beside.facts())
        typer.echo(f"{path} ({path.stat().st_size / 1e3:.1f} kB)")


def addition_command(*, steps: int, scenes: int) -> Any:
    """A command of `train` with the flags of additions, of which it is given an `Addition`, as `run`."""
    known = {"steps": steps, "batch": 32, "sheet_every": 200, "scenes": scenes}
    return stage_command(Addition, ADDITION, **known, checkpoint=None, short=False, threads=1, to=None)


@addition_command(steps=600, scenes=400)
def lora(run: Addition, rank: Annotated[int, typer.Option(min=1, help="Rank of the changes.")] = 8) -> None:
    """Train a LoRA of a style, prints in two inks, and write it as loras/hires-pocket-woodcut.safetensors."""
    from hires.pocket.additions import LORA_NAME, LoraBeside
    from hires.pocket.lessons import lessons_of_style
    from hires.pocket.training import Recipe

    lessons = lessons_of_style(run.base, run.scenes, run.seed, run.where)
    beside = LoraBeside(run.base.model, rank, run.seed)
    run.learn(beside, lessons, Recipe(rate=2e-3, average=0.98), LORA, f"loras/{LORA_NAME}")


@addition_command(steps=400, scenes=300)
def embedding(
    run: Addition,
    vectors: Annotated[int, typer.Option(min=1, max=32, help="Words that it takes of a prompt.")] = 6,
) -> None:
    """Train an embedding of a character, Mika, and write it as embeddings/hires-pocket-mika.safetensors."""
    from hires.pocket.additions import EMBEDDING_NAME, EmbeddingBeside
    from hires.pocket.lessons import lessons_of_character
    from hires.pocket.training import Recipe

    lessons = lessons_of_character(run.base, run.scenes, vectors, run.seed, run.where)
    beside = EmbeddingBeside(run.base.model, vectors)
    optimizer = Recipe(rate=5e-3, weight_decay=0.0, average=0.98)
    run.learn(beside, lessons, optimizer, EMBEDDING, f"embeddings/{EMBEDDING_NAME}")


@addition_command(steps=2000, scenes=1500)
def control(run: Addition) -> None:
    """Train a tile ControlNet, led by a coarse picture, and write it as controlnet/hires-pocket-tile.safetensors."""
    from hires.pocket.additions import TILE_NAME, ControlBeside
    from hires.pocket.lessons import lessons_of_tiles
    from hires.pocket.training import Recipe

    lessons = lessons_of_tiles(run.base, run.scenes, run.seed, run.where)
    beside = ControlBeside(run.base.model, run.seed)
    run.learn(beside, lessons, Recipe(rate=1e-3, average=0.995), CONTROL, f"controlnet/{TILE_NAME}")


@addition_command(steps=2000, scenes=1500)
def inpainting(run: Addition) -> None:
    """Train a version of nine channels, which fills holes: checkpoints/hires-pocket-inpainting.safetensors."""
    from hires.pocket import INPAINTING_NAME
    from hires.pocket.inpainting import InpaintBeside, lessons_of_holes
    from hires.pocket.training import Recipe

    lessons = lessons_of_holes(run.base, run.scenes, run.seed, run.where)
    recipe = Recipe(rate=4e-4, muon_rate=1e-3, average=0.995)
    run.learn(InpaintBeside(run.base), lessons, recipe, INPAINTING, f"checkpoints/{INPAINTING_NAME}")
