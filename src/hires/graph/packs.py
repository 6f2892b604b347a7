"""Which node pack a class of node comes with, for those that workflows on the web use most."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

PACKS: Mapping[str, str] = {
    "ComfyUI Impact Pack": r"FaceDetailer(Pipe)?|DetailerForEach.*|UltralyticsDetectorProvider|SAMLoader|SAMDetector.*"
    r"|BboxDetector.*|SegmDetector.*|SEGS.*|Segs.*|MaskToSEGS|ToDetailerPipe.*|FromDetailerPipe.*|Impact.*"
    r"|IterativeLatentUpscale|IterativeImageUpscale|PixelKSampleUpscalerProvider.*|LatentPixelScale|BasicPipe.*",
    "ComfyUI Inspire Pack": r".*//Inspire",
    "ComfyUI's ControlNet Auxiliary Preprocessors": r".*Preprocessor(_Provider_for_SEGS)?|AIO_Preprocessor",
    "ComfyUI_IPAdapter_plus": r"IPAdapter.*|PrepImageForClipVision|PrepImageForInsightFace",
    "ComfyUI Essentials": r"[A-Za-z0-9 ]+\+",
    "efficiency-nodes-comfyui": r"Efficient Loader|Eff\. Loader SDXL"
    r"|KSampler (\(Efficient\)|Adv\. \(Efficient\)|SDXL .*)"
    r"|HighRes-Fix Script|Noise Control Script|Tiled Upscaler Script|AnimateDiff Script|XY Plot|XY Input: .*"
    r"|LoRA Stack(er|.to.String converter)|Control Net Stacker|Apply ControlNet Stack|(Unp|P)ack SDXL Tuple"
    r"|Manual XY Entry Info|Join XY Inputs of Same Type|Image Overlay|Evaluate (Integers|Floats|Strings)"
    r"|Simple Eval Examples",
    "ComfyUI_UltimateSDUpscale": r"UltimateSDUpscale.*",
    "ComfyUI-TiledDiffusion": r"TiledDiffusion|SpotDiffusionParams_TiledDiffusion|VAE(En|De)codeTiled_TiledDiffusion"
    r"|NoiseInversion",
    "ComfyUI_TiledKSampler": r"BNK_Tiled.*",
    "ComfyUI_ADV_CLIP_emb": r"BNK_CLIPTextEncode.*|BNK_AddCLIPSDXL.*",
    "ComfyUI_Noise": r"BNK_(NoisyLatentImage|DuplicateBatchIndex|SlerpLatent|GetSigma|InjectNoise|Unsampler)",
    "SD-Latent-Upscaler": r"LatentUpscaler",
    "ComfyUI_NNLatentUpscale": r"NNLatentUpscale",
    "ComfyUI-AnimateDiff-Evolved": r"ADE_.*",
    "ComfyUI-VideoHelperSuite": r"VHS_.*",
    "ComfyUI-Advanced-ControlNet": r"ACN_.*|ControlNetLoaderAdvanced|ScaledSoftControlNetWeights",
    "rgthree-comfy": r".*\(rgthree\)",
    "ComfyUI-Custom-Scripts": r".*\|pysssss",
    "ComfyUI-KJNodes": r"[SG]etNode|.*KJ(v\d)?|GetImageSizeAndCount|ColorMatch|ConditioningMultiCombine",
    "cg-use-everywhere": r"(Anything|Seed|Prompts) Everywhere.*",
    "WAS Node Suite": r"Image (Save|Load|Resize|Rembg|Blend.*|Filter.*)|Text (Concatenate|Multiline|String)"
    r"|CLIPTextEncode \(NSP\)|Upscale Model Switch|Number to .*|Seed",
    "ComfyUI_Comfyroll_CustomNodes": r"CR .*",
    "ComfyUI-Easy-Use": r"easy .*",
    "ComfyUI_tinyterraNodes": r"ttN .*",
    "comfy_mtb": r".*\(mtb\)",
    "ComfyUI-Crystools": r".*\[Crystools\]",
    "ComfyUI_LayerStyle": r"Layer(Utility|Style|Mask|Color|Filter): .*",
    "ComfyUI-Inpaint-CropAndStitch": r"Inpaint(Crop|Stitch|ExtendOutpaint|Resize).*",
    "comfyui-inpaint-nodes": r"INPAINT_.*",
    "ComfyUI-SUPIR": r"SUPIR_.*",
    "ComfyUI-Florence2": r"(DownloadAndLoad)?Florence2.*",
    "ComfyUI-WD14-Tagger": r"WD14Tagger.*",
    "ComfyUI-Image-Saver": r".*Image Saver.*",
    "ComfyUI SDXL Prompt Styler": r"SDXLPromptStyler.*",
    "SeargeSDXL": r"Searge.*",
    "ComfyUI_InstantID": r"(Apply)?InstantID.*",
    "ComfyUI-ReActor": r"ReActor.*",
    "ComfyUI-GGUF": r".*GGUF.*",
    "ComfyUI-Frame-Interpolation": r"RIFE VFI|FILM VFI|.* VFI",
    "ComfyUI-BrushNet": r"BrushNet.*|PowerPaint.*",
    "ComfyUI-IC-Light": r".*ICLight.*",
    "ComfyUI-Manager": r".*\(ComfyUI-Manager\)",
}
"""Name of the pack -> the classes it brings, as a pattern for the whole name. The first that fits counts."""


def pack_of(class_type: str, named: Mapping[str, str] | None = None) -> str:
    """The pack of a class: as `named` has it, else from the table; "" where neither knows."""
    if named is not None and class_type in named:
        return named[class_type]
    name = class_type[:200]
    return next((pack for pack, pattern in PACKS.items() if re.fullmatch(pattern, name)), "")


def packs_named(ui: Mapping[str, Any]) -> dict[str, str]:
    """Class -> pack, as the nodes of an editor's file say themselves (`cnr_id`, `aux_id`)."""
    named: dict[str, str] = {}
    for node in _nodes(ui):
        properties = node.get("properties")
        if isinstance(properties, Mapping):
            pack = properties.get("cnr_id") or properties.get("aux_id")
            if isinstance(pack, str) and pack not in ("", "comfy-core"):
                named.setdefault(str(node.get("type")), pack)
    return named


def _nodes(ui: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """All nodes of an editor's file, those inside of subgraphs too."""
    definitions = ui.get("definitions")
    inner = definitions.get("subgraphs") if isinstance(definitions, Mapping) else None
    for graph in (ui, *(inner if isinstance(inner, list) else ())):
        nodes = graph.get("nodes") if isinstance(graph, Mapping) else None
        yield from (node for node in (nodes if isinstance(nodes, list) else ()) if isinstance(node, Mapping))
