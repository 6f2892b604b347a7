"""What the built-in model's pictures are worth: tags, yield, detail by denoising strength, upscalers; as tables.

python -m benchmarks.quality                                   24 captions, into evaluation/ (a stopped run goes on)
python -m benchmarks.quality --count 100 --out evaluation-100
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from hires.api import Engine
from hires.evaluating import Evaluation, EvaluationPlan, run
from hires.pocket import BUILT_IN_NAME
from hires.pocket.checking import check_text
from hires.pocket.classifier import shipped_classifier
from hires.pocket.detector import shipped_detector
from hires.settings import load_settings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default=BUILT_IN_NAME)
    parser.add_argument("--models-dir", type=Path)
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--upscaler", default="Latent", help="of the second pass")
    parser.add_argument("--out", type=Path, default=Path("evaluation"))
    parser.add_argument("--device")
    args = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        settings = {"models_dir": args.models_dir, "output_dir": folder, "device": args.device}
        engine = Engine(load_settings(settings))
        plan = EvaluationPlan(args.checkpoint, args.seed, upscaler=args.upscaler)
        evaluation = Evaluation(engine, plan, args.count, args.out)
        print(run(evaluation))
        print(f"{evaluation.drawn} pictures drawn, {time.monotonic() - begun:.0f} s\n")
    print("What it is measured with, on held-out drawings:\n")
    print(check_text(shipped_classifier(), shipped_detector()))


if __name__ == "__main__":
    main()
