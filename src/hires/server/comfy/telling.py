"""What a run tells its client, in ComfyUI's messages; and what its history keeps."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from PIL import Image, ImageOps

from hires.graph.report import (
    Event,
    Failure,
    NodeFailed,
    NodeFinished,
    NodeProgress,
    NodeStarted,
    RunPlanned,
)
from hires.server.comfy.channels import (
    JPEG,
    PNG,
    Channel,
    Channels,
    Frame,
    preview_frame,
    preview_with_metadata,
    text_message,
)
from hires.server.previews import preview_picture
from hires.server.work import Job

log = logging.getLogger("hires.server.prompts")
log.setLevel(logging.INFO)
LARGEST_PREVIEW = 512
"""Pixels of its longer side, unless the picture itself has fewer: editors do not enlarge what they are sent."""
PREVIEW_QUALITY = 95
SAID = {
    "execution_start": "begins",
    "execution_success": "is done",
    "execution_interrupted": "was interrupted",
    "execution_error": "failed",
}
"""What the log says of a prompt."""


def milliseconds() -> int:
    """The time as messages carry it."""
    return int(time.time() * 1000)


@dataclass
class Telling:
    """One prompt on its way: taken as the `on_event` of its run.

    Written by the thread that works; `catch_up` is called by the one that answers sockets.
    """

    prompt_id: str
    client: str | None
    channels: Channels
    clean: Callable[[str], str]
    """A text without the machine's paths."""
    classes: Mapping[str, str] = field(default_factory=dict)
    find_model: Callable[[], tuple[str, str]] = lambda: ("", "sd1")
    """The checkpoint and its family, by whose colours a preview is drawn; asked once it is loaded."""
    job: Job | None = None
    """What else hears of the run."""
    began: int = field(default_factory=milliseconds)
    outputs: dict[str, Mapping[str, list[Any]]] = field(default_factory=dict)
    meta: dict[str, dict[str, Any]] = field(default_factory=dict)
    messages: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    executed: list[str] = field(default_factory=list)
    current: str | None = None
    _display: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    """Of a node: the one that an editor shows, and the one that it was expanded from."""
    _states: dict[str, dict[str, Any]] = field(default_factory=dict)
    _model: tuple[str, str] | None = None
    _preview: tuple[bytes, dict[str, Any]] | None = None

    def __call__(self, event: Event) -> None:
        if self.job is not None:
            self.job(event)
        if isinstance(event, RunPlanned):
            self._note("execution_cached", {"nodes": list(event.reused)})
        elif isinstance(event, NodeStarted):
            self._start(event)
        elif isinstance(event, NodeProgress):
            self._progress(event)
        elif isinstance(event, NodeFinished):
            self._finish(event)
        elif isinstance(event, NodeFailed):
            self._state(event.node_id, "error")

    def begin(self) -> None:
        """The run begins."""
        self._note("execution_start", {})

    def succeed(self) -> None:
        """All that was asked for is there."""
        self._note("execution_success", {})

    def interrupt(self) -> None:
        """The run was stopped; everybody is told."""
        data = {
            "node_id": self.current,
            "node_type": self.classes.get(self.current or ""),
            "executed": list(self.executed),
        }
        self._note("execution_interrupted", data, to_all=True)

    def fail(self, failure: Failure | None, error: Exception) -> None:
        """A node failed, or the run as a whole."""
        message = failure.fault.message if failure is not None else f"{type(error).__name__}: {error}"
        inputs = failure.inputs if failure is not None else {}
        data = {
            "node_id": failure.node_id if failure is not None else self.current,
            "node_type": failure.class_type if failure is not None else self.classes.get(self.current or ""),
            "executed": list(self.executed),
            "exception_message": self.clean(message),
            "exception_type": type(error).__name__,
            "traceback": [],  # the server's log has it
            "current_inputs": {name: [self.clean(one) for one in described] for name, described in inputs.items()},
            "current_outputs": list(self.outputs),
        }
        self._note("execution_error", data)

    def over(self) -> None:
        """Nothing of the prompt runs any more."""
        self.current = None
        self._send("executing", {"node": None, "display_node": None, "prompt_id": self.prompt_id})

    def catch_up(self, channel: Channel) -> None:
        """Tell a client that has come back where the run is."""
        if self.current is None:
            return
        channel.put(text_message("progress_state", self._all_states()))
        channel.put(text_message("executing", self._executing(self.current)))
        if self._preview is not None:
            channel.put(self._framed(channel, *self._preview))

    @property
    def status(self) -> dict[str, Any]:
        """The `status` of the history."""
        succeeded = bool(self.messages) and self.messages[-1][0] == "execution_success"
        return {
            "status_str": "success" if succeeded else "error",
            "completed": succeeded,
            "messages": [[kind, data] for kind, data in self.messages],
        }

    def _send(self, kind: str, data: Mapping[str, Any]) -> None:
        self.channels.send(self.client, text_message(kind, data))

    def _note(self, kind: str, data: Mapping[str, Any], to_all: bool = False) -> None:
        """A message that the history keeps."""
        whole = {"prompt_id": self.prompt_id, **data, "timestamp": milliseconds()}
        self.messages.append((kind, whole))
        if kind in SAID:
            log.info("prompt %s %s", self.prompt_id, SAID[kind])
        if to_all:
            self.channels.broadcast(text_message(kind, whole))
        else:
            self._send(kind, whole)

    def _start(self, event: NodeStarted) -> None:
        self.current = event.node_id
        self._display[event.node_id] = event.display_node, event.parent_node
        self._state(event.node_id, "running", 0, 1)
        self._send("executing", self._executing(event.node_id))

    def _progress(self, event: NodeProgress) -> None:
        self._state(event.node_id, "running", event.value, event.total)
        data = {"value": event.value, "max": event.total, "prompt_id": self.prompt_id, "node": event.node_id}
        self._send("progress", data)
        channel = self.channels.of(self.client)
        if event.preview is None or channel is None:
            return
        if isinstance(event.preview, Image.Image):  # a result, not a glimpse of one
            out = BytesIO()
            event.preview.save(out, format="PNG")
            channel.put(Frame(preview_frame(out.getvalue(), PNG)))
        elif not channel.preview_waits:
            if self._model is None:
                self._model = self.find_model()
            picture = preview_picture(event.preview, *self._model)
            if picture is not None:
                side = min(LARGEST_PREVIEW, 4 * max(picture.size))
                picture = ImageOps.contain(picture, (side, side))
                out = BytesIO()
                picture.save(out, format="JPEG", quality=PREVIEW_QUALITY)
                self._preview = out.getvalue(), self._place(event.node_id) | {"image_type": "image/jpeg"}
                channel.put(self._framed(channel, *self._preview))

    def _framed(self, channel: Channel, picture: bytes, metadata: Mapping[str, Any]) -> Frame:
        if channel.takes_metadata:
            return Frame(preview_with_metadata(picture, metadata), stale=True)
        return Frame(preview_frame(picture, JPEG), stale=True)

    def _finish(self, event: NodeFinished) -> None:
        self._display.setdefault(event.node_id, (event.display_node, None))
        self.executed.append(event.node_id)
        if event.ui is not None:
            ui = json.loads(json.dumps(dict(event.ui), default=str))  # other people's nodes may put in anything
            self.outputs[event.node_id] = ui
            place = self._place(event.node_id)
            self.meta[event.node_id] = {
                "node_id": event.node_id,
                "display_node": event.display_node,
                "parent_node": place["parent_node_id"],
                "real_node_id": event.node_id,
            }
            self._send("executed", self._executing(event.node_id) | {"output": ui})
        if event.how == "computed":
            self._state(event.node_id, "finished")

    def _executing(self, node_id: str) -> dict[str, Any]:
        shown, _ = self._display.get(node_id, (node_id, None))
        return {"node": node_id, "display_node": shown, "prompt_id": self.prompt_id}

    def _place(self, node_id: str) -> dict[str, Any]:
        shown, parent = self._display.get(node_id, (node_id, None))
        return {
            "node_id": node_id,
            "prompt_id": self.prompt_id,
            "display_node_id": shown,
            "parent_node_id": parent,
            "real_node_id": node_id,
        }

    def _state(self, node_id: str, state: str, value: int | None = None, total: int | None = None) -> None:
        """Note how far a node is, and tell it of all that have begun."""
        before = self._states.get(node_id, {"value": 0, "max": 1})
        most = before["max"] if total is None else total
        done = value if value is not None else most if state == "finished" else before["value"]
        self._states = self._states | {node_id: {"value": done, "max": most, "state": state, **self._place(node_id)}}
        self._send("progress_state", self._all_states())

    def _all_states(self) -> dict[str, Any]:
        return {"prompt_id": self.prompt_id, "nodes": self._states}
