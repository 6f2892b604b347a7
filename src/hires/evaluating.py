"""`hires pocket evaluate` and `hires pocket sheet`: random captions drawn by a model that knows our drawings, measured.

Every picture is kept in the folder as it is drawn, so a run that was stopped goes on, and a larger count adds to it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from hires.api import Engine, HiresFix, Txt2Img
from hires.errors import SettingError
from hires.models.upscale import load_upscaler
from hires.pocket import BUILT_IN_NAME, GUIDANCE, evaluate, upscaler
from hires.pocket.captions import caption, tags
from hires.pocket.classifier import TagScore, shipped_classifier, tag_scores
from hires.pocket.detector import one_intact, shipped_detector
from hires.pocket.drawing import draw
from hires.pocket.evaluate import Pass, best
from hires.pocket.pool import autoencoder_pass
from hires.pocket.scene import Scene, random_scene
from hires.pocket.sight import Picture
from hires.pocket.tag_groups import labels
from hires.pocket.training import clock

DENOISES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.95)
PLAN = "plan.json"
UPSCALED_SIDE, UPSCALED = 512, 12
"""Size and most drawings on which upscalers are compared."""


@dataclass(frozen=True)
class EvaluationPlan:
    """What a folder's pictures were drawn with. Scene k has the seed HELD_OUT + `seed` + k: none was trained on."""

    checkpoint: str = BUILT_IN_NAME
    seed: int = 0
    steps: int = 20
    hires_steps: int = 12
    cfg: float = GUIDANCE
    upscaler: str = "Latent"


@dataclass(frozen=True)
class Seen:
    """What the measures find in one picture."""

    labels: NDArray[np.int64]
    subjects: int
    good: bool


class Evaluation:
    """The pictures of a plan in a folder, drawn where they are not there yet."""

    def __init__(
        self, engine: Engine, plan: EvaluationPlan, count: int, folder: Path, say: Callable[[str], None] = print
    ) -> None:
        self.count, self.folder, self.say = count, folder, say
        first, facts = engine.prepare(Txt2Img(checkpoint=plan.checkpoint, seed=0))
        name = first.checkpoint or plan.checkpoint
        self.plan = replace(plan, checkpoint=name)
        self.base = facts[name].native_size
        self.checkpoint = engine.store.find("checkpoints", name)
        folder.mkdir(parents=True, exist_ok=True)
        described = {**asdict(self.plan), "hash": engine.store.hash("checkpoints", name), "base": self.base}
        path = folder / PLAN
        if path.exists() and json.loads(path.read_text(encoding="utf-8")) != described:
            raise SettingError(f"{folder} holds pictures of another plan ({path})", "Give another --out, or delete it.")
        path.write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")
        self.described = described
        self.engine = engine
        self.seen_pictures: dict[str, Seen] = {}
        self.begun, self.drawn = time.monotonic(), 0

    @cached_property
    def scenes(self) -> list[Scene]:
        """The scenes that the captions describe."""
        return [random_scene(upscaler.HELD_OUT + self.plan.seed + index) for index in range(self.count)]

    def request(self, index: int, scale: int = 1, denoise: float | None = None) -> Txt2Img:
        """Picture `index` at `scale` times the model's size: directly, or by a second pass."""
        plan = self.plan
        words = caption(self.scenes[index], np.random.default_rng([plan.seed, index, 2]), drop=0.0)
        side = self.base * (scale if denoise is None else 1)
        request = Txt2Img(
            prompt=words, checkpoint=plan.checkpoint, steps=plan.steps, cfg=plan.cfg, width=side, height=side,
            seed=plan.seed + index,
        )  # fmt: skip
        if denoise is None:
            return request
        return replace(request, hires=HiresFix(plan.upscaler, float(scale), steps=plan.hires_steps, denoise=denoise))

    def file(self, index: int, scale: int = 1, denoise: float | None = None) -> Path:
        """Where the picture lies."""
        how = f"direct-{scale}x" if denoise is None else f"hires-{scale}x-{denoise:g}"
        return self.folder / how / f"{index:04d}.png"

    def picture(self, index: int, scale: int = 1, denoise: float | None = None) -> Picture:
        """The picture (height, width, 3), drawn now where it is not there yet."""
        path = self.file(index, scale, denoise)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            drawn = self.engine.txt2img(self.request(index, scale, denoise))
            new = path.with_suffix(".new")
            drawn.pictures[0].convert("RGB").save(new, "PNG")
            new.replace(path)
            for written in drawn.paths:
                written.unlink(missing_ok=True)
            self.drawn += 1
        with Image.open(path) as opened:
            return np.asarray(opened.convert("RGB"))

    def seen(self, index: int, scale: int = 1, denoise: float | None = None) -> Seen:
        """What the measures find in a picture; looked at once."""
        key = str(self.file(index, scale, denoise))
        if key not in self.seen_pictures:
            picture = self.picture(index, scale, denoise)
            faces = shipped_detector().faces(picture)
            found = shipped_classifier().labels([picture])[0]
            self.seen_pictures[key] = Seen(found, len(faces), one_intact(faces))
        return self.seen_pictures[key]

    def draw_all(self, settings: Sequence[tuple[int, float | None]]) -> None:
        """Draw every picture of these settings, one caption after the other, so that first passes are shared."""
        jobs = [(index, *setting) for index in range(self.count) for setting in settings]
        missing = [job for job in jobs if not self.file(*job).exists()]
        begun = told = time.monotonic()
        if len(missing) < len(jobs):
            self.say(f"{len(jobs) - len(missing)} of {len(jobs)} pictures are there already")
        for done, job in enumerate(missing, 1):
            self.picture(*job)
            now = time.monotonic()
            if now - told > 20 or done == len(missing):
                told = now
                left = (now - begun) / done * (len(missing) - done)
                self.say(f"{done}/{len(missing)} pictures, {clock(now - begun)} gone, {clock(left)} left")

    @property
    def all(self) -> Iterator[int]:
        """The pictures' numbers."""
        return iter(range(self.count))

    def tags(self) -> tuple[list[TagScore], list[TagScore]]:
        """Scores of the model's pictures at its own size, and of true drawings of the same scenes at that size."""
        stated = np.array([labels(tags(scene)) for scene in self.scenes])
        drawings = [draw(scene, self.base, self.base) for scene in self.scenes]
        true = np.stack([shipped_classifier().labels([drawing])[0] for drawing in drawings])
        drawn = np.stack([self.seen(index).labels for index in self.all])
        return tag_scores(stated, drawn), tag_scores(stated, true)

    def yields(self, scale: int = 1, denoise: float | None = None) -> tuple[int, int, float]:
        """Pictures with one intact subject, pictures, and the mean number of subjects."""
        seen = [self.seen(index, scale, denoise) for index in self.all]
        return sum(each.good for each in seen), self.count, float(np.mean([each.subjects for each in seen]))

    @cached_property
    def other_distance(self) -> float:
        """Mean distance of first passes of different captions; 0 with one picture."""
        pictures = [self.picture(index) for index in self.all]
        return float(np.mean([shipped_classifier().distance(*pair) for pair in pairwise(pictures)] or [0.0]))

    def true_detail(self, scale: int) -> tuple[float, float]:
        """Mean detail of true drawings at `scale`, and of the same after the model's autoencoder."""
        side = self.base * scale
        through = autoencoder_pass(self.checkpoint)
        drawings = [draw(scene, side, side) for scene in self.scenes]
        decoded = [through(drawing[None])[0] for drawing in drawings]
        both = [[evaluate.detail(each, self.base) for each in some] for some in (drawings, decoded)]
        return float(np.mean(both[0])), float(np.mean(both[1]))

    def passes(self, scale: int, denoises: Sequence[float]) -> list[Pass]:
        """The measures of second passes."""
        true, decoded = self.true_detail(scale)
        firsts = [self.picture(index) for index in self.all]
        enlarged = [evaluate.detail(evaluate.lanczos(first, self.base * scale), self.base) for first in firsts]
        base_yield = self.yields()[0] / self.count
        found = []
        for denoise in denoises:
            results = [self.picture(index, scale, denoise) for index in self.all]
            far = [shipped_classifier().distance(*pair) for pair in zip(results, firsts, strict=True)]
            same = [(self.seen(i, scale, denoise).labels == self.seen(i).labels).mean() for i in self.all]
            found.append(
                Pass(
                    scale=scale,
                    denoise=denoise,
                    pictures=self.count,
                    detail=float(np.mean([evaluate.detail(result, self.base) for result in results])) / true,
                    decoded=decoded / true,
                    lanczos=float(np.mean(enlarged)) / true,
                    distance=float(np.mean(far)),
                    other=self.other_distance,
                    same_tags=float(np.mean(same)),
                    yielded=self.yields(scale, denoise)[0] / self.count,
                    base_yield=base_yield,
                )
            )
        return found


def run(evaluation: Evaluation, denoises: Sequence[float] = DENOISES, upscalers: bool = True) -> str:
    """Draw, measure, and write report.md, results.json, hires.csv and hires.png into the folder; the report."""
    evaluation.draw_all([(1, None), *((2, denoise) for denoise in denoises), (2, None), (3, None)])
    evaluation.say("measuring")
    passes = evaluation.passes(2, denoises)
    chosen = best(passes)
    evaluation.draw_all([(3, chosen.denoise)])
    largest = evaluation.passes(3, [chosen.denoise])
    yields = {f"directly at {scale}x": evaluation.yields(scale) for scale in (1, 2, 3)}
    yields |= {f"hires fix {scale}x, denoising {chosen.denoise:g}": evaluation.yields(scale, chosen.denoise)
               for scale in (2, 3)}  # fmt: skip
    drawn, true = evaluation.tags()
    tables = upscaler_tables(evaluation) if upscalers else {}
    plan = evaluation.plan
    side = evaluation.base
    parts = [
        f"`{plan.checkpoint}` ({side}x{side}), {evaluation.count} random captions, seed {plan.seed}, "
        f"{plan.steps} steps, {plan.hires_steps} hires steps, CFG {plan.cfg:g}, upscaler {plan.upscaler}.",
        "Tags:\n\n" + evaluate.tag_table(drawn, true),
        "Yield:\n\n" + evaluate.yield_table(yields),
        "Second pass at 2x:\n\n" + evaluate.pass_table(passes),
        evaluate.ranges_line(passes),
        f"Second pass at 3x:\n\n{evaluate.pass_table(largest)}",
        *(f"`{name}`:\n\n{upscaler.as_table(scores)}" for name, scores in tables.items()),
    ]
    report = "\n\n".join(parts) + "\n"
    results = {
        "plan": evaluation.described,
        "count": evaluation.count,
        "tags": {"pictures": [asdict(score) for score in drawn], "drawings": [asdict(score) for score in true]},
        "yields": yields,
        "passes": [{**asdict(each), "range": each.range} for each in [*passes, *largest]],
        "upscalers": {
            name: {what: {method: asdict(score) for method, score in methods.items()} for what, methods in each.items()}
            for name, each in tables.items()
        },
    }
    folder = evaluation.folder
    (folder / "report.md").write_text(report, encoding="utf-8")
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (folder / "hires.csv").write_text(evaluate.pass_csv([*passes, *largest]), encoding="utf-8")
    evaluate.plot_passes(passes, folder / "hires.png")
    return report


def upscaler_tables(evaluation: Evaluation) -> dict[str, dict[str, dict[str, upscaler.Score]]]:
    """Scores of every x4 upscaler in the models folders, on held-out drawings; others are named and left out."""
    store, tables = evaluation.engine.store, {}
    for name in store.names("upscale_models"):
        model = load_upscaler(store.find("upscale_models", name))
        if model.scale != upscaler.SCALE:
            evaluation.say(f"{name} enlarges {model.scale} times, not {upscaler.SCALE}: left out")
            continue
        evaluation.say(f"measuring {name}")
        scores = upscaler.measure(model.upscale, min(evaluation.count, UPSCALED), UPSCALED_SIDE)
        tables[name] = {what: {("this upscaler" if method == "hires-pocket-x4" else method): score
                               for method, score in methods.items()} for what, methods in scores.items()}  # fmt: skip
    return tables


def sheet(evaluation: Evaluation, columns: int = 8, words: int = 3) -> Image.Image:
    """The pictures at the model's own size, as they come, each under its caption's first tags."""
    evaluation.draw_all([(1, None)])
    side, band = evaluation.base, 16
    rows = -(-evaluation.count // columns)
    whole = Image.new("RGB", (columns * (side + 4) + 4, rows * (side + band + 4) + 4), "white")
    pen = ImageDraw.Draw(whole)
    for index in evaluation.all:
        left, top = 4 + index % columns * (side + 4), 4 + index // columns * (side + band + 4)
        whole.paste(Image.fromarray(evaluation.picture(index)), (left, top))
        text = ", ".join(evaluation.request(index).prompt.split(", ")[:words])
        while text and pen.textlength(text) > side:
            text = text[:-1]
        pen.text((left, top + side + 2), text, fill=(60, 60, 66))
    return whole
