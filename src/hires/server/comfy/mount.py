"""ComfyUI's routes in an application: as they are, below `/api`, and both below `/editor`."""

from __future__ import annotations

from fastapi import FastAPI

from hires.server.comfy import (
    routes_files,
    routes_jobs,
    routes_logs,
    routes_nodes,
    routes_queue,
    routes_socket,
    routes_starters,
    routes_user,
)
from hires.server.comfy.state import Comfy
from hires.server.state import Server

PLACES = ("", "/api", "/editor", "/editor/api")
PARTS = (
    routes_queue,
    routes_jobs,
    routes_socket,
    routes_nodes,
    routes_files,
    routes_user,
    routes_logs,
    routes_starters,
)


def mount(app: FastAPI, server: Server) -> Comfy:
    """Add the routes; what they share is told, so that it can be closed."""
    comfy = Comfy(server)
    app.state.comfy = comfy
    for place in PLACES:
        for part in PARTS:
            app.include_router(part.router, prefix=place, include_in_schema=not place)
    return comfy
