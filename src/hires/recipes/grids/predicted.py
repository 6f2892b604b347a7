"""What the cells of a grid will cost: the denoiser calls of each alone, and those left when cells share their steps.

A step is named as the cache of sampler states names it: by the state before, and all that the step reads.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hires.sampling.run import find_sampler
from hires.sampling.schedules_webui import img2img_steps
from hires.text.schedule import entry_at, schedule
from hires.text.syntax_webui import split_networks, strip_comments

Graph = Mapping[str, Mapping[str, Any]]
WHOLE_RUN, WINDOW = "KSampler", "KSamplerAdvanced"
NOT_OF_A_STEP = ("positive", "negative", "end_at_step", "return_with_leftover_noise", "seed", "noise_seed")
SHOWN, SIDES = "HiresInpaintConditioning", ("positive", "negative")
"""What shows an inpainting network its picture: a side's texts are those of the same side before it."""
NOT_OF_A_TEXT = ("text", "schedule_calls", "schedule_calls_before")


@dataclass(frozen=True)
class Cost:
    """Denoiser calls at most, and steps: of a cell in an engine of its own, and what is left after the cells before."""

    alone: int
    shared: int
    steps: int
    shared_steps: int
    roots: frozenset[str] = frozenset()
    """The names of the first steps. Runs that share any step share their first."""


@dataclass
class Prediction:
    """The steps that the cells seen so far will have computed."""

    _known: set[str] = field(default_factory=set)

    def copy(self) -> Prediction:
        """Another that has seen the same cells."""
        return Prediction(set(self._known))

    def learn(self, other: Prediction) -> None:
        """See the cells that another has seen."""
        self._known |= other._known

    def add(self, graph: Graph, images: int = 1) -> Cost:
        """The cost of the next cell's workflow, in API format, for so many images at once, each a run of its own."""
        names: dict[str, str] = {}
        own: dict[str, int] = {}
        roots = set()
        for node in graph.values():
            if node["class_type"] in (WHOLE_RUN, WINDOW):
                found = _steps(graph, node["inputs"], names)
                roots |= set(list(found)[:1])
                own |= found
        new = {name: calls for name, calls in own.items() if name not in self._known}
        self._known |= set(new)
        alone, shared = images * sum(own.values()), images * sum(new.values())
        return Cost(alone, shared, images * len(own), images * len(new), frozenset(roots))


def _steps(graph: Graph, inputs: Mapping[str, Any], names: dict[str, str]) -> dict[str, int]:
    """The names of a run's steps, and the denoiser calls that each makes at most."""
    sampler, steps, start = find_sampler(inputs["sampler_name"]), inputs["steps"], inputs.get("start_at_step", 0)
    end = min(inputs.get("end_at_step", steps), steps)
    if not inputs.get("fixed_steps", True) and inputs.get("denoise", 1.0) < 1.0:
        start = steps - img2img_steps(steps, inputs["denoise"], False)[1] - 1
    read: dict[str, Any] = {"denoise": 1.0, "add_noise": "enable", "start_at_step": 0}
    read |= {key: _named(graph, value, names) for key, value in inputs.items() if key not in NOT_OF_A_STEP}
    read["seed"] = inputs.get("seed", inputs.get("noise_seed"))
    sides = [_entries(_texts(graph, inputs[side], names)) for side in SIDES]
    name, found = _digest(read), {}
    for step in range(start, end):
        call = (step - start) * sampler.calls
        name = _follow(f"{name} {step} {' '.join(_in_force(side, call) for side in sides)}")
        is_last = step == steps - 1 and sampler.calls == 2
        found[name] = 1 if is_last else sampler.calls
    return found


Texts = tuple[str, list[tuple[int, str]]]


def _texts(graph: Graph, link: Any, names: dict[str, str]) -> Texts:
    """How a conditioning is encoded, and its texts until each call."""
    node = graph[link[0]]
    inputs = node["inputs"]
    if node["class_type"] == SHOWN:
        seen = {key: _named(graph, value, names) for key, value in inputs.items() if key not in SIDES}
        how_before, texts = _texts(graph, inputs[SIDES[link[1]]], names)
        return _digest([how_before, seen]), texts
    if node["class_type"] != "CLIPTextEncode" or inputs.get("dialect") != "webui":
        return _named(graph, link, names), [(0, "")]
    how = {key: _named(graph, value, names) for key, value in inputs.items() if key not in NOT_OF_A_TEXT}
    text = split_networks(strip_comments(inputs["text"]))[0]
    before, calls = inputs.get("schedule_calls_before"), inputs["schedule_calls"]
    old = inputs.get("old_scheduling", False)
    if before is None:
        return _digest(how), schedule(text, calls, old=old)
    return _digest(how), schedule(text, before, calls, old=old)


def _entries(texts: Texts) -> list[tuple[int, str]]:
    """Until each call, the name of the text that is in force and how it is encoded."""
    how, entries = texts
    return [(until, _digest([how, text])) for until, text in entries]


def _in_force(entries: list[tuple[int, str]], call: int) -> str:
    return entries[entry_at(entries, call)][1]


def _named(graph: Graph, value: Any, names: dict[str, str]) -> Any:
    """An input by what it is made of: a link by the name of its node."""
    if not (isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and value[0] in graph):
        return value
    if value[0] not in names:
        node = graph[value[0]]
        inputs = {key: _named(graph, inner, names) for key, inner in node["inputs"].items()}
        names[value[0]] = _digest([node["class_type"], inputs])
    return [names[value[0]], value[1]]


def _follow(names: str) -> str:
    return hashlib.sha256(names.encode()).hexdigest()


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
