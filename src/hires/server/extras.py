"""The routes of finished pictures: Extras, PNG info, interrogate."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends

from hires.server.bodies import ExtraBatch, ExtrasFields, ExtraSingle, Interrogation, PictureBody
from hires.server.faults import Refused
from hires.server.state import Server, server_of

if TYPE_CHECKING:
    from hires.api import Engine
    from hires.graph.report import Event
    from hires.recipes.extras import Extras
    from hires.server.beside import Draw
    from hires.server.finished import Finished
    from hires.server.work import Job

router = APIRouter(prefix="/sdapi/v1", tags=["pictures"])
ServerHere = Annotated[Server, Depends(server_of)]
UNFIT = re.compile(r"[^\w .()+-]")
LONGEST_NAME = 80
INTERROGATORS = ("clip", "deepdanbooru")


@router.post("/extra-single-image")
async def extra_single(body: ExtraSingle, server: ServerHere) -> dict[str, Any]:
    """Enlarge one picture."""
    texts, images = await server.drawn("extras", body)
    return {"html_info": texts[0], "image": images[0]}


@router.post("/extra-batch-images")
async def extra_batch(body: ExtraBatch, server: ServerHere) -> dict[str, Any]:
    """Enlarge pictures; the answer has them in their order."""
    if not body.imageList:
        raise Refused(404, "Image not found")
    texts, images = await server.drawn("extras", body)
    return {"html_info": "".join(dict.fromkeys(texts)), "images": images}


def enlarged(
    server: Server, body: ExtrasFields, pictures: list[str], engine: Engine, job: Job, finished: Finished
) -> tuple[list[str], list[str]]:
    """What was done, and the pictures, in base64; in the working thread."""
    from hires.recipes.extras import Extras
    from hires.recipes.extras import fields as told_fields
    from hires.server.encoding import encoded
    from hires.server.pictures import stored
    from hires.server.running import writing

    request = Extras(
        upscaler=body.upscaler_1,
        scale=body.upscaling_resize,
        width=body.upscaling_resize_w if body.resize_mode == 1 else 0,
        height=body.upscaling_resize_h if body.resize_mode == 1 else 0,
        crop=body.upscaling_crop,
        upscaler_2=body.upscaler_2,
        visibility=body.extras_upscaler_2_visibility,
        gfpgan_visibility=body.gfpgan_visibility,
        codeformer_visibility=body.codeformer_visibility,
        codeformer_weight=body.codeformer_weight,
    )
    request = engine.prepare_extras(request)
    job.parts = len(pictures)
    folder = server.desk.kept.pictures
    names = name_stems(body, len(pictures))
    with writing(engine, finished, save=body.save_images):
        sources = [stored(text, folder, server.most_pixels) for text in pictures]
        draws = [partial(_picture, source, request, name) for source, name in zip(sources, names, strict=True)]
        paths = _drawn(engine, job, draws, finished, keep_on=body.save_images)
    return [_said(told_fields(request))] * len(paths), [encoded(path.read_bytes()) for path in paths]


def _picture(source: Path, request: Extras, name: str, engine: Engine, on_event: Callable[[Event], None]) -> list[Path]:
    return [engine.upscale(source, request, name=name, on_event=on_event).path]


def _drawn(engine: Engine, job: Job, draws: Sequence[Draw], finished: Finished, *, keep_on: bool) -> list[Path]:
    """The enlarged pictures in their order, but for those that were finished before. keep_on: one that cannot be
    enlarged is told of when the others are done."""
    from hires.errors import HiresError, Interrupted, is_disk_full
    from hires.server.beside import AHEAD_FOLDER, drawing
    from hires.workers.turns import KeptRuns

    count, made = len(draws), list[Path]()
    failed: HiresError | None = None
    earlier = {number: found for number in range(count) if (found := finished.part(number))}
    kept = KeptRuns(finished.folder / AHEAD_FOLDER)
    try:
        with closing(drawing(engine, job, draws, [1] * count, earlier, kept)) as row:
            for number in row.numbers():
                try:
                    if number not in earlier:
                        earlier[number] = list(row.draw(number))
                        finished.finish_part(number, earlier[number], (number + 1) / count)
                    made += earlier[number]
                except HiresError as error:
                    if is_disk_full(error) or not keep_on:
                        raise
                    failed = failed or error
                job.done, job.step = number + 1, 0
    except Interrupted:
        if not job.put_off:
            kept.clear()
        raise
    kept.clear()
    if failed is not None:
        raise failed
    return made


def name_stems(body: ExtrasFields, count: int) -> list[str]:
    """What the files that are kept are called: as those that were sent; "" where these had no name that a file can
    have."""
    sent = [one.name for one in body.imageList] if isinstance(body, ExtraBatch) else []
    stems = [PurePosixPath(name.replace("\\", "/")).stem for name in sent] or [""] * count
    return [UNFIT.sub("_", stem).strip("._ ")[:LONGEST_NAME] for stem in stems]


def _said(fields: dict[str, Any]) -> str:
    line = ", ".join(f"{key}: {value}" for key, value in fields.items())
    return f"<p>{html.escape(line)}</p>"


@router.post("/png-info")
async def png_info(body: PictureBody, server: ServerHere) -> dict[str, Any]:
    """What a picture carries: its infotext, its other texts, and the infotext's fields."""
    return await asyncio.to_thread(_png_info, body.image, server.most_pixels)


def _png_info(text: str, most_pixels: int) -> dict[str, Any]:
    from hires.metadata.files import picture_texts
    from hires.server.parsed import parsed
    from hires.server.pictures import opened

    _, picture = opened(text, most_pixels)
    texts = picture_texts(picture)
    found = texts.pop("parameters", "")
    return {"info": found, "items": texts, "parameters": parsed(found)}


@router.post("/interrogate")
async def interrogate(body: Interrogation, server: ServerHere) -> dict[str, Any]:
    """Words for a picture, where a captioning model is there."""
    if not body.image:
        raise Refused(404, "Image not found")
    if body.model not in INTERROGATORS:
        raise Refused(404, "Model not found", hint=f"There are: {', '.join(INTERROGATORS)}.")
    picture, model = body.image, body.model

    def run(engine: Engine, job: Job) -> str:
        from hires.server.captions import caption

        return caption(engine, picture, model, server.most_pixels)

    return {"caption": await server.done("interrogate", run)}
