"""The form page in a browser, as a person uses it: one server, one browser, pictures of 64 and 128 pixels."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.server.conftest import decoded, shades
from tests.ui.conftest import PATIENCE_MS, Served

from hires.jobs.record import Job, State

SIDE = 64
ENDED = [state for state in State if state.has_ended]


@pytest.fixture(scope="module")
def page(opened: Callable[..., Any]) -> Iterator[Any]:
    page = opened()
    yield page
    assert page.wrong == []


def patiently(look: Callable[[], Any]) -> Any:
    """What is seen, once there is something."""
    until = time.monotonic() + PATIENCE_MS / 1000
    while time.monotonic() < until:
        if found := look():
            return found
        time.sleep(0.05)
    raise AssertionError("it never came")


def next_ended(served: Served, act: Callable[[], object]) -> Job:
    """The job that an action leads to, once it has ended."""
    store = served.server.desk.store
    before = {job.id for job in store.search()}
    act()
    job: Job = patiently(lambda: next((one for one in store.search(states=ENDED) if one.id not in before), None))
    return job


def pictures(served: Served, job: Job) -> list[Path]:
    return [served.server.settings.output_dir / name for name in job.results]


def number(page: Any, tab: str, label: str, value: object) -> None:
    """Type into the number of a slider."""
    page.locator(f"#tab_{tab}").get_by_label(f"number input for {label}", exact=True).fill(str(value))
    page.keyboard.press("Tab")


def small(page: Any, tab: str) -> None:
    """The least that can be drawn."""
    for label, value in (("Width", SIDE), ("Height", SIDE), ("Steps", 2)):
        number(page, tab, label, value)


def prompt(page: Any, tab: str = "txt2img") -> Any:
    return page.locator(f"#{tab}_prompt textarea")


def test_first_start_offers_the_built_in_model_and_draws_by_one_button(page: Any, served: Served) -> None:
    assert "no model of your own" in page.inner_text("#welcome")
    job = next_ended(served, lambda: page.click("#first_picture"))
    assert (job.state, job.door) == (State.DONE, "page")
    with Image.open(pictures(served, job)[0]) as drawn:
        assert drawn.size == (160, 160)
    page.wait_for_selector("#txt2img_gallery img")
    page.wait_for_function("document.querySelector('#txt2img_infotext textarea')?.value.includes('Seed: 1,')")


def test_the_page_asks_nothing_of_other_hosts(page: Any, served: Served) -> None:
    assert [one for one in page.asked if not one.startswith((served.address, "data:", "blob:"))] == []


def test_ctrl_up_and_down_weigh_the_tag_at_the_cursor(page: Any) -> None:
    box = prompt(page)
    box.fill("1girl, long hair")
    seen = []
    for key in ("Up", "Up", "Down", "Down", "Down"):
        box.press(f"Control+Arrow{key}")
        seen.append(box.input_value())
    weights = ["(long hair:1.1)", "(long hair:1.2)", "(long hair:1.1)", "long hair", "(long hair:0.9)"]
    assert seen == [f"1girl, {text}" for text in weights]
    box.fill("smile, <lora:thin:1>, beach")
    box.evaluate("box => box.setSelectionRange(12, 12)")
    box.press("Control+ArrowDown")
    assert box.input_value() == "smile, <lora:thin:0.95>, beach"


def test_ctrl_enter_draws_and_hires_fix_is_compared_by_a_slider(page: Any, served: Served) -> None:
    small(page, "txt2img")
    page.locator("#txt2img_seed input").fill("5")
    page.locator("#txt2img_hires button").first.click()
    page.locator("#txt2img_hr input").check()
    prompt(page).fill("1girl, smile")
    page.wait_for_function("document.querySelector('#txt2img_plan').innerText.includes('128×128 · 2 + 2 steps · 4')")
    job = next_ended(served, lambda: prompt(page).press("Control+Enter"))
    assert job.request["enable_hr"] and job.request["prompt"] == "1girl, smile"
    page.wait_for_selector("#txt2img_slider img >> nth=1")
    shown = page.locator("#txt2img_slider img").evaluate_all("all => all.map(one => one.naturalWidth)")
    assert sorted(set(shown)) == [SIDE, 2 * SIDE]


def test_the_line_says_what_is_there_already_and_what_is_wrong(page: Any) -> None:
    """The picture of before again: all its steps are there; then a latent upscaler that would stay blurry."""
    page.wait_for_function("document.querySelector('#txt2img_plan').innerText.includes('4 of them are there already')")
    assert "memory:" in page.inner_text("#txt2img_plan") and "about" in page.inner_text("#txt2img_plan")
    number(page, "txt2img", "Denoising strength", 0.3)
    page.wait_for_function("document.querySelector('#txt2img_plan').innerText.includes('stays blurry')")
    page.locator("#txt2img_hr input").uncheck()
    number(page, "txt2img", "Width", 1024)
    page.wait_for_function("document.querySelector('#txt2img_plan').innerText.includes('things appear twice')")
    number(page, "txt2img", "Width", SIDE)


@pytest.mark.slow  # without a GPU the browser paints for half a minute
def test_a_mask_is_painted_and_only_what_is_under_it_is_drawn_again(page: Any, served: Served, tmp_path: Path) -> None:
    source = tmp_path / "shades.png"
    shades(2 * SIDE).save(source)
    page.get_by_role("tab", name="img2img", exact=True).click()
    page.get_by_role("tab", name="Inpaint", exact=True).click()
    editor = page.locator("#img2img_inpaint")
    editor.locator("canvas").first.wait_for()
    editor.locator("input[type=file]").set_input_files(source)
    page.wait_for_function("!document.querySelector('#img2img_inpaint').innerText.includes('Drop a picture here')")
    editor.locator("button[aria-label=Brush], button[title=Brush]").first.click()
    editor.scroll_into_view_if_needed()
    box = editor.locator("canvas").first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - 20, y)
    page.mouse.down()
    page.mouse.move(x + 20, y, steps=4)
    page.mouse.up()
    editor.locator("button[title=Undo]:not([disabled]), button[aria-label=Undo]:not([disabled])").first.wait_for()
    small(page, "img2img")
    for label in ("Width", "Height"):
        number(page, "img2img", label, 2 * SIDE)
    page.locator("#img2img_seed input").fill("5")
    job = next_ended(served, lambda: page.click("#img2img_generate"))
    assert job.state is State.DONE, job.error
    mask = decoded(served.server.desk.kept.given(job.request)["mask"])
    assert mask.size == (2 * SIDE, 2 * SIDE) and mask.getpixel((SIDE, SIDE)) == 255 and mask.getpixel((4, 4)) == 0
    with Image.open(source) as before, Image.open(pictures(served, job)[0]) as after:
        assert before.convert("RGB").getpixel((4, 4)) == after.convert("RGB").getpixel((4, 4))
        assert before.convert("RGB").getpixel((SIDE, SIDE)) != after.convert("RGB").getpixel((SIDE, SIDE))
    page.wait_for_function("document.querySelector('#img2img_plan').innerText.includes('2 of them are there already')")
    sent = len([one for one in page.asked if "/upload" in one])
    next_ended(served, lambda: page.click("#img2img_generate"))
    assert len([one for one in page.asked if "/upload" in one]) == sent  # the same bytes are not sent again


def test_a_reload_in_the_middle_of_a_job_keeps_its_progress(page: Any, served: Served) -> None:
    page.get_by_role("tab", name="txt2img", exact=True).click()
    number(page, "txt2img", "Batch count", 100)
    page.click("#txt2img_generate")
    share = "Number(document.querySelector('#txt2img_live .live')?.dataset.share || 0)"
    page.wait_for_function(f"{share} > 0.03")
    seen, job = page.evaluate(f"[{share}, document.querySelector('#txt2img_live .live').dataset.job]")
    page.reload()
    page.wait_for_function(f"{share} > 0")
    after, same = page.evaluate(f"[{share}, document.querySelector('#txt2img_live .live').dataset.job]")
    assert after >= seen and same == job
    page.wait_for_selector("#txt2img_live img[src*='page/preview']:not([hidden])")
    page.click("#txt2img_stop")
    store = served.server.desk.store
    patiently(lambda: store.get(job).state is State.CANCELLED)
    page.wait_for_selector("#txt2img_live .live", state="hidden")
