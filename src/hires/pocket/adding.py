"""`hires pocket train lora`, `embedding`: small files beside the built-in model, trained on its frozen weights."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hires.pocket.cli import (
    Batch,
    Device,
    Minutes,
    Out,
    Resume,
    Seed,
    SheetEvery,
    Short,
    Steps,
    chosen_device,
    door,
    run_stage,
    train_app,
)
from hires.pocket.measuring import app

if TYPE_CHECKING:
    import numpy as np
    import torch
    from diffusers import AutoencoderKL
    from numpy.typing import NDArray

    from hires.pocket.train_model import TextAndUnet
    from hires.pocket.words import Words

__all__ = ["app"]

LORA, EMBEDDING = "lora", "embedding"
LORA_NAME, EMBEDDING_NAME = "hires-pocket-woodcut.safetensors", "hires-pocket-mika.safetensors"

Of = Annotated[Path | None, typer.Option("--checkpoint", help="The model that it is for [the built-in one].")]
Count = Annotated[int, typer.Option(min=1, help="Scenes to draw, three pictures each.")]
Threads = Annotated[int, typer.Option(min=1, help="Parts of a batch at once, one thread each (CPU).")]


@dataclass(frozen=True)
class Base:
    """A checkpoint's networks to train beside, the words that our captions have, and the model's own size."""

    model: TextAndUnet
    vae: AutoencoderKL
    words: Words
    size: int


def read_base(path: Path | None, device: torch.device, short: bool) -> Base:
    """The networks of a complete SD 1.x checkpoint; ModelFileError for another file."""
    from hires.models.native import native_size
    from hires.pocket import BUILT_IN_FOLDER, BUILT_IN_NAME
    from hires.pocket.captions import known_phrases
    from hires.pocket.short import shorten
    from hires.pocket.start import read_start, started_model, started_vae
    from hires.pocket.words import Words

    path = path or BUILT_IN_FOLDER / "checkpoints" / BUILT_IN_NAME
    checkpoint, words = read_start(path), Words.of_captions([[*sorted(known_phrases()), ","]])
    model, vae = started_model(checkpoint, words).to(device), started_vae(checkpoint).to(device)
    if short:
        shorten(model)
    return Base(model, vae.eval().requires_grad_(False), words, native_size(path, "sd1"))


def encoded_lessons(base: Base, pictures: Iterable[NDArray[np.uint8]], captions: list[list[str]], device: Any) -> Any:
    """Pictures and captions as the model's training reads them."""
    from hires.pocket.additions import encoded
    from hires.pocket.latents import HeldLatents

    return HeldLatents(encoded(base.vae, pictures, device), captions)


@train_app.command()
def lora(
    out: Out = Path("training"),
    steps: Steps = 600,
    minutes: Minutes = None,
    device: Device = "auto",
    resume: Resume = True,
    seed: Seed = 0,
    batch: Batch = 32,
    sheet_every: SheetEvery = 200,
    checkpoint: Of = None,
    scenes: Count = 400,
    rank: Annotated[int, typer.Option(min=1, help="Rank of the changes.")] = 8,
    short: Short = False,
    threads: Threads = 1,
    to: Annotated[Path | None, typer.Option(help="Models folder to write to [OUT/export].")] = None,
) -> None:
    """Train a LoRA of a style, prints in two inks, and write it as loras/hires-pocket-woodcut.safetensors."""
    with door() as stop:
        import numpy as np

        from hires.pocket.additions import LoraBeside, drawn_scenes, drawn_views
        from hires.pocket.captions import caption
        from hires.pocket.export import FORMAT, write
        from hires.pocket.train_model import ModelRecipe, ModelStage
        from hires.pocket.training import Recipe, read_checkpoint
        from hires.pocket.woodcut import woodcut

        where = chosen_device(device)
        base = read_base(checkpoint, where, short)
        chosen = drawn_scenes(range(seed + 1_000_000, seed + 1_000_000 + scenes))
        printed = (np.stack([woodcut(one) for one in each]) for each in drawn_views(chosen, base.size))
        captions = [[caption(scene, np.random.default_rng([scene.seed, 3]))] for scene in chosen]
        lessons = encoded_lessons(base, printed, captions, where)
        beside = LoraBeside(base.model, rank, seed)
        recipe = ModelRecipe(seed=seed, batch=batch, threads=threads, optimizer=Recipe(rate=2e-3, average=0.98))
        stage = ModelStage(lessons, base.words, base.vae, recipe, where, beside)
        run_stage(stage, out / LORA, steps, minutes, sheet_every, resume, stop)
        beside.load_state_dict(read_checkpoint(out / LORA)["learners"]["model"]["average"])
        path = (to or out / "export") / "loras" / LORA_NAME
        write(beside.tensors(), path, FORMAT)
        typer.echo(f"{path} ({path.stat().st_size / 1e6:.2f} MB)")


@train_app.command()
def embedding(
    out: Out = Path("training"),
    steps: Steps = 400,
    minutes: Minutes = None,
    device: Device = "auto",
    resume: Resume = True,
    seed: Seed = 0,
    batch: Batch = 32,
    sheet_every: SheetEvery = 200,
    checkpoint: Of = None,
    scenes: Count = 300,
    vectors: Annotated[int, typer.Option(min=1, max=32, help="Words that it takes of a prompt.")] = 6,
    short: Short = False,
    threads: Threads = 1,
    to: Annotated[Path | None, typer.Option(help="Models folder to write to [OUT/export].")] = None,
) -> None:
    """Train an embedding of a character, Mika, and write it as embeddings/hires-pocket-mika.safetensors."""
    with door() as stop:
        import numpy as np

        from hires.pocket.additions import (
            EmbeddingBeside,
            WordsWithVectors,
            as_character,
            character_caption,
            drawn_scenes,
            drawn_views,
            word_table,
        )
        from hires.pocket.export import FORMAT, write
        from hires.pocket.train_model import ModelRecipe, ModelStage
        from hires.pocket.training import Recipe, read_checkpoint

        where = chosen_device(device)
        base = read_base(checkpoint, where, short)
        chosen = drawn_scenes(range(seed + 2_000_000, seed + 2_000_000 + scenes), as_character)
        captions = [
            [character_caption(scene, np.random.default_rng([scene.seed, k])) for k in range(4)] for scene in chosen
        ]
        lessons = encoded_lessons(base, drawn_views(chosen, base.size), captions, where)
        middle = base.model.get_parameter(word_table(base.model)).mean(0).expand(vectors, -1)
        beside = EmbeddingBeside(base.model, vectors, middle)
        recipe = ModelRecipe(
            seed=seed, batch=batch, threads=threads, optimizer=Recipe(rate=5e-3, weight_decay=0.0, average=0.98)
        )
        stage = ModelStage(lessons, WordsWithVectors(base.words, vectors), base.vae, recipe, where, beside)
        run_stage(stage, out / EMBEDDING, steps, minutes, sheet_every, resume, stop)
        beside.load_state_dict(read_checkpoint(out / EMBEDDING)["learners"]["model"]["average"])
        path = (to or out / "export") / "embeddings" / EMBEDDING_NAME
        write(beside.tensors(), path, FORMAT)
        typer.echo(f"{path} ({path.stat().st_size / 1e3:.1f} kB)")
