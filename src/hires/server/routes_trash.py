"""The trash of the outputs folder as programs see it: what lies in it, one brought back, all of it deleted for good."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import Field

from hires.errors import SettingError
from hires.server.bodies import Body
from hires.server.faults import Refused
from hires.server.state import Server, server_of

router = APIRouter(prefix="/hires/v1/trash", tags=["gallery"])
ServerHere = Annotated[Server, Depends(server_of)]
MOST_LISTED = 1000


class InTrash(Body):
    """POST /hires/v1/trash/restore"""

    deletion: str = Field(max_length=100)
    name: str = Field(max_length=2000)


@router.get("")
def trash(
    server: ServerHere,
    limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = 100,
    offset: Annotated[int, Query(ge=0, le=1 << 40)] = 0,
) -> dict[str, Any]:
    """How many pictures and bytes lie in the trash, and some of the pictures, the last deletion first."""
    thrown = server.gallery.trash.listed()
    told = [vars(one) for one in thrown[offset : offset + limit]]
    return {"count": len(thrown), "bytes": sum(one.bytes for one in thrown), "pictures": told}


@router.post("/restore")
def restore(body: InTrash, server: ServerHere) -> dict[str, Any]:
    """Bring a picture back to its place; its name below the outputs, another where its own was taken meanwhile."""
    try:
        return {"name": server.gallery.restore(body.deletion, body.name)}
    except SettingError as error:
        raise Refused(404, "Not Found", error.message, error.hint) from error


@router.delete("")
def empty(server: ServerHere, deletion: Annotated[list[str] | None, Query()] = None) -> dict[str, Any]:
    """Delete what is in the trash for good: of some deletions, or all of it. How many pictures and bytes that was."""
    count, size = server.gallery.empty(deletion)
    return {"count": count, "bytes": size}
