"""Settings: folders, device, precision and limits. From flags, then HIRES_* variables, then a TOML file, then defaults.

Nothing below this file reads the environment.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from hires.errors import SettingError

WEIGHTS = ("auto", "float32", "float16", "bfloat16")


@dataclass(frozen=True)
class Settings:
    """All that an engine is started with.

    models_dir may hold ComfyUI's folders (checkpoints, loras ...) or A1111's (Stable-diffusion, Lora ...).
    custom_nodes_dir, if named, holds other people's nodes: Python code that is run (docs/custom-nodes.md).
    device "auto" takes CUDA, then Apple's MPS, then the CPU. max_megapixels bounds one picture before anything is
    allocated; cache_megabytes bounds the results and sampler states kept between runs. memory "4GB" is what a run may
    use on the device (on the CPU: the whole process); "auto" what is free there. keep_megabytes bounds what is kept on
    disk of work that is not finished, so that it goes on after a crash; 0 keeps nothing. styles_files are CSV files of
    styles or patterns of their names, in the environment parted by ";". wildcards_dir holds the files that `__name__`
    in a prompt takes a line of; None is models_dir/wildcards. user_dir keeps what node editors store: their settings
    and workflows. data_dir keeps the server's jobs, of one server at a time; None is user_dir/jobs.
    together pictures of a batch or cells of a grid go through the network at once, where that is measured to be faster;
    they then are equal to each drawn alone up to rounding only. 1: each for itself, equal to the bit.
    threads are those that an operation on the CPU is divided among; 0: one a core. workers "2" draws in two processes
    of this machine, "ray://host:10001", "host:6379" or "auto" on those of a Ray cluster, "" in this process
    (docs/scale.md).
    """

    models_dir: Path = Path("models")
    input_dir: Path = Path("input")
    output_dir: Path = Path("outputs")
    cache_dir: Path = field(default_factory=lambda: Path("~/.cache/hires").expanduser())
    custom_nodes_dir: Path | None = None
    device: str = "auto"
    weights: str = "auto"
    max_megapixels: float = 200.0
    cache_megabytes: int = 2048
    loaded_models_megabytes: int = 12_000
    together: int = 1
    threads: int = 0
    memory: str = "auto"
    keep_megabytes: int = 4000
    styles_files: tuple[str, ...] = ("styles*.csv",)
    wildcards_dir: Path | None = None
    user_dir: Path = Path("user")
    data_dir: Path | None = None
    workers: str = ""

    @property
    def jobs_dir(self) -> Path:
        """The folder of the server's jobs."""
        return self.user_dir / "jobs" if self.data_dir is None else self.data_dir

    def __post_init__(self) -> None:
        if self.weights not in WEIGHTS:
            raise SettingError(f"unknown precision of weights {self.weights!r}", f"Use one of {', '.join(WEIGHTS)}.")
        for name in ("max_megapixels", "cache_megabytes", "loaded_models_megabytes"):
            if getattr(self, name) <= 0:
                raise SettingError(f"{name} must be above 0, not {getattr(self, name)}")
        if self.together < 1:
            raise SettingError(f"together must not be below 1, and is {self.together}")
        if self.threads < 0:
            raise SettingError(f"threads must not be below 0, and is {self.threads}")
        if self.keep_megabytes < 0:
            raise SettingError(f"keep_megabytes must not be below 0, and is {self.keep_megabytes}")


def load_settings(overrides: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Settings from the file named in HIRES_CONFIG (or ./hires.toml), the environment, and `overrides`.

    Entries of `overrides` that are None do not count. An unknown name or a value of the wrong kind is a SettingError.
    """
    environ = os.environ if environ is None else environ
    settings = Settings()
    config = Path(environ.get("HIRES_CONFIG", "hires.toml"))
    if config.is_file():
        settings = _apply(settings, _read_toml(config), str(config))
    elif "HIRES_CONFIG" in environ:
        raise SettingError(f"there is no settings file {config}", "Correct HIRES_CONFIG.")
    known = {entry.name for entry in fields(Settings)}
    named = {key[6:].lower(): value for key, value in environ.items() if key.startswith("HIRES_")}
    settings = _apply(settings, {key: value for key, value in named.items() if key in known}, "the environment")
    given = {key: value for key, value in (overrides or {}).items() if value is not None}
    return _apply(settings, given, "the flags")


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingError(f"the settings file {path} cannot be read: {error}") from error


def _apply(settings: Settings, values: Mapping[str, Any], source: str) -> Settings:
    types = {
        entry.name: Path if entry.name.endswith("_dir") else type(getattr(settings, entry.name))
        for entry in fields(Settings)
    }
    changes: dict[str, Any] = {}
    for key, value in values.items():
        if key not in types:
            raise SettingError(f"unknown setting {key!r} in {source}", f"There are: {', '.join(types)}.")
        kind = Path if issubclass(types[key], Path) else types[key]
        try:
            if kind is tuple:
                changes[key] = tuple(value.split(";")) if isinstance(value, str) else tuple(map(str, value))
            else:
                changes[key] = Path(str(value)).expanduser() if kind is Path else kind(value)
        except (TypeError, ValueError) as error:
            raise SettingError(f"setting {key} in {source} must be a {kind.__name__}, not {value!r}") from error
    return replace(settings, **changes)
