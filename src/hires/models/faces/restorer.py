"""Face restorers by name: their files in the models folders, and the three networks that work together."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from spandrel import ModelLoader
from torch import Tensor, nn

from hires.errors import ModelFileError, SettingError
from hires.imaging.faces import FACE_SIZE
from hires.imaging.upscalers import same_name
from hires.models.checkpoint import CPU, Placement, part_identity
from hires.models.faces.parsenet import ParseNet, build_parsenet
from hires.models.faces.retinaface import RetinaFace
from hires.models.names import Entry
from hires.models.weights import Weights, open_weights

if TYPE_CHECKING:
    from hires.models.store import ModelStore

KIND = "face_restorers"
GFPGAN, CODEFORMER = "GFPGAN", "CodeFormer"
RESTORERS = (GFPGAN, CODEFORMER)
DETECTOR, PARSER = "face detection", "face parsing"
SIGNS: Mapping[str, tuple[str, ...]] = {
    GFPGAN: ("stylegan_decoder.style_mlp.1.weight", "toRGB.0.weight"),
    CODEFORMER: ("position_emb", "idx_pred_layer.1.weight", "quantize.embedding.weight"),
    DETECTOR: ("ClassHead.0.conv1x1.weight", "LandmarkHead.0.conv1x1.weight", "ssh1.conv3X3.0.weight"),
    PARSER: ("out_mask_conv.conv2d.weight", "encoder.1.conv1.conv2d.weight"),
}
"""The tensors by which a file is known, whatever it is called."""
USUAL: Mapping[str, tuple[str, str]] = {
    GFPGAN: ("GFPGANv1.4.pth", "GFPGAN"),
    CODEFORMER: ("codeformer-v0.1.0.pth", "Codeformer"),
    DETECTOR: ("detection_Resnet50_Final.pth", "GFPGAN"),
    PARSER: ("parsing_parsenet.pth", "GFPGAN"),
}
"""The file's usual name, and the folder of models/ that the A1111 web UI keeps it in."""


@dataclass(frozen=True)
class FaceRestorer:
    """The network that restores upright faces, and those that find a face and tell what belongs to it."""

    title: str
    network: nn.Module
    detector: RetinaFace
    parser: ParseNet
    identity: str
    device: torch.device

    @property
    def networks(self) -> list[nn.Module]:
        """All three."""
        return [self.network, self.detector, self.parser]

    @torch.inference_mode()
    def restore(self, face: Tensor, weight: float = 0.5) -> Tensor:
        """An upright face (512, 512, 3) in 0..1 restored. `weight` is CodeFormer's: 0 changes most, 1 keeps most.

        GFPGAN takes its noise from its file, so that the same face always gives the same one.
        """
        options: dict[str, Any] = {"return_rgb": False, "randomize_noise": False}
        if self.title == CODEFORMER:
            options = {"weight": weight}
        pixels = (face * 2 - 1).movedim(-1, 0)[None].to(self.device)
        made: Tensor = self.network(pixels, **options)[0]
        if not torch.isfinite(made).all():
            raise ModelFileError(f"{self.title} gave numbers that are no picture", "Its file may be damaged.")
        return ((made[0].float().cpu().movedim(0, -1) + 1) / 2).clamp(0, 1)


def sign_of(keys: Collection[str]) -> str | None:
    """Which of the SIGNS a file's tensors carry."""
    bare = {key.removeprefix("module.") for key in keys}
    return next((name for name, signs in SIGNS.items() if all(sign in bare for sign in signs)), None)


def file_sign(path: Path) -> str | None:
    """The same of a file; remembered as long as it stays as it is. None for one that cannot be read."""
    try:
        status = path.stat()
    except OSError:
        return None
    return _looked_into(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _looked_into(path: Path, size: int, time: int) -> str | None:
    try:
        return sign_of(open_weights(path).tensors.keys())
    except ModelFileError:
        return None


def face_files(store: ModelStore) -> dict[str, Entry]:
    """What there is for faces: GFPGAN, CodeFormer, face detection, face parsing -> file. Usual names come first."""
    entries = store.entries(KIND)
    found: dict[str, Entry] = {}
    for entry in sorted(entries, key=lambda entry: (not _is_usual(entry), entry.name)):
        sign = file_sign(entry.path)
        if sign is not None:
            found.setdefault(sign, entry)
    return found


def _is_usual(entry: Entry) -> bool:
    return any(same_name(entry.path.name, name) for name, _ in USUAL.values())


def face_restorer_names(store: ModelStore) -> list[str]:
    """The restorers whose files are there."""
    found = face_files(store)
    return [name for name in RESTORERS if name in found]


def find_face_restorer(store: ModelStore, name: str) -> str:
    """The restorer that a name means, in any case. SettingError for another name, ModelFileError says which file is
    missing and where it goes."""
    title = next((known for known in RESTORERS if same_name(known, name)), None)
    if title is None:
        raise SettingError(f"there is no face restorer {name!r}", f"There are {' and '.join(RESTORERS)}.")
    restorer_files(store, title)
    return title


def restorer_files(store: ModelStore, title: str) -> tuple[Path, Path, Path]:
    """The files of a restorer, the detector and the parser. ModelFileError names the first that is missing."""
    found = face_files(store)
    for part in (title, DETECTOR, PARSER):
        if part not in found:
            file, folder = USUAL[part]
            needs = f"the face restorer {title} needs the file {file}"
            use = "" if part == title else f" ({part})"
            raise ModelFileError(f"{needs}{use}, which is not there", f"Put it into {store.folders[0] / folder}.")
    first, second, third = (found[part].path for part in (title, DETECTOR, PARSER))
    return first, second, third


def load_face_restorer(
    title: str, files: tuple[Path, Path, Path], placement: Placement = CPU, *, identity: str
) -> FaceRestorer:
    """Load the three networks; ModelFileError for a file that does not hold what it should.

    They compute in float32 everywhere: none of them bears half precision.
    """
    restorer, detector, parser = (open_weights(file) for file in files)
    network: nn.Module = _restorer(title, restorer)
    finder = _fitted(detector, "a RetinaFace with a ResNet-50", lambda state: _retinaface(state))
    parts = _fitted(parser, "a ParseNet", build_parsenet)
    for module in (network, finder, parts):
        module.to(placement.device, torch.float32).eval()
    key = part_identity(identity, title)
    return FaceRestorer(title, network, finder, parts, key, placement.device)


def _restorer(title: str, weights: Weights) -> nn.Module:
    if title == CODEFORMER:
        try:
            from spandrel_extra_arches import EXTRA_REGISTRY
        except ImportError:
            raise ModelFileError(
                "CodeFormer's network is not installed",
                "pip install 'hires[faces]'; its licence forbids commercial use.",
            ) from None
        loader = ModelLoader(registry=EXTRA_REGISTRY)
    else:
        loader = ModelLoader()
    network: nn.Module = _fitted(
        weights, f"a {title} for faces of {FACE_SIZE} pixels", lambda state: loader.load_from_state_dict(dict(state))
    ).model
    return network


def _retinaface(state: Mapping[str, Tensor]) -> RetinaFace:
    with torch.device("meta"):
        network = RetinaFace()
    network.load_state_dict(dict(state), assign=True)
    return network


def _fitted(weights: Weights, what: str, build: Any) -> Any:
    """What `build` makes of a file's tensors; ModelFileError where they do not fit."""
    state = {key.removeprefix("module."): weights.read(key).float() for key in weights.tensors}
    for key in [key for key in state if key.endswith("num_batches_tracked")]:
        state[key] = state[key].long()
    try:
        return build(state)
    except Exception as problem:  # load_state_dict and spandrel fail in their own ways on missing or misshapen tensors
        raise weights.error(f"this is not {what} ({type(problem).__name__})", "Fetch it again.") from None
