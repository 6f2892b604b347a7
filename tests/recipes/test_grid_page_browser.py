"""The page of a grid in a browser, from its file: table, ranking, comparison with joint zoom, keyboard, phones."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.recipes.drawn_grid import EVIL, FAILED, SIDE, WAITING, written_grid

from hires.recipes.grids.page import write_page

sync_api = pytest.importorskip("playwright.sync_api", reason="the tests of pages need playwright (hires[dev])")

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="the tests of pages need Chromium: apt-get install chromium")
DESK, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
Page = Any


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("grid of #1")
    return write_page(folder, written_grid(folder)).as_uri()


@pytest.fixture
def errors() -> list[str]:
    return []


def opened(browser: Any, address: str, errors: list[str], viewport: dict[str, int], **options: Any) -> Page:
    page = browser.new_page(viewport=viewport, **options)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(address)
    return page


@pytest.fixture
def page(browser: Any, address: str, errors: list[str]) -> Iterator[Page]:
    page = opened(browser, address, errors, DESK)
    yield page
    page.close()
    assert not errors


def pick(page: Page, x: int, y: int, z: int = 0) -> Any:
    return page.locator(f'#table [data-x="{x}"][data-y="{y}"][data-z="{z}"] .pick')


def compared(page: Page, mode: str) -> None:
    pick(page, 0, 0).click()
    pick(page, 2, 0).click()
    page.locator(f'#compare button[data-mode="{mode}"]').click()


def places(page: Page) -> list[list[float]]:
    """Where the two pictures lie in their panes: left, top, width, height."""
    found: list[list[float]] = page.evaluate(
        """[...document.querySelectorAll('#stage .pane')].map((pane) => {
            const [a, b] = [pane.getBoundingClientRect(), pane.querySelector('img').getBoundingClientRect()];
            return [b.left - a.left, b.top - a.top, b.width, b.height];
        })"""
    )
    return found


def test_every_cell_is_in_the_table_and_every_picture_loads(page: Page) -> None:
    page.get_by_role("tab", name="All").click()
    assert page.locator("#table .cell").count() == 24
    assert page.locator("#table .cell img").count() == 22
    page.locator("#table img").evaluate_all(
        "all => Promise.all(all.map((each) => { each.loading = 'eager'; return each.decode(); }))"
    )
    assert page.locator("#table img").evaluate_all("all => all.map((each) => each.naturalWidth)") == [2 * SIDE] * 22
    assert pick(page, *WAITING).inner_text() == "not drawn yet"
    assert pick(page, *FAILED).inner_text() == "failed"
    assert page.locator("#facts").inner_text().replace("\xa0", " ").startswith("24 cells · 1 not drawn yet · 1 failed")


def test_labels_and_hostile_texts_are_texts(page: Page) -> None:
    assert page.locator("#table thead th").all_inner_texts() == ["0.2", "0.4", "0.6", "0.8"]
    assert page.locator("#table tbody th").all_inner_texts() == ["Latent", "R-ESRGAN 4x+ Anime6B", "<b>None</b>"]
    assert page.title() == page.locator("h1").inner_text() == "Hires denoising, upscaler & sampler <i>"
    page.locator("#table .info").first.click()
    assert page.locator("#details pre").inner_text().startswith(EVIL)
    page.locator("#base summary").click()
    assert EVIL in page.locator("#base").inner_text()
    assert page.evaluate("window.harmed") is None


def test_colouring_by_a_measure_follows_its_numbers(page: Page) -> None:
    page.locator("#colour").select_option("sharpness")
    parts = page.locator("#table tbody tr").first.locator(".strip")
    shares = parts.evaluate_all("all => all.map((each) => parseFloat(each.style.getPropertyValue('--heat')))")
    numbers = [
        float(text.split()[0]) for text in page.locator("#table tbody tr").first.locator(".value").all_inner_texts()
    ]
    assert shares == sorted(shares) and numbers == sorted(numbers) and shares[-1] - shares[0] > 80
    grounds = parts.evaluate_all("all => all.map((each) => getComputedStyle(each).backgroundColor)")
    assert len(set(grounds)) == 4
    page.locator("#colour").select_option("")
    assert page.locator("#table .heat").count() == 0 and page.locator("#legend").is_hidden()


def test_the_ranking_sorts_by_any_measure_both_ways(page: Page) -> None:
    page.locator("#as-list").click()
    assert page.locator("#list tbody tr").count() == 24
    column = page.locator("#list thead th").all_inner_texts().index("content kept")

    def numbers() -> list[float | None]:
        texts = page.locator(f"#list tbody td:nth-child({column + 1})").all_inner_texts()
        return [None if text == "–" else float(text) for text in texts]

    page.locator('[data-sort="content"]').click()
    falling = numbers()
    assert falling[22:] == [None, None]
    assert falling[:22] == sorted(falling[:22], reverse=True) and falling[0] != falling[21]
    page.locator('[data-sort="content"]').click()
    rising = numbers()
    assert rising[22:] == [None, None] and rising[:22] == falling[:22][::-1]
    assert page.locator('th[aria-sort="ascending"]').inner_text().startswith("content kept")
    page.locator("#sort").select_option("order")
    assert page.locator("#list tbody tr").evaluate_all("all => all.map((each) => Number(each.dataset.at))") == list(
        range(24)
    )


def test_two_clicks_open_the_comparison(page: Page) -> None:
    pick(page, 0, 0).click()
    assert page.locator("#tray").is_visible() and not page.locator("#compare").is_visible()
    pick(page, 2, 0).click()
    assert page.locator("#compare").is_visible()
    assert page.locator("#cell-a option:checked").inner_text().startswith("Denoising: 0.2")
    assert page.locator("#cell-b option:checked").inner_text().startswith("Denoising: 0.6")
    assert page.locator(".verdict").inner_text().startswith("Visibly different")
    page.keyboard.press("Escape")
    page.locator("#compare").wait_for(state="hidden")
    assert page.locator(".chosen").count() == 2


def test_zoom_and_pan_are_joint(page: Page) -> None:
    compared(page, "side")
    fit = places(page)
    assert fit[0] == pytest.approx(fit[1])
    box = page.locator("#stage .pane.b").bounding_box()
    page.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 0.5 * box["height"])
    page.mouse.wheel(0, -600)
    near = places(page)
    assert near[0] == pytest.approx(near[1]) and near[0][2] > 3 * fit[0][2]
    # what lay under the pointer still lies under it
    where = [(0.75 * box["width"] - left) / width for left, _, width, _ in (fit[0], near[0])]
    assert where[0] == pytest.approx(where[1], abs=0.01)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.75 * box["width"] - 40, box["y"] + 0.5 * box["height"] + 25, steps=4)
    page.mouse.up()
    dragged = places(page)
    assert dragged[0] == pytest.approx(dragged[1])
    assert [dragged[0][0] - near[0][0], dragged[0][1] - near[0][1]] == pytest.approx([-40, 25], abs=1)
    page.keyboard.press("ArrowRight")
    assert places(page)[1][0] < dragged[1][0]
    page.keyboard.press("0")
    assert places(page)[1] == pytest.approx(fit[1])
    page.keyboard.press("1")
    assert (
        places(page)[0][2:] == pytest.approx([2 * SIDE, 2 * SIDE]) and page.locator("#percent").inner_text() == "100 %"
    )


def test_the_slider_moves_by_mouse_and_by_keyboard(page: Page) -> None:
    compared(page, "slider")
    line = page.locator("#divider")

    def clip() -> str:
        return str(page.locator("#stage .pane.b").evaluate("each => getComputedStyle(each).clipPath"))

    assert line.get_attribute("aria-valuenow") == "50" and "50%" in clip()
    box, stage = line.bounding_box(), page.locator("#stage").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(stage["x"] + 0.2 * stage["width"], box["y"] + 40, steps=4)
    page.mouse.up()
    assert line.get_attribute("aria-valuenow") == "20" and "20%" in clip()
    line.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("PageUp")
    assert line.get_attribute("aria-valuenow") == "32"
    page.keyboard.press("End")
    assert line.get_attribute("aria-valuenow") == "100"


def test_flicker_shows_one_and_the_other(page: Page) -> None:
    compared(page, "flicker")

    def shown() -> str:
        return str(page.locator("#stage .pane.b").evaluate("each => getComputedStyle(each).visibility"))

    for wanted in ("visible", "hidden", "visible"):  # it plays by itself
        page.wait_for_function(
            "wanted => getComputedStyle(document.querySelector('#stage .pane.b')).visibility === wanted", arg=wanted
        )
    page.locator("#stage").focus()
    page.keyboard.press("Space")  # shows the other, and stays
    assert page.locator("#play").inner_text() == "Play"
    before = shown()
    page.keyboard.press("Space")
    assert {before, shown()} == {"visible", "hidden"}
    page.keyboard.press("+")
    assert places(page)[0] == pytest.approx(places(page)[1])


def test_who_asked_for_less_motion_starts_flicker_himself(browser: Any, address: str, errors: list[str]) -> None:
    page = opened(browser, address, errors, DESK, reduced_motion="reduce")
    compared(page, "flicker")
    assert page.locator("#play").inner_text() == "Play"
    page.close()


def test_difference_modes_and_stepping_through_cells(page: Page) -> None:
    compared(page, "difference")
    assert page.locator("#stage .pane.b").evaluate("each => getComputedStyle(each).mixBlendMode") == "difference"
    page.locator("#stage").focus()
    page.keyboard.press("]")
    assert page.locator("#cell-b option:checked").inner_text().startswith("Denoising: 0.8")
    page.keyboard.press("x")
    assert page.locator("#cell-a option:checked").inner_text().startswith("Denoising: 0.8")
    for key, mode in (("b", "side"), ("s", "slider"), ("f", "flicker"), ("d", "difference")):
        page.keyboard.press(key)
        assert page.locator("#stage").get_attribute("data-mode") == mode


def test_cells_that_cannot_be_told_apart_are_marked(page: Page) -> None:
    assert page.locator('[data-x="0"][data-y="0"] .same.below').inner_text() == "="
    assert page.locator('[data-x="1"][data-y="0"] .same.below').inner_text() == "≈"
    assert page.locator('[data-x="2"][data-y="0"] .same.right').count() == 0
    assert page.locator('[data-x="2"][data-y="0"] .same.below').count() == 0
    pick(page, 0, 0).click()
    assert pick(page, 0, 1).locator(".badge").inner_text() == "= A"
    pick(page, 0, 1).click()
    assert page.locator(".verdict").inner_text() == "The same picture, pixel for pixel."
    page.locator("#cell-a").select_option(label="Denoising: 0.4, Hires upscaler: Latent, Sampler: Euler a")
    page.locator("#cell-b").select_option(
        label="Denoising: 0.4, Hires upscaler: R-ESRGAN 4x+ Anime6B, Sampler: Euler a"
    )
    assert page.locator(".verdict").inner_text().startswith("No visible difference")
    page.keyboard.press("Escape")
    page.locator("#marks").uncheck()
    assert page.locator(".same, .alike").count() == 0


def test_a_cell_is_compared_with_its_first_pass(page: Page) -> None:
    page.locator("#table .info").nth(3).click()
    page.get_by_role("button", name="Compare with its first pass").click()
    assert page.locator("#picture-a option:checked").inner_text() == "first pass"
    widths = page.locator("#stage img").evaluate_all("all => all.map((each) => [Number(each.getAttribute('width'))])")
    assert widths == [[SIDE], [2 * SIDE]]
    page.keyboard.press("+")
    assert places(page)[0] == pytest.approx(places(page)[1])


def test_the_infotext_is_copied(browser: Any, address: str, errors: list[str]) -> None:
    context = browser.new_context(viewport=DESK, permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.goto(address)
    page.locator("#table .info").nth(1).click()
    page.get_by_role("button", name="Copy").click()
    page.get_by_role("button", name="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()").splitlines()[0] == EVIL
    context.close()


def test_everything_can_be_reached_by_keyboard(page: Page) -> None:
    pick(page, 0, 0).focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("({ ...document.activeElement.closest('.cell').dataset })") == {"x": "1", "y": "1", "z": "0"}
    page.keyboard.press("Enter")
    page.keyboard.press("i")
    assert "Denoising: 0.4" in page.locator("#details h2").inner_text()
    page.keyboard.press("Enter")  # on its close button
    assert page.locator("#details").is_hidden()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert page.locator("#compare").is_visible()
    assert page.evaluate("document.activeElement.dataset.mode") == "side"
    page.keyboard.press("Escape")
    page.wait_for_function("document.activeElement.closest('.cell')?.dataset.x === '2'")
    page.get_by_role("tab", selected=True).focus()
    page.keyboard.press("ArrowRight")
    assert page.get_by_role("tab", selected=True).inner_text() == "Sampler: DPM++ 2M"


def test_the_plot_is_in_the_page(page: Page) -> None:
    assert page.locator("#plots h2").inner_text() == "Measures over Denoising"
    assert page.locator("#plots svg").count() == 4  # no seams were measured
    assert page.locator("#plots svg").first.locator("circle").count() == 22
    assert page.locator("#plot-legend li").count() == 6
    strokes = page.locator("#plot-legend i").evaluate_all(
        "all => all.map((each) => getComputedStyle(each).backgroundColor)"
    )
    assert len(set(strokes)) == 6


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_are_followed_and_can_be_chosen(
    browser: Any, address: str, errors: list[str], scheme: str
) -> None:
    page = opened(browser, address, errors, DESK, color_scheme=scheme)

    def ground() -> int:
        color = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(map(int, re.findall(r"\d+", color)[:3]))

    def is_dark() -> bool:
        return ground() < 200

    assert is_dark() == (scheme == "dark")
    page.locator("#theme").click()
    assert not is_dark()
    page.locator("#theme").click()
    assert is_dark()
    page.close()
    assert not errors


def test_a_phone_sees_everything_without_scrolling_the_page_sideways(
    browser: Any, address: str, errors: list[str]
) -> None:
    page = opened(browser, address, errors, PHONE, has_touch=True)

    def fits() -> bool:
        return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))

    assert fits()
    pick(page, 0, 0).tap()
    page.locator("#table .info").first.tap()
    assert page.locator("#details").bounding_box()["width"] == PHONE["width"] and fits()
    page.locator("#details button[aria-label=Close]").tap()
    pick(page, 0, 1).tap()
    panes = [page.locator(f"#stage .pane.{side}").bounding_box() for side in "ab"]
    assert panes[0]["y"] < panes[1]["y"] and panes[0]["x"] == panes[1]["x"] and panes[1]["height"] > 150
    for mode in ("slider", "flicker", "difference"):
        button = page.locator(f'#compare button[data-mode="{mode}"]')
        button.tap()
        assert button.bounding_box()["height"] >= 32
        stage = page.locator("#stage").bounding_box()
        assert stage["x"] >= 0 and stage["x"] + stage["width"] <= PHONE["width"] and stage["height"] > 250
    page.locator("#close-compare").tap()
    page.locator("#as-list").tap()
    assert fits() and page.locator("#list .caption").first.is_visible()
    page.close()
    assert not errors


def test_embedded_pictures_work_alone(browser: Any, errors: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "grid"
    grid = written_grid(folder, samplers=1)
    alone = shutil.move(write_page(folder, grid, pictures="embedded"), tmp_path / "alone.html")
    page = opened(browser, Path(alone).as_uri(), errors, DESK)
    page.locator("#table img").evaluate_all("all => Promise.all(all.map((each) => each.decode()))")
    assert page.locator("#table img").count() == 12 and page.locator("#tabs").is_hidden()
    compared(page, "slider")
    page.close()
    assert not errors
