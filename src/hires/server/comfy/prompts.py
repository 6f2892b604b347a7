"""Prompts of ComfyUI's clients: checked, put into the server's queue, run, remembered."""

from __future__ import annotations

import logging
import math
import re
import threading
import uuid
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hires.errors import HiresError, Interrupted, WorkflowError, is_out_of_memory
from hires.graph.fault_answers import error_body, fault_json, node_errors
from hires.graph.validate import ValidatedWorkflow
from hires.graph.workflow import Limits, Workflow, check_json, read_json
from hires.server.comfy.channels import Channels, text_message
from hires.server.comfy.telling import Telling, milliseconds
from hires.server.faults import without_paths
from hires.server.state import Server
from hires.server.work import Busy, Job

if TYPE_CHECKING:
    from hires.api import Engine

log = logging.getLogger("hires.server")
LIMITS = Limits(max_bytes=20_000_000)
MOST_WAITING_BYTES = 400_000_000
MOST_REMEMBERED, MOST_REMEMBERED_BYTES = 10_000, 400_000_000
ID = re.compile(r"[\w.:-]{1,100}")
TEXT_NAME = re.compile(r"[\x21-\x7e][\x20-\x7e]{0,77}")
"""What a text in a PNG may be called."""
SECRET = re.compile("token|api_key|password|secret", re.IGNORECASE)


class PromptRefused(Exception):  # noqa: N818 - said to a client
    """A prompt that cannot be run; body is the answer, with status 400."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        super().__init__(body["error"]["message"])
        self.body = body


def refused(kind: str, message: str, details: str = "") -> PromptRefused:
    """A prompt that is refused as a whole."""
    error = {"type": kind, "message": message, "details": details, "extra_info": {}}
    return PromptRefused({"error": error, "node_errors": {}})


@dataclass(frozen=True)
class Prompt:
    """A prompt that was found fit to run. targets are the only outputs to run, None for all; size is that of the
    request in bytes."""

    id: str
    number: float
    workflow: Workflow
    as_checked: Mapping[str, Any]
    extra_data: Mapping[str, Any]
    outputs: tuple[str, ...]
    targets: tuple[str, ...] | None
    size: int

    @property
    def client(self) -> str | None:
        """The websocket that hears of it."""
        return self.extra_data.get("client_id")

    @property
    def item(self) -> list[Any]:
        """As the queue and the history list it."""
        return [self.number, self.id, self.as_checked, self.extra_data, list(self.outputs)]


@dataclass(frozen=True)
class Remembered:
    """A prompt that is over; began and ended in milliseconds since 1970."""

    prompt: Prompt
    entry: Mapping[str, Any]
    began: int
    ended: int


class Prompts:
    """What ComfyUI's clients have asked of a server."""

    def __init__(self, server: Server, channels: Channels) -> None:
        self.server, self.channels = server, channels
        settings = server.settings
        self._folders = [settings.models_dir, settings.input_dir, settings.output_dir, settings.cache_dir]
        self._lock = threading.Lock()
        self._queued: dict[str, Prompt] = {}
        self._history: OrderedDict[str, Remembered] = OrderedDict()
        self.running: Telling | None = None
        server.work.watchers.append(self.tell_status)

    @property
    def status(self) -> dict[str, Any]:
        """How many jobs there are."""
        return {"exec_info": {"queue_remaining": self.server.work.remaining}}

    def tell_status(self) -> None:
        """Tell everybody how many jobs there are."""
        self.channels.broadcast(text_message("status", {"status": self.status}))

    def submit(self, data: bytes) -> dict[str, Any]:
        """Check a request and put its prompt into the queue; the answer. PromptRefused, Busy."""
        number: float = self.server.work.next_number()
        try:
            body = checked_json(data)
        except WorkflowError as error:
            raise refused("invalid_prompt", "The request is no JSON that can be used", str(error)) from error
        if not isinstance(body, dict) or body.get("prompt") is None:
            raise refused("no_prompt", "No prompt provided", "No prompt provided")
        if not isinstance(body["prompt"], dict):
            raise refused("invalid_prompt", "Cannot execute because the prompt is invalid.", "it must be an object")
        prompt_id, extra = self._id_of(body), _extra_data(body)
        if isinstance(body.get("number"), int | float) and not isinstance(body["number"], bool):
            number = body["number"] if abs(body["number"]) < 2**53 else number
        elif body.get("front") is True:
            number = -number
        workflow, checked, targets = self._checked(body)
        answer = {"prompt_id": prompt_id, "number": number, "node_errors": self._cleaned(node_errors(checked))}
        prompt = Prompt(prompt_id, number, workflow, checked.prompt, extra, checked.outputs, targets, len(data))
        self._enqueue(prompt)
        return answer

    def queue(self) -> dict[str, list[Any]]:
        """The prompt that runs and those that wait, the next one first."""
        pending, running, _ = self.everything()
        return {
            "queue_running": [prompt.item for prompt, _ in running],
            "queue_pending": [prompt.item for prompt in pending],
        }

    def everything(self) -> tuple[list[Prompt], list[tuple[Prompt, int]], list[Remembered]]:
        """The prompts that wait, the next one first; the one that runs, with its beginning; those that are over."""
        waiting, telling = self.server.work.waiting(), self.running
        with self._lock:
            pending = [self._queued[job.id] for job in waiting if job.id in self._queued]
            runs = telling is not None and telling.prompt_id in self._queued
            running = [(self._queued[telling.prompt_id], telling.began)] if telling is not None and runs else []
            over = [one for id, one in self._history.items() if telling is None or id != telling.prompt_id]
        return pending, running, over

    def queued(self, id: str) -> Prompt | None:
        """A prompt that waits or runs."""
        with self._lock:
            return self._queued.get(id)

    def remove(self, ids: Collection[str] | None) -> list[str]:
        """Take prompts that wait out of the queue, all for None; the ids of those that did."""
        with self._lock:
            chosen = set(self._queued) if ids is None else self._queued.keys() & set(ids)
        removed = self.server.work.remove(chosen)
        with self._lock:
            for id in removed:
                self._queued.pop(id, None)
        return removed

    def history(self, max_items: int | None = None, offset: int | None = None) -> dict[str, Any]:
        """The prompts that are over, the oldest first; without an offset the newest ones."""
        with self._lock:
            whole = list(self._history.items())
        if offset is not None and offset >= 0:
            whole = whole[offset:]
            whole = whole if max_items is None else whole[:max_items]
        elif max_items is not None:
            whole = whole[max(len(whole) - max_items, 0) :]
        return {id: one.entry for id, one in whole}

    def remembered(self, id: str) -> Remembered | None:
        """A prompt that is over."""
        with self._lock:
            return self._history.get(id)

    def forget(self, ids: Collection[str] | None) -> None:
        """Strike prompts from the history, all for None."""
        with self._lock:
            for id in list(self._history) if ids is None else ids:
                self._history.pop(id, None)

    def _id_of(self, body: Mapping[str, Any]) -> str:
        """The id that the client chose, or a new one."""
        id = body.get("prompt_id")
        if id is None:
            return str(uuid.uuid4())
        if not isinstance(id, str) or not ID.fullmatch(id):
            raise refused("invalid_prompt_id", "prompt_id must be a short text of letters and digits, as a UUID")
        with self._lock:
            if id in self._queued or id in self._history:
                raise refused("invalid_prompt_id", "there is a prompt of that prompt_id already", id)
        return id

    def _checked(self, body: Mapping[str, Any]) -> tuple[Workflow, ValidatedWorkflow, tuple[str, ...] | None]:
        """The workflow, what was found of it, and the outputs it is narrowed to. PromptRefused."""
        engine = self.server.work.ready()
        try:
            workflow = Workflow.parse(body["prompt"], limits=LIMITS, source="the prompt")
        except WorkflowError as error:
            raise refused("invalid_prompt", "Cannot execute because the prompt is invalid.", str(error)) from error
        wanted = body.get("partial_execution_targets")
        targets = None
        if wanted is not None:
            if not isinstance(wanted, list):
                raise refused("invalid_prompt", "partial_execution_targets must be a list of node ids")
            kinds = {id: engine.registry.get(node.class_type or "") for id, node in workflow.nodes.items()}
            targets = tuple(id for id, kind in kinds.items() if id in wanted and kind is not None and kind.is_output)
        checked = engine.validate(workflow, targets, self.server.settings.output_dir)
        unknown = [fault for fault in checked.faults if fault.type == "invalid_prompt"]
        failed = error_body(checked)
        if unknown:
            failed = {"error": fault_json(unknown[0]), "node_errors": node_errors(checked)}
        if failed is not None:
            raise PromptRefused(self._cleaned(failed))
        return workflow, checked, None if targets is None else checked.outputs

    def _enqueue(self, prompt: Prompt) -> None:
        with self._lock:
            if sum(one.size for one in self._queued.values()) + prompt.size > MOST_WAITING_BYTES:
                raise Busy("the prompts that wait are too large together", "Try again later.")
            self._queued[prompt.id] = prompt
        try:
            self.server.work.submit(
                "prompt", partial(self._run, prompt), prompt.id, number=prompt.number, ended=partial(self._end, prompt)
            )
        except Busy:
            with self._lock:
                del self._queued[prompt.id]
            raise

    def _run(self, prompt: Prompt, engine: Engine, job: Job) -> None:
        """Run a prompt in the thread that works; whatever happens is told and remembered."""
        classes = {id: node.class_type or "" for id, node in prompt.workflow.nodes.items()}
        model = partial(_model_of, engine, prompt.workflow)
        telling = Telling(prompt.id, prompt.client, self.channels, self.clean, classes, model, job)
        self.running = telling
        telling.begin()
        try:
            pnginfo = prompt.extra_data.get("extra_pnginfo")
            report = engine.run(prompt.workflow, targets=prompt.targets, on_event=telling, extra_pnginfo=pnginfo)
            for failure in report.failures:
                self._log(prompt, engine, failure.error)
            if report.failures:
                telling.fail(report.failures[0], report.failures[0].error)
            else:
                telling.succeed()
        except Interrupted:
            telling.interrupt()
        except Exception as error:  # one prompt never harms the next
            self._log(prompt, engine, error)
            telling.fail(None, error)
        self._remember(prompt, telling)

    def _log(self, prompt: Prompt, engine: Engine, error: Exception) -> None:
        if is_out_of_memory(error):
            engine.store.forget()
        if not isinstance(error, HiresError):
            log.error("prompt %s failed", prompt.id, exc_info=error)

    def _remember(self, prompt: Prompt, telling: Telling) -> None:
        entry = {"prompt": prompt.item, "outputs": telling.outputs, "status": telling.status, "meta": telling.meta}
        with self._lock:
            self._history[prompt.id] = Remembered(prompt, entry, telling.began, milliseconds())
            total = sum(one.prompt.size for one in self._history.values())
            while len(self._history) > MOST_REMEMBERED or (total > MOST_REMEMBERED_BYTES and len(self._history) > 1):
                total -= self._history.popitem(last=False)[1].prompt.size

    def _end(self, prompt: Prompt) -> None:
        """The job is no longer counted."""
        with self._lock:
            self._queued.pop(prompt.id, None)
        telling, self.running = self.running, None
        if telling is not None:
            telling.over()

    def clean(self, text: str) -> str:
        """A text as others may read it."""
        return without_paths(text, [*self._folders, Path.cwd()])

    def _cleaned(self, value: Any, key: str = "") -> Any:
        """An answer without paths and traces."""
        if key == "traceback":
            return []
        if isinstance(value, Mapping):
            return {name: self._cleaned(one, name) for name, one in value.items()}
        if isinstance(value, list | tuple):
            return [self._cleaned(one) for one in value]
        return self.clean(value) if isinstance(value, str) and key in ("message", "details") else value


def checked_json(data: bytes) -> Any:
    """The JSON of a request, fit to be sent to any client again: numbers that JSON does not know are null, halves of
    letters are replaced. WorkflowError."""
    body = read_json(data, LIMITS, "the request")
    check_json(body, LIMITS, "the request")
    return _plain(body)


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {_plain(key): _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value


def _extra_data(body: Mapping[str, Any]) -> dict[str, Any]:
    """What goes along with a prompt, without the tokens of other services. PromptRefused."""
    given = body.get("extra_data") or {}
    if not isinstance(given, Mapping):
        raise refused("invalid_prompt", "extra_data must be an object")
    extra = {key: value for key, value in given.items() if not SECRET.search(key)}
    client = body.get("client_id", extra.get("client_id"))
    if client is not None:
        if not isinstance(client, str) or len(client) > 200:
            raise refused("invalid_prompt", "client_id must be a short text")
        extra["client_id"] = client
    pnginfo = extra.get("extra_pnginfo")
    if pnginfo is None:
        extra.pop("extra_pnginfo", None)
    elif not isinstance(pnginfo, Mapping) or not all(TEXT_NAME.fullmatch(key) for key in pnginfo):
        raise refused("invalid_prompt", "extra_pnginfo must be an object whose keys are short and plain")
    return extra | {"create_time": milliseconds()}


def _model_of(engine: Engine, workflow: Workflow) -> tuple[str, str]:
    """The first checkpoint that a workflow names, and its family; by their colours previews are drawn."""
    named = (node.inputs.get("ckpt_name") for node in workflow.nodes.values())
    name = next((one for one in named if isinstance(one, str)), None)
    if name is None:
        return "", "sd1"
    try:
        return name, engine.store.checkpoint(name).family  # loaded already: it draws
    except HiresError:
        return name, "sd1"
