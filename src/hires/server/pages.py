"""The page that lists all routes, made from their own description. Nothing of it comes from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

router = APIRouter()
ONLY_ITSELF = (
    "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin: 2rem 0 .5rem; text-transform: capitalize; }
details { border-top: 1px solid color-mix(in srgb, currentColor 20%, transparent); padding: .3rem 0; }
summary { cursor: pointer; }
code { font: 14px ui-monospace, monospace; overflow-wrap: anywhere; }
.method { display: inline-block; width: 3.5rem; font-weight: 600; }
table { border-collapse: collapse; margin: .5rem 0 .5rem 1rem; }
td { padding: .1rem 1rem .1rem 0; vertical-align: top; }
"""


@router.get("/docs", include_in_schema=False)
def routes_page(request: Request) -> HTMLResponse:
    """Every route with its fields, as a page."""
    return HTMLResponse(page_of(request.app.openapi()), headers={"Content-Security-Policy": ONLY_ITSELF})


def page_of(api: Mapping[str, Any]) -> str:
    """The page for a description in OpenAPI's form."""
    groups: dict[str, list[str]] = {}
    for path, methods in api["paths"].items():
        for method, route in methods.items():
            tag = (route.get("tags") or ["other"])[0]
            groups.setdefault(tag, []).append(_route(api, method, path, route))
    inner = "".join(f"<h2>{escape(tag)}</h2>{''.join(routes)}" for tag, routes in groups.items())
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>hires: routes</title>'
    intro = "<h1>hires: routes</h1><p>JSON in, JSON out. <code>/openapi.json</code> says the same to programs.</p>"
    return f'<!doctype html><html lang="en"><head>{head}<style>{STYLE}</style></head><body>{intro}{inner}</body></html>'


def _route(api: Mapping[str, Any], method: str, path: str, route: Mapping[str, Any]) -> str:
    said = escape(route.get("description", ""))
    head = f'<span class="method">{method.upper()}</span> <code>{escape(path)}</code> {said}'
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{escape(_kind(field))}</td><td>{escape(_default(field))}</td></tr>"
        for name, field in _fields(api, route).items()
    )
    return f"<details><summary>{head}</summary>{f'<table>{rows}</table>' if rows else ''}</details>"


def _fields(api: Mapping[str, Any], route: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The fields of the request: of its address, then of its body."""
    found = {one["name"]: one.get("schema", {}) for one in route.get("parameters", [])}
    content = route.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    if (reference := content.get("$ref")) is not None:
        content = api["components"]["schemas"][reference.rpartition("/")[2]]
    return found | content.get("properties", {})


def _kind(field: Mapping[str, Any]) -> str:
    """Its type in a word or two."""
    kinds = [one.get("type", "object") for one in field.get("anyOf", [field])]
    return " or ".join(kind for kind in kinds if kind != "null")


def _default(field: Mapping[str, Any]) -> str:
    return "" if field.get("default") is None else f"default {field['default']!r}"
