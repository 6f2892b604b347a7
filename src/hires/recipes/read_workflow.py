"""From a workflow to the txt2img request that draws the same, where the workflow has that shape.

    CheckpointLoaderSimple [-> LoraLoader ...] [-> CLIPSetLastLayer] -> two CLIPTextEncode,
    EmptyLatentImage -> KSampler (or base and refiner, see read_refiner) -> VAEDecode, and for a second pass
    LatentUpscale(By), or VAEDecode [-> upscale model] -> ImageScale(By) -> VAEEncode, [-> LatentCrop] -> KSampler

Whatever does not fit is named. Nothing is left out in silence: the infotext would describe another picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

from hires.errors import SettingError
from hires.graph.declare import Registry
from hires.graph.inputs import NOTHING
from hires.graph.workflow import Link, Workflow, as_constant, as_link
from hires.imaging.sizes import LATENT, floor_to_latent
from hires.imaging.upscalers import LATENT_UPSCALERS
from hires.recipes.fine_sampling import FineSampling
from hires.recipes.infotext import number
from hires.recipes.networks import network_tags
from hires.recipes.read_refiner import read_refiner
from hires.recipes.request import FP8_MODES, HiresFix, Txt2Img
from hires.recipes.sizes import hires_size

ENDS = ("SaveImage", "PreviewImage")
SAMPLER_OPTIONS = ("rng", "variation_seed", "variation_strength", "seed_resize_width", "seed_resize_height", "ensd")
SAMPLER_NUMBERS = ("s_churn", "s_tmin", "s_tmax", "s_noise")
FOLLOW_FROM_REQUEST = ("schedule_calls", "schedule_calls_before", "negative", "zero_if_empty", "dialect")
"""Options of the A1111 dialect that the recipe sets by itself."""
TEXT_OPTIONS = ("emphasis", "comma_backtrack", "comments", "old_scheduling")
LORA_OPTIONS = ("block_weights", "rank")
NO_PATCHES: Mapping[str, Any] = {"fine": FineSampling(), "seamless": Txt2Img.seamless, "token_merging": 0.0}
UNDERSTOOD = (
    *SAMPLER_OPTIONS, *SAMPLER_NUMBERS, *FOLLOW_FROM_REQUEST, "eta", "original", *TEXT_OPTIONS, *LORA_OPTIONS, "float8"
)  # fmt: skip


FP8_NAMES = {value: name for name, value in FP8_MODES.items()}


@dataclass(frozen=True)
class _Prompts:
    """What a sampler's conditionings and model come from."""

    checkpoint: str
    positive: str
    negative: str
    clip_skip: int
    options: Mapping[str, Any]
    """How the texts are read: emphasis and the like."""


def request_of_workflow(workflow: Workflow, registry: Registry) -> Txt2Img:
    """The request. Raises SettingError that says which node keeps the workflow from being a txt2img of two passes."""
    plain, refiner = read_refiner(workflow)
    return replace(_Reader(plain, registry).request(), refiner=refiner)


class _Reader:
    """Reads a workflow backwards from the picture that it saves."""

    def __init__(self, workflow: Workflow, registry: Registry) -> None:
        self.workflow, self.registry = workflow, registry
        self.seen: set[str] = set()
        self.vae: str | None = None
        self.sides: set[str] = set()
        """Across which sides pictures go on, by the VAEs."""
        self.faces: dict[str, Any] = {}

    def request(self) -> Txt2Img:
        decode = self._picture()
        sampler = self._source(decode, "samples", "KSampler")
        self.vae = vae = self._vae(decode)
        latent = self._link(sampler, "latent_image")
        first, hires = sampler, None
        if self._class(latent.node) != "EmptyLatentImage":
            first, hires = self._second_pass(sampler, latent)
            latent = self._link(first, "latent_image")
        empty = self._check(latent.node, "EmptyLatentImage")
        values = self._values(first)
        if values["denoise"] != 1.0:
            raise self._refused(first, f"its denoise is {values['denoise']}, a first pass has 1")
        prompts = self._prompts(first)
        size = self._values(empty)
        options = {name: values[name] for name in (*SAMPLER_OPTIONS, *SAMPLER_NUMBERS) if name in values}
        request = Txt2Img(
            prompt=prompts.positive,
            negative=prompts.negative,
            checkpoint=prompts.checkpoint,
            vae=vae,
            sampler=values["sampler_name"],
            schedule=values["scheduler"],
            steps=values["steps"],
            cfg=values["cfg"],
            width=size["width"],
            height=size["height"],
            seed=values["seed"],
            batch_size=size["batch_size"],
            clip_skip=prompts.clip_skip,
            hires=hires,
            **prompts.options,
            eta=None if values.get("eta", -1.0) < 0 else values["eta"],
            dialect=values.get("dialect", "comfyui"),
            original_quirks=bool(values.get("original", False)),
            **options,
            **self.faces,
        )
        request = self._with_second(request, first, sampler)
        if self.sides != {request.seamless}:
            raise self._refused(decode, "its VAE is not seamless as the model is")
        self._check_rest()
        return request

    # The parts

    def _picture(self) -> str:
        """The VAEDecode of the picture that is saved; of several, of the one that needs all that the others need."""
        ends = [node_id for kind in ENDS for node_id in self.workflow.find(kind)]
        links = {end: as_link(self.workflow.nodes[end].inputs.get("images")) for end in ends}
        sources = {self._before_faces(link.node): end for end, link in links.items() if link is not None}
        decodes = [node for node in sources if self._class(node) == "VAEDecode"]
        if len(decodes) != len(sources) or not decodes:
            odd = next((node for node in sources if node not in decodes), None)
            if odd is not None:
                raise self._refused(odd, "the saved picture must come straight from a VAEDecode")
            raise SettingError(f"{self.workflow.source} saves no picture", "Infotext describes a txt2img workflow.")
        reach = {node: self._ancestors(node) for node in decodes}
        last = max(decodes, key=lambda node: len(reach[node]))
        for node in decodes:
            sampled = as_link(self.workflow.nodes[node].inputs.get("samples"))
            if node != last and (sampled is None or sampled.node not in reach[last]):
                raise self._refused(node, "it decodes a second picture that is no first pass of the other")
        self.seen |= {*ends, *decodes}
        return last

    def _before_faces(self, node: str) -> str:
        """What gave the pictures whose faces were restored; the node itself where none were."""
        if self._class(node) != "HiresRestoreFaces":
            return node
        values = self._values(self._check(node, "HiresRestoreFaces"))
        if values["visibility"] != 1.0:
            raise self._refused(node, "infotext knows faces that are restored in full")
        self.faces = {"face_restoration": values["restorer"], "face_weight": values["weight"]}
        return self._link(node, "image").node

    def _second_pass(self, sampler: str, latent: Link) -> tuple[str, HiresFix]:
        values = self._values(sampler)
        crop = None
        if self._class(latent.node) == "LatentCrop":
            crop = self._check(latent.node, "LatentCrop")
            latent = self._link(crop, "samples")
        enlarged = self._class(latent.node)
        fields: dict[str, Any] = {}
        if enlarged in ("LatentUpscale", "LatentUpscaleBy"):
            node, sizes = latent.node, self._values(self._check(latent.node, enlarged))
            labels = [label for label, method in LATENT_UPSCALERS.items() if method == sizes["upscale_method"]]
            if not labels:
                raise self._refused(node, f"infotext has no upscaler for the method {sizes['upscale_method']!r}")
            fields["upscaler"] = labels[0]
            first = self._source(node, "samples", "KSampler")
        elif enlarged == "VAEEncode":
            encode = self._check(latent.node, enlarged)
            self._check_vae(encode)
            link = self._link(encode, "pixels")
            node, sizes = link.node, self._values(self._check(link.node, "ImageScale", "ImageScaleBy"))
            link = self._link(node, "image")
            methods = {"lanczos": "Lanczos", "nearest-exact": "Nearest"}
            fields["upscaler"] = methods.get(sizes["upscale_method"], "")
            if self._class(link.node) == "ImageUpscaleWithModel":
                model = self._check(link.node, "ImageUpscaleWithModel")
                loader = self._source(model, "upscale_model", "UpscaleModelLoader")
                fields["upscaler"] = self._values(loader)["model_name"]
                link = self._link(model, "image")
                if sizes["upscale_method"] != "lanczos" or "scale_by" in sizes:
                    raise self._refused(node, "behind an upscale model infotext means ImageScale by lanczos")
            if not fields["upscaler"]:
                raise self._refused(node, f"infotext has no upscaler for the method {sizes['upscale_method']!r}")
            decode = self._check(link.node, "VAEDecode")
            self._check_vae(decode)
            first = self._source(decode, "samples", "KSampler")
        else:
            raise self._refused(latent.node, "it does not lead to an EmptyLatentImage or an enlarged first pass")
        if sizes.get("crop", "disabled") != "disabled":
            raise self._refused(node, "it crops")
        if crop is not None:
            fields |= self._cropped(crop, first, sizes)
        elif "scale_by" in sizes:
            fields["scale"] = sizes["scale_by"]
        else:
            fields |= {"width": sizes["width"], "height": sizes["height"]}
        return first, HiresFix(steps=values["steps"], denoise=values["denoise"], **fields)

    def _cropped(self, crop: str, first: str, sizes: Mapping[str, Any]) -> dict[str, int]:
        """The target of a hires pass that covers it and crops: enlarging and crop must be those of the rule."""
        small = self._values(self._source(first, "latent_image", "EmptyLatentImage"))
        cut = self._values(crop)
        size = hires_size(small["width"], small["height"], 1.0, cut["width"], cut["height"])
        rule = {
            "x": size.crop_x_latent // 2 * LATENT,
            "y": size.crop_y_latent // 2 * LATENT,
            "width": size.delivered[0],
            "height": size.delivered[1],
        }
        enlarged = floor_to_latent(size.width), floor_to_latent(size.height)
        if dict(cut) != rule or (sizes.get("width"), sizes.get("height")) != enlarged:
            raise self._refused(crop, "it does not crop as a hires pass to a size does")
        return {"width": cut["width"], "height": cut["height"]}

    def _patches(self, sampler: str) -> tuple[str, dict[str, Any]]:
        """The model of a sampler, and the request's fields that nodes over it stand for."""
        model, found = self._link(sampler, "model").node, dict(NO_PATCHES)
        if self._class(model) == "HiresWebuiSampling":
            found["fine"] = FineSampling(**self._values(self._check(model, "HiresWebuiSampling")))
            model = self._link(model, "model").node
        if self._class(model) == "TomePatchModel":
            values = self._values(self._check(model, "TomePatchModel"))
            if values.get("dialect", "comfyui") != self._values(sampler).get("dialect", "comfyui"):
                raise self._refused(model, "it merges tokens in another dialect than the sampler draws in")
            found["token_merging"] = values["ratio"]
            model = self._link(model, "model").node
        if self._class(model) == "HiresSeamlessModel":
            found["seamless"] = self._values(self._check(model, "HiresSeamlessModel"))["sides"]
            model = self._link(model, "model").node
        return model, found

    def _loras(self, model: str, clip: str) -> tuple[str, str, list[str]]:
        """The loaders of model and clip behind the LoRAs that both go through, and these as tags."""
        tags = []
        while self._class(model) == "LoraLoader":
            if clip != model:
                raise self._refused(model, "the text encoder does not go through it as the model does")
            values = self._values(self._check(model, "LoraLoader"))
            name = PurePath(values["lora_name"].replace("\\", "/")).stem
            tag = f"lora:{name}:{number(values['strength_clip'])}:{number(values['strength_model'])}"
            tag += f":dyn={values['rank']}" if values.get("rank") else ""
            tag += f":lbw={values['block_weights']}" if values.get("block_weights") else ""
            tags.append(f"<{tag}>")
            model, clip = self._link(model, "model").node, self._link(model, "clip").node
        return self._check(model, "CheckpointLoaderSimple"), clip, tags[::-1]

    def _with_second(self, request: Txt2Img, first: str, second: str) -> Txt2Img:
        """What infotext says once for both passes must be the same; what it says twice goes into the hires fields."""
        if request.hires is None:
            return request
        one, two = self._values(first), self._values(second)
        for name in one:
            free = ("steps", "denoise", "cfg", "sampler_name", "scheduler", *FOLLOW_FROM_REQUEST)
            if name not in free and one[name] != two[name]:
                raise self._refused(second, f"its {name} is not that of the first pass")
        prompts, own = self._prompts(second), self._prompts(first)
        merged = prompts.options["token_merging"]
        if merged == 0 < own.options["token_merging"]:
            raise self._refused(second, "it merges no tokens, and the first pass does")
        same = {**prompts.options, "token_merging": own.options["token_merging"]}
        if (prompts.clip_skip, same) != (own.clip_skip, own.options):
            raise self._refused(second, "its text is encoded otherwise than in the first pass")
        other = merged if merged != own.options["token_merging"] else 0.0
        changes: dict[str, Any] = {
            "cfg": two["cfg"] if two["cfg"] != one["cfg"] else None,
            "sampler": two["sampler_name"] if two["sampler_name"] != one["sampler_name"] else None,
            "schedule": two["scheduler"] if two["scheduler"] != one["scheduler"] else None,
            "checkpoint": prompts.checkpoint if prompts.checkpoint != own.checkpoint else None,
            "prompt": prompts.positive if prompts.positive != own.positive else "",
            "negative": prompts.negative if prompts.negative != own.negative else "",
        }
        return replace(request, token_merging_hires=other, hires=replace(request.hires, **changes))

    def _prompts(self, sampler: str) -> _Prompts:
        texts: dict[str, Mapping[str, Any]] = {}
        clips: dict[str, str] = {}
        for socket in ("positive", "negative"):
            encode = self._source(sampler, socket, "CLIPTextEncode")
            texts[socket] = self._values(encode)
            clips[socket] = self._link(encode, "clip").node
        if clips["positive"] != clips["negative"]:
            raise self._refused(sampler, "its two prompts are encoded by different text encoders")
        clip, skip = clips["positive"], 1
        if self._class(clip) == "CLIPSetLastLayer":
            layer = self._check(clip, "CLIPSetLastLayer")
            skip = -int(self._values(layer)["stop_at_clip_layer"])
            clip = self._link(layer, "clip").node
        model, patches = self._patches(sampler)
        loader, clip, tags = self._loras(model, clip)
        name = str(self._values(loader)["ckpt_name"])
        patches["fp8"] = FP8_NAMES[self._values(loader).get("float8", "off")]
        if str(self._values(self._check(clip, "CheckpointLoaderSimple"))["ckpt_name"]) != name:
            raise self._refused(clip, "the text encoder is another checkpoint's than the model")
        options, others = (
            {name: texts[side].get(name, getattr(Txt2Img, name)) for name in TEXT_OPTIONS}
            for side in ("positive", "negative")
        )
        if options["emphasis"] != others["emphasis"]:
            raise self._refused(sampler, "its two prompts are encoded with different emphasis")
        if options != others:
            raise self._refused(sampler, "its two prompts are encoded with different options")
        dialect = self._values(sampler).get("dialect", "comfyui")
        if any(text.get("dialect", "comfyui") != dialect for text in texts.values()):
            raise self._refused(sampler, "its prompts are encoded in another dialect than it draws in")
        positive = _with_tags(str(texts["positive"]["text"]), tags)
        return _Prompts(name, positive, str(texts["negative"]["text"]), skip, options | patches)

    def _vae(self, node: str) -> str | None:
        """The file of a VAE that is no checkpoint's own."""
        source = self._link(node, "vae").node
        sides = Txt2Img.seamless
        if self._class(source) == "HiresSeamlessVAE":
            sides = self._values(self._check(source, "HiresSeamlessVAE"))["sides"]
            source = self._link(source, "vae").node
        self.sides.add(sides)
        if self._class(source) == "CheckpointLoaderSimple":
            self.seen.add(source)
            return None
        return str(self._values(self._check(source, "VAELoader"))["vae_name"])

    def _check_vae(self, node: str) -> None:
        if self._vae(node) != self.vae:
            raise self._refused(node, "its VAE is not that of the final picture")

    def _check_rest(self) -> None:
        for node_id in self.workflow.nodes:
            if node_id not in self.seen:
                raise self._refused(node_id, "it has no place in a txt2img of one or two passes")

    # Nodes and links

    def _class(self, node_id: str) -> str:
        node = self.workflow.nodes.get(node_id)
        return (node.class_type or "") if node is not None else ""

    def _check(self, node_id: str, *kinds: str) -> str:
        if self._class(node_id) not in kinds:
            raise self._refused(node_id, f"a {' or '.join(kinds)} was expected there")
        self.seen.add(node_id)
        return node_id

    def _link(self, node_id: str, name: str) -> Link:
        self.seen.add(node_id)
        link = as_link(self.workflow.nodes[node_id].inputs.get(name))
        if link is None or link.node not in self.workflow.nodes:
            raise self._refused(node_id, f"its input {name!r} is not linked")
        return link

    def _source(self, node_id: str, name: str, *kinds: str) -> str:
        return self._check(self._link(node_id, name).node, *kinds)

    def _values(self, node_id: str) -> Mapping[str, Any]:
        """The constants of a node with the defaults of those that it does not state."""
        node = self.workflow.nodes[node_id]
        node_type = self.registry[node.class_type or ""]
        values = {
            entry.name: entry.default
            for entry in node_type.inputs
            if entry.is_widget and entry.default is not NOTHING and not entry.extra
        }
        for entry in node_type.inputs:
            if not entry.is_widget or entry.name not in node.inputs:
                continue
            if as_link(node.inputs[entry.name]) is not None:
                raise self._refused(node_id, f"its {entry.name} comes from another node")
            values[entry.name] = as_constant(node.inputs[entry.name])
            if entry.extra and entry.name not in UNDERSTOOD and values[entry.name] != entry.default:
                raise self._refused(node_id, f"infotext has no place for its {entry.name}")
        absent = [entry.name for entry in node_type.inputs if entry.is_widget and entry.required]
        for name in absent:
            if name not in values:
                raise self._refused(node_id, f"it has no {name}")
        for entry in node_type.inputs:
            kinds: Any = {"INT": int, "FLOAT": (int, float), "STRING": str}.get(entry.type)
            if entry.name in values and kinds is not None and not isinstance(values[entry.name], kinds):
                raise self._refused(node_id, f"its {entry.name} cannot be {values[entry.name]!r}")
        return values

    def _ancestors(self, node_id: str) -> set[str]:
        found: set[str] = set()
        rest = [node_id]
        while rest:
            current = rest.pop()
            if current in found or current not in self.workflow.nodes:
                continue
            found.add(current)
            rest += [link.node for link in self.workflow.nodes[current].links().values()]
        return found

    def _refused(self, node_id: str, why: str) -> SettingError:
        where = f"node {node_id} ({self._class(node_id) or 'missing'})"
        return SettingError(f"{self.workflow.source} cannot be told as infotext: {where}: {why}")


def _with_tags(prompt: str, tags: list[str]) -> str:
    """The prompt with a tag for each LoRA; one that recipes wrote names them already."""
    return prompt if network_tags(prompt) else prompt + "".join(f" {tag}" for tag in tags)
