"""The fields of a form by name, so that what draws them, what reads them and what fills them agree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

Field = TypeVar("Field")


class Form:
    """The fields of one tab. `tab` is txt2img or img2img and begins the ids of its elements."""

    def __init__(self, tab: str) -> None:
        self.tab = tab
        self.fields: dict[str, Any] = {}
        self.reuse: Any = None
        """The button that takes the seed of the picture shown."""

    def add(self, name: str, field: Field) -> Field:
        """Take a component as the field of a name."""
        self.fields[name] = field
        return field

    def id(self, name: str) -> str:
        """The id of an element in the page."""
        return f"{self.tab}_{name}"

    @property
    def inputs(self) -> set[Any]:
        """All fields, as inputs of a Gradio event whose function takes one mapping."""
        return set(self.fields.values())

    def values(self, given: Mapping[Any, Any]) -> dict[str, Any]:
        """What such a function was given, by the fields' names."""
        return {name: given[field] for name, field in self.fields.items() if field in given}

    def updates(self, changes: Mapping[str, Any], names: tuple[str, ...]) -> list[Any]:
        """New values for the fields of these names, in their order; those that are not changed are left alone."""
        import gradio as gr

        return [gr.update(value=changes[name]) if name in changes else gr.skip() for name in names]
