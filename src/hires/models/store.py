"""The models that are loaded, kept as long as there is room, by the names of their files."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch

from hires.models.captioners.blip import BlipCaptioner, is_blip, load_blip
from hires.models.captioners.tagger import Tagger, load_tagger
from hires.models.checkpoint import (
    Checkpoint,
    Placement,
    file_identity,
    load_checkpoint,
    load_text_encoders,
    load_unet,
    load_vae,
)
from hires.models.clip import TextStack
from hires.models.controlnet import ControlNet, load_controlnet
from hires.models.faces.restorer import FaceRestorer, load_face_restorer, restorer_files
from hires.models.files import ModelFiles
from hires.models.handles import DiffusionModel, VaeModel
from hires.models.hypernetwork import Networks, load_hypernetwork
from hires.models.inspection import ModelInfo, inspect
from hires.models.lora import LoraFile, open_lora
from hires.models.names import FOLDERS, match_name
from hires.models.precision import WeightsPolicy
from hires.models.residence import bring_back, movable_bytes, move_away
from hires.models.upscale import UpscaleModel, load_upscaler
from hires.models.upscale_drawing import DrawingUpscaler, LdsrModel, SdX4Model, load_drawing
from hires.models.upscale_reach import HaloCache

AnyModel = (
    Checkpoint
    | VaeModel
    | DiffusionModel
    | TextStack
    | UpscaleModel
    | DrawingUpscaler
    | ControlNet
    | FaceRestorer
    | BlipCaptioner
    | Tagger
)
Loaded = TypeVar("Loaded", bound=AnyModel)

OPEN_LORAS = 64  # an open file each
KEPT_AT_LEAST = 2  # a base and its refiner


class ModelStore(ModelFiles):
    """Finds models by name in one or more models folders, loads them, and keeps those used last.

    `loaded_bytes` bounds the memory of kept models; the two used last are kept in any case. `cache_dir` is where
    hashes are remembered. Safe to use from several threads; loading is done by one at a time.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        device: torch.device | str = "cpu",
        weights: WeightsPolicy = "auto",
        *,
        compute_dtype: torch.dtype = torch.float32,
        vae_dtype: torch.dtype = torch.float32,
        cache_dir: Path | None = None,
        loaded_bytes: int = 12_000_000_000,
    ) -> None:
        super().__init__(folders, cache_dir)
        self.placement = Placement(torch.device(device), compute_dtype, vae_dtype, weights)
        self.halos = HaloCache(cache_dir)
        self._loaded_bytes = loaded_bytes
        self._kept: OrderedDict[str, tuple[AnyModel, int]] = OrderedDict()
        self._loras: OrderedDict[str, LoraFile] = OrderedDict()
        self._lock = threading.RLock()

    def models(self, *, with_hash: bool = True) -> list[ModelInfo]:
        """A listing of all model files. Without `with_hash`, only hashes that are known already are given."""
        lines = []
        for kind in FOLDERS:
            if kind == "configs":
                continue
            for entry in self.entries(kind):
                info = inspect(entry.path, self.hashes, name=entry.name, with_hash=with_hash)
                if not with_hash and entry.path.is_file() and (known := self.hashes.known_sha256(entry.path)):
                    info = replace(info, hash=known[:10])
                lines.append(info)
        return lines

    # ---- loading ----------------------------------------------------------------------------------------------------

    def checkpoint(self, name: str, *, prediction: str | None = None, float8: str = "off") -> Checkpoint:
        """A checkpoint, loaded or kept. `prediction` overrides what the file says; `float8` is one of FLOAT8_MODES."""
        path = self.find("checkpoints", name)
        identity = self._identity(path)
        embeddings = self.directories("embeddings")
        return self._keep(
            f"checkpoint {identity} {prediction} {embeddings} {float8}",
            lambda: load_checkpoint(
                path,
                replace(self.placement, float8=float8),
                prediction=prediction,
                embedding_dirs=embeddings,
                identity=identity,
            ),
        )

    def vae(self, name: str) -> VaeModel:
        """A separate VAE; also that of a checkpoint with this name."""
        path = self._find_any(("vae", "checkpoints"), name)
        identity = self._identity(path)
        return self._keep(f"vae {identity}", lambda: load_vae(path, self.placement, identity=identity))

    def unet(self, name: str, *, prediction: str | None = None) -> DiffusionModel:
        """A UNet file of its own."""
        path = self._find_any(("diffusion_models", "checkpoints"), name)
        identity = self._identity(path)
        return self._keep(
            f"unet {identity} {prediction}",
            lambda: load_unet(path, self.placement, prediction=prediction, identity=identity),
        )

    def text_encoders(self, *names: str) -> TextStack:
        """One text encoder file, or SDXL's two, as one stack."""
        paths = [self.find("text_encoders", name) for name in names]
        identity = "+".join(self._identity(path) for path in paths)
        embeddings = self.directories("embeddings")
        return self._keep(
            f"text {identity} {embeddings}",
            lambda: load_text_encoders(paths, self.placement, embedding_dirs=embeddings, identity=identity),
        )

    def upscaler(self, name: str) -> UpscaleModel:
        """A network that enlarges pictures."""
        path = self.find("upscale_models", name)
        identity = self._identity(path)
        return self._keep(f"upscaler {identity}", lambda: load_upscaler(path, self.placement, identity=identity))

    def drawing_upscaler(self, name: str) -> DrawingUpscaler:
        """LDSR or the SD x4 upscaler."""
        path = self.find("upscale_models", name)
        identity = self._identity(path)
        return self._keep(f"drawing {identity}", lambda: load_drawing(path, self.placement, identity=identity))

    def face_restorer(self, title: str) -> FaceRestorer:
        """GFPGAN or CodeFormer, with the networks that find faces and their parts."""
        files = restorer_files(self, title)
        identity = "+".join(self._identity(file) for file in files)
        return self._keep(
            f"faces {title} {identity}", lambda: load_face_restorer(title, files, self.placement, identity=identity)
        )

    def captioner(self, folder: Path) -> BlipCaptioner | Tagger:
        """What tells what a picture shows, from its folder."""

        def load() -> BlipCaptioner | Tagger:
            return load_blip(folder, self.placement.device) if is_blip(folder) else load_tagger(folder)

        return self._keep(f"captioner {file_identity(folder)}", load)

    def controlnet(self, name: str) -> ControlNet:
        """A ControlNet, Control-LoRA or T2I-Adapter."""
        path = self.find("controlnet", name)
        identity = self._identity(path)
        return self._keep(f"control {identity}", lambda: load_controlnet(path, self.placement, identity))

    def lora(self, name: str) -> LoraFile:
        """An open LoRA; its tensors are read when they are used."""
        path = self.find("loras", name)
        identity = self._identity(path)
        with self._lock:
            if identity not in self._loras:
                self._loras[identity] = open_lora(path, identity)
            self._loras.move_to_end(identity)
            while len(self._loras) > OPEN_LORAS:
                self._loras.popitem(last=False)
            return self._loras[identity]

    def hypernetwork(self, name: str) -> tuple[str, Networks]:
        """A key for a hypernetwork's content, and its networks."""
        path = self.find("hypernetworks", name)
        return self._identity(path), load_hypernetwork(path)

    def held_bytes(self) -> int:
        """Memory that the weights of all kept models take, once they have been read."""
        with self._lock:
            return sum(size for _, size in self._kept.values())

    def move_away(self, working: Sequence[torch.nn.Module]) -> int:
        """Free the device's memory of all weights but those of the working networks; the bytes that may be free now."""
        freed = 0
        for module in self._others(working):
            freed += movable_bytes(module, self.placement.device)
            move_away(module, self.placement.device)
        return freed

    def movable_bytes(self, working: Sequence[torch.nn.Module]) -> int:
        """What `move_away` could free once all weights have been read."""
        return sum(movable_bytes(module, self.placement.device) for module in self._others(working))

    def bring_back(self, working: Sequence[torch.nn.Module]) -> None:
        """Have the weights of these networks on the device again."""
        for module in working:
            bring_back(module, self.placement.device)

    def _others(self, working: Sequence[torch.nn.Module]) -> list[torch.nn.Module]:
        with self._lock:
            modules = [module for loaded, _ in self._kept.values() for module in networks_of(loaded)]
        return [module for module in modules if all(module is not own for own in working)]

    def hold_in_half(self) -> bool:
        """Load models anew, their weights in half precision. False where that would change nothing."""
        with self._lock:
            unets = [module for loaded, _ in self._kept.values() for module in unets_of(loaded)]
            wide = any(p.dtype == torch.float32 and p.ndim > 1 for module in unets for p in module.parameters())
            if self.placement.weights != "auto" or not wide:
                return False
            self.placement = replace(self.placement, weights="float16")
            self._kept.clear()
            return True

    def hold_as_stored(self) -> None:
        """Undo `hold_in_half`."""
        with self._lock:
            self.placement = replace(self.placement, weights="auto")
            self._kept.clear()

    def forget(self) -> None:
        """Let go of all kept models."""
        with self._lock:
            self._kept.clear()
            self._loras.clear()

    def _find_any(self, kinds: Sequence[str], name: str) -> Path:
        for kind in kinds[1:]:
            if match_name(self.entries(kinds[0]), name) is None and match_name(self.entries(kind), name) is not None:
                return self.find(kind, name)
        return self.find(kinds[0], name)

    def _identity(self, path: Path) -> str:
        """A key for the content: sha256 of a file, which infotext needs as well."""
        return file_identity(path) if path.is_dir() else self.hashes.sha256(path)

    def _keep(self, key: str, load: Callable[[], Loaded]) -> Loaded:
        with self._lock:
            if key not in self._kept:
                self._make_room()
                loaded = load()
                self._kept[key] = (loaded, held_bytes(loaded))
            self._kept.move_to_end(key)
            kept: Loaded = self._kept[key][0]  # type: ignore[assignment]
            return kept

    def _make_room(self) -> None:
        """Before loading one more: drop those used longest ago while over the limit, but keep the last one used."""
        while len(self._kept) >= KEPT_AT_LEAST and sum(size for _, size in self._kept.values()) > self._loaded_bytes:
            self._kept.popitem(last=False)


def held_bytes(loaded: AnyModel) -> int:
    """Memory that a loaded model's weights take."""
    return sum(p.numel() * p.element_size() for module in networks_of(loaded) for p in module.parameters())


def networks_of(loaded: AnyModel) -> list[torch.nn.Module]:
    """The networks of a loaded model."""
    if isinstance(loaded, Checkpoint):
        parts = (loaded.model, loaded.vae, loaded.clip)
        return [module for part in parts if part is not None for module in networks_of(part)]
    if isinstance(loaded, VaeModel):
        return [loaded.vae]
    if isinstance(loaded, DiffusionModel):
        return [loaded.unet]
    if isinstance(loaded, UpscaleModel):
        return [loaded.network.model]
    if isinstance(loaded, LdsrModel | SdX4Model):
        return loaded.modules
    if isinstance(loaded, FaceRestorer):
        return loaded.networks
    if isinstance(loaded, BlipCaptioner):
        return [loaded.model]
    if isinstance(loaded, Tagger):
        return []  # onnxruntime has its own
    if isinstance(loaded, ControlNet):
        return [] if loaded.module is None else [loaded.module]
    return [clip.module for clip in loaded.clips]


def unets_of(loaded: AnyModel) -> list[torch.nn.Module]:
    """The diffusion networks of a loaded model."""
    model = loaded.model if isinstance(loaded, Checkpoint) else loaded
    return [model.unet] if isinstance(model, DiffusionModel) else []
