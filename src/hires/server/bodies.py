"""Requests as pydantic models. null means the default of any field, and keys that are not known are ignored."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Body(BaseModel):
    """A JSON object of a client."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, given: Any) -> Any:
        return {key: value for key, value in given.items() if value is not None} if isinstance(given, dict) else given


class Drawn(Body):
    """What txt2img and img2img share, with the defaults of the web UI's interface."""

    prompt: str = ""
    negative_prompt: str = ""
    styles: list[str] | None = None
    seed: int = -1
    subseed: int = -1
    subseed_strength: float = 0.0
    seed_resize_from_h: int = -1
    seed_resize_from_w: int = -1
    sampler_name: str | None = None
    scheduler: str | None = None
    sampler_index: str = "Euler"
    batch_size: int = 1
    n_iter: int = 1
    steps: int = 50
    cfg_scale: float = 7.0
    width: int = 512
    height: int = 512
    restore_faces: bool | None = None
    tiling: bool | None = None
    do_not_save_samples: bool = False
    do_not_save_grid: bool = False
    eta: float | None = None
    s_min_uncond: float | None = None
    s_churn: float | None = None
    s_tmax: float | None = None
    s_tmin: float | None = None
    s_noise: float | None = None
    override_settings: dict[str, Any] | None = None
    override_settings_restore_afterwards: bool = True
    refiner_checkpoint: str | None = None
    refiner_switch_at: float | None = None
    disable_extra_networks: bool = False
    comments: dict[str, Any] | None = None
    script_name: str | None = None
    script_args: list[Any] = []
    alwayson_scripts: dict[str, Any] = {}
    send_images: bool = True
    save_images: bool = False
    force_task_id: str | None = Field(default=None, max_length=200)
    infotext: str | None = None


class TextToImage(Drawn):
    """POST /sdapi/v1/txt2img"""

    denoising_strength: float | None = None
    enable_hr: bool = False
    firstphase_width: int = 0
    firstphase_height: int = 0
    hr_scale: float = 2.0
    hr_upscaler: str | None = None
    hr_second_pass_steps: int = 0
    hr_resize_x: int = 0
    hr_resize_y: int = 0
    hr_checkpoint_name: str | None = None
    hr_sampler_name: str | None = None
    hr_scheduler: str | None = None
    hr_prompt: str = ""
    hr_negative_prompt: str = ""
    hr_cfg: float | None = None


class ImageToImage(Drawn):
    """POST /sdapi/v1/img2img"""

    init_images: list[str] | None = None
    resize_mode: int = 0
    denoising_strength: float = 0.75
    image_cfg_scale: float | None = None
    mask: str | None = None
    mask_blur_x: int = 4
    mask_blur_y: int = 4
    mask_blur: int | None = None
    mask_round: bool = True
    inpainting_fill: int = 0
    inpaint_full_res: bool = True
    inpaint_full_res_padding: int = 0
    inpainting_mask_invert: int = 0
    initial_noise_multiplier: float | None = None
    latent_mask: str | None = None
    include_init_images: bool = False


class ExtrasFields(Body):
    """What both of the Extras routes take."""

    resize_mode: int = Field(default=0, ge=0, le=1)
    show_extras_results: bool = True
    gfpgan_visibility: float = Field(default=0.0, ge=0, le=1)
    codeformer_visibility: float = Field(default=0.0, ge=0, le=1)
    codeformer_weight: float = Field(default=0.0, ge=0, le=1)
    upscaling_resize: float = Field(default=2.0, gt=0)
    upscaling_resize_w: int = Field(default=512, ge=1)
    upscaling_resize_h: int = Field(default=512, ge=1)
    upscaling_crop: bool = True
    upscaler_1: str = "None"
    upscaler_2: str = "None"
    extras_upscaler_2_visibility: float = Field(default=0.0, ge=0, le=1)
    upscale_first: bool = False
    save_images: bool = False


class ExtraSingle(ExtrasFields):
    """POST /sdapi/v1/extra-single-image"""

    image: str = ""


class NamedPicture(Body):
    """A picture of a batch."""

    data: str
    name: str = ""


class ExtraBatch(ExtrasFields):
    """POST /sdapi/v1/extra-batch-images"""

    imageList: list[NamedPicture]  # noqa: N815 - the interface's name


class PictureBody(Body):
    """POST /sdapi/v1/png-info"""

    image: str = ""


class Interrogation(Body):
    """POST /sdapi/v1/interrogate"""

    image: str | None = None
    model: str = "clip"


class ProgressQuestion(Body):
    """POST /internal/progress"""

    id_task: str = ""
    id_live_preview: int = -1
    live_preview: bool = True
