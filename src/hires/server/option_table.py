"""The web UI's options that a user of this program meets: key, default, and whether it does anything here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hires.recipes.fine_sampling import server_options
from hires.sampling.webui_names import NOISE_SCHEDULES, UNIPC_SKIPS, UNIPC_VARIANTS

Use = Literal["acts", "kept", "only"]


@dataclass(frozen=True)
class Option:
    """use: "acts" changes what is drawn or answered; "kept" is remembered for the client, which is who uses it;
    "only" stands for a method that is not here, so that no other value than the default is taken."""

    default: Any
    use: Use


def _table(use: Use, **defaults: Any) -> dict[str, Option]:
    return {key: Option(default, use) for key, default in defaults.items()}


OPTIONS: Mapping[str, Option] = {
    **_table(
        "acts",
        sd_model_checkpoint="",
        sd_vae="Automatic",
        CLIP_stop_at_last_layers=1,
        emphasis="Original",
        comma_padding_backtrack=20,
        randn_source="NV",
        eta_noise_seed_delta=0,
        hires_fix_refiner_pass="second pass",
        refiner_switch_by_sample_steps=False,
        eta_ancestral=1.0,
        eta_ddim=0.0,
        s_churn=0.0,
        s_tmin=0.0,
        s_tmax=0.0,
        s_noise=1.0,
        inpainting_mask_weight=1.0,
        initial_noise_multiplier=1.0,
        img2img_extra_noise=0.0,
        img2img_color_correction=False,
        img2img_fix_steps=False,
        img2img_background_color="#ffffff",
        overlay_inpaint=True,
        return_mask=False,
        return_mask_composite=False,
        save_mask=False,
        save_mask_composite=False,
        upscaler_for_img2img="None",
        return_grid=True,
        samples_format="png",
        jpeg_quality=80,
        save_images_before_highres_fix=False,
        save_incomplete_images=False,
        n_rows=-1,
        disable_weights_auto_swap=True,
        use_old_scheduling=False,
        live_previews_enable=True,
        tiling=False,
        fp8_storage="Disable",
        face_restoration=False,
        face_restoration_model="CodeFormer",
        code_former_weight=0.5,
        token_merging_ratio=0.0,
        token_merging_ratio_img2img=0.0,
        token_merging_ratio_hr=0.0,
        **server_options(),
    ),
    **_table(
        "kept",
        localization="None",
        grid_save=True,
        grid_only_if_multiple=True,
        samples_save=True,
        save_to_dirs=True,
        directories_filename_pattern="[date]",
        img_max_size_mp=200.0,
        infotext_skip_pasting=[],
        infotext_styles="Apply if any",
        auto_backcompat=True,
        send_seed=True,
        send_size=True,
        show_progress_every_n_steps=10,
        show_progress_type="Approx cheap",
        live_preview_content="Prompt",
        auto_vae_precision=True,
        batch_cond_uncond=True,
        ESRGAN_tile=192,
        ESRGAN_tile_overlap=8,
        DAT_tile=192,
        DAT_tile_overlap=8,
        SWIN_tile=192,
        SWIN_tile_overlap=8,
        SCUNET_tile=256,
        SCUNET_tile_overlap=8,
        realesrgan_enabled_models=["R-ESRGAN 4x+", "R-ESRGAN 4x+ Anime6B"],
        hires_fix_show_sampler=False,
        hires_fix_show_prompts=False,
    ),
    **_table(
        "only",
        sdxl_clip_l_skip=False,
        sdxl_crop_top=0,
        sdxl_crop_left=0,
        sdxl_refiner_low_aesthetic_score=2.5,
        sdxl_refiner_high_aesthetic_score=6.0,
        sd_vae_encode_method="Full",
        sd_vae_decode_method="Full",
        pad_cond_uncond=False,
        pad_cond_uncond_v0=False,
        use_old_emphasis_implementation=False,
        no_dpmpp_sde_batch_determinism=False,
        use_old_hires_fix_width_height=False,
        hires_fix_use_firstpass_conds=False,
        enable_quantization=False,
        grid_format="png",
        webp_lossless=False,
        samples_filename_pattern="",
        save_images_before_face_restoration=False,
        save_images_before_color_correction=False,
        save_txt=False,
        enable_pnginfo=True,
        add_model_name_to_info=True,
        add_model_hash_to_info=True,
        add_vae_name_to_info=True,
        add_vae_hash_to_info=True,
        add_version_to_infotext=True,
        ldsr_steps=100,
        cache_fp16_weight=False,
    ),
}
CHOICES: Mapping[str, tuple[str, ...]] = {
    "fp8_storage": ("Disable", "Enable for SDXL", "Enable"),
    "face_restoration_model": ("CodeFormer", "GFPGAN"),
    "samples_format": ("png", "jpg", "jpeg", "webp", "avif"),
    "randn_source": ("GPU", "CPU", "NV"),
    "hires_fix_refiner_pass": ("first pass", "second pass", "both passes"),
    "uni_pc_variant": UNIPC_VARIANTS,
    "uni_pc_skip_type": UNIPC_SKIPS,
    "sd_noise_schedule": NOISE_SCHEDULES,
    "emphasis": ("None", "Ignore", "Original", "No norm", "ComfyUI"),
}
