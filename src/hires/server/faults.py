"""What a client is told when something goes wrong: the user's own words back, a fault of ours without its insides."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from hires.errors import HiresError, MemoryLimitError, OutputError
from hires.server.options import UnknownOption
from hires.server.work import Busy

log = logging.getLogger("hires.server")
OUR_FAULT = "a fault in hires; the server's log has what happened"
ABSOLUTE = re.compile(r"(?<![\w:/.])(?:~|[A-Za-z]:)?[/\\](?:[^\s/\\'\":;,)\]]+[/\\])+([^\s/\\'\":;,)\]]*)")
"""A path from the root of a file system, of two names or more; group 1 is the last of them."""
STATUS: tuple[tuple[type[HiresError], int], ...] = (
    (UnknownOption, 422),
    (Busy, 503),
    (OutputError, 507),
    (MemoryLimitError, 413),
    (HiresError, 400),
)


class Refused(HiresError):  # noqa: N818 - said to a client
    """A mistake that the web UI's clients know by a status and a text of their own; `message` says more."""

    def __init__(self, status: int, detail: str, message: str = "", hint: str = "") -> None:
        super().__init__(message or detail, hint)
        self.status, self.detail = status, detail


class OurFault(Exception):  # noqa: N818 - said to a client
    """A job failed for a reason that is not the client's; the log has it."""

    def __init__(self, kind: str) -> None:
        super().__init__(OUR_FAULT)
        self.kind = kind


def fault(status: int, error: str, detail: str = "", errors: str = "") -> JSONResponse:
    """The web UI's shape of an error."""
    content = {"error": error, "detail": detail, "body": "", "errors": errors}
    headers = {"WWW-Authenticate": 'Basic realm="hires"'} if status == 401 else None
    return JSONResponse(content, status, headers)


def without_paths(text: str, folders: Iterable[Path]) -> str:
    """A message as others may read it: known folders by their last name, of any other absolute path the last part."""
    for folder in sorted({*folders, *(path.resolve() for path in folders)}, key=lambda path: -len(str(path))):
        if folder.is_absolute() and folder != Path(folder.anchor):
            text = text.replace(str(folder), folder.name)
    return ABSOLUTE.sub(lambda match: match[1] or "...", text)


def of_user(error: HiresError, folders: Iterable[Path]) -> JSONResponse:
    """A mistake that the user can mend."""
    text = without_paths(str(error), folders)
    if isinstance(error, Refused):
        return fault(error.status, "HTTPException", error.detail, "" if text == error.detail else text)
    status = next(status for kind, status in STATUS if isinstance(error, kind))
    return fault(status, type(error).__name__, text, text)


def tell_faults(app: FastAPI, folders: Iterable[Path]) -> None:
    """Answer every error of the application in the web UI's shapes."""
    known = tuple(folders)

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        return fault(error.status_code, "HTTPException", without_paths(str(error.detail), known))

    @app.exception_handler(HiresError)
    async def mistaken(request: Request, error: HiresError) -> JSONResponse:
        return of_user(error, known)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        told = [{"loc": list(one["loc"]), "msg": one["msg"], "type": one["type"]} for one in error.errors()]
        return JSONResponse({"detail": told}, 422)

    @app.exception_handler(OurFault)
    async def job_failed(request: Request, error: OurFault) -> JSONResponse:
        return fault(500, error.kind, "", OUR_FAULT)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        log.error("%s %s", request.method, request.url.path, exc_info=error)
        return fault(500, type(error).__name__, "", OUR_FAULT)
