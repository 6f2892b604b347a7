"""The page that artists keep open: what its tabs share, and its place in the application."""

from __future__ import annotations

import importlib
import importlib.util
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hires.ui.words import speaker

if TYPE_CHECKING:
    import gradio as gr
    from fastapi import FastAPI

    from hires.server.desk import Desk
    from hires.server.state import Server
    from hires.ui.form import Form
    from hires.ui.fresh import Fresh

TARGETS = ("txt2img", "img2img", "inpaint", "extras")
TABS = ("tab_txt2img", "tab_img2img", "tab_extras", "tab_gallery", "tab_grids", "tab_png_info", "tab_models",
        "tab_queue", "tab_settings")  # fmt: skip
"""The modules of the tabs, in their order; each has `build(page)`."""


@dataclass(frozen=True)
class Receiver:
    """Where a picture and its text can be sent: `take(picture, text)` gives new values (or `gr.skip()`) of `outputs`;
    `tabs` are the ids of the tab that is then shown and of those inside it."""

    outputs: Sequence[Any]
    take: Callable[[Path | None, str], Sequence[Any]]
    tabs: Sequence[tuple[Any, str]]


@dataclass
class Page:
    """One page in one language, while it is built. `_` says an English text in that language.

    A tab is built within `page.tab("gallery", "Gallery")`. `send` and `receive` join tabs whichever of them is built
    first; `on_load(fn, inputs, outputs)` is run whenever a browser opens the page.
    """

    server: Server
    language: str = "en"
    blocks: Any = None
    """The gr.Blocks around everything."""
    tabs: Any = None
    """The gr.Tabs of the page."""
    forms: dict[str, Form] = field(default_factory=dict)
    """The forms of txt2img and img2img."""
    receivers: dict[str, Receiver] = field(default_factory=dict)
    fresh: list[Fresh] = field(default_factory=list)
    """What is looked up anew: see `hires.ui.fresh`."""
    refreshers: list[Any] = field(default_factory=list)
    """The events at which that is done."""
    names: dict[str, str] = field(default_factory=dict)
    """What elements of these ids are called that show a sign alone."""
    _sent: list[tuple[Any, str, Sequence[Any], Callable[..., tuple[Path | None, str]]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._ = speaker(self.language)

    @property
    def desk(self) -> Desk:
        """Where jobs are handed in."""
        return self.server.desk

    def tab(self, id: str, label: str) -> gr.Tab:
        """A tab of the page, as a context: `with page.tab("queue", "Queue"):`."""
        import gradio as gr

        return gr.Tab(self._(label), id=id, elem_id=f"tab_{id}")

    def receive(
        self,
        target: str,
        outputs: Sequence[Any],
        take: Callable[[Path | None, str], Sequence[Any]],
        tabs: Sequence[tuple[Any, str]],
    ) -> None:
        """Say what a picture sent to `target` fills: see `Receiver`. `tabs`: pairs of a gr.Tabs and the id of its tab,
        the outermost first, as `[(page.tabs, "extras")]`."""
        self.receivers[target] = Receiver(outputs, take, tabs)

    def send(
        self,
        button: Any,
        target: str,
        inputs: Sequence[Any],
        pick: Callable[..., tuple[Path | None, str]],
    ) -> None:
        """Let a click of `button` send what `pick(*values of inputs)` gives, (picture file, infotext), to a target:
        txt2img, img2img, inpaint or extras. Nothing happens for (None, "")."""
        self._sent.append((button, target, inputs, pick))

    def on_load(self, fn: Callable[..., Any], inputs: Sequence[Any] = (), outputs: Sequence[Any] = ()) -> None:
        """Run fn when a browser opens the page."""
        from hires.ui.events import QUIET

        self.blocks.load(fn, list(inputs), list(outputs), **QUIET)

    def join(self) -> None:
        """Connect what is sent with what receives it, and what is looked up anew, once all tabs are built."""
        import gradio as gr

        from hires.ui import fresh
        from hires.ui.events import QUIET

        fresh.connect(self)
        self.blocks.load(None, None, None, js=f"() => window.hires.name({json.dumps(self.names)})")
        for button, target, inputs, pick in self._sent:
            if (receiver := self.receivers.get(target)) is None:
                continue
            shown = [tabs for tabs, _ in receiver.tabs]

            def opened(*values: Any, pick: Any = pick, receiver: Receiver = receiver) -> Any:
                if pick(*values) == (None, ""):
                    return [gr.skip()] * len(receiver.tabs)
                return [gr.Tabs(selected=name) for _, name in receiver.tabs]

            def sent(*values: Any, pick: Any = pick, receiver: Receiver = receiver) -> Any:
                picture, text = pick(*values)
                if picture is None and not text:
                    return [gr.skip()] * len(receiver.outputs)
                return list(receiver.take(picture, text))

            # shown first, since an editor of pictures takes none before it is seen
            button.click(opened, list(inputs), shown, **QUIET).then(sent, list(inputs), list(receiver.outputs), **QUIET)


def build_tabs(page: Page) -> None:
    """Every tab whose module is there, in the page's order."""
    for name in TABS:
        place = f"hires.ui.{name}"
        if importlib.util.find_spec(place) is not None:
            importlib.import_module(place).build(page)


def mount_page(app: FastAPI, server: Server) -> None:
    """Answer browsers at `/` by the page. It is built beside the running server, since Gradio takes seconds to load;
    until then, and where Gradio is not installed, a light page says so."""
    from hires.ui import live
    from hires.ui.front import Front, PagePlaces

    app.include_router(live.router)
    front = Front(server, lambda language: Page(server, language))
    app.router.routes.insert(0, PagePlaces(front))
    front.live_with(app)
