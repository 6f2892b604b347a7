"""Grids of pictures with legends as the A1111 web UI draws them: lines of text above the columns and beside the rows,
those that do not apply grey and struck through.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

ACTIVE, INACTIVE, PAPER = "#000000", "#999999", "#ffffff"
Mark = tuple[str, bool]
"""A line of a legend, and whether it applies."""
Marks = Sequence[Mark]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@lru_cache(64)
def _font(size: int) -> Font:
    return ImageFont.load_default(max(size, 1))


@dataclass(frozen=True)
class Legend:
    """The measures of a grid's legend in pixels: cells of width x height, letters of (width + height) / 25."""

    width: int
    height: int
    columns: Sequence[Marks]
    rows: Sequence[Marks]
    margin: int = 0

    @property
    def letters(self) -> int:
        return (self.width + self.height) // 25

    @property
    def gap(self) -> int:
        return self.letters // 2

    @property
    def left(self) -> int:
        """The width of the band beside the rows."""
        return self.width * 3 // 4 if any(any(text for text, _ in marks) for marks in self.rows) else 0

    @property
    def top(self) -> int:
        """The height of the band above the columns."""
        tallest = max((self.tall(marks, self.width) for marks in self.columns), default=0)
        return tallest + 2 * self.gap if tallest else 0

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the whole."""
        across, down = len(self.columns), len(self.rows)
        return (
            self.left + across * self.width + (across - 1) * self.margin,
            self.top + down * self.height + (down - 1) * self.margin,
        )

    def place(self, x: int, y: int) -> tuple[int, int]:
        """The corner of a cell."""
        return self.left + x * (self.width + self.margin), self.top + y * (self.height + self.margin)

    def wrapped(self, marks: Marks, room: int) -> list[Mark]:
        """The lines of a legend, broken between words where they are wider than `room`."""
        font = _font(self.letters)
        lines: list[Mark] = []
        for text, active in marks:
            line = ""
            for word in text.split():
                longer = f"{line} {word}".strip()
                if line and font.getlength(longer) > room:
                    lines.append((line, active))
                    longer = word
                line = longer
            if line:
                lines.append((line, active))
        return lines

    def tall(self, marks: Marks, room: int) -> int:
        lines = self.wrapped(marks, room)
        return len(lines) * self.letters + max(len(lines) - 1, 0) * self.gap

    def write(self, draw: ImageDraw.ImageDraw, marks: Marks, middle: tuple[float, float], room: int) -> None:
        """Lines around a middle; one that is still too wide is written smaller."""
        x, y = middle[0], middle[1] - self.tall(marks, room) / 2
        for text, active in self.wrapped(marks, room):
            letters = self.letters
            while letters > 1 and _font(letters).getlength(text) > room:
                letters -= 1
            ink, centre = ACTIVE if active else INACTIVE, y + self.letters / 2
            draw.text((x, centre), text, fill=ink, font=_font(letters), anchor="mm")
            if not active:
                half = _font(letters).getlength(text) / 2
                draw.line((x - half, centre, x + half, centre), fill=ink, width=max(letters // 10, 1))
            y += self.letters + self.gap


def with_legend(
    cells: Sequence[Sequence[Image.Image | None]], columns: Sequence[Marks], rows: Sequence[Marks], margin: int = 0
) -> Image.Image:
    """cells[y][x] laid out by the largest's width and height, smaller ones in the middle of their place, None left
    bare; with one legend for each column and row, empty for none."""
    pictures = [picture for row in cells for picture in row if picture is not None]
    width = max((picture.width for picture in pictures), default=64)
    height = max((picture.height for picture in pictures), default=64)
    legend = Legend(width, height, columns, rows, margin)
    sheet = Image.new("RGB", legend.size, PAPER)
    for y, row in enumerate(cells):
        for x, picture in enumerate(row):
            if picture is not None:
                left, top = legend.place(x, y)
                inner = (left + (width - picture.width) // 2, top + (height - picture.height) // 2)
                sheet.paste(picture.convert("RGB"), inner)
    draw = ImageDraw.Draw(sheet)
    for x, marks in enumerate(columns):
        legend.write(draw, marks, (legend.place(x, 0)[0] + width / 2, legend.top / 2), width)
    for y, marks in enumerate(rows):
        legend.write(draw, marks, (legend.left / 2, legend.place(0, y)[1] + height / 2), legend.left)
    return sheet


def in_a_row(grids: Sequence[Image.Image], titles: Sequence[Marks], margin: int = 0) -> Image.Image:
    """Several grids beside each other with a title above each; one without a title as it is."""
    if len(grids) == 1 and not any(text for text, _ in titles[0]):
        return grids[0]
    return with_legend([list(grids)], titles, [()], margin)
