"""Workflows to start from, which an editor shows when it is opened first: each draws with the built-in model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from hires.pocket import BUILT_IN_NAME, GUIDANCE

if TYPE_CHECKING:
    from hires.api import Engine
    from hires.recipes.request import Txt2Img

PICTURES = files("hires.server") / "data"
"""What each draws, as NAME.webp."""
PLAIN: Mapping[str, Any] = {
    "prompt": "1girl, pink hair, long hair, smile, beach, ocean, blue sky, upper body",
    "checkpoint": BUILT_IN_NAME,
    "seed": 1,
    "steps": 20,
    "cfg": GUIDANCE,
    "sampler": "DPM++ 2M",
    "schedule": "Karras",
}


@dataclass(frozen=True)
class Starter:
    """A request as a workflow to start from: its fields, and those of its second pass."""

    title: str
    description: str
    fields: Mapping[str, Any]
    hires: Mapping[str, Any] | None = None
    tags: tuple[str, ...] = field(default=("Text to Image",))

    @property
    def request(self) -> Txt2Img:
        """Made when it is asked for: what draws is not loaded for a list."""
        from hires.recipes.request import HiresFix, Txt2Img

        return Txt2Img(**self.fields, hires=None if self.hires is None else HiresFix(**self.hires))


STARTERS: Mapping[str, Starter] = {
    "one_pass": Starter("One pass", "A picture at the model's own size.", PLAIN),
    "two_passes": Starter(
        "Two passes",
        "Drawn small, enlarged, and drawn again over that: twice the size with the same composition.",
        PLAIN,
        {"upscaler": "Lanczos", "scale": 2, "steps": 12, "denoise": 0.5},
        ("Text to Image", "Upscale"),
    ),
}


def index() -> list[dict[str, Any]]:
    """The starters as an editor lists templates."""
    entries = [
        {
            "name": name,
            "title": one.title,
            "description": one.description,
            "mediaType": "image",
            "mediaSubtype": "webp",
            "tags": list(one.tags),
            "models": [BUILT_IN_NAME.partition(".")[0]],
            "openSource": True,
        }
        for name, one in STARTERS.items()
    ]
    return [{"moduleName": "default", "title": "hires", "type": "image", "isEssential": True, "templates": entries}]


def editor_file_of(engine: Engine, starter: Starter) -> dict[str, Any]:
    """The workflow in the editor's own format, without the infotext that its request has: it would stay while the
    nodes are changed."""
    from hires.graph.workflow import Workflow
    from hires.recipes.txt2img import txt2img

    graph = txt2img(*engine.prepare(starter.request))
    for node in graph.values():
        if node["class_type"] == "SaveImage":
            node["inputs"].pop("parameters", None)
            node["inputs"].pop("parameters_of", None)
    return engine.editor_file(Workflow.parse(graph))


def picture(name: str) -> bytes:
    """What the starter of a name draws, as a WebP."""
    return (PICTURES / f"{name}.webp").read_bytes()
