"""img2img over an enlarged picture in joint tiles, as Tiled Diffusion does in the img2img tab: a request and its
workflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from hires.errors import SettingError
from hires.imaging.sizes import check_size, floor_to_latent
from hires.metadata.infotext import write_infotext
from hires.recipes.controlnets import Shown
from hires.recipes.draft import Draft, Link
from hires.recipes.facts import ModelFacts
from hires.recipes.infotext import infotext_fields, number
from hires.recipes.request import Txt2Img
from hires.recipes.tiled import FIELD, TiledDiffusion, tiled_facts
from hires.recipes.txt2img import (
    Pass,
    decoded,
    encoded,
    enlarged_image,
    faces_restored,
    guided,
    guided_pass,
    sampled_pass,
    saved,
    vae_of,
)
from hires.tiling.plan import TilePlan


@dataclass(frozen=True)
class NoiseInversion:
    """Start from noise found for the picture. retouch above 1 smooths; renoise 0..2 mixes fresh noise into flat parts,
    found with boxes of `kernel` pixels."""

    steps: int = 10
    retouch: float = 1.0
    renoise: float = 1.0
    kernel: int = 64


@dataclass(frozen=True)
class TiledImg2Img:
    """`base` holds prompt, model, sampler and tiles (default ones where it has none); its size counts only with
    keep_input_size off, where the canvas is that size times `scale`. upscaler None enlarges with Lanczos."""

    base: Txt2Img = field(default_factory=Txt2Img)
    denoise: float = 0.4
    upscaler: str = "None"
    scale: float = 2.0
    keep_input_size: bool = True
    inversion: NoiseInversion | None = None

    @property
    def tiled(self) -> TiledDiffusion:
        return self.base.tiled or TiledDiffusion()

    def canvas(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) of the result for a picture of so many pixels."""
        if not self.keep_input_size:
            width, height = self.base.width or width, self.base.height or height
        return floor_to_latent(int(width * self.scale)), floor_to_latent(int(height * self.scale))

    def plan(self, width: int, height: int) -> TilePlan:
        """The tiles for a picture of so many pixels."""
        return self.tiled.plan(*self.canvas(width, height))


def check_tiled_img2img(request: TiledImg2Img, width: int, height: int, max_megapixels: float) -> None:
    """Raise SettingError for the first value that is out of range; the base is checked by itself."""
    for name, value, low, high in (
        ("denoising strength", request.denoise, 0.0, 1.0),
        ("scale", request.scale, 0.05, 16.0),
    ):
        if not low <= value <= high:
            raise SettingError(f"the {name} must be from {low} to {high}, not {value}")
    if request.base.batch_size != 1 or request.base.hires is not None:
        raise SettingError("a tiled img2img draws one picture in one pass", "Leave out the batch size and hires fix.")
    inversion = request.inversion
    if inversion is not None and not (
        1 <= inversion.steps <= 208
        and 1 <= inversion.retouch <= 100
        and 0 <= inversion.renoise <= 2
        and 2 <= inversion.kernel <= 512
    ):
        raise SettingError(
            "the noise inversion is out of range",
            "Steps 1 to 208, retouch 1 to 100, renoise strength 0 to 2, kernel 2 to 512.",
        )
    check_size(*request.canvas(width, height), max_megapixels, "the tiled pass")


def tiled_img2img(
    request: TiledImg2Img, facts: Mapping[str, ModelFacts], picture: str, width: int, height: int
) -> dict[str, Any]:
    """The workflow over a picture of the input folder that has width x height pixels. The base must be prepared."""
    draft = Draft()
    base = replace(request.base, tiled=request.tiled, hires=None)
    canvas = request.canvas(width, height)
    part = replace(guided_pass(base), shown=Shown(canvas))
    vae = vae_of(draft, base, part.checkpoint)
    loaded = draft.add("LoadImage", image=picture).out()
    image = enlarged_image(draft, request.upscaler, loaded, *canvas)
    latent = encoded(draft, image, vae, base)
    if request.denoise > 0:
        if request.inversion is not None:
            latent = _inverted(draft, base, part, request.inversion, facts, latent, image)
        latent = sampled_pass(draft, base, part, facts, latent, 0, denoise=request.denoise)
    made = decoded(draft, latent, vae, base)
    if request.denoise > 0:
        model = guided(draft, base, part, part.checkpoint, facts)["model"]
        made = draft.add("HiresSeamIndex", image=made, model=model, source=image).out()
    made = faces_restored(draft, made, base)
    saved(draft, made, "tiled", tiled_infotext(request, facts, canvas), base)
    return draft.graph()


def _inverted(
    draft: Draft,
    base: Txt2Img,
    part: Pass,
    inversion: NoiseInversion,
    facts: Mapping[str, ModelFacts],
    latent: Link,
    image: Link,
) -> Link:
    return draft.add(
        "NoiseInversion_TiledDiffusion",
        **guided(draft, base, part, part.checkpoint, facts),
        latent_image=latent,
        image=image,
        steps=inversion.steps,
        retouch=inversion.retouch,
        renoise_strength=inversion.renoise,
        renoise_kernel_size=inversion.kernel,
    ).out()


def tiled_infotext(request: TiledImg2Img, facts: Mapping[str, ModelFacts], canvas: tuple[int, int]) -> str:
    """The paragraph, with the extension's keys for img2img in `Tiled Diffusion`."""
    base = replace(request.base, tiled=request.tiled, width=canvas[0], height=canvas[1])
    own: dict[str, Any] = {}
    if request.upscaler != "None" or request.scale != 1:
        own |= {"Upscaler": request.upscaler, "Upscale factor": request.scale}
    own["Keep input size"] = request.keep_input_size
    if request.inversion is not None:
        inversion = request.inversion
        own |= {
            "NoiseInv": True,
            "NoiseInv Steps": inversion.steps,
            "NoiseInv Retouch": inversion.retouch,
            "NoiseInv Renoise strength": inversion.renoise,
            "NoiseInv Kernel size": inversion.kernel,
        }
    fields = infotext_fields(base, facts)
    fields[FIELD] = tiled_facts(request.tiled) | own
    version = fields.pop("Version", None)
    fields |= {"Denoising strength": number(request.denoise), "Version": version}
    return write_infotext(base.prompt, base.negative, fields)
