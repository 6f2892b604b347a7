"""Prompts of ComfyUI's clients: checked, put into the server's queue, run, remembered."""

from __future__ import annotations

import json
import logging
import math
import re
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hires.errors import HiresError, Interrupted, SettingError, WorkflowError, is_disk_full, is_out_of_memory
from hires.graph.fault_answers import error_body, fault_json, node_errors
from hires.graph.seeds import with_drawn_seeds
from hires.graph.workflow import Limits, Workflow, check_json, read_json
from hires.jobs.record import Job, State
from hires.jobs.store import SPACING
from hires.server.comfy.channels import Channels, text_message
from hires.server.comfy.telling import Telling, milliseconds
from hires.server.faults import without_paths
from hires.server.finished import Finished
from hires.server.kind import Accepted, Outcome
from hires.server.state import Server
from hires.server.work import Busy
from hires.server.work import Job as Task

if TYPE_CHECKING:
    from hires.api import Engine

log = logging.getLogger("hires.server")
LIMITS = Limits(max_bytes=20_000_000)
MOST_WAITING_BYTES = 400_000_000
MOST_LISTED = 2000
"""Of the prompts that are over, where newer editors list them."""
MOST_WORDS = 20_000
KIND = "workflow"
TOLD = "told"
"""The note of a job with what its client was told, as the history has it."""
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
    """A prompt that was found fit to run. targets are the only outputs to run, None for all."""

    id: str
    number: float
    as_checked: Mapping[str, Any]
    extra_data: Mapping[str, Any]
    outputs: tuple[str, ...]
    targets: tuple[str, ...] | None

    @classmethod
    def of(cls, job: Job) -> Prompt:
        """The prompt of a job."""
        request, number = job.request, job.position / SPACING
        targets = None if request["targets"] is None else tuple(request["targets"])
        checked = request.get("checked") or request["prompt"]
        whole = int(number) if number.is_integer() else number
        return cls(job.id, whole, checked, request["extra_data"], tuple(request["outputs"]), targets)

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

    @classmethod
    def of(cls, job: Job) -> Remembered:
        """What a job that has ended came to; of one that could tell nothing itself, what is known."""
        prompt, began, ended = Prompt.of(job), int((job.begun or 0) * 1000), int((job.ended or 0) * 1000)
        told = job.notes.get(TOLD)
        if told is None:
            data = {"prompt_id": job.id, "exception_message": job.error, "executed": [], "timestamp": ended}
            kind = "execution_error" if job.state is State.FAILED else "execution_interrupted"
            status = {"status_str": "error", "completed": False, "messages": [[kind, data]]}
            told = {"outputs": {}, "status": status, "meta": {}}
        return cls(prompt, {"prompt": prompt.item, **told}, began, ended)


class Prompts:
    """What ComfyUI's clients have asked of a server: jobs of the kind `workflow`."""

    def __init__(self, server: Server, channels: Channels) -> None:
        self.server, self.channels = server, channels
        settings = server.settings
        self._folders = [settings.models_dir, settings.input_dir, settings.output_dir, settings.cache_dir]
        self.running: Telling | None = None
        server.work.watchers.append(self.tell_status)
        server.desk.kinds[KIND] = self
        server.desk.clean = self.clean

    @property
    def status(self) -> dict[str, Any]:
        """How many jobs there are; and, where none is begun, why."""
        held = self.server.work.held
        return {"exec_info": {"queue_remaining": self.server.work.remaining} | ({"paused": held} if held else {})}

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
        check_prompt(body)
        prompt_id = self._id_of(body)
        if isinstance(body.get("number"), int | float) and not isinstance(body["number"], bool):
            number = body["number"] if abs(body["number"]) < 2**53 else number
        elif body.get("front") is True:
            number = -number
        accepted, faults = self._accepted(body)
        if self.server.desk.store.waiting_bytes(KIND) + len(data) > MOST_WAITING_BYTES:
            raise Busy("the prompts that wait are too large together", "Try again later.")
        self.server.desk.enter(KIND, accepted, door="comfyui", id=prompt_id, number=number)
        return {"prompt_id": prompt_id, "number": number, "node_errors": self._cleaned(faults)}

    def accept(self, request: Mapping[str, Any]) -> Accepted:
        """A prompt of another door than ComfyUI's. WorkflowError, SettingError."""
        try:
            body = checked_json(json.dumps(request).encode())
            check_prompt(body)
            return self._accepted(body)[0]
        except PromptRefused as error:
            raise SettingError(self.clean(told_in(error.body))) from error

    def queue(self) -> dict[str, list[Any]]:
        """The prompt that runs and those that wait, the next one first."""
        jobs = [job for job in self.server.desk.store.unended() if job.kind == KIND]
        return {
            "queue_running": [Prompt.of(job).item for job in jobs if job.state is State.RUNNING],
            "queue_pending": [Prompt.of(job).item for job in jobs if job.state is not State.RUNNING],
        }

    def everything(self) -> tuple[list[Prompt], list[tuple[Prompt, int]], list[Remembered]]:
        """The prompts that wait, the next one first; the one that runs, with its beginning; those that are over."""
        store = self.server.desk.store
        jobs = [job for job in store.unended() if job.kind == KIND]
        pending = [Prompt.of(job) for job in jobs if job.state is not State.RUNNING]
        running = [(Prompt.of(job), int((job.begun or 0) * 1000)) for job in jobs if job.state is State.RUNNING]
        return pending, running, [Remembered.of(job) for job in store.history(KIND, MOST_LISTED, newest=True)]

    def queued(self, id: str) -> Prompt | None:
        """A prompt that waits or runs."""
        job = self.server.desk.store.find(id)
        return None if job is None or job.kind != KIND or job.state.has_ended else Prompt.of(job)

    def remove(self, ids: Collection[str] | None) -> list[str]:
        """Take prompts that wait out of the queue, all for None; the ids of those that did."""
        desk = self.server.desk
        own = [job.id for job in desk.store.unended() if job.kind == KIND]
        return [id for id in own if (ids is None or id in ids) and desk.withdraw(id)]

    def history(self, max_items: int | None = None, offset: int | None = None) -> dict[str, Any]:
        """The prompts that are over, the oldest first; without an offset the newest ones."""
        limit = -1 if max_items is None else max_items
        from_start = offset is not None and offset >= 0
        jobs = self.server.desk.store.history(KIND, limit, max(offset or 0, 0), newest=not from_start)
        return {job.id: Remembered.of(job).entry for job in jobs}

    def remembered(self, id: str) -> Remembered | None:
        """A prompt that is over."""
        job = self.server.desk.store.find(id)
        over = job is not None and job.kind == KIND and job.state.has_ended and job.begun is not None
        return Remembered.of(job) if job is not None and over else None

    def forget(self, ids: Collection[str] | None) -> None:
        """Strike prompts from the history, all for None."""
        self.server.desk.store.forget_all(KIND, ids)

    def _id_of(self, body: Mapping[str, Any]) -> str:
        """The id that the client chose, or a new one."""
        id = body.get("prompt_id")
        if id is None:
            return str(uuid.uuid4())
        if not isinstance(id, str) or not ID.fullmatch(id):
            raise refused("invalid_prompt_id", "prompt_id must be a short text of letters and digits, as a UUID")
        if self.server.desk.store.find(id) is not None:
            raise refused("invalid_prompt_id", "there is a prompt of that prompt_id already", id)
        return id

    def _accepted(self, body: Mapping[str, Any]) -> tuple[Accepted, dict[str, Any]]:
        """A prompt as it is stored, and what of it cannot be run. PromptRefused."""
        extra, engine = _extra_data(body), self.server.work.ready()
        try:
            given = Workflow.parse(body["prompt"], limits=LIMITS, source="the prompt")
        except WorkflowError as error:
            raise refused("invalid_prompt", "Cannot execute because the prompt is invalid.", str(error)) from error
        workflow = with_drawn_seeds(given, engine.registry)
        prompt = body["prompt"] if workflow is given else workflow.as_json()
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
        request = {
            "prompt": prompt,
            "extra_data": extra,
            "outputs": checked.outputs,
            "targets": None if targets is None else checked.outputs,
        }
        if checked.prompt != prompt:
            request["checked"] = checked.prompt
        return Accepted(request, words_of(workflow), _model_named(workflow) or ""), node_errors(checked)

    def run(self, engine: Engine, task: Task, job: Job, finished: Finished) -> Outcome:
        """Run a prompt in the thread that works; whatever happens is told and remembered."""
        prompt = Prompt.of(job)
        workflow = Workflow.parse(job.request["prompt"], limits=LIMITS, source="the prompt")
        classes = {id: node.class_type or "" for id, node in workflow.nodes.items()}
        model = partial(_model_of, engine, workflow)
        telling = Telling(prompt.id, prompt.client, self.channels, self.clean, classes, model, task)
        self.running, task.ended = telling, self._end
        telling.begin()
        error, cut = "", False
        try:
            pnginfo = prompt.extra_data.get("extra_pnginfo")
            with engine.recording(finished):
                report = engine.run(workflow, targets=prompt.targets, on_event=telling, extra_pnginfo=pnginfo)
            finished.add(engine.saved(report))  # also those that another prompt has written
            for failure in report.failures:
                if is_disk_full(failure.error):
                    raise failure.error
                self._log(prompt, engine, failure.error)
            if report.failures:
                error = self.clean(str(report.failures[0].fault))
                telling.fail(report.failures[0], report.failures[0].error)
            else:
                telling.succeed()
        except Interrupted:
            if task.put_off:
                raise
            cut = True
            telling.interrupt()
        except Exception as fault:  # one prompt never harms the next
            if is_disk_full(fault):
                raise
            error = self.clean(str(fault)) or type(fault).__name__
            self._log(prompt, engine, fault)
            telling.fail(None, fault)
        told = {"outputs": telling.outputs, "status": telling.status, "meta": telling.meta}
        return Outcome(None, cut, error, {TOLD: told})

    def _log(self, prompt: Prompt, engine: Engine, error: Exception) -> None:
        if is_out_of_memory(error):
            engine.store.forget()
        if not isinstance(error, HiresError):
            log.error("prompt %s failed", prompt.id, exc_info=error)

    def _end(self) -> None:
        """The job is no longer counted."""
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


def check_prompt(body: Any) -> None:
    """Whether a request has a prompt at all. PromptRefused."""
    if not isinstance(body, dict) or body.get("prompt") is None:
        raise refused("no_prompt", "No prompt provided", "No prompt provided")
    if not isinstance(body["prompt"], dict):
        raise refused("invalid_prompt", "Cannot execute because the prompt is invalid.", "it must be an object")


def told_in(body: Mapping[str, Any]) -> str:
    """What is wrong with a prompt, in one line."""
    errors = [error for node in body["node_errors"].values() for error in node.get("errors", [])]
    said = [f"{error['message']}: {error['details']}" if error["details"] else error["message"] for error in errors]
    return "; ".join(said) or body["error"]["message"]


def words_of(workflow: Workflow) -> str:
    """The texts of a workflow that one would look for."""
    texts = [value for node in workflow.nodes.values() for value in node.inputs.values() if isinstance(value, str)]
    return "\n".join(dict.fromkeys(text for text in texts if " " in text or "," in text))[:MOST_WORDS]


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
    name = _model_named(workflow)
    if name is None:
        return "", "sd1"
    try:
        return name, engine.store.checkpoint(name).family  # loaded already: it draws
    except HiresError:
        return name, "sd1"


def _model_named(workflow: Workflow) -> str | None:
    named = (node.inputs.get("ckpt_name") for node in workflow.nodes.values())
    return next((one for one in named if isinstance(one, str)), None)
