"""Hires fix over a picture that is there: its second pass alone, as a workflow."""

from __future__ import annotations

from typing import Any

from hires.imaging.flatten import WHITE
from hires.recipes.draft import Draft
from hires.recipes.infotext import infotext
from hires.recipes.request import Txt2Img
from hires.recipes.txt2img import Facts, guided_pass, saved, second_pass_over

PREFIX = "hires"


def hires_picture(request: Txt2Img, picture: str, facts: Facts, batch: int = 0) -> dict[str, Any]:
    """The workflow over a picture of the input folder, whose size the prepared request has as its first pass'.

    The picture takes the place of what the first pass would draw; noise, steps and infotext are those of hires fix.
    """
    draft = Draft()
    loaded = draft.add("LoadImage", image=picture)
    image = draft.add("HiresFlatten", image=loaded.out(0), mask=loaded.out(1), background=WHITE).out()
    size: dict[str, Any] = {"width": request.width, "height": request.height}
    image = draft.add("HiresResizeMode", image=image, **size, mode="Just resize", upscaler="None").out()
    final = second_pass_over(draft, request, guided_pass(request), facts, batch * request.batch_size, image=image)
    saved(draft, final, PREFIX, infotext(request, facts, batch * request.batch_size), request)
    return draft.graph()
