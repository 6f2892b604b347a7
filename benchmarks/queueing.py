"""How long adding a job takes while another is drawn, over HTTP: `python -m benchmarks.queueing`.

A job of the built-in model is drawn in one thread; meanwhile jobs of both dialects are added, and what costs nothing is
asked, one request after the other.
"""

from __future__ import annotations

import argparse
import base64
import tempfile
import threading
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import requests
import uvicorn
from PIL import Image

from hires.server.app import create_app
from hires.server.serving import EndingServer, listen
from hires.settings import Settings

DRAWN = {"prompt": "1girl, beach", "steps": 400, "width": 256, "height": 256, "sampler_name": "Euler a", "seed": 1}
LIGHT = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": 1}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "one"}},
}


def milliseconds(url: str, body: dict[str, Any] | None, count: int) -> list[float]:
    """What each of so many requests took."""
    found = []
    for _ in range(count):
        began = time.perf_counter()
        answer = requests.get(url, timeout=60) if body is None else requests.post(url, json=body, timeout=60)
        answer.raise_for_status()
        found.append((time.perf_counter() - began) * 1000)
    return sorted(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=50)
    count = parser.parse_args().count
    with tempfile.TemporaryDirectory() as name:
        models, inputs, outputs, cache, user = (Path(name) / kind for kind in ("models", "in", "out", "cache", "user"))
        app = create_app(Settings(models, inputs, outputs, cache, device="cpu", user_dir=user))
        listening = listen("127.0.0.1", 0)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        server = EndingServer(uvicorn.Config(app, log_level="error"), app.state.server.work.close)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        milliseconds(f"{url}/hires/v1/jobs", {"kind": "txt2img", "request": DRAWN}, 1)
        while requests.get(f"{url}/sdapi/v1/progress", timeout=60).json()["state"]["sampling_step"] < 2:
            time.sleep(0.1)
        out = BytesIO()
        Image.effect_noise((512, 512), 80).save(out, format="PNG")
        over = {**DRAWN, "init_images": [base64.b64encode(out.getvalue()).decode()]}
        jobs = f"{url}/hires/v1/jobs"
        for title, place, body in (
            ("ping", f"{url}/internal/ping", None),
            ("add txt2img", jobs, {"kind": "txt2img", "request": DRAWN}),
            ("add img2img with a picture", jobs, {"kind": "img2img", "request": over}),
            ("add a ComfyUI prompt", f"{url}/prompt", {"prompt": LIGHT}),
            ("list the queue", f"{url}/hires/v1/queue", None),
        ):
            taken = milliseconds(place, body, count)
            print(f"{title:28} median {taken[count // 2]:6.1f} ms, most {taken[-1]:6.1f} ms")
        assert requests.get(f"{url}/sdapi/v1/progress", timeout=60).json()["state"]["sampling_step"], "it draws still"
        server.handle_exit(2, None)
        thread.join()


if __name__ == "__main__":
    main()
