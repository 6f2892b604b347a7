"""Running a validated workflow: what is needed, in which order, each result once, and never one that is known.

The order and the treatment of lists, lazy inputs, expansion and blockers are ComfyUI's. Different here: a node
that fails does not stop what does not depend on it, and results are shared across workflows by content.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from hires.errors import Fault, HiresError, Interrupted, WorkflowError
from hires.graph.account import Account
from hires.graph.cache import CachedResult, ResultCache
from hires.graph.calls import blockers, bound_to, call_node, spread
from hires.graph.context import Context
from hires.graph.declare import ExecutionBlocker, NodeResult, NodeType, Registry, call_hook
from hires.graph.expansion import expanded
from hires.graph.keys import node_key
from hires.graph.node_check import ValidNode
from hires.graph.order import strong_components
from hires.graph.parting import MakesParts, Parting
from hires.graph.passing import combined, hidden_of, inputs_of
from hires.graph.report import Event, NodeFailed, RunPlanned, RunReport, Said, Status
from hires.graph.validate import ValidatedWorkflow
from hires.graph.workflow import as_link

MAX_NODES_IN_RUN = 200_000
"""Nodes that expand into nodes that expand ... end here."""

FAR_FROM_OUTPUT = 3
NO_RESULTS: Mapping[str, CachedResult] = MappingProxyType({})


def execute(
    validated: ValidatedWorkflow,
    registry: Registry,
    context: Context,
    cache: ResultCache,
    targets: Iterable[str] | None = None,
    *,
    force_outputs: bool = False,
    on_event: Callable[[Event], None] | None = None,
    known: Mapping[str, CachedResult] = NO_RESULTS,
    elsewhere: MakesParts | None = None,
) -> RunReport:
    """Run the outputs of the workflow, or the chosen nodes and what they need.

    A cached output node does not run again but sends its `ui` again; with `force_outputs` it runs. `known` are results
    of nodes of it that were made before; what `elsewhere` has parts for is made there.
    Failures and interruption are told in the report (`raise_for_failure`), with everything that was done.
    """
    chosen = tuple(dict.fromkeys(validated.outputs if targets is None else targets))
    missing = [target for target in chosen if target not in validated.nodes]
    if missing:
        own = [fault for fault in validated.faults if fault.node in (None, *missing)]
        gone = Fault("prompt_no_outputs", "cannot be run", f"node {missing[0]!r} is not there or not valid")
        raise WorkflowError(own or list(validated.faults) or [gone], validated.source)
    return _Run(validated, registry, context, cache, chosen, force_outputs, on_event, known, elsewhere).run()


@dataclass(frozen=True)
class _Expansion:
    """A node that waits for the graph it expanded into: the results of its calls, with links still in them."""

    calls: tuple[NodeResult, ...]
    seconds: float


class _Run:
    """The state of one run."""

    def __init__(
        self,
        validated: ValidatedWorkflow,
        registry: Registry,
        context: Context,
        cache: ResultCache,
        targets: tuple[str, ...],
        force_outputs: bool,
        on_event: Callable[[Event], None] | None,
        known: Mapping[str, CachedResult],
        elsewhere: MakesParts | None,
    ) -> None:
        self.registry, self.context, self.cache, self.targets = registry, context, cache, targets
        self.prompt = validated.prompt
        self.validated = validated
        self.known, self.elsewhere = known, elsewhere
        self.parting = Parting({}) if elsewhere is None else elsewhere.parting
        self.nodes: dict[str, ValidNode] = dict(validated.nodes)
        self.account = Account(self.nodes, on_event)
        self.forced = {t for t in targets if force_outputs and self.nodes[t].type.is_output}
        self.keys: dict[str, str] = {}
        self.lasting: set[str] = set()  # nodes whose result may be reused by a later run
        self.waiting: dict[str, int] = {}  # planned node -> how many of its sources are unfinished
        self.followers: dict[str, list[str]] = {}  # unfinished node -> planned nodes that wait for it
        self.readers: dict[str, set[str]] = {}  # node -> unfinished nodes that may still read its result
        self.results: dict[str, CachedResult] = {}
        self.broken: dict[str, str | None] = {}  # node without a result -> the node that failed
        self.asked: dict[str, list[str]] = {}  # node -> what it needs beyond its strong links
        self.expansions: dict[str, _Expansion] = {}
        self.rank: dict[str, int] = {}
        self.order: dict[str, int] = {}
        self.ready: list[tuple[int, int, str]] = []
        self.lazy_seconds: dict[str, float] = {}

    # The run

    def run(self) -> RunReport:
        started = time.perf_counter()
        self.cache.keep_instances((node.id, node.type.name) for node in self.nodes.values())
        current: str | None = None
        interrupted = False
        try:
            self._plan(self.targets)
            self._announce()
            while self.waiting:
                current = self._next()
                self._step(current)
        except Interrupted:
            interrupted = True
            for node_id in self.waiting:
                self.account.report(node_id, "skipped")
        outputs = {target: self.results[target] for target in self.targets if target in self.results}
        return RunReport(
            nodes=self.account.reports,
            outputs=self.targets,
            failures=tuple(self.account.failures),
            interrupted=interrupted,
            interrupted_node=current if interrupted else None,
            seconds=time.perf_counter() - started,
            faults=self.validated.faults,
            warnings=self.validated.warnings,
            _held=outputs,
            _keys=self.keys,
            _cache=self.cache,
        )

    def _next(self) -> str:
        """The ready node that comes first: outputs, then what is near to them, then the order of discovery."""
        while self.ready:
            node_id = heapq.heappop(self.ready)[2]
            if self.waiting.get(node_id) == 0:
                return node_id
        # Only graphs that nodes expanded into can wait for each other: validation refuses the workflow's own circles.
        return next(node_id for node_id in (*self.expansions, *self.waiting) if node_id in self.waiting)

    def _step(self, node_id: str) -> None:
        """Run a node whose sources are finished, or find out what else it needs."""
        node = self.nodes[node_id]
        if self.waiting[node_id] > 0:
            self._fail(node_id, HiresError("it waits for itself through the graph it expanded into"), {})
            return
        culprits = [source for source in self._sources(node_id) if source in self.broken]
        if culprits:
            self._finish_broken(node_id, "skipped", self.broken[culprits[0]])
            return
        self.context.check_interrupted()
        started = time.perf_counter()
        inputs: dict[str, list[Any]] = {}
        try:
            if node_id in self.expansions:
                expansion = self.expansions.pop(node_id)
                self._finish(node_id, combined(node.type, expansion.calls, self.results), expansion.seconds)
                return
            if node_id not in self.lazy_seconds:
                if self._reuse(node_id):  # another node did the same work since the plan was made
                    self.account.reused(node_id)
                    self._release(node_id)
                    return
                if node_id in self.parting.parts:
                    self._make_elsewhere(node_id)
                    return
                self.lazy_seconds[node_id] = 0.0
                self.account.started(node_id)
            view = self.context.for_node(node_id, self.keys[node_id], self.prompt, self.account.progress_of(node_id))
            if node_id in self.parting.given:
                view.known = {id: self.results[id] for id in self.parting.given[node_id]}
            inputs = inputs_of(node, self.results)
            wanted = self._wanted(node, inputs, view)
            if wanted:
                self._wait_for(node_id, wanted)
                self.lazy_seconds[node_id] += time.perf_counter() - started
                return
            calls, blocker = self._call(node, inputs, view)
            seconds = self.lazy_seconds[node_id] + time.perf_counter() - started
            if any(call.expand for call in calls):
                self._expand(node, calls, seconds)
            elif blocker is not None:
                self._block(node_id, combined(node.type, calls, self.results), blocker, seconds, inputs)
            else:
                self._finish(node_id, combined(node.type, calls, self.results), seconds, view.notes)
        except Interrupted:
            raise
        except Exception as error:
            self._fail(node_id, error, inputs)

    # Planning

    def _plan(self, roots: Iterable[str]) -> None:
        """Take the roots and all they need into the run; reuse what the cache has instead of what it needs."""
        self._name(roots)
        found: list[str] = []
        rest = list(roots)[::-1]
        seen: set[str] = set()
        while rest:
            node_id = rest.pop()
            if node_id in seen or node_id in self.waiting or node_id in self.results or node_id in self.broken:
                continue
            seen.add(node_id)
            if not self._reuse(node_id):
                found.append(node_id)
                rest.extend(reversed(self._strong_sources(node_id)))
        for node_id in found:
            self.order.setdefault(node_id, len(self.order))
            self.waiting[node_id] = 0
            for source in self._read(node_id):
                self.readers.setdefault(source, set()).add(node_id)
        for distance in range(FAR_FROM_OUTPUT):
            for node_id in found:
                if distance == 0 and self.nodes[node_id].type.is_output:
                    self.rank[node_id] = 0
                if self.rank.get(node_id) == distance:
                    for source in self._strong_sources(node_id):
                        self.rank[source] = min(self.rank.get(source, FAR_FROM_OUTPUT), distance + 1)
        for node_id in found:
            self._wait_for(node_id, self._strong_sources(node_id), planned=True)

    def _name(self, roots: Iterable[str]) -> None:
        """Give keys to the roots and all they depend on, sources first."""

        def unnamed(node_id: str) -> list[str]:
            links = self.nodes[node_id].links.values()
            return list(dict.fromkeys(link.node for link in links if link.node not in self.keys))

        for component in strong_components([root for root in roots if root not in self.keys], unnamed):
            node = self.nodes[component[0]]
            if len(component) > 1 or node.id in unnamed(node.id):
                raise HiresError(f"the nodes {', '.join(component)} depend on each other in a circle")
            key, lasting = node_key(node, self.keys, self.context)
            if lasting and all(link.node in self.lasting for link in node.links.values()):
                self.lasting.add(node.id)
            self.keys[node.id] = key

    def _wait_for(self, node_id: str, sources: Iterable[str], planned: bool = False) -> None:
        """Let a planned node wait for those of the sources that are unfinished; it is ready when there are none."""
        sources = list(dict.fromkeys(sources))
        if not planned:
            self._plan([source for source in sources if source not in self.waiting])
            self.asked.setdefault(node_id, []).extend(sources)
            for source in sources:
                self.readers.setdefault(source, set()).add(node_id)
        pending = [source for source in sources if source in self.waiting]
        for source in pending:
            self.followers.setdefault(source, []).append(node_id)
        self.waiting[node_id] = len(pending)
        if not pending:
            self._make_ready(node_id)

    def _make_ready(self, node_id: str) -> None:
        heapq.heappush(self.ready, (self.rank.get(node_id, FAR_FROM_OUTPUT), self.order[node_id], node_id))

    def _reuse(self, node_id: str) -> bool:
        if node_id in self.forced or (node_id not in self.lasting and node_id not in self.known):
            return False
        result = self.known.get(node_id) or self.cache.get(self.keys[node_id])
        if result is None:
            return False
        self.results[node_id] = result
        if self.account.status(node_id) != "computed":  # in this run, and let go of since
            self.account.report(node_id, "reused", ui=result.ui)
        return True

    def _announce(self) -> None:
        """Tell what is reused: what the plan took from the cache, and what stands there unasked behind it."""
        for node_id, key in self.keys.items():
            if node_id not in self.waiting and node_id not in self.results:
                known = node_id in self.lasting and self.cache.get(key) is not None
                self.account.report(node_id, "reused" if known else "unneeded")
        reused = tuple(node_id for node_id in self.keys if self.account.status(node_id) == "reused")
        self.account.emit(RunPlanned(tuple(self.waiting), reused))
        for node_id in reused:
            if self.account.reports[node_id].ui is not None:
                self.account.reused(node_id)

    # Inputs and calls

    def _strong_sources(self, node_id: str) -> list[str]:
        node = self.nodes[node_id]
        if node_id in self.parting.parts:
            return list(self.parting.parts[node_id])
        own = [link.node for name, link in node.links.items() if not _is_lazy(node.type, name)]
        return list(dict.fromkeys([*own, *self.parting.given.get(node_id, ())]))

    def _read(self, node_id: str) -> list[str]:
        """The nodes whose results a node may read."""
        if node_id in self.parting.parts:
            return list(self.parting.parts[node_id])
        return [*(link.node for link in self.nodes[node_id].links.values()), *self.parting.given.get(node_id, ())]

    def _sources(self, node_id: str) -> list[str]:
        """What the node needs for certain, and what it asked for beyond that."""
        return [*self._strong_sources(node_id), *self.asked.get(node_id, ())]

    def _wanted(self, node: ValidNode, inputs: Mapping[str, list[Any]], view: Context) -> list[str]:
        """The sources of lazy inputs that the node asks for and that have no result yet."""
        hook = node.type.check_lazy_status
        unknown = [name for name, link in node.links.items() if link.node not in self.results]
        if hook is None or not unknown:
            return []
        hidden = hidden_of(node, self.prompt, self.context.extra_pnginfo)
        names: list[str] = []
        if node.type.instantiate is not None:
            hook = bound_to(hook, self.cache.instance(node.id, node.type.name, node.type.instantiate))
        for arguments in spread(inputs, node.type.input_is_list):
            if not any(blockers(arguments, node.type.input_is_list)):
                names += call_hook(hook, {**arguments, **hidden}, view) or ()
        return [node.links[name].node for name in dict.fromkeys(names) if name in unknown]

    def _call(
        self, node: ValidNode, inputs: Mapping[str, list[Any]], view: Context
    ) -> tuple[list[NodeResult], ExecutionBlocker | None]:
        """Call the node once per index of its longest list; the last blocker that came in, if any did."""
        function: Callable[..., Any] = node.type.function
        if node.type.instantiate is not None:
            function = bound_to(function, self.cache.instance(node.id, node.type.name, node.type.instantiate))
        more = hidden_of(node, self.prompt, self.context.extra_pnginfo)
        if node.type.context_parameter is not None:
            more[node.type.context_parameter] = view
        return call_node(node.type, function, inputs, more, self.context.check_interrupted)

    def _make_elsewhere(self, node_id: str) -> None:
        """Have a node run elsewhere, with those that only it needs."""
        assert self.elsewhere is not None
        account = self.account
        met = {id for id in self.nodes if id in self.waiting or account.status(id) not in (None, "unneeded")}
        here = met - {node_id}

        def hear(event: Event) -> None:
            if not isinstance(event, Said | RunPlanned) and event.node_id not in here:
                account.emit(event)

        given = {need: self.results[need] for need in self.parting.parts[node_id]}
        made = self.elsewhere.make(node_id, self.keys[node_id], given, hear)
        for failure in made.failures:
            account.failures.append(failure)
            if failure.node_id in here:  # the others were heard
                account.emit(NodeFailed(failure.node_id, failure))
        for id, report in made.nodes.items():
            if id not in here:
                account.take(report)
        if made.result is None:
            self.broken[node_id] = made.failures[0].node_id if made.failures else None
        else:
            self.results[node_id] = made.result
            if node_id in self.lasting and account.status(node_id) in ("computed", "reused"):
                self.cache.put(self.keys[node_id], made.result)
        self._release(node_id)

    # Expansion

    def _expand(self, node: ValidNode, calls: list[NodeResult], seconds: float) -> None:
        """Take the graphs of the calls into the run and let the node wait for what its outputs link to."""
        needed: list[str] = []
        for call in calls:
            if not call.expand:
                continue
            if len(self.nodes) + len(call.expand) > MAX_NODES_IN_RUN:
                raise HiresError(f"it expands without end: more than {MAX_NODES_IN_RUN} nodes in one run")
            added = expanded(call.expand, self.nodes, self.registry)
            self.nodes |= added
            self.account.parent |= dict.fromkeys(added, node.id)
            needed += [node_id for node_id, entry in added.items() if entry.type.is_output]
            for value in call.outputs:
                link = as_link(value)
                if link is not None:
                    if link.node not in self.nodes:
                        raise HiresError(f"it expands into a graph without the node {link.node!r} that it links to")
                    needed.append(link.node)
        self.expansions[node.id] = _Expansion(tuple(calls), seconds)
        self._wait_for(node.id, needed)

    # Endings

    def _finish(self, node_id: str, result: CachedResult, seconds: float, notes: tuple[str, ...] = ()) -> None:
        if node_id in self.lasting:
            self.cache.put(self.keys[node_id], result)
        self.results[node_id] = result
        self.account.computed(node_id, seconds, result.ui, notes)
        self._release(node_id)

    def _block(
        self,
        node_id: str,
        result: CachedResult,
        blocker: ExecutionBlocker,
        seconds: float,
        inputs: Mapping[str, list[Any]],
    ) -> None:
        """Some or all calls were blocked. Not cached: a message must be told again, the rest costs little."""
        self.results[node_id] = result
        self.account.report(node_id, "blocked", seconds, result.ui, blocker.message)
        if blocker.message is not None:
            self.account.failed(node_id, HiresError(blocker.message), inputs)
        self._release(node_id)

    def _fail(self, node_id: str, error: Exception, inputs: Mapping[str, list[Any]]) -> None:
        self.account.failed(node_id, error, inputs)
        self._finish_broken(node_id, "failed", node_id)

    def _finish_broken(self, node_id: str, status: Status, culprit: str | None) -> None:
        self.broken[node_id] = culprit
        self.account.report(node_id, status, because=culprit if culprit != node_id else None)
        self._release(node_id)

    def _release(self, node_id: str) -> None:
        """The node is finished: wake those that wait for it, and let go of results that nobody reads any more."""
        self.waiting.pop(node_id, None)
        self.expansions.pop(node_id, None)
        for follower in self.followers.pop(node_id, ()):
            if follower in self.waiting:
                self.waiting[follower] -= 1
                if self.waiting[follower] == 0:
                    self._make_ready(follower)
        for source in {*self._read(node_id), *self.asked.pop(node_id, ()), node_id}:
            readers = self.readers.get(source, set())
            readers.discard(node_id)
            if not readers and source not in self.targets and source not in self.waiting:
                self.results.pop(source, None)


def _is_lazy(node_type: NodeType, name: str) -> bool:
    # Without the hook nobody could ask for the input, so it counts as any other.
    entry = node_type.by_name.get(name)
    return entry is not None and entry.lazy and node_type.check_lazy_status is not None
