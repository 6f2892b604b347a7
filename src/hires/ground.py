"""What an engine stands on: the device that the settings name, where unfinished work is kept, what files tell of it."""

from __future__ import annotations

import platform

import torch

from hires import __version__
from hires.errors import SettingError
from hires.graph.kept import KeptWork
from hires.metadata.origin import Origin
from hires.settings import Settings

MEGABYTE = 1_000_000


def place(settings: Settings) -> tuple[torch.device, torch.dtype]:
    """The device that the settings name and the precision to compute in there: half on a GPU, single on a CPU."""
    name = settings.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise SettingError(f"device {name!r} is not there: {error}", "Use auto, cpu, cuda or mps.") from error
    return device, torch.float32 if device.type == "cpu" else torch.float16


def kept_work(settings: Settings, device: torch.device) -> KeptWork | None:
    """The folder of unfinished work; one for each version and device, whose numbers differ in the last places."""
    if not settings.keep_megabytes:
        return None
    numbers = f"{__version__}-{torch.__version__}-{device.type}".replace("+", "-")
    return KeptWork(settings.cache_dir / "work" / numbers, settings.keep_megabytes * MEGABYTE)


def origin_of(settings: Settings, device: torch.device, compute_dtype: torch.dtype, together: int) -> Origin:
    """Where pictures come from that are drawn on a device, up to `together` at once."""
    return Origin(
        version=__version__,
        torch=torch.__version__,
        device=device.type,
        device_name=torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
        weights=settings.weights,
        precision=str(compute_dtype).removeprefix("torch."),
        together=str(together),
    )
