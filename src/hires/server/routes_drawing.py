"""Routes that draw: txt2img and img2img."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends

from hires.server.bodies import Drawn, ImageToImage, TextToImage
from hires.server.faults import Refused
from hires.server.scripts import Script, always_on, selected
from hires.server.state import Server, server_of

router = APIRouter(prefix="/sdapi/v1", tags=["drawing"])
ServerHere = Annotated[Server, Depends(server_of)]


@router.post("/txt2img")
async def txt2img(body: TextToImage, server: ServerHere) -> dict[str, Any]:
    """Draw from text: one pass, or two with `enable_hr`."""
    script, scripts, options = _checked(body, server, "txt2img")

    def run(engine: Any, job: Any) -> dict[str, Any]:
        from hires.server import drawing

        return drawing.txt2img(server, body, script, scripts, options, engine, job)

    return await _done(server, body, "txt2img", run)


@router.post("/img2img")
async def img2img(body: ImageToImage, server: ServerHere) -> dict[str, Any]:
    """Draw over pictures; with `mask`, inpaint one."""
    if not body.init_images:
        raise Refused(404, "Init image not found")
    script, scripts, options = _checked(body, server, "img2img")

    def run(engine: Any, job: Any) -> dict[str, Any]:
        from hires.server import drawing

        return drawing.img2img(server, body, script, scripts, options, engine, job)

    return await _done(server, body, "img2img", run)


def _checked(body: Drawn, server: Server, tab: str) -> tuple[Script | None, dict[str, Any], dict[str, Any]]:
    """The script, the always-on scripts' arguments and the options of a request, refused before it waits."""
    script = selected(body.script_name, tab)
    return script, dict(always_on(body.alwayson_scripts, tab)), server.options.all(body.override_settings)


async def _done(server: Server, body: Drawn, title: str, run: Any) -> dict[str, Any]:
    if body.override_settings and not body.override_settings_restore_afterwards:
        server.options.apply(body.override_settings)
    made: dict[str, Any] = await server.done(title, run, body.force_task_id)
    return made
