"""The pictures of the form page and of the node editor in docs/images, taken from a server with the built-in model.

python -m benchmarks.page_pictures --out docs/images
"""

from __future__ import annotations

import argparse
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from PIL import Image

DESK, PHONE, EDITOR = {"width": 1280, "height": 800}, {"width": 390, "height": 844}, {"width": 1600, "height": 600}
PROMPT, SEED = "1girl, pink hair, long hair, smile, beach, ocean, blue sky, (upper body:1.1)", "1"
PATIENCE_S, COLOURS = 300, 176
SHARE = "Number(document.querySelector('#txt2img_live .live')?.dataset.share || 0)"
SHOWN = """() => { const [canvas, graph] = [window.app.canvas, window.app.graph];
const samplers = graph._nodes.filter((node) => /KSampler/.test(node.type));
const left = Math.min(...samplers.map((node) => node.pos[0]));
canvas.ds.scale = 0.62; canvas.ds.offset = [130 - left, 175 - samplers[0].pos[1]]; canvas.setDirty(true, true); }"""
"""The editor moved to where its samplers are."""


@contextmanager
def serving(home: Path) -> Iterator[str]:
    """A server with folders of its own; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folders = [item for name in ("models", "input", "output", "data") for item in (f"--{name}-dir", str(home / name))]
    command = [sys.executable, "-m", "hires", "serve", "--port", str(port), *folders]
    server, address = subprocess.Popen(command, cwd=home), f"http://127.0.0.1:{port}/"
    try:
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            with suppress(OSError), urlopen(f"{address}page/live?kind=txt2img"):
                break
            time.sleep(0.2)
        yield address
    finally:
        server.terminate()
        server.wait(60)


def kept(page: Any, path: Path) -> None:
    """What a browser shows, as a small file."""
    picture = Image.open(BytesIO(page.screenshot())).convert("RGB")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".webp":
        picture.save(path, quality=82, method=6)
    else:
        picture.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size} bytes")


def filled(page: Any) -> None:
    """The form of txt2img with a prompt and hires fix."""
    page.wait_for_selector("#txt2img_generate")
    page.locator("#txt2img_prompt textarea").fill(PROMPT)
    page.locator("#txt2img_hires button").first.click()
    page.locator("#txt2img_hr input").check()
    upscaler = page.locator("#txt2img_hires").get_by_label("Upscaler", exact=True)
    upscaler.fill("Lanczos")
    upscaler.press("Enter")
    page.locator("#txt2img_hires").get_by_label("number input for Denoising strength", exact=True).fill("0.5")
    page.get_by_label("number input for CFG scale", exact=True).first.fill("5")
    page.locator("#txt2img_seed input").fill(SEED)
    page.keyboard.press("Tab")
    page.locator("#txt2img_hires button").first.click()
    page.evaluate("scrollTo(0, 0)")
    page.add_style_tag(content="#welcome { display: none !important; }")  # of who has no model yet


def form(browser: Any, address: str, out: Path) -> None:
    """A picture in the making, and the form with what it came to; the same on a phone."""
    page = browser.new_page(viewport=DESK, locale="en-US", color_scheme="light")
    page.set_default_timeout(PATIENCE_S * 1000)
    page.goto(address)
    page.wait_for_selector("#first_picture").click()  # the time of later ones is told by it
    page.wait_for_selector("#txt2img_gallery img")
    filled(page)
    page.click("#txt2img_generate")
    page.wait_for_function(f"{SHARE} > 0.3")
    page.wait_for_selector("#txt2img_live img[src*='page/preview']:not([hidden])")
    kept(page, out / "page" / "live.png")
    page.wait_for_selector("#txt2img_slider img >> nth=1")
    page.wait_for_function("document.querySelector('#txt2img_plan').innerText.includes('there already')")
    page.wait_for_timeout(2000)
    kept(page, out / "page" / "form.png")
    phone = browser.new_page(viewport=PHONE, locale="en-US", color_scheme="dark")
    phone.set_default_timeout(PATIENCE_S * 1000)
    phone.goto(address)
    filled(phone)
    phone.wait_for_function("document.querySelector('#txt2img_plan').innerText.includes('there already')")
    phone.wait_for_timeout(2000)
    phone.evaluate(
        "scrollTo(0, document.getElementById('txt2img_generate').getBoundingClientRect().top + scrollY - 36)"
    )
    kept(phone, out / "page" / "phone.png")


def editor(browser: Any, address: str, out: Path) -> None:
    """Two passes after a run."""
    page = browser.new_page(viewport=EDITOR, locale="en-US", color_scheme="dark", bypass_csp=True)
    page.set_default_timeout(PATIENCE_S * 1000)
    # the newer design of nodes, which hides what is advanced
    page.request.post(f"{address}settings", data={"Comfy.VueNodes.Enabled": True, "Comfy.Minimap.Visible": False})
    page.goto(f"{address}editor/?template=two_passes")
    page.wait_for_function("window.app?.graph?._nodes?.some((node) => /KSampler/.test(node.type))")
    page.wait_for_timeout(3000)
    page.evaluate(SHOWN)
    with page.expect_response(lambda answer: "/view" in answer.url and "type=output" in answer.url):
        page.get_by_role("button", name="Run").first.click()
    page.get_by_text("Job completed").wait_for()
    page.get_by_text("Job completed").wait_for(state="hidden")
    kept(page, out / "editor.webp")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", choices=("form", "editor"))
    asked = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("this needs Chromium: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as home, serving(Path(home)) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, take in (("form", form), ("editor", editor)):
            if asked.only in (None, name):
                take(browser, address, asked.out)
        browser.close()


if __name__ == "__main__":
    main()
