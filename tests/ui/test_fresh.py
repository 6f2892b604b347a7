"""Lists of the page that follow the folders: what a browser is told when it opens the page, and at ⟳."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.server.conftest import settings_in

from hires.pocket import BUILT_IN_NAME, INPAINTING_NAME
from hires.server.options import Options
from hires.server.state import Server
from hires.ui.page import Page, build_tabs


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    gradio = pytest.importorskip("gradio", reason="the page needs Gradio (hires[ui])")
    page = Page(Server(settings_in(tmp_path_factory.mktemp("fresh")), Options(None)))
    with gradio.Blocks() as page.blocks:
        with gradio.Tabs() as page.tabs:
            build_tabs(page)
        page.join()
    yield page


def put(page: Page, kind: str, name: str) -> Path:
    path = page.server.settings.models_dir / kind / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"weights")
    return path


def offering(page: Page, name: str) -> list[Any]:
    """The lists that a file is told in when the page is opened."""
    told = [(one, one.opened()) for one in page.fresh if one.is_list]
    return [one.component.label for one, told in told if name in told.get("choices", ())]


def test_what_is_as_it_was_built_is_not_told_again(page: Page) -> None:
    assert all(set(one.opened()) == {"__type__"} for one in page.fresh)


def test_a_file_is_offered_wherever_its_kind_is(page: Page) -> None:
    files = [put(page, "checkpoints", "own.safetensors"), put(page, "upscale_models", "4x.pth")]
    files += [put(page, "vae", "soft.safetensors"), put(page, "loras", "thin.safetensors")]
    try:
        assert offering(page, "own.safetensors").count("Checkpoint") == 6  # both forms, refiners, second pass, grids
        assert {"A: first model", "B: second model"} <= set(offering(page, "own.safetensors"))
        assert len(offering(page, "4x")) >= 6 and len(offering(page, "soft.safetensors")) == 4
        assert len(offering(page, "<lora:thin:1>")) == 2
        for tab in ("txt2img", "img2img"):
            field = page.forms[tab].fields["checkpoint"]
            [told] = [one.opened() for one in page.fresh if one.component is field]
            assert told["value"] == "own.safetensors"
        [told] = [one.opened() for one in page.fresh if one.component is page.forms["txt2img"].fields["width"]]
        assert told["value"] == 512
        [welcome] = [one.opened() for one in page.fresh if "visible" in one.built]
        assert welcome["visible"] is False
    finally:
        for path in files:
            path.unlink()


def test_what_is_chosen_stays_even_where_its_file_is_gone(page: Page) -> None:
    field = page.forms["txt2img"].fields["checkpoint"]
    [one] = [one for one in page.fresh if one.component is field]
    path = put(page, "checkpoints", "own.safetensors")
    told = one.asked(BUILT_IN_NAME)
    assert told["choices"] == ["own.safetensors", BUILT_IN_NAME, INPAINTING_NAME] and "value" not in told
    path.unlink()
    assert one.asked("own.safetensors")["choices"] == [BUILT_IN_NAME, INPAINTING_NAME, "own.safetensors"]
    styles = page.forms["txt2img"].fields["styles"]
    [one] = [one for one in page.fresh if one.component is styles]
    assert one.asked(["gone"])["choices"] == ["gone"] and one.asked([])["choices"] == []


def test_every_sign_is_called_something(page: Page) -> None:
    from gradio import Button

    signs = {
        one.elem_id for one in page.blocks.blocks.values() if isinstance(one, Button) and "tool" in one.elem_classes
    }
    assert signs and signs == set(page.names)
