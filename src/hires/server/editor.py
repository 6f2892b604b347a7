"""The node editor at `/editor/`: the files of the package comfyui-frontend-package as they are, where it is installed.

None of its Python is imported. What the editor asks of a server, ComfyUI's routes below `/editor` answer.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from hires.server.pages import ONLY_ITSELF

PACKAGE = "comfyui-frontend-package"
STATIC = "comfyui_frontend_package/static"
PLACE = "/editor"
HASHED = re.compile(r"assets/.*-[\w-]{8}\.\w+")
"""A file whose name changes with what is in it."""
FOR_GOOD, ASK_FIRST = "max-age=31536000, immutable", "no-cache"
INLINE_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)
MISSING = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>hires: the node editor</title>
<style>:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 40rem; margin: 4rem auto; padding: 0 1rem; }
code { font: 14px ui-monospace, monospace; }</style></head><body><h1>The node editor is not installed</h1>
<p>It is ComfyUI's own, a package of its own under the GPL. Add it with</p>
<p><code>pip install 'hires[editor]'</code></p>
<p>and start <code>hires serve</code> again. Until then there are the <a href="../docs">routes</a> for programs.</p>
</body></html>"""


def editor_folder() -> Path | None:
    """Where the editor's files lie; None where the package is not installed."""
    try:
        folder = Path(str(distribution(PACKAGE).locate_file(STATIC)))
    except PackageNotFoundError:
        return None
    return folder if (folder / "index.html").is_file() else None


def content_security(page: bytes) -> str:
    """What the editor's page may do: run the scripts of this server, WebAssembly and what is written in the page
    itself, and speak to this server only. Styles are set by its scripts; workers and pictures are made in the page."""
    hashes = (base64.b64encode(hashlib.sha256(script).digest()).decode() for script in _scripts(page))
    inline = " ".join(f"'sha256-{one}'" for one in hashes)
    rules = {
        "default-src": "'none'",
        "script-src": f"'self' 'wasm-unsafe-eval' {inline}".strip(),
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data: blob:",
        "media-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "connect-src": "'self' data: blob:",
        "worker-src": "'self' blob:",
        "manifest-src": "'self'",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def _scripts(page: bytes) -> Iterable[bytes]:
    return INLINE_SCRIPT.findall(page.replace(b"\r\n", b"\n"))  # browsers hash what they have parsed


class EditorFiles(StaticFiles):
    """The files below a folder, and nothing outside of it, with how long they may be kept and what they may do."""

    def __init__(self, folder: Path) -> None:
        super().__init__(directory=folder, html=True)
        self._security = content_security((folder / "index.html").read_bytes())

    async def get_response(self, path: str, scope: Scope) -> Response:
        try:
            response = await super().get_response(path, scope)
        except ValueError as error:  # a name that no file can have
            raise HTTPException(404) from error
        if isinstance(response, FileResponse) or response.status_code == 304:
            place = Path(path).as_posix()
            response.headers["Cache-Control"] = FOR_GOOD if HASHED.fullmatch(place) else ASK_FIRST
            response.headers["Content-Security-Policy"] = self._security
        return response


def mount_editor(app: FastAPI, folder: Path | None) -> None:
    """Serve the files of a folder at `/editor/`, behind the routes that are there already; without one, a page that
    says how to add them."""

    @app.get(PLACE, include_in_schema=False)
    async def with_slash() -> RedirectResponse:
        """Its files are named relative to its place."""
        return RedirectResponse(f"{PLACE}/")

    if folder is not None:
        served = EditorFiles(folder)

        @app.get("/assets/favicon.ico", include_in_schema=False)
        @app.get("/assets/images/favicon_progress_16x16/{name}", include_in_schema=False)
        async def sign(request: Request) -> Response:
            """The page's sign and its progress, which the editor asks for at the root, wherever it stands."""
            return await served.get_response(request.url.path.removeprefix("/"), request.scope)

        app.mount(PLACE, served, name="editor")
        return

    @app.get(f"{PLACE}/", include_in_schema=False)
    async def missing() -> HTMLResponse:
        return HTMLResponse(MISSING, headers={"Content-Security-Policy": ONLY_ITSELF})
