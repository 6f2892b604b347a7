"""Memory budgets from small to large: what was predicted, what was needed, and what was refused before it began.

Every run is a process of its own, so that its peak can be read. Peaks are those of the whole process (VmHWM); the
second ratio leaves out what the process held before it loaded a model.

python -m benchmarks.budget                                    the built-in model
python -m benchmarks.budget --full sd15                        random weights in a family's full layout, float16
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.measure import make_checkpoint, peak_megabytes
from hires.api import Engine, HiresFix, Txt2Img
from hires.errors import MemoryLimitError
from hires.models.budget import MEGABYTE
from hires.recipes.txt2img import txt2img
from hires.settings import Settings

TARGETS = {"built-in": ((256, 2.0), (512, 2.0), (768, 2.0)), "full": ((256, 1.0), (256, 2.0), (512, 2.0))}
"""Base size in pixels, and the factor of the second pass (1: none)."""
BUDGETS = {"built-in": (900, 1050, 1200, 1500, 2500, 5000), "full": (1500, 2500, 3000, 3500, 4500, 8000)}
"""MB."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", help="a family: sd15, sd21, sdxl_base ...")
    parser.add_argument("--budgets", help="MB, with commas")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(one_run(**json.loads(args.child))))
        return
    kind = "full" if args.full else "built-in"
    budgets = [int(text) for text in args.budgets.split(",")] if args.budgets else BUDGETS[kind]
    print("| target | budget MB | predicted MB | measured MB | ratio | ratio beyond the start | how |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder)
        if args.full:
            make_checkpoint(args.full, models, "float16")
        for base, scale in TARGETS[kind]:
            for budget in budgets:
                job = {"models": folder, "checkpoint": args.full, "base": base, "scale": scale, "budget": budget}
                print(line(run_child({**job, "steps": args.steps}), base, scale, budget), flush=True)


def run_child(job: dict[str, Any]) -> dict[str, Any]:
    """The result of a run in a process of its own."""
    words = [sys.executable, "-m", "benchmarks.budget", "--child", json.dumps(job)]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-1] if done.stderr else str(done.returncode)}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def one_run(models: str, checkpoint: str | None, base: int, scale: float, budget: int, steps: int) -> dict[str, Any]:
    """Predicted and measured peak of one picture, in MB; or the words of its refusal."""
    with tempfile.TemporaryDirectory() as outputs:
        settings = Settings(models_dir=Path(models), output_dir=Path(outputs), device="cpu", memory=f"{budget}MB")
        engine = Engine(settings)
        begun = engine.budget.begun / MEGABYTE
        hires = HiresFix("Lanczos", scale, steps=steps, denoise=0.5) if scale > 1 else None
        request = Txt2Img(
            "1girl, beach", checkpoint=checkpoint, width=base, height=base, steps=steps, seed=1, hires=hires
        )
        request, facts = engine.prepare(request)
        try:
            forecast = engine.forecast(txt2img(request, facts))
        except MemoryLimitError as error:
            return {"refused": str(error), "measured": peak_megabytes(), "begun": begun}
        engine.txt2img(request)
        how = forecast.describe().partition(": ")[2].partition(": ")[2]
        return {"predicted": forecast.peak / MEGABYTE, "measured": peak_megabytes(), "begun": begun, "how": how}


def line(found: dict[str, Any], base: int, scale: float, budget: int) -> str:
    """A row of the table."""
    side = int(base * scale)
    target = f"{side}x{side}" + (f" from {base}x{base}" if scale > 1 else "")
    if "failed" in found:
        return f"| {target} | {budget} | | | | | FAILED: {found['failed']} |"
    if "refused" in found:
        return f"| {target} | {budget} | refused | {found['measured']:.0f} | | | {found['refused']} |"
    predicted, measured, begun = found["predicted"], found["measured"], found["begun"]
    beyond = (predicted - begun) / max(measured - begun, 1)
    over = " EXCEEDED" if measured > budget else ""
    ratio = f"{predicted / measured:.2f} | {beyond:.2f}"
    return f"| {target} | {budget} | {predicted:.0f} | {measured:.0f}{over} | {ratio} | {found['how']} |"


if __name__ == "__main__":
    main()
