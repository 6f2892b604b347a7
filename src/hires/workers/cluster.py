"""Ray itself: one of this machine's own, closed to everybody else, or a cluster that runs already."""

from __future__ import annotations

import importlib.util
import logging
import math
import os
import re
import secrets
import shutil
import socket
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from hires.errors import SettingError

LONGEST_FOLDER = 32
"""Characters: Ray puts sockets 75 below it, whose whole path may have 107."""
OWNER = "owner"
"""The file in a folder of Ray's that has the number of the process it was made for."""
OBJECTS_BYTES = 512 * 2**20
"""Of shared memory for what is on its way between processes; more goes to the disk."""
SECONDS_TO_ANSWER = 5.0
MOST_WORKERS = 256
LOCAL = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # by which Ray takes the loopback address, on Linux too
    "RAY_AUTH_MODE": "token",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
ADDRESS = re.compile(r"(?:ray://)?(\[[0-9a-fA-F:]+\]|[\w.-]+):(\d{1,5})")


@dataclass(frozen=True)
class Cluster:
    """What was started or attached to. threads: of each worker; gpus: the share of one that each gets."""

    ray: ModuleType
    count: int
    threads: int
    gpus: float
    is_local: bool
    own_folder: Path | None = None
    """Of a Ray that was started here; removed at its end."""

    def close(self) -> None:
        """End what was started here; leave what was there."""
        if self.own_folder is not None or not self.is_local:
            self.ray.shutdown()
        if self.own_folder is not None:
            shutil.rmtree(self.own_folder, ignore_errors=True)


def check_workers(workers: str) -> None:
    """SettingError for words that name no workers, and where Ray is not installed. Nothing is loaded or asked."""
    if not workers:
        return
    if workers.isdecimal():
        if not 1 <= int(workers) <= MOST_WORKERS:
            raise SettingError(f"workers must be 1 to {MOST_WORKERS}, not {workers}")
    elif workers != "auto" and ADDRESS.fullmatch(workers) is None:
        raise SettingError(
            f"workers cannot be {workers!r}", "Give a number, auto, or the address of a Ray cluster: ray://host:10001."
        )
    if importlib.util.find_spec("ray") is None:
        raise SettingError("workers need Ray, which is not installed", 'Add it: pip install "hires[ray]".')


def connect(workers: str, threads: int, device: str, cache_dir: Path) -> Cluster:
    """The Ray that `workers` names: see Settings. threads 0: this machine's divided by the workers."""
    check_workers(workers)
    if workers.isdecimal():
        return _started(int(workers), threads, device, cache_dir)
    return _attached(workers, threads, device)


def _started(count: int, threads: int, device: str, cache_dir: Path) -> Cluster:
    gpus = torch.cuda.device_count() if device.startswith(("auto", "cuda")) else 0
    each = gpus / count if gpus else 0.0
    threads = threads or max(1, torch.get_num_threads() // count)
    late = "ray" in sys.modules and any(name not in os.environ for name in LOCAL)
    os.environ.update({name: os.environ.get(name, value) for name, value in LOCAL.items()})
    if os.environ["RAY_AUTH_MODE"] == "token" and "RAY_AUTH_TOKEN_PATH" not in os.environ:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    ray = _loaded()
    share = min(each, 1.0) if each < 1 else float(math.floor(each))
    if ray.is_initialized():
        return Cluster(ray, count, threads, share, is_local=True)
    if late:
        raise SettingError(
            "Ray was loaded before hires could keep it to this machine", "Call ray.init() first, or do not import ray."
        )
    folder = _folder(cache_dir)
    try:
        ray.init(
            num_cpus=1,
            num_gpus=gpus,
            include_dashboard=False,
            object_store_memory=OBJECTS_BYTES,
            _node_ip_address="127.0.0.1",
            _temp_dir=str(folder),
            **_quiet(),
        )
    except Exception as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise SettingError(f"Ray did not start: {_line(error)}", "Leave out --workers.") from error
    return Cluster(ray, count, threads, share, is_local=True, own_folder=folder)


def _attached(address: str, threads: int, device: str) -> Cluster:
    if address != "auto":
        _knock(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = _loaded()
    if address.startswith("ray://") and importlib.util.find_spec("grpc") is None:
        raise SettingError("ray:// needs Ray's client, which is not installed", 'Add it: pip install "ray[client]".')
    try:
        if not ray.is_initialized():
            ray.init(address=address, **_quiet())
        resources: dict[str, Any] = ray.cluster_resources()
        machines = sum(1 for node in ray.nodes() if node["Alive"])
    except Exception as error:
        raise SettingError(
            f"no Ray cluster answers at {address}: {_line(error)}", "Start one with `ray start --head`."
        ) from error
    gpus = int(resources.get("GPU", 0)) if device.startswith(("auto", "cuda")) else 0
    count = min(gpus or max(machines, 1), MOST_WORKERS)
    threads = threads or max(1, int(resources.get("CPU", 1)) // count)
    return Cluster(ray, count, threads, 1.0 if gpus else 0.0, is_local=False)


def _knock(address: str) -> None:
    """Ray itself waits for minutes for an address that does not answer."""
    match = ADDRESS.fullmatch(address)
    assert match is not None
    host, port = match[1].strip("[]"), int(match[2])
    try:
        socket.create_connection((host, port), SECONDS_TO_ANSWER).close()
    except (OSError, OverflowError) as error:
        raise SettingError(
            f"no Ray cluster answers at {address}: {getattr(error, 'strerror', None) or error}",
            "Start one with `ray start --head`, or correct the address.",
        ) from error


def _loaded() -> ModuleType:
    try:
        import ray
    except ImportError as error:
        raise SettingError(f"Ray cannot be loaded: {error}", 'Install it again: pip install "hires[ray]".') from error
    logging.getLogger("ray").setLevel(logging.ERROR)  # it warns of signal handlers where it is started in a thread
    module: ModuleType = ray
    return module


def _quiet() -> dict[str, Any]:
    return {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}


def _folder(cache_dir: Path) -> Path:
    """A new folder below our cache; below the system's temporary one where that has too long a name for sockets."""
    below = (cache_dir / "ray").absolute()
    if len(str(below)) <= LONGEST_FOLDER:
        with suppress(OSError):
            below.mkdir(parents=True, exist_ok=True)
            return _owned(below, "r-")
    return _owned(Path(tempfile.gettempdir()), "hires-ray-")


def _owned(below: Path, prefix: str) -> Path:
    """A new folder that says whose it is. Those of processes that are gone, which had no time to clean, are removed."""
    for left in below.glob(f"{prefix}*"):
        with suppress(OSError, ValueError):
            if is_gone(int((left / OWNER).read_text())):
                shutil.rmtree(left, ignore_errors=True)
    made = Path(tempfile.mkdtemp(prefix=prefix, dir=below))
    (made / OWNER).write_text(str(os.getpid()))
    return made


def is_gone(process: int) -> bool:
    """Whether no process of this machine has that number; False where that cannot be asked without harm."""
    if os.name != "posix" or process <= 0:
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:  # it is another user's
        return False
    return False


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
