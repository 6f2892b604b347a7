"""The gallery's pictures, two of them held against each other, and the pages of grids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Depends
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response

from hires.errors import HiresError
from hires.server.comfy.places import inside, parts_of
from hires.server.faults import Refused
from hires.server.gallery import name_of, two_of
from hires.server.state import Server, server_of

router = APIRouter(prefix="/gallery", tags=["gallery"], include_in_schema=False)
templates = APIRouter(include_in_schema=False)
EDITOR_PLACES = ("/editor", "/editor/api")
ServerHere = Annotated[Server, Depends(server_of)]
SHOWN = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp",
         ".avif": "image/avif", ".gif": "image/gif"}  # fmt: skip
NO_PAGE = {"Content-Security-Policy": "default-src 'none'; sandbox", "Cache-Control": "no-cache"}
KEPT = {**NO_PAGE, "Cache-Control": "private, max-age=604800"}
"""For addresses that name a picture's state: another state has another address."""
NO_FRAMES = "; frame-ancestors 'self'"


@router.get("/thumbnail")
def thumbnail(server: ServerHere, name: str, trash: str = "", stamp: str = "") -> Response:
    """A picture of the outputs, or of a deletion in the `trash`, small."""
    place = server.gallery.trash
    path = place.thrown(trash, name) if trash else place.picture(name)
    return Response(server.gallery.thumbnails.of(path), media_type="image/webp", headers=KEPT if stamp else NO_PAGE)


@router.get("/picture")
def picture(server: ServerHere, name: str) -> FileResponse:
    """A picture of the outputs as its file is."""
    return _file(server.gallery.trash.picture(name))


@router.get("/compare")
def compare(server: ServerHere, a: str, b: str) -> HTMLResponse:
    """Two pictures beside each other, under a slider, flickering or as their difference, zoomed together."""
    from hires.imaging.pictures import open_picture
    from hires.recipes.grids.page import page, policy

    shown = {}
    for name in (a, b):
        opened = open_picture(server.gallery.trash.picture(name), server.most_pixels)
        source = f"picture?{urlencode({'name': name})}"
        shown[name] = {"source": source, "width": opened.width, "height": opened.height, "digest": name}
    data = two_of((a, b), (server.gallery.texts(a), server.gallery.texts(b)))
    return HTMLResponse(page(data, shown), headers={"Content-Security-Policy": policy() + NO_FRAMES})


@router.get("/workflow")
def workflow(server: ServerHere, name: str) -> Response:
    """The workflow that drew a picture, as a file for an editor."""
    text = json.dumps(workflow_of(server, name), indent=1)
    file = quote(f"{Path(name).stem}.json")
    headers = {**NO_PAGE, "Content-Disposition": f"attachment; filename*=utf-8''{file}"}
    return Response(text, media_type="application/json", headers=headers)


@templates.get("/workflow_templates/gallery/{code}.json")
def template(server: ServerHere, code: str) -> dict[str, Any]:
    """The same for the editor: `/editor/?template=CODE&source=gallery` opens it."""
    return workflow_of(server, name_of(code))


def workflow_of(server: Server, name: str) -> dict[str, Any]:
    """A picture's workflow in the editor's format. Refused where it carries none."""
    from hires.metadata.workflows import file_texts

    path = server.gallery.trash.picture(name)
    texts = file_texts(path)
    try:
        stored = json.loads(texts.get("workflow", ""))
    except (ValueError, RecursionError):
        stored = None
    if isinstance(stored, dict) and isinstance(stored.get("nodes"), list):
        return stored
    engine = server.work.ready()
    return engine.editor_file(engine.read(path))


@router.get("/grids/{place:path}")
def grid_file(server: ServerHere, place: str) -> Response:
    """The page of a grid at its folder's name with "/" behind it, and the pictures that lie beside it."""
    parts = parts_of(place, "the grid's name")
    if place.endswith("/"):
        return _page(server, place)
    path = inside(server.settings.output_dir, parts)
    if path.is_dir():
        return RedirectResponse(f"{quote(path.name)}/")
    if path.suffix.lower() not in SHOWN or not path.is_file():
        raise Refused(404, "Not Found", "there is no such picture")
    return _file(path)


def _page(server: Server, place: str) -> Response:
    """The grid's page under its own policy. One that another version wrote, or someone else, is made anew."""
    from hires.recipes.grids.page import FILE, policy, write_page
    from hires.recipes.grids.record import read_data

    try:
        folder = server.gallery.grid(place)
    except HiresError as error:
        raise Refused(404, "Not Found", "there is no such grid") from error
    file = inside(folder, parts_of(FILE))
    if not _is_ours(file, policy()):
        write_page(folder, read_data(folder))
    headers = {"Content-Security-Policy": policy() + NO_FRAMES, "Cache-Control": "no-cache"}
    return FileResponse(file, media_type="text/html; charset=utf-8", headers=headers)


def _is_ours(file: Path, known: str) -> bool:
    from html import escape

    try:
        with file.open(encoding="utf-8", errors="replace") as text:
            return escape(known) in text.read(4000)
    except OSError:
        return False


def _file(path: Path) -> FileResponse:
    kind = SHOWN.get(path.suffix.lower(), "application/octet-stream")
    shown = "inline" if path.suffix.lower() in SHOWN else "attachment"
    return FileResponse(path, media_type=kind, filename=path.name, content_disposition_type=shown, headers=NO_PAGE)
