"""The options as the page shows them: in groups, each with what it is called."""

from __future__ import annotations

from collections.abc import Mapping

GROUPS: Mapping[str, Mapping[str, str]] = {
    "Model": {
        "sd_model_checkpoint": "Checkpoint of requests that name none",
        "sd_vae": "VAE",
        "CLIP_stop_at_last_layers": "Clip skip",
        "emphasis": "Emphasis in prompts",
        "comma_padding_backtrack": "Tokens that may move to the next chunk at a comma",
        "use_old_scheduling": "Prompt editing counts as in old versions",
    },
    "Randomness": {
        "randn_source": "Random numbers of",
        "eta_noise_seed_delta": "Noise seed delta (ENSD)",
        "eta_ancestral": "Eta of ancestral samplers",
        "eta_ddim": "Eta of DDIM",
        "s_churn": "Sigma churn",
        "s_tmin": "Sigma tmin",
        "s_tmax": "Sigma tmax (0: no bound)",
        "s_noise": "Sigma noise",
    },
    "Second pass and refiner": {
        "hires_fix_refiner_pass": "The refiner works in",
        "refiner_switch_by_sample_steps": "Switch to the refiner by steps, not by noise",
        "save_images_before_highres_fix": "Keep the picture of the first pass",
    },
    "img2img": {
        "inpainting_mask_weight": "Weight of the mask for inpainting models",
        "initial_noise_multiplier": "Multiplier of the noise at the start",
        "img2img_extra_noise": "Extra noise",
        "img2img_color_correction": "Match the colours of the first picture",
        "img2img_fix_steps": "Do exactly as many steps as stated",
        "img2img_background_color": "Ground behind transparent pictures",
        "overlay_inpaint": "Paste what is not masked over the result",
        "upscaler_for_img2img": "Upscaler of img2img",
        "return_mask": "Show the mask beside the result",
        "return_mask_composite": "Show the masked part beside the result",
        "save_mask": "Keep the mask",
        "save_mask_composite": "Keep the masked part",
    },
    "Files": {
        "samples_format": "Format",
        "jpeg_quality": "Quality of JPEG, WebP and AVIF",
        "save_incomplete_images": "Keep pictures that were stopped",
        "return_grid": "Show several pictures as a grid, too",
        "n_rows": "Rows of that grid (-1: about square)",
    },
    "While it draws": {
        "live_previews_enable": "Show the picture in the making",
    },
    "More of the samplers": {
        "sigma_min": "Lowest sigma of schedules (0: the model's)",
        "sigma_max": "Highest sigma of schedules (0: the model's)",
        "rho": "Rho of schedules (0: their own)",
        "beta_dist_alpha": "Alpha of the Beta schedule",
        "beta_dist_beta": "Beta of the Beta schedule",
        "use_old_karras_scheduler_sigmas": "Karras sigmas 0.1 to 10, as in old versions",
        "always_discard_next_to_last_sigma": "Always leave out the last sigma but one",
        "sgm_noise_multiplier": "Begin with the noise of the SGM code",
        "uni_pc_variant": "Variant of UniPC",
        "uni_pc_skip_type": "Steps of UniPC",
        "uni_pc_order": "Order of UniPC",
        "uni_pc_lower_order_final": "UniPC ends in a lower order",
        "s_min_uncond": "No negative prompt below this sigma",
        "s_min_uncond_all": "Do so at every step",
        "skip_early_cond": "Share of steps without guidance at the start",
        "sd_noise_schedule": "Noise schedule for sampling",
        "use_downcasted_alpha_bar": "Round the model's noise schedule to float16",
        "fp8_storage": "Hold the UNet's weights in 8 bits",
        "face_restoration": "Restore faces while drawing",
        "face_restoration_model": "Restore faces while drawing by",
        "code_former_weight": "CodeFormer while drawing (0: the strongest)",
        "token_merging_ratio": "Token merging ratio",
        "token_merging_ratio_img2img": "Token merging ratio for img2img (0: the same)",
        "token_merging_ratio_hr": "Token merging ratio for the second pass (0: the same)",
        "tiling": "Edges that fit together",
        "disable_weights_auto_swap": "Texts that are read do not change the checkpoint",
    },
}
ELSEWHERE = "More of the samplers"
"""The group of options that act and stand in no other."""
