"""A grid of pictures with labels above the columns and beside the rows, on white."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

INK, PAPER = "black", "white"
LINE = 1.5
"""Height of a label by the height of its letters."""
MARGIN = 0.9
"""The share of its room that a label may fill."""


def labelled_grid(
    columns: Sequence[Sequence[Image.Image]],
    above: Sequence[str] | None,
    beside: Sequence[str] | None,
    *,
    spacing: int = 0,
    vertical: bool = False,
    letters: float = 48 / 512,
) -> Image.Image:
    """columns[x][y], all pictures laid out by the largest's size. `letters` is the labels' height by a picture's width;
    they shrink to fit. `vertical` turns the labels of the rows."""
    width = max(picture.width for column in columns for picture in column)
    height = max(picture.height for column in columns for picture in column)
    size = max(int(width * letters), 1)
    above, beside = (None if texts is None else [" ".join(text.split()) for text in texts] for texts in (above, beside))
    top = round(size * LINE * 2) if above is not None else 0
    left = 0
    if beside is not None:
        left = round(size * LINE * 2) if vertical else _room(beside, size, width)
    count_x, count_y = len(columns), max(len(column) for column in columns)
    whole = (left + count_x * (width + spacing) - spacing, top + count_y * (height + spacing) - spacing)
    sheet = Image.new("RGB", whole, PAPER)
    for x, column in enumerate(columns):
        for y, picture in enumerate(column):
            sheet.paste(picture.convert("RGB"), (left + x * (width + spacing), top + y * (height + spacing)))
    for x, text in enumerate(above or ()):
        sheet.paste(_label(text, width, top, size), (left + x * (width + spacing), 0))
    for y, text in enumerate(beside or ()):
        room = (height, left) if vertical else (left, height)
        label = _label(text, *room, size)
        place = (0, top + y * (height + spacing))
        sheet.paste(label.rotate(90, expand=True) if vertical else label, place)
    return sheet


def _room(labels: Sequence[str], size: int, width: int) -> int:
    """The width of the rows' labels: what the longest needs, up to a picture's width."""
    font = ImageFont.load_default(size)
    return min(round(max(font.getlength(text) for text in labels) / MARGIN), width)


def _label(text: str, width: int, height: int, size: int) -> Image.Image:
    """A text in the middle of a white field, its letters made smaller until it fits."""
    label = Image.new("RGB", (max(width, 1), max(height, 1)), PAPER)
    font = ImageFont.load_default(size)
    length = font.getlength(text)
    if length > width * MARGIN:
        font = ImageFont.load_default(max(size * width * MARGIN / length, 1))
    ImageDraw.Draw(label).text((width / 2, height / 2), text, fill=INK, font=font, anchor="mm")
    return label
