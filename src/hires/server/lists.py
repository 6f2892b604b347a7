"""What there is to choose from: models, samplers, upscalers, styles. None of it loads a model."""

from __future__ import annotations

import re
from pathlib import Path, PurePath
from typing import Annotated, Any

from fastapi import APIRouter, Depends

from hires.models.hashes import safetensors_header
from hires.models.names import Entry, stem
from hires.server.scripts import SCRIPTS, titles
from hires.server.state import Server, server_of
from hires.text.styles import load_styles

router = APIRouter(prefix="/sdapi/v1", tags=["lists"])
ServerHere = Annotated[Server, Depends(server_of)]
SHORT_HASH = 10
FACTOR = re.compile(r"(?<![a-z0-9])x?(\d)x(?![a-z])|(?<![a-z])x(\d)(?!\d)", re.IGNORECASE)
FACE_RESTORERS = ("CodeFormer", "GFPGAN")


@router.get("/sd-models")
def sd_models(server: ServerHere) -> list[dict[str, Any]]:
    """Checkpoints. A hash is told once it is known; `title` names the model in options."""
    return [_model(server, entry) for entry in server.files.entries("checkpoints")]


def _model(server: Server, entry: Entry) -> dict[str, Any]:
    known = server.files.hashes.known_sha256(entry.path) if entry.path.is_file() else None
    return {
        "title": title_of(server, entry),
        "model_name": stem(entry.name).replace("/", "_").replace("\\", "_"),
        "hash": known[:SHORT_HASH] if known else None,
        "sha256": known,
        "filename": place_of(server, entry.path),
        "config": None,
    }


def title_of(server: Server, entry: Entry) -> str:
    """A checkpoint as options name it: its file and, once it is known, its hash."""
    known = server.files.hashes.known_sha256(entry.path) if entry.path.is_file() else None
    return f"{entry.name} [{known[:SHORT_HASH]}]" if known else entry.name


def place_of(server: Server, path: Path) -> str:
    """A file by its place in the models folder: where that is, is told to nobody."""
    for folder in server.files.folders:
        if path.is_relative_to(folder):
            return (PurePath("models") / path.relative_to(folder)).as_posix()
    return path.name


@router.get("/sd-vae")
def sd_vae(server: ServerHere) -> list[dict[str, Any]]:
    """VAE files of their own."""
    return [
        {"model_name": entry.name, "filename": place_of(server, entry.path)} for entry in server.files.entries("vae")
    ]


@router.get("/sd-modules")
def sd_modules(server: ServerHere) -> list[dict[str, Any]]:
    """VAEs and text encoders, as Forge lists them."""
    entries = [*server.files.entries("vae"), *server.files.entries("text_encoders")]
    return [{"model_name": entry.name, "filename": place_of(server, entry.path)} for entry in entries]


@router.get("/hypernetworks")
def hypernetworks(server: ServerHere) -> list[dict[str, Any]]:
    """Hypernetworks, used by `<hypernet:name:1>` in a prompt."""
    return [
        {"name": stem(entry.name), "path": place_of(server, entry.path)}
        for entry in server.files.entries("hypernetworks")
    ]


@router.get("/loras")
def loras(server: ServerHere) -> list[dict[str, Any]]:
    """LoRAs, used by `<lora:name:1>` in a prompt, with what their trainers wrote into them."""
    found = []
    for entry in server.files.entries("loras"):
        metadata = dict(safetensors_header(entry.path)[1])
        called = metadata.get("ss_output_name")
        found.append(
            {
                "name": stem(entry.path.name),
                "alias": called if isinstance(called, str) and called else stem(entry.path.name),
                "path": place_of(server, entry.path),
                "metadata": metadata,
            }
        )
    return found


@router.get("/embeddings")
def embeddings(server: ServerHere) -> dict[str, dict[str, Any]]:
    """Embeddings by the names that prompts use. Which model they fit is told when one is used."""
    unknown = dict.fromkeys(("step", "sd_checkpoint", "sd_checkpoint_name", "shape", "vectors"))
    names = [stem(entry.path.name) for entry in server.files.entries("embeddings")]
    return {"loaded": {name: dict(unknown) for name in names}, "skipped": {}}


@router.get("/prompt-styles")
def prompt_styles(server: ServerHere) -> list[dict[str, Any]]:
    """Styles of the CSV files."""
    return [
        {"name": style.name, "prompt": style.prompt, "negative_prompt": style.negative}
        for style in load_styles(server.settings.styles_files).values()
    ]


@router.get("/samplers")
def samplers() -> list[dict[str, Any]]:
    """Samplers by the web UI's names."""
    from hires.sampling.webui_names import SAMPLERS

    return [
        {"name": entry.label, "aliases": [alias for alias in entry.aliases if alias != entry.label], "options": options}
        for entry in SAMPLERS
        for options in [_sampler_options(entry)]
    ]


def _sampler_options(entry: Any) -> dict[str, str]:
    options = {"scheduler": entry.schedule.lower()} if entry.schedule != "Uniform" else {}
    flags = {
        "second_order": entry.second_order,
        "uses_ensd": entry.ensd,
        "discard_next_to_last_sigma": entry.discard_penultimate,
        "brownian_noise": "SDE" in entry.label,
    }
    return options | {name: "True" for name, value in flags.items() if value}


@router.get("/schedulers")
def schedulers() -> list[dict[str, Any]]:
    """Schedules; Automatic stands for the sampler's own."""
    from hires.sampling.webui_names import SCHEDULE_NAMES

    automatic = {
        "name": "automatic",
        "label": "Automatic",
        "aliases": None,
        "default_rho": -1,
        "need_inner_model": False,
    }
    return [
        automatic,
        *(
            {
                "name": entry.name,
                "label": entry.label,
                "aliases": list(entry.aliases) or None,
                "default_rho": entry.default_rho if entry.default_rho is not None else -1,
                "need_inner_model": entry.name in ("sgm_uniform", "normal", "simple", "ddim", "beta", "turbo"),
            }
            for entry in SCHEDULE_NAMES
        ),
    ]


@router.get("/upscalers")
def upscalers(server: ServerHere) -> list[dict[str, Any]]:
    """Upscalers; `scale` is null where a network's name does not say it."""
    from hires.imaging.upscalers import PLAIN
    from hires.models.upscale_names import KIND
    from hires.models.upscale_names import titles as upscaler_titles

    plain = dict.fromkeys(("model_name", "model_path", "model_url"))
    found: list[dict[str, Any]] = [{"name": name, **plain, "scale": 4} for name in PLAIN]
    for title, entry in upscaler_titles(server.files.entries(KIND)).items():
        found.append(
            {
                "name": title,
                "model_name": stem(entry.path.name),
                "model_path": place_of(server, entry.path),
                "model_url": None,
                "scale": factor_in(title) or factor_in(entry.path.name),
            }
        )
    return found


def factor_in(name: str) -> int | None:
    """The factor that a network's name says: 4x-UltraSharp, RealESRGAN_x2plus."""
    match = FACTOR.search(name.replace("_", " "))
    return int(match[1] or match[2]) if match is not None else None


@router.get("/realesrgan-models")
def realesrgan_models(server: ServerHere) -> list[dict[str, Any]]:
    """The upscalers of the R-ESRGAN family."""
    return [
        {"name": one["name"], "path": one["model_path"], "scale": one["scale"]}
        for one in upscalers(server)
        if one["name"].startswith("R-ESRGAN")
    ]


@router.get("/latent-upscale-modes")
def latent_upscale_modes() -> list[dict[str, Any]]:
    """How a hires pass may enlarge a latent."""
    from hires.imaging.upscalers import LATENT_UPSCALERS

    return [{"name": name} for name in LATENT_UPSCALERS]


@router.get("/face-restorers")
def face_restorers() -> list[dict[str, Any]]:
    """The face restorers that are known; a missing file is told when one is used."""
    return [{"name": name, "cmd_dir": None} for name in FACE_RESTORERS]


@router.get("/scripts")
def scripts() -> dict[str, list[str]]:
    """The titles of scripts that requests may name."""
    return {tab: titles(tab) for tab in ("txt2img", "img2img")}


@router.get("/script-info")
def script_info() -> list[dict[str, Any]]:
    """The arguments of scripts, in their order."""
    return [
        {
            "name": script.title,
            "is_alwayson": script.always_on,
            "is_img2img": tab == "img2img",
            "args": [
                {
                    "label": one.label,
                    "value": one.default,
                    "minimum": one.minimum,
                    "maximum": one.maximum,
                    "step": one.step,
                    "choices": list(one.choices) if one.choices is not None else None,
                }
                for one in script.arguments
            ],
        }
        for tab in ("txt2img", "img2img")
        for script in SCRIPTS
        if tab in script.tabs
    ]


@router.get("/extensions")
def extensions() -> list[dict[str, Any]]:
    """There are none."""
    return []


@router.post("/refresh-checkpoints")
@router.post("/refresh-vae")
@router.post("/refresh-loras")
@router.post("/refresh-embeddings")
def refresh() -> None:
    """Folders are looked into at every request, so that there is nothing to do."""
