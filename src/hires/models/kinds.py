"""What a weights file is, told from its tensors' names: for listings, and to name what was given by mistake."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class Sign:
    """A kind of file and what marks it: a key that starts with one of `starts` or contains one of `contains`."""

    kind: str
    label: str
    starts: tuple[str, ...] = ()
    contains: tuple[str, ...] = ()
    supported: bool = True

    def marks(self, keys: str) -> bool:
        """Whether any key carries the mark; each key stands behind a line's end."""
        return any(f"\n{start}" in keys for start in self.starts) or any(part in keys for part in self.contains)


def other(label: str, *starts: str, contains: tuple[str, ...] = ()) -> Sign:
    """A model of a family that hires does not run."""
    return Sign("other", label, starts, contains, supported=False)


# Order matters: a special mark stands before the general one that the same file also carries.
SIGNS: tuple[Sign, ...] = (
    Sign("lora", "a LoRA", contains=(".lora_up.", ".lora_down.", ".lora_A.", ".lora_B.", ".lora.up.", ".lora.down.")),
    Sign("lora", "a LoRA (LyCORIS)", contains=(".hada_w1_", ".lokr_w1", ".oft_blocks", ".oft_diag", ".dora_scale")),
    Sign(
        "controlnet", "a ControlNet", ("control_model.", "controlnet_cond_embedding.", "lora_controlnet", "zero_convs.")
    ),
    Sign("controlnet", "a T2I-Adapter", ("adapter.body.", "body.0.resnets.")),
    other("an IP-Adapter", "ip_adapter.", "image_proj."),
    other("an AnimateDiff motion module", contains=("motion_modules.",)),
    other("Stable Diffusion 3", contains=("joint_blocks.0.", "transformer_blocks.0.norm1_context.")),
    other("Flux", contains=("double_blocks.0.img_attn", "single_transformer_blocks.0.")),
    other("Stable Video Diffusion", contains=(".time_stack.", ".time_mixer.", "temporal_transformer_blocks.")),
    other("Stable Cascade", contains=("clip_txt_mapper.", "clip_txt_pooled_mapper.", "effnet_mapper.")),
    other("Stable unCLIP", "embedder.model.visual.", "noise_augmentor."),
    other("Playground 2.5", "edm_mean", "edm_std"),
    other("CosXL (continuous EDM)", "edm_vpred."),
    other("PixArt", contains=("t_block.1.weight", "adaln_single.")),
    other("AuraFlow", contains=("double_layers.0.attn.",)),
    other("Hunyuan-DiT", contains=("mlp_t5.0.", "text_embedding_padding")),
    other("Lumina", contains=("cap_embedder.",)),
    other("Qwen-Image", contains=("txt_norm.weight",)),
    other("a T5 text encoder", "encoder.block.0.layer.0.SelfAttention.", "shared.weight"),
    Sign("face_restorer", "a face restorer", ("stylegan_decoder.", "idx_pred_layer.")),
    Sign("face_restorer", "a face detector", ("ClassHead.0.", "module.ClassHead.0.")),
    Sign("face_restorer", "a face parser", ("out_mask_conv.",)),
    Sign("upscaler", "LDSR", ("first_stage_model.quantize.embedding.",)),
    Sign("upscaler", "the SD x4 upscaler", ("low_scale_model.", "model.diffusion_model.label_emb.weight")),
    Sign("checkpoint", "a checkpoint", ("model.diffusion_model.",)),
    Sign("unet", "a UNet", ("diffusion_model.", "input_blocks.", "down_blocks.", "time_embedding.")),
    Sign("vae", "a VAE", ("first_stage_model.", "encoder.down.", "encoder.down_blocks.", "decoder.up")),
    Sign(
        "text_encoder",
        "a text encoder",
        ("text_model.", "transformer.resblocks.", "cond_stage_model.", "conditioner.", "encoder.layers."),
    ),
    Sign("captioner", "a BLIP captioner", ("text_decoder.bert.",)),
    other("a CLIP vision model", "vision_model.encoder.", "visual.transformer."),
    Sign("embedding", "a textual inversion embedding", ("emb_params", "string_to_param", "clip_l", "clip_g")),
    Sign(
        "upscaler",
        "an upscaler",
        (
            "conv_first.",
            "model.0.",
            "model.1.sub",
            "params",
            "body.",
            "patch_embed.",
            "layers.0.residual_group",
            "to_img.",
            "module.",
            "netG.",
        ),
    ),
)
UNKNOWN = Sign("unknown", "a weights file of no known kind")


def recognise(keys: Collection[str]) -> Sign:
    """The first sign that the keys carry, or UNKNOWN."""
    joined = "".join(f"\n{key}" for key in keys)  # one search a mark, not one a key: files have thousands of keys
    return next((sign for sign in SIGNS if sign.marks(joined)), UNKNOWN)
