"""Comparison sheets: pictures side by side, each with a line of text above, scaled to one height."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

MARGIN = 12
INK, PAPER = (24, 24, 28), (250, 250, 248)


def side_by_side(labelled: Sequence[tuple[str, Image.Image]], height: int) -> Image.Image:
    """One row of pictures, `height` pixels tall (smaller ones enlarged to blocks, so that each pixel stays visible).

    A label may hold a second line after a line break; it is drawn smaller.
    """
    font, small = ImageFont.load_default(20), ImageFont.load_default(14)
    cells = [(label, _to_height(picture, height)) for label, picture in labelled]
    caption = 56
    width = sum(cell.width for _, cell in cells) + MARGIN * (len(cells) + 1)
    sheet = Image.new("RGB", (width, height + caption + MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    left = MARGIN
    for label, cell in cells:
        title, _, note = label.partition("\n")
        draw.text((left, 6), title, fill=INK, font=font)
        draw.text((left, 32), note, fill=INK, font=small)
        sheet.paste(cell, (left, caption))
        left += cell.width + MARGIN
    return sheet


def _to_height(picture: Image.Image, height: int) -> Image.Image:
    if picture.height == height:
        return picture
    width = round(picture.width * height / picture.height)
    whole = height % picture.height == 0
    filter_ = Image.Resampling.NEAREST if whole else Image.Resampling.LANCZOS
    return picture.resize((width, height), filter_)
