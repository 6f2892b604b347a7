"""The page of routes: whole, and nothing of it from elsewhere."""

from __future__ import annotations

import re
from typing import Any

from fastapi.testclient import TestClient

from hires.server.pages import page_of


def test_every_route_and_field_is_on_the_page(client: TestClient) -> None:
    page, api = client.get("/docs").text, client.get("/openapi.json").json()
    assert len(api["paths"]) > 45
    for path in api["paths"]:
        assert f"<code>{path}</code>" in page
    for field in ("hr_second_pass_steps", "inpaint_full_res_padding", "imageList", "skip_current_image"):
        assert f"<code>{field}</code>" in page
    assert page.count("<details>") == page.count("</details>") == sum(map(len, api["paths"].values()))


def test_the_page_loads_nothing(client: TestClient) -> None:
    answer = client.get("/docs")
    assert not re.search(r"<script|<link|<img|<iframe|src=|@import|url\(|https?://", answer.text)
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert client.get("/sdapi/v1/samplers").headers["x-content-type-options"] == "nosniff"
    assert client.get("/redoc").status_code == 404


def test_names_cannot_become_markup() -> None:
    route: dict[str, Any] = {"description": "<b>", "parameters": [{"name": "<i>", "schema": {"default": "<u>"}}]}
    page = page_of({"paths": {"/<a>": {"get": route}}})
    assert not re.search(r"<[biua]>", page) and "&lt;b&gt;" in page
