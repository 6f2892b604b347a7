"""What the page takes from the disk, looked up anew when a browser opens it and at ⟳: files come and go meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from hires.ui.events import QUIET

if TYPE_CHECKING:
    from hires.ui.page import Page

Choice = str | tuple[str, Any]


@dataclass(frozen=True)
class Fresh:
    """A component and its properties as they are now; `built` are those that the page was built with, which every
    browser has before it is told anything. Lists keep what is chosen of them."""

    component: Any
    now: Callable[[], Mapping[str, Any]]
    built: Mapping[str, Any]
    is_list: bool = False

    def opened(self) -> Any:
        """What a browser is told that opens the page."""
        now = self.now()
        return gr.skip() if now == self.built else gr.update(**now)

    def asked(self, chosen: Any) -> Any:
        """What it is told at ⟳: the list, with what is chosen in it, also where that has gone."""
        now = self.now()
        if not self.is_list:
            return gr.update(**now)
        known = [value_of(choice) for choice in now["choices"]]
        kept = chosen if isinstance(chosen, list) else [chosen]
        gone = [one for one in kept if one is not None and one not in known]
        return gr.update(choices=[*now["choices"], *gone])


def dropdown(
    page: Page, choices: Callable[[], Sequence[Choice]], *, first: Callable[[], Any] | None = None, **how: Any
) -> Any:
    """A gr.Dropdown of what `choices` finds; `first` says what is chosen in it when the page is opened, where that too
    is looked up, instead of `value`."""

    def now() -> Mapping[str, Any]:
        found = list(choices())
        return {"choices": found} if first is None else {"choices": found, "value": first()}

    built = now()
    field = gr.Dropdown(**{**how, **built})
    page.fresh.append(Fresh(field, now, built, is_list=True))
    return field


def follow(page: Page, component: Any, now: Callable[[], Mapping[str, Any]]) -> Any:
    """Let properties of a component be as they are now, and not as they were when the page was built."""
    page.fresh.append(Fresh(component, now, now()))
    return component


def button(page: Page, tab: str) -> Any:
    """⟳ looks up every list of the page; what is chosen stays."""
    found = tool(page, "⟳", f"{tab}_refresh", "Read the lists of models and styles anew")
    page.refreshers.append(found.click)
    return found


def tool(page: Page, sign: str, id: str, label: str) -> Any:
    """A small button with a sign on it, and what it is called."""
    page.names[id] = page._(label)
    return gr.Button(sign, elem_classes="tool", min_width=40, scale=0, elem_id=id)


def connect(page: Page) -> None:
    """Wire what was built with these, once all tabs are there."""
    fresh = page.fresh
    components = [one.component for one in fresh]
    lists = [one for one in fresh if one.is_list]

    def asked(*chosen: Any) -> list[Any]:
        values = dict(zip([id(one) for one in lists], chosen, strict=True))
        return [one.asked(values.get(id(one))) for one in fresh]

    page.on_load(lambda: [one.opened() for one in fresh], [], components)
    for event in page.refreshers:
        event(asked, [one.component for one in lists], components, **QUIET)


def value_of(choice: Choice) -> Any:
    """What a choice of a list stands for."""
    return choice[1] if isinstance(choice, tuple) else choice
