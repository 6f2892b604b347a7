"""Writing a recipe's workflow: as any workflow, but nodes that are equal stand in it once."""

from __future__ import annotations

from typing import Any

from hires.graph.workflow import Output, WorkflowBuilder

Link = list[Any]
"""[node id, output slot], as it stands in API format."""


class Draft(WorkflowBuilder):
    """A workflow under construction. Adding a node that is there already gives that one, so what the passes of a
    recipe share (loader, prompts) is shared in the file too."""

    def add(self, class_type: str, *, title: str | None = None, id: str | None = None, **inputs: Any) -> Output:
        for node_id, placed in self._nodes.items():
            if placed.class_type == class_type and placed.inputs == inputs:
                return Output(node_id)
        return super().add(class_type, title=title, id=id, **inputs)
