"""The tabs beside txt2img and img2img in a browser: what a person does with pictures that are there, and the queue."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.gallery.pictures import drawn
from tests.recipes.drawn_grid import written_grid
from tests.ui.conftest import PATIENCE_MS, PHONE, Served

from hires.jobs.record import State
from hires.ui.words import WORDS

TINY = {"prompt": "1girl", "steps": 1, "width": 64, "height": 64, "seed": 3}
GRID = "grid_00001"
TABS = {"extras": "Extras", "gallery": "Gallery", "grids": "Grids", "png_info": "PNG info", "models": "Models",
        "queue": "Queue", "settings": "Settings"}  # fmt: skip


@pytest.fixture(scope="module")
def filled(served: Served) -> Served:
    """Outputs as a person has them: three pictures and a grid; a queue that begins nothing."""
    root = served.server.settings.output_dir
    for number, prompt in enumerate(("a red lighthouse", "an old harbour", "a cathedral of glass")):
        drawn(root, f"{number}.png", prompt, size=(320, 240), colour=(80 * number, 120, 200), changed=1e9 + number)
    folder = root / GRID
    folder.mkdir()
    record = written_grid(folder)
    (folder / "grid.json").write_text(json.dumps(record))
    served.server.desk.hold("paused")
    return served


@pytest.fixture(scope="module")
def page(filled: Served, opened: Callable[..., Any]) -> Iterator[Any]:
    page = opened()
    yield page
    assert page.wrong == []


def show(page: Any, name: str) -> None:
    page.locator("#tabs").get_by_role("tab", name=name, exact=True).first.click()


def search(page: Any, words: str, count: int) -> None:
    """Search the gallery, and wait until it says that so many are found."""
    page.fill("#gallery_words input, #gallery_words textarea", words)
    page.click("#gallery_search")
    told = f"1-{count} / {count}" if count else "0"
    page.wait_for_function(f"document.querySelector('#gallery_count').innerText.split(' · ')[0].trim() === '{told}'")


def seen(page: Any, expression: str) -> None:
    """Wait for what is true of a page whose policy lets no text become a script, as Playwright's waiting would."""
    until = time.monotonic() + PATIENCE_MS / 1000
    while not page.evaluate(f"() => {expression}"):
        assert time.monotonic() < until, f"it never came: {expression}"
        time.sleep(0.05)


def tile(page: Any, name: str) -> Any:
    return page.locator(f'#gallery_grid .tile[data-name="{name}"]')


def test_a_picture_is_found_and_sent_to_img2img(page: Any) -> None:
    show(page, "Gallery")
    tile(page, "0.png").wait_for()
    search(page, "harbour", 1)
    tile(page, "1.png").locator(".open").click()
    page.wait_for_selector("#gallery_about td:has-text('an old harbour')")
    page.wait_for_function("document.querySelector('#gallery_about img').naturalWidth === 320")
    page.click("#gallery_img2img")
    page.wait_for_selector("#img2img_generate", state="visible")
    page.wait_for_function(
        "[...document.querySelectorAll('textarea')].some((one) => one.value.includes('an old harbour'))"
    )
    page.wait_for_selector("#tab_img2img img, #tab_img2img canvas")


def test_a_picture_is_thrown_away_and_comes_back(page: Any, filled: Served) -> None:
    path = filled.server.settings.output_dir / "2.png"
    before = path.read_bytes()
    show(page, "Gallery")
    search(page, "cathedral", 1)
    tile(page, "2.png").locator(".open").click()
    page.locator("#gallery_delete").click()
    page.wait_for_function("document.querySelectorAll('#gallery_grid .tile').length === 0")
    assert not path.exists()
    page.click("#gallery_undo")
    tile(page, "2.png").wait_for()
    assert path.read_bytes() == before
    tile(page, "2.png").locator(".open").click()
    page.locator("#gallery_delete").click()
    page.wait_for_function("document.querySelectorAll('#gallery_grid .tile').length === 0")
    page.click("#gallery_trash > button")
    page.locator('#gallery_thrown .tile[data-name="2.png"] .open').click()
    tile(page, "2.png").wait_for()
    assert path.read_bytes() == before


def test_the_trash_is_emptied_once_that_is_confirmed(page: Any, filled: Served) -> None:
    gallery = filled.server.gallery
    drawn(filled.server.settings.output_dir, "gone.png", "a lost picture")
    gallery.throw(["gone.png"])
    show(page, "Queue")
    show(page, "Gallery")
    page.wait_for_function("document.querySelector('#gallery_trash > button').innerText.includes('1 picture, ')")
    if not page.locator("#trash_empty").is_visible():
        page.click("#gallery_trash > button")
    page.click("#trash_empty")
    page.wait_for_function("document.querySelector('#trash_question')?.innerText.includes('1 picture, ')")
    page.click("#trash_no")
    page.locator("#trash_empty").wait_for()
    assert len(gallery.trash.listed()) == 1
    page.click("#trash_empty")
    page.click("#trash_yes")
    page.wait_for_selector("#gallery_thrown .empty")
    assert gallery.trash.listed() == []


def test_two_pictures_are_compared_under_a_slider(page: Any) -> None:
    show(page, "Gallery")
    for word, name in (("lighthouse", "0.png"), ("harbour", "1.png")):
        search(page, word, 1)
        tile(page, name).locator(".mark").click()
    link = page.locator("#gallery_marked a")
    with page.context.expect_page() as found:
        link.click()
    other = found.value
    other.wait_for_selector("#compare[open] #divider")
    seen(other, "[...document.querySelectorAll('#stage img')].every((one) => one.naturalWidth === 320)")
    other.locator('#compare button[data-mode="flicker"]').click()
    assert other.locator("#stage").get_attribute("data-mode") == "flicker"
    other.close()


def test_quick_clicks_all_count(page: Any) -> None:
    show(page, "Gallery")
    search(page, "320", 0)
    search(page, "Model: pocket", 3)
    page.evaluate("() => { for (const one of document.querySelectorAll('#gallery_grid .mark')) one.click(); }")
    marked = "[...document.querySelectorAll('#gallery_grid .tile')].filter((one) => one.matches('.marked')).length"
    count = page.evaluate(marked)
    page.wait_for_function(f"document.querySelector('#gallery_marked')?.innerText.startsWith('{count} ')")


def test_a_grid_is_opened_in_its_viewer(page: Any) -> None:
    show(page, "Grids")
    card = page.locator("#grids_list .card")
    card.wait_for()
    assert "22 / 24 cells" in card.inner_text() and "1 failed" in card.inner_text()
    with page.context.expect_page() as found:
        card.get_by_role("link", name="Open").click()
    viewer = found.value
    viewer.wait_for_selector("#table .cell")
    viewer.get_by_role("tab", name="All").click()
    assert viewer.locator("#table .cell").count() == 24
    seen(viewer, "document.querySelector('#table img').naturalWidth > 0")
    viewer.close()


def test_a_new_grid_is_followed_and_stopped_on_its_own_tab(page: Any, filled: Served) -> None:
    store = filled.server.desk.store
    show(page, "Grids")
    page.locator("#grids_x input").fill("Seed")
    page.keyboard.press("Enter")
    page.locator("#grids_x_values textarea, #grids_x_values input").first.fill("1, 2")
    page.keyboard.press("Tab")
    page.click("#grids_start")
    page.wait_for_function("document.querySelector('#grid_live .live:not([hidden])')?.innerText.includes('place 1')")
    assert page.evaluate("document.querySelector('#txt2img_live .live').hidden")
    [job] = store.waiting()
    assert (job.kind, job.request["script_name"]) == ("txt2img", "x/y/z plot")
    page.click("#grids_stop")
    page.wait_for_selector("#grid_live .live", state="hidden")
    assert store.get(job.id).state is State.CANCELLED


def test_jobs_are_paused_moved_cancelled_and_tried_again(page: Any, filled: Served) -> None:
    desk = filled.server.desk
    first, second = (desk.submit("txt2img", TINY, title=title, door="page") for title in ("first", "second"))
    show(page, "Queue")

    def job(title: str) -> Any:
        return page.locator("#queue_list .job", has=page.locator(".title", has_text=re.compile(f"^{title}$")))

    def states() -> list[State]:
        return [desk.store.get(one.id).state for one in (first, second)]

    page.wait_for_selector("#queue_list .held")
    job("second").get_by_role("button", name="To the front").click()
    page.wait_for_function(
        "[...document.querySelectorAll('#queue_list .title')].map((e) => e.innerText)[0] === 'second'"
    )
    assert [one.id for one in desk.store.waiting()] == [second.id, first.id]
    job("first").get_by_role("button", name="Pause").click()
    page.wait_for_selector("#queue_list .job.paused")
    job("second").get_by_role("button", name="Cancel").click()
    page.wait_for_selector("#queue_list .job.cancelled")
    assert states() == [State.PAUSED, State.CANCELLED]
    job("second").get_by_role("button", name="Try again").click()
    page.wait_for_selector("#queue_list .job.waiting")
    page.reload()
    page.wait_for_selector("#txt2img_generate")
    show(page, "Queue")
    page.wait_for_selector("#queue_list .job.waiting")
    page.locator("#queue_list .held button").click()
    page.wait_for_selector("#queue_list .job.done", timeout=PATIENCE_MS)
    job("first").get_by_role("button", name="Go on").click()
    page.wait_for_function("document.querySelectorAll('#queue_list .job.done').length === 2")
    assert states() == [State.DONE, State.DONE]
    page.fill("#queue_list .words", "no such words")
    page.wait_for_function("document.querySelectorAll('#queue_list .job').length === 0")


def test_extras_enlarges_what_png_info_sends(page: Any, filled: Served) -> None:
    show(page, "PNG info")
    path = filled.server.settings.output_dir / "0.png"
    page.set_input_files("#png_info_picture input[type=file]", str(path))
    page.wait_for_selector("#png_info_about td:has-text('a red lighthouse')")
    page.click("#png_info_extras")
    page.wait_for_selector("#extras_picture img")
    page.locator("#extras_upscaler input").fill("Lanczos")
    page.keyboard.press("Enter")
    page.click("#extras_start")
    page.wait_for_selector("#extras_gallery img")
    [job] = [job for job in filled.server.desk.store.search() if job.kind == "extras"]
    assert job.state is State.DONE and len(job.results) == 1 and job.results[0].startswith("0")


def test_a_file_that_comes_while_the_page_is_open_is_offered(page: Any, filled: Served) -> None:
    folder = filled.home / "models" / "upscale_models"
    folder.mkdir(parents=True)
    show(page, "Extras")
    field = page.locator("#extras_upscaler input")
    chosen = field.input_value()
    (folder / "Dropped.pth").write_bytes(b"weights")
    page.click("#extras_refresh")
    page.wait_for_function("!document.querySelector('#extras_refresh').disabled")
    field.click()
    page.locator("ul[role=listbox] li", has_text="Dropped").wait_for()
    field.press("Escape")
    assert field.input_value() == chosen
    assert page.locator("#extras_refresh").get_attribute("aria-label") == "Read the lists of models and styles anew"


def test_settings_are_saved_and_told_to_programs(page: Any, filled: Served) -> None:
    show(page, "Settings")
    field, waited = page.locator("#option_jpeg_quality input"), 0
    field.fill("91")
    while waited < 1000:  # a page that still loads fills in what the settings were
        page.wait_for_timeout(100)
        waited += 100
        if field.input_value() != "91":
            field.fill("91")
            waited = 0
    page.keyboard.press("Tab")
    page.click("#settings_save")
    page.wait_for_selector("text=The settings are saved.")
    assert page.request.get(f"{filled.address}sdapi/v1/options").json()["jpeg_quality"] == 91


def test_every_tab_fits_a_phone_in_the_dark_and_speaks_korean(filled: Served, opened: Callable[..., Any]) -> None:
    page = opened(viewport=PHONE, color_scheme="dark", locale="ko-KR", has_touch=True)
    assert page.inner_text("#txt2img_generate") == "생성"
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    bottom = page.locator("#txt2img_gallery").bounding_box()
    assert bottom["y"] < page.locator("#txt2img_width").bounding_box()["y"], "results stand below the buttons"
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)")
    assert max(dark) < 60
    page.locator("#tabs .overflow-menu > button").first.wait_for()  # which takes the tabs that do not fit
    for id, name in TABS.items():
        if page.locator(f"#tab_{id}-button").is_visible():
            page.click(f"#tab_{id}-button")
        else:
            page.locator("#tabs .overflow-menu > button").first.click()
            page.locator("#tabs .overflow-dropdown button").get_by_text(WORDS[name]["ko"], exact=True).first.evaluate(
                "(one) => one.click()"
            )
        page.wait_for_selector(f"#tab_{id}", state="visible")
        assert page.locator(f"#tab_{id}-button").inner_text() == WORDS[name]["ko"]
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert page.wrong == []
