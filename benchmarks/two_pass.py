"""Base pass and hires pass, timed apart from loading and decoding; denoiser calls and peak memory.

python -m benchmarks.two_pass                                  the built-in model, 128 -> 256
python -m benchmarks.two_pass --checkpoint X --models-dir models --size 512 --scale 2
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.measure import NodeTimes, peak_megabytes
from hires.api import Engine, HiresFix, Txt2Img
from hires.settings import load_settings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint")
    parser.add_argument("--models-dir", type=Path)
    parser.add_argument("--size", type=int, default=0, help="pixels a side of the base pass; 0 = the model's own")
    parser.add_argument("--scale", type=float, default=2.0)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--hires-steps", type=int, default=12)
    parser.add_argument("--denoise", type=float, default=0.5)
    parser.add_argument("--upscaler", default="Latent")
    parser.add_argument("--device")
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = {"models_dir": args.models_dir, "output_dir": folder, "device": args.device}
        engine = Engine(load_settings(settings))
        hires = HiresFix(args.upscaler, args.scale, steps=args.hires_steps, denoise=args.denoise)
        request = Txt2Img(
            prompt="1girl, pink hair, smile, beach",
            checkpoint=args.checkpoint,
            width=args.size,
            height=args.size,
            steps=args.steps,
            hires=hires,
        )
        idle = peak_megabytes()
        print(
            f"{'run':>4} {'load s':>8} {'text s':>8} {'base s':>8} {'hires s':>8} {'hires/base':>10} {'VAE s':>8} calls"
        )
        for run in range(args.repeat):
            times = NodeTimes()
            counts = engine.txt2img(replace(request, seed=run), on_event=times).counts
            load, text = sum(times.of("CheckpointLoaderSimple")), sum(times.of("CLIPTextEncode"))
            base, second = times.of("KSampler")
            vae = sum(times.of("VAEDecode") + times.of("VAEEncode"))
            row = f"{run:>4} {load:>8.2f} {text:>8.2f} {base:>8.2f} {second:>8.2f} {second / base:>10.2f} {vae:>8.2f}"
            print(f"{row} {counts.denoiser_calls}")
        print(f"peak memory {peak_megabytes():.0f} MB, of which {idle:.0f} MB before anything was loaded")


if __name__ == "__main__":
    main()
