"""What the benchmarks share: peak memory, times of nodes, thin models of random weights."""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from hires.graph.report import Event, NodeFinished, NodeProgress, NodeStarted

MAKER = Path(__file__).parent.parent / "tests" / "reference" / "make_checkpoint.py"


class NodeTimes:
    """Seconds by node, as the `on_event` of a run; `order` has their ids as they finished."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.classes: dict[str, str] = {}
        self.order: list[str] = []
        self.steps: dict[str, int] = defaultdict(int)

    def __call__(self, event: Event) -> None:
        if isinstance(event, NodeStarted):
            self.classes[event.node_id] = event.class_type
        elif isinstance(event, NodeProgress):
            self.steps[event.node_id] = event.value
        elif isinstance(event, NodeFinished):
            self.classes[event.node_id] = event.class_type
            self.seconds[event.node_id] += event.seconds
            self.order.append(event.node_id)

    def of(self, class_type: str) -> list[float]:
        """Seconds of the nodes of a class, in the order they finished."""
        return [self.seconds[node] for node in self.order if self.classes[node] == class_type]


def peak_megabytes() -> float:
    """The most memory that this process has held so far (VmHWM), in MB; 0 where the system does not tell."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1000 for line in status.splitlines() if line.startswith("VmHWM")), 0.0)


def make_checkpoint(layout: str, folder: Path, dtype: str = "float32") -> Path:
    """Write random weights in a family's true layout into folder/checkpoints."""
    path = folder / "checkpoints" / f"{layout}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        subprocess.run([sys.executable, str(MAKER), layout, str(path), "--dtype", dtype], check=True)
    return path
