"""What a client gets back of drawn pictures: the `info` of the web UI, told from the pictures' own infotexts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hires import __version__
from hires.metadata.infotext import Infotext, read_infotext
from hires.server.bodies import Drawn
from hires.server.encoding import encoded
from hires.server.running import Made

OF_THE_REQUEST = frozenset(
    (
        *(
            "Steps",
            "Sampler",
            "CFG scale",
            "Seed",
            "Size",
            "Model hash",
            "Model",
            "VAE hash",
            "VAE",
            "Face restoration",
        ),
        *(
            "Variation seed",
            "Variation seed strength",
            "Seed resize from",
            "Denoising strength",
            "Clip skip",
            "Version",
        ),
    )
)
"""The fields that have a place of their own in `info`; all others are told as extra parameters."""


def answer(body: Drawn, made: Made, stamp: str, hidden: Mapping[str, Any]) -> dict[str, Any]:
    """The answer of txt2img and img2img. `hidden` takes the place of fields that are not sent back."""
    return {
        "images": [encoded(picture.data) for picture in made.pictures] if body.send_images else [],
        "parameters": body.model_dump() | dict(hidden),
        "info": json.dumps(info(body, made, stamp), ensure_ascii=False),
    }


def info(body: Drawn, made: Made, stamp: str) -> dict[str, Any]:
    """`info` as an object; its lists are parallel to the pictures, but for a grid that stands before them."""
    base = made.base
    alone = made.pictures[made.grids :] or made.pictures
    told = [read_infotext(picture.infotext) for picture in alone]
    first = told[0] if told else Infotext(base.prompt, base.negative)
    width, height = first.size("Size") or (base.width, base.height)
    resized = first.size("Seed resize from") or (base.seed_resize_width, base.seed_resize_height)
    fields = first.fields
    denoising = fields.get("Denoising strength")
    found: dict[str, Any] = {
        "prompt": first.prompt,
        "all_prompts": [one.prompt for one in told],
        "negative_prompt": first.negative,
        "all_negative_prompts": [one.negative for one in told],
        "seed": _whole(fields.get("Seed"), base.seed),
        "all_seeds": [_whole(one.fields.get("Seed"), base.seed) for one in told],
        "subseed": _whole(fields.get("Variation seed"), base.variation_seed),
        "all_subseeds": [
            _whole(one.fields.get("Variation seed"), base.variation_seed + index) for index, one in enumerate(told)
        ],
        "subseed_strength": base.variation_strength,
        "width": width,
        "height": height,
        "sampler_name": fields.get("Sampler", base.sampler),
        "cfg_scale": base.cfg,
        "steps": base.steps,
        "batch_size": base.batch_size,
        "restore_faces": bool(fields.get("Face restoration")),
        "face_restoration_model": fields.get("Face restoration"),
        "sd_model_name": fields.get("Model"),
        "sd_model_hash": fields.get("Model hash"),
        "sd_vae_name": fields.get("VAE"),
        "sd_vae_hash": fields.get("VAE hash"),
        "seed_resize_from_w": resized[0] or -1,
        "seed_resize_from_h": resized[1] or -1,
        "denoising_strength": float(denoising) if denoising else None,
        "extra_generation_params": {key: value for key, value in fields.items() if key not in OF_THE_REQUEST},
        "index_of_first_image": made.grids,
        "infotexts": [picture.infotext for picture in made.pictures],
        "styles": body.styles or [],
        "job_timestamp": stamp,
        "clip_skip": base.clip_skip,
        "is_using_inpainting_conditioning": "Conditional mask weight" in fields,
        "version": f"hires {__version__}",
    }
    return found | ({"interrupted": True} if made.interrupted else {})


def _whole(text: str | None, otherwise: int) -> int:
    return int(text) if text is not None and text.isdecimal() else otherwise
