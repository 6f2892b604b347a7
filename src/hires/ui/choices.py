"""What the form has to choose from, by the same functions as the lists that programs ask for. Nothing is loaded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from hires.errors import HiresError
from hires.imaging.upscalers import LATENT_UPSCALERS
from hires.models.hashes import safetensors_header
from hires.models.names import stem
from hires.pocket import after_own
from hires.server import lists
from hires.server.controlnet import model_list
from hires.server.state import Server

SAME = "same"
"""Stands for what the first pass has."""
AUTOMATIC = "Automatic"
TELLING = ((b"conditioner.embedders.1.", 1024), (b"cond_stage_model.model.", 768))
"""Beginnings of tensors' names that only families with that native size have."""
MOST_HEAD_BYTES = 20_000_000
AXES = (
    "Nothing", "Seed", "Var. seed", "Var. strength", "Steps", "Hires steps", "CFG Scale", "Prompt S/R", "Prompt order",
    "Prompt", "Sampler", "Schedule type", "Checkpoint name", "VAE", "Clip skip", "Denoising", "Hires denoise",
    "Hires upscaler", "Hires scale", "Hires sampler", "Hires CFG", "Size", "LoRA weight", "Styles",
    "Refiner checkpoint", "Refiner switch at", "Tile size", "Tile overlap", "Tile method", "Deep Shrink", "VAE mode",
    "Emphasis", "Eta", "Sigma Churn", "Sigma noise", "RNG source",
)  # fmt: skip
OF_SECOND_PASS = ("Hires steps", "Hires upscaler", "Hires sampler")
"""Axes that img2img does not have."""


class Choices:
    """The lists of one server, looked up anew at each question."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def checkpoints(self) -> list[str]:
        """The user's own first, then the built-in ones."""
        names = self.server.files.names("checkpoints")
        return sorted(names, key=after_own)

    def has_own(self) -> bool:
        """Whether there is a checkpoint beside the built-in ones."""
        return any(not after_own(name) for name in self.checkpoints())

    def checkpoint(self) -> str:
        """The one that the options name, else the first."""
        from hires.models.names import match_name, split_title

        stated = str(self.server.options.all()["sd_model_checkpoint"])
        entries = self.server.files.entries("checkpoints")
        found = match_name(entries, split_title(stated)[0]) if stated else None
        return found.name if found is not None else self.checkpoints()[0]

    def vaes(self) -> list[str]:
        return [AUTOMATIC, "None", *(one["model_name"] for one in lists.sd_vae(self.server))]

    def samplers(self) -> list[str]:
        return [one["name"] for one in lists.samplers()]

    def schedulers(self) -> list[str]:
        return [one["label"] for one in lists.schedulers()]

    def upscalers(self) -> list[str]:
        """Those that enlarge pictures."""
        return [one["name"] for one in lists.upscalers(self.server)]

    def hires_upscalers(self) -> list[str]:
        return [*LATENT_UPSCALERS, *(name for name in self.upscalers() if name != "None")]

    def styles(self) -> list[str]:
        with suppress(HiresError):
            return [one["name"] for one in lists.prompt_styles(self.server)]
        return []

    def networks(self) -> list[str]:
        """What a prompt can name: LoRAs, hypernetworks, embeddings, each as it is written there."""
        files = self.server.files
        found = [f"<lora:{stem(entry.path.name)}:1>" for entry in files.entries("loras")]
        found += [f"<hypernet:{stem(entry.path.name)}:1>" for entry in files.entries("hypernetworks")]
        return found + list(lists.embeddings(self.server)["loaded"])

    def controlnets(self) -> list[str]:
        return ["None", *model_list(self.server)["model_list"]]

    def axes(self, tab: str) -> Sequence[str]:
        return [name for name in AXES if tab == "txt2img" or name not in OF_SECOND_PASS]

    def native_size(self, name: str) -> int:
        """Pixels a side that a checkpoint draws best at, by its header."""
        try:
            path = self.server.files.find("checkpoints", name)
            metadata = safetensors_header(path)[1]
            stated = json.loads(metadata.get("hires.config", "{}")).get("native_size")
            head = _head(path)
        except (HiresError, OSError, ValueError, AttributeError):
            return 512
        if isinstance(stated, int):
            return stated
        return next((size for start, size in TELLING if start in head), 512)


def _head(path: Path) -> bytes:
    """The tensors' names of a safetensors file, as its header has them; of another file what stands in their place."""
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        return file.read(min(int.from_bytes(file.read(8), "little"), MOST_HEAD_BYTES))
