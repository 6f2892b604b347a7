from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageColor

from hires.imaging.legends import ACTIVE, INACTIVE, Legend, in_a_row, with_legend

RED, BLUE = (255, 0, 0), (0, 0, 255)


def picture(colour: tuple[int, int, int], width: int = 100, height: int = 150) -> Image.Image:
    return Image.new("RGB", (width, height), colour)


def test_measures_are_the_web_uis() -> None:
    """Letters of (width + height) // 25, a band of three quarters of a cell beside, the tallest legend above."""
    legend = Legend(300, 200, [[("one", True)], [("two", True), ("three", False)]], [[("row", True)]], margin=10)
    assert (legend.letters, legend.gap, legend.left) == (20, 10, 225)
    assert legend.top == 2 * 20 + 10 + 2 * 10
    assert legend.size == (225 + 2 * 300 + 10, legend.top + 200)
    assert legend.place(1, 0) == (225 + 310, legend.top)


def test_without_texts_there_are_no_bands() -> None:
    sheet = with_legend([[picture(RED), picture(BLUE)]], [(), ()], [()])
    assert sheet.size == (200, 150)
    assert sheet.getpixel((0, 0)) == RED and sheet.getpixel((199, 149)) == BLUE


def test_smaller_pictures_lie_in_the_middle_and_missing_ones_stay_bare() -> None:
    sheet = with_legend([[picture(RED), picture(BLUE, 50, 50)], [None, picture(RED)]], [(), ()], [(), ()], margin=10)
    assert sheet.size == (210, 310)
    assert sheet.getpixel((110 + 50, 75)) == BLUE and sheet.getpixel((110 + 20, 75)) == (255, 255, 255)
    assert sheet.getpixel((50, 160 + 75)) == (255, 255, 255) and sheet.getpixel((105, 10)) == (255, 255, 255)


def inks(sheet: Image.Image, box: tuple[int, int, int, int]) -> set[tuple[int, ...]]:
    pixels = np.asarray(sheet.crop(box)).reshape(-1, 3)
    return {tuple(int(value) for value in pixel) for pixel in np.unique(pixels, axis=0)}


def test_what_does_not_apply_is_grey_and_struck_through() -> None:
    def sheet(applies: bool) -> Image.Image:
        return with_legend([[picture(RED, 300, 300)]], [[("a tree", applies)]], [()])

    top = sheet(True).height - 300
    there, not_there = (sheet(applies).crop((0, 0, 300, top)) for applies in (True, False))
    assert ImageColor.getrgb(ACTIVE) in inks(there, (0, 0, 300, top))
    assert ImageColor.getrgb(INACTIVE) in inks(not_there, (0, 0, 300, top))
    assert ImageColor.getrgb(ACTIVE) not in inks(not_there, (0, 0, 300, top))
    grey = np.asarray(not_there.convert("L")) < 200
    black = np.asarray(there.convert("L")) < 200
    assert grey.sum(axis=1).max() > 1.5 * black.sum(axis=1).max()  # the line is the widest row


@pytest.mark.parametrize("text", ["word " * 12, "unbreakable" * 6])
def test_long_texts_are_wrapped_or_shrunk_into_their_cell(text: str) -> None:
    sheet = with_legend([[picture(RED, 200, 100)] * 2], [[(text, True)], ()], [()])
    top = sheet.height - 100
    dark = np.asarray(sheet.crop((0, 0, 400, top)).convert("L")) < 128
    assert dark[:, :200].any() and not dark[:, 202:].any()


@given(st.lists(st.sampled_from(["a", "word", "longer words", "x" * 30]), max_size=5), st.integers(20, 300))
def test_wrapping_loses_no_word(words: list[str], room: int) -> None:
    text = " ".join(words)
    lines = Legend(200, 200, [], []).wrapped([(text, True)], room)
    assert " ".join(line for line, _ in lines).split() == text.split()


def test_grids_stand_in_a_row_under_their_titles() -> None:
    one, two = picture(RED), picture(BLUE)
    assert in_a_row([one], [()]) is one
    row = in_a_row([one, two], [[("Z: 1", True)], [("Z: 2", True)]], margin=6)
    assert row.width == 206 and row.height > 150
    assert row.getpixel((0, row.height - 1)) == RED and row.getpixel((205, row.height - 1)) == BLUE
