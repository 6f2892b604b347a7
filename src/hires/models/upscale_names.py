"""Upscalers under the names that people know them by, and the files that those names mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from hires.errors import ModelFileError, SettingError
from hires.imaging.upscalers import PLAIN, same_name
from hires.models.drawing_names import LDSR, SD_X4, may_draw
from hires.models.files import ModelFiles
from hires.models.names import Entry, close_names, stem


@dataclass(frozen=True)
class Known:
    """A network of the A1111 web UI: its folder there, and the stems that its file goes by, the usual one first."""

    folder: str
    stems: tuple[str, ...]
    ending: str = ".pth"


KNOWN: Mapping[str, Known] = {
    "ESRGAN_4x": Known("ESRGAN", ("ESRGAN_4x", "ESRGAN")),
    "R-ESRGAN 4x+": Known("RealESRGAN", ("RealESRGAN_x4plus",)),
    "R-ESRGAN 4x+ Anime6B": Known("RealESRGAN", ("RealESRGAN_x4plus_anime_6B",)),
    "R-ESRGAN 2x+": Known("RealESRGAN", ("RealESRGAN_x2plus",)),
    "R-ESRGAN General 4xV3": Known("RealESRGAN", ("realesr-general-x4v3",)),
    "R-ESRGAN General WDN 4xV3": Known("RealESRGAN", ("realesr-general-wdn-x4v3",)),
    "R-ESRGAN AnimeVideo": Known("RealESRGAN", ("realesr-animevideov3",)),
    "DAT x2": Known("DAT", ("DAT_x2",)),
    "DAT x3": Known("DAT", ("DAT_x3",)),
    "DAT x4": Known("DAT", ("DAT_x4",)),
    "SwinIR 4x": Known("SwinIR", ("SwinIR_4x", "003_realSR_BSRGAN_DFOWMFC_s64w8_SwinIR-L_x4_GAN")),
    "ScuNET GAN": Known("ScuNET", ("scunet_color_real_gan", "ScuNET")),
    "ScuNET PSNR": Known("ScuNET", ("scunet_color_real_psnr",)),
}
DRAWING: Mapping[str, Known] = {
    LDSR: Known("LDSR", ("model",), ".ckpt"),
    SD_X4: Known("upscale_models", ("x4-upscaler-ema",), ".safetensors"),
}
"""Upscalers that draw by diffusion are known by what their files hold."""
KIND = "upscale_models"


def titles(entries: Sequence[Entry]) -> dict[str, Entry]:
    """The files by title: the name that people know, else the file's own without its ending.

    Of several files for one known name the usual one carries it, the others keep their own.
    """
    found: dict[str, Entry] = {}
    for title, known in KNOWN.items():
        for wanted in known.stems:
            if title not in found and (match := [e for e in entries if same_name(stem(e.path.name), wanted)]):
                found[title] = match[0]
    for entry in entries:
        if may_draw(entry.path) and (kind := _drawing_kind(entry)) is not None:
            found.setdefault(kind, entry)
    named = {entry.path for entry in found.values()}
    for entry in entries:
        if entry.path not in named:
            own = stem(PurePath(entry.name).as_posix())
            found[own if own not in found else entry.name] = entry
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def _drawing_kind(entry: Entry) -> str | None:
    from hires.models.upscale_drawing import drawing_file

    return drawing_file(entry.path)


def upscaler_names(store: ModelFiles) -> list[str]:
    """None, Lanczos, Nearest, then the networks that are there, in alphabetical order without regard to case."""
    return [*PLAIN, *titles(store.entries(KIND))]


def find_upscaler(store: ModelFiles, name: str) -> str:
    """The listed name that `name` means: a title or a file, with or without ending, in any case, with spaces or
    underscores; or a hash. ModelFileError names the file that is missing, SettingError what there is."""
    files = titles(store.entries(KIND))
    for title in [*PLAIN, *files]:
        if same_name(name, title):
            return title
    for title, entry in files.items():
        if any(same_name(name, own) for own in (entry.name, entry.path.name, stem(entry.path.name))):
            return title
    for title, known in {**KNOWN, **DRAWING}.items():
        if any(same_name(name, own) for own in (title, *known.stems)):
            raise ModelFileError(
                f"the upscaler {title} needs the file {known.stems[0]}{known.ending}, which is not there",
                f"Put it into {store.folders[0] / known.folder} or {store.folders[0] / KIND}.",
            )
    try:
        path = store.find(KIND, name)
    except ModelFileError:
        near = close_names(name, list(files)) or [*PLAIN, *files]
        raise SettingError(
            f"could not find upscaler named {name!r}", f"There are: {', '.join(dict.fromkeys(near))}."
        ) from None
    return next(title for title, entry in files.items() if entry.path == path)


def file_of_title(store: ModelFiles, name: str) -> str:
    """The file that a title means; any other name as it is."""
    files = titles(store.entries(KIND))
    return next((entry.name for title, entry in files.items() if same_name(name, title)), name)


def upscaler_file(store: ModelFiles, name: str) -> str:
    """The file, as the store lists it, of an upscaler that is a network."""
    title = find_upscaler(store, name)
    if title in PLAIN:
        raise SettingError(f"the upscaler {title} has no file")
    return titles(store.entries(KIND))[title].name
