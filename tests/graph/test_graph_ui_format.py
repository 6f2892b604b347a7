"""Conversion of the editor's files: virtual nodes, modes, widget values, subgraphs, group nodes."""

from __future__ import annotations

import copy
import json
from datetime import datetime
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hires.errors import HiresError, WorkflowError
from hires.graph.context import PlainContext
from hires.graph.declare import Registry, node
from hires.graph.inputs import Bool, Choice, Extra, FileChoice, Float, Int, Socket, Text
from hires.graph.ui_format import convert
from hires.graph.ui_text import replace_tokens
from hires.graph.workflow import Limits, Workflow

Model = Annotated[Any, Socket("MODEL")]
Clip = Annotated[Any, Socket("CLIP")]
Vae = Annotated[Any, Socket("VAE")]
Cond = Annotated[Any, Socket("CONDITIONING")]
Latent = Annotated[Any, Socket("LATENT")]
Image = Annotated[Any, Socket("IMAGE")]
Strength = Annotated[float, Float(-10.0, 10.0, 0.01)]


@node("CheckpointLoaderSimple", title="Load Checkpoint", outputs=("MODEL", "CLIP", "VAE"))
def load_checkpoint(*, ckpt_name: Annotated[str, FileChoice("checkpoints")]) -> None:
    """Load."""


@node("LoraLoader", outputs=("MODEL", "CLIP"))
def load_lora(
    *, model: Model, clip: Clip, lora_name: Annotated[str, FileChoice("loras")],
    strength_model: Strength = 1.0, strength_clip: Strength = 1.0,
) -> None:  # fmt: skip
    """Patch."""


@node("CLIPTextEncode", title="CLIP Text Encode (Prompt)", outputs=("CONDITIONING",))
def encode(*, text: Annotated[str, Text(multiline=True, dynamic_prompts=True)], clip: Clip) -> None:
    """Encode."""


@node("EmptyLatentImage", outputs=("LATENT",))
def empty(*, width: Annotated[int, Int(16, 16384, 8)] = 512, height: Annotated[int, Int(16, 16384, 8)] = 512,
          batch_size: Annotated[int, Int(1, 4096)] = 1) -> None:  # fmt: skip
    """Empty."""


@node("KSampler", outputs=("LATENT",))
def ksampler(
    *,
    model: Model,
    seed: Annotated[int, Int(0, 2**64 - 1, control_after_generate=True)] = 0,
    steps: Annotated[int, Int(1, 10000)] = 20,
    cfg: Annotated[float, Float(0.0, 100.0)] = 8.0,
    sampler_name: Annotated[str, Choice(("euler", "heun"))],
    scheduler: Annotated[str, Choice(("normal", "karras"))],
    positive: Cond,
    negative: Cond,
    latent_image: Latent,
    denoise: Annotated[float, Float(0.0, 1.0, 0.01)] = 1.0,
    emphasis: Annotated[str, Choice(("comfy", "a1111")), Extra] = "comfy",
) -> None:
    """Sample."""


@node("VAEDecode", outputs=("IMAGE",))
def decode(*, samples: Latent, vae: Vae) -> None:
    """Decode."""


@node("ImageBlend", outputs=("IMAGE",))
def blend(*, image1: Image, image2: Image, blend_factor: Annotated[float, Float(0.0, 1.0, 0.01)] = 0.5) -> None:
    """Blend."""


@node("LoadImage", outputs=("IMAGE", "MASK"))
def load_image(*, image: Annotated[str, FileChoice("input", upload=True)]) -> None:
    """Load."""


@node("SaveImage", is_output=True)
def save(*, images: Image, filename_prefix: Annotated[str, Text()] = "ComfyUI") -> None:
    """Save."""


def _old_layout(values: list[Any]) -> dict[str, Any] | None:
    return {"scale": float(values[1]), "flag": True} if values[0] == "old" else None


@node("Forced", outputs=("INT",), migrate=_old_layout)
def forced(*, before: Annotated[int, Int(), {"forceInput": True}], scale: Annotated[float, Float()] = 1.5,
           flag: Annotated[bool, Bool()] = False) -> None:  # fmt: skip
    """An input that is a socket only."""


NODES = Registry.of(
    load_checkpoint, load_lora, encode, empty, ksampler, decode, blend, load_image, save, forced
)  # fmt: skip
CONTEXT = PlainContext({"checkpoints": ["a.safetensors", "b.safetensors"], "loras": ["x.safetensors"]})
NOON = datetime(2024, 3, 7, 12, 5, 9)


class Editor:
    """Draws graphs as the editor saves them."""

    def __init__(self) -> None:
        self.nodes: list[dict[str, Any]] = []
        self.links: list[list[Any]] = []

    def add(
        self,
        type: str,
        inputs: dict[str, tuple[Any, int] | None] | None = None,
        values: Any = None,
        *,
        id: int | None = None,
        mode: int = 0,
        outputs: tuple[str, ...] | None = None,
        kinds: dict[str, str] | None = None,
        **more: Any,
    ) -> int:
        node_id = id if id is not None else len(self.nodes) + 1
        node_type = NODES.get(type)
        sockets = []
        for slot, (name, source) in enumerate((inputs or {}).items()):
            declared = node_type.by_name.get(name) if node_type is not None else None
            kind = (kinds or {}).get(name) or (declared.type if declared is not None else "*")
            link = None
            if source is not None:
                link = len(self.links) + 1
                self.links.append([link, source[0], source[1], node_id, slot, kind])
            entry = {"name": name, "type": kind, "link": link}
            if declared is not None and declared.is_widget:
                entry["widget"] = {"name": name}
            sockets.append(entry)
        if outputs is None:
            outputs = node_type.outputs if node_type is not None else ("*",)
        self.nodes.append(
            {"id": node_id, "type": type, "mode": mode, "order": len(self.nodes), "inputs": sockets,
             "outputs": [{"name": kind, "type": kind} for kind in outputs], "widgets_values": values or [], **more}
        )  # fmt: skip
        return node_id

    def json(self, **more: Any) -> dict[str, Any]:
        return {"nodes": self.nodes, "links": self.links, "version": 0.4} | more

    def objects(self) -> list[dict[str, Any]]:
        keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
        return [dict(zip(keys, link, strict=True)) for link in self.links]


SAMPLER_VALUES = [42, "randomize", 12, 7.0, "heun", "karras", 0.5]


def txt2img(editor: Editor, lora_mode: int = 0, **sampler: Any) -> dict[str, int]:
    """Loader 1 -> LoRA 2 -> texts 3, 4 -> sampler 6 (latent 5) -> decode 7 -> save 8."""
    editor.add("CheckpointLoaderSimple", values=["a.safetensors"])
    editor.add("LoraLoader", {"model": (1, 0), "clip": (1, 1)}, ["x.safetensors", 0.8, 0.9], mode=lora_mode)
    editor.add("CLIPTextEncode", {"clip": (2, 1)}, ["a {fox|cat}"], title="Positive")
    editor.add("CLIPTextEncode", {"clip": (2, 1)}, ["blurry"])
    editor.add("EmptyLatentImage", values=[640, 512, 2])
    editor.add("KSampler", {"model": (2, 0), "positive": (3, 0), "negative": (4, 0), "latent_image": (5, 0)},
               SAMPLER_VALUES, **sampler)  # fmt: skip
    editor.add("VAEDecode", {"samples": (6, 0), "vae": (1, 2)})
    editor.add("SaveImage", {"images": (7, 0)}, ["out"])
    return {}


def prompt_of(data: dict[str, Any]) -> dict[str, Any]:
    return convert(data, NODES, CONTEXT, now=NOON)[0]


def inputs_of(data: dict[str, Any], node_id: str) -> dict[str, Any]:
    found: dict[str, Any] = prompt_of(data)[node_id]["inputs"]
    return found


SAMPLER_INPUTS = {
    "seed": 42, "steps": 12, "cfg": 7.0, "sampler_name": "heun", "scheduler": "karras", "denoise": 0.5,
    "model": ["2", 0], "positive": ["3", 0], "negative": ["4", 0], "latent_image": ["5", 0],
}  # fmt: skip


def test_plain_graph() -> None:
    editor = Editor()
    txt2img(editor)
    prompt = prompt_of(editor.json())
    assert list(prompt) == [str(i) for i in range(1, 9)]
    assert prompt["1"] == {
        "class_type": "CheckpointLoaderSimple",
        "inputs": {"ckpt_name": "a.safetensors"},
        "_meta": {"title": "Load Checkpoint"},
    }
    assert prompt["3"]["_meta"] == {"title": "Positive"}
    assert prompt["6"]["inputs"] == SAMPLER_INPUTS
    assert prompt["5"]["inputs"] == {"width": 640, "height": 512, "batch_size": 2}


def test_schema_1_gives_the_same() -> None:
    editor = Editor()
    txt2img(editor)
    newer = editor.json(links=editor.objects(), version=1, state={"lastNodeId": 8})
    assert prompt_of(newer) == prompt_of(editor.json())


def test_parse_finds_the_format() -> None:
    editor = Editor()
    txt2img(editor)
    workflow = Workflow.parse(json.dumps(editor.json()), registry=NODES, context=CONTEXT)
    assert workflow.as_json() == prompt_of(editor.json())
    assert workflow.ui == editor.json()
    assert workflow.notes == ()


def test_primitive_feeds_several_widgets_through_reroutes() -> None:
    editor = Editor()
    txt2img(editor)
    editor.add("PrimitiveNode", values=[768, "fixed"], id=20, outputs=("INT",))
    editor.add("Reroute", {"": (20, 0)}, id=21)
    editor.add("Reroute", {"": (21, 0)}, id=22)
    editor.add("EmptyLatentImage", {"width": (20, 0), "height": (22, 0)}, [512, 512, 1], id=23)
    prompt = prompt_of(editor.json())
    assert prompt["23"]["inputs"] == {"width": 768, "height": 768, "batch_size": 1}
    assert not {"20", "21", "22"} & set(prompt)


def test_converted_seed_keeps_its_place_among_the_values() -> None:
    editor = Editor()
    txt2img(editor)
    editor.add("PrimitiveNode", values=[7, "increment"], id=20, outputs=("INT",))
    editor.nodes[5]["inputs"].append({"name": "seed", "type": "INT", "link": 99, "widget": {"name": "seed"}})
    editor.links.append([99, 20, 0, 6, 5, "INT"])
    assert inputs_of(editor.json(), "6") == SAMPLER_INPUTS | {"seed": 7}


def test_unlinked_reroute_and_notes() -> None:
    editor = Editor()
    editor.add("Reroute", {"": None})
    editor.add("VAEDecode", {"samples": (1, 0), "vae": None})
    editor.add("Note", values=["remember"])
    editor.add("MarkdownNote", values=["# remember"])
    assert prompt_of(editor.json()) == {"2": {"class_type": "VAEDecode", "inputs": {}, "_meta": {"title": "VAEDecode"}}}


def test_muted_node_takes_its_links_along() -> None:
    editor = Editor()
    txt2img(editor, lora_mode=2)
    prompt = prompt_of(editor.json())
    assert "2" not in prompt
    assert "model" not in prompt["6"]["inputs"]
    assert prompt["3"]["inputs"] == {"text": "a {fox|cat}"}


def test_bypassed_lora() -> None:
    editor = Editor()
    txt2img(editor, lora_mode=4)
    prompt = prompt_of(editor.json())
    assert "2" not in prompt
    assert prompt["6"]["inputs"]["model"] == ["1", 0]
    assert prompt["3"]["inputs"]["clip"] == ["1", 1]


def test_bypassed_sampler_blend_and_decode() -> None:
    editor = Editor()
    txt2img(editor, mode=4)
    assert inputs_of(editor.json(), "7")["samples"] == ["5", 0]
    editor = Editor()
    editor.add("LoadImage", values=["a.png", "image"])
    editor.add("LoadImage", values=["b.png", "image"])
    editor.add("ImageBlend", {"image1": (1, 0), "image2": (2, 0)}, [0.5], mode=4)
    editor.add("SaveImage", {"images": (3, 0)}, ["out"])
    assert inputs_of(editor.json(), "4") == {"images": ["1", 0], "filename_prefix": "out"}
    editor = Editor()
    txt2img(editor)
    editor.nodes[6]["mode"] = 4
    assert inputs_of(editor.json(), "8") == {"filename_prefix": "out"}


def test_bypass_with_any_type() -> None:
    """Wanted type *: the input of the same index, else the first."""
    editor = Editor()
    editor.add("CheckpointLoaderSimple", values=["a.safetensors"])
    editor.add("LoraLoader", {"model": (1, 0), "clip": (1, 1)}, mode=4)
    editor.add("Odd", {"x": (2, 1), "y": (2, 0)}, kinds={"x": "*", "y": "*"})
    assert inputs_of(editor.json(), "3") == {"x": ["1", 1], "y": ["1", 0]}


def test_circle_of_reroutes_ends() -> None:
    editor = Editor()
    editor.add("Reroute", {"": (2, 0)})
    editor.add("Reroute", {"": (1, 0)})
    editor.add("SaveImage", {"images": (2, 0)}, ["out"])
    assert inputs_of(editor.json(), "3") == {"filename_prefix": "out"}


@pytest.mark.parametrize(
    ("values", "taken", "note"),
    [
        ([42, "fixed", 12, 7.0, "heun", "karras", 0.5], {}, None),
        ([42, True, 12, 7.0, "heun", "karras", 0.5], {}, None),
        ([42, "fixed", 12, 7.0, "sample_heun", "karras", 0.5], {}, None),
        ([42, "fixed", 12, 7.0, "heun", "karras"], {"denoise": 1.0}, None),
        ([42, "fixed", None, 12, 7.0, "heun", "karras", 0.5], {}, None),
        ([42, 12, 7.0, "heun", "karras", 0.5], {}, "lack those of the seed's control"),
        ([42, "fixed", 12, 7.0, "heun", "karras", 0.5, "a1111"], {"emphasis": "a1111"}, None),
        ([42, "fixed", 12, 7.0, "heun", "karras", 0.5, "a1111", 5], {"emphasis": "a1111"}, "its last 1 values"),
        ({"seed": 42, "steps": 12, "cfg": 7.0, "sampler_name": "heun", "scheduler": "karras", "denoise": 0.5}, {},
         None),
        (["x", "fixed", 12], {"seed": 0, "steps": 20, "cfg": 8.0, "sampler_name": "euler", "scheduler": "normal",
                              "denoise": 1.0}, "the defaults are taken"),
        ([42, "fixed", 12, 7.0, "none such", "karras", 0.5],
         {"seed": 0, "steps": 20, "cfg": 8.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0},
         "the defaults are taken"),
    ],
)  # fmt: skip
def test_values_by_position(values: Any, taken: dict[str, Any], note: str | None) -> None:
    editor = Editor()
    editor.add("KSampler", values=values)
    prompt, notes = convert(editor.json(), NODES, CONTEXT)
    links = {"model", "positive", "negative", "latent_image"}
    assert prompt["1"]["inputs"] == {k: v for k, v in SAMPLER_INPUTS.items() if k not in links} | taken
    assert len(notes) == (note is not None)
    assert note is None or note in notes[0]


def test_named_values_go_first() -> None:
    editor = Editor()
    editor.add("EmptyLatentImage", values=[1024, 1024, 1], widgets_values_named={"width": 640})
    assert inputs_of(editor.json(), "1") == {"width": 640, "height": 512, "batch_size": 1}


@pytest.mark.parametrize(
    ("values", "scale", "flag", "notes"),
    [([2.0, True], 2.0, True, 0), ([5, 2.0, True], 2.0, True, 0), (["old", 3], 3.0, True, 1)],
)
def test_forced_inputs_and_migration(values: list[Any], scale: float, flag: bool, notes: int) -> None:
    editor = Editor()
    editor.add("Forced", values=values)
    prompt, told = convert(editor.json(), NODES, CONTEXT)
    # 5 was kept for the socket by old files; it is no value of an unlinked socket.
    assert prompt["1"]["inputs"] | {"before": None} == {"scale": scale, "flag": flag, "before": None}
    assert len(told) == notes


def test_a_file_is_never_chosen_by_itself() -> None:
    editor = Editor()
    editor.add("CheckpointLoaderSimple", values=[])
    assert inputs_of(editor.json(), "1") == {}


def test_unknown_nodes_are_told_with_their_pack() -> None:
    editor = Editor()
    editor.add("Exotic", {"image": None, "amount": None}, [3], properties={"cnr_id": "exotic-pack"})
    editor.nodes[0]["inputs"][1]["widget"] = {"name": "amount"}
    prompt, notes = convert(editor.json(), NODES, CONTEXT)
    assert prompt["1"] == {"class_type": "Exotic", "inputs": {"amount": 3}, "_meta": {"title": "Exotic"}}
    assert notes == ("node 1 (Exotic): this node is not known here (it comes with exotic-pack)",)


def test_tokens_in_file_names() -> None:
    editor = Editor()
    txt2img(editor)
    editor.nodes[7]["widgets_values"] = ["%date:yyyy-MM-dd%/%KSampler.seed%_%Positive.text%_%width%_%No.no%"]
    editor.nodes[5]["properties"] = {"Node name for S&R": "KSampler"}
    assert inputs_of(editor.json(), "8")["filename_prefix"] == "2024-03-07/42_a {fox_cat}_%width%_%No.no%"


@pytest.mark.parametrize(
    ("pattern", "text"),
    [("yyyyMMdd", "20240307"), ("yy-M-d", "24-3-7"), ("hh:mm:ss", "12:05:09"), ("h.m.s", "12.5.9")],
)
def test_dates(pattern: str, text: str) -> None:
    assert replace_tokens(f"%date:{pattern}%", lambda node, widget: None, NOON) == text


# Subgraphs

SUB = "3f6c0e7e-0000-4000-8000-000000000001"


def subgraph(inner_id: int = 4) -> dict[str, Any]:
    """A text encoder inside: clip and the promoted text come from outside."""
    inner = Editor()
    inner.add("CLIPTextEncode", {"clip": (-10, 0), "text": (-10, 1)}, ["inner text"], id=inner_id)
    inner.links.append([9, inner_id, 0, -20, 0, "CONDITIONING"])
    return {
        "id": SUB, "name": "Encode", "inputNode": {"id": -10}, "outputNode": {"id": -20},
        "inputs": [{"id": "a", "name": "clip", "type": "CLIP", "linkIds": [1]},
                   {"id": "b", "name": "text", "type": "STRING", "linkIds": [2]}],
        "outputs": [{"id": "c", "name": "CONDITIONING", "type": "CONDITIONING", "linkIds": [9]}],
        "nodes": inner.nodes, "links": inner.objects(),
    }  # fmt: skip


def with_subgraph(values: Any, text: tuple[Any, int] | None = None, mode: int = 0, **more: Any) -> dict[str, Any]:
    editor = Editor()
    editor.add("CheckpointLoaderSimple", values=["a.safetensors"])
    editor.add(SUB, {"clip": (1, 1), "text": text}, values, mode=mode, outputs=("CONDITIONING",),
               kinds={"clip": "CLIP", "text": "STRING"}, **more)  # fmt: skip
    editor.add("PrimitiveNode", values=["primitive text"], outputs=("STRING",))
    editor.add("KSampler", {"positive": (2, 0)}, SAMPLER_VALUES)
    return editor.json(definitions={"subgraphs": [subgraph()]})


def test_subgraph_with_a_promoted_widget() -> None:
    prompt = prompt_of(with_subgraph(["outer text"]))
    assert prompt["2:4"]["inputs"] == {"text": "outer text", "clip": ["1", 1]}
    assert prompt["4"]["inputs"]["positive"] == ["2:4", 0]
    assert list(prompt) == ["1", "2:4", "4"]


def test_subgraph_without_outer_value_takes_the_inner_one() -> None:
    assert inputs_of(with_subgraph([]), "2:4")["text"] == "inner text"


def test_outer_link_wins_over_the_hosts_value() -> None:
    assert inputs_of(with_subgraph(["outer text"], text=(3, 0)), "2:4")["text"] == "primitive text"


def test_proxy_widgets() -> None:
    listed = {"proxyWidgets": [["4", "text"]]}
    data = with_subgraph(["proxy text"], properties=listed)
    data["definitions"]["subgraphs"][0]["nodes"][0]["inputs"].pop()
    assert inputs_of(data, "2:4")["text"] == "proxy text"
    data = with_subgraph(["proxy text"], properties={"proxyWidgets": [["-1", "text"]]})
    assert inputs_of(data, "2:4")["text"] == "proxy text"


def test_muted_and_bypassed_hosts_emit_nothing_inside() -> None:
    for mode in (2, 4):
        prompt = prompt_of(with_subgraph(["outer"], mode=mode))
        assert list(prompt) == ["1", "4"]
        assert "positive" not in prompt["4"]["inputs"]


def test_nested_subgraphs() -> None:
    data = with_subgraph(["outer text"])
    outer = Editor()
    outer.add(SUB, {"clip": (-10, 0), "text": (-10, 1)}, ["middle text"], id=7, outputs=("CONDITIONING",))
    outer.nodes[0]["inputs"][1]["widget"] = {"name": "text"}
    outer.links.append([9, 7, 0, -20, 0, "CONDITIONING"])
    data["definitions"]["subgraphs"].append(
        subgraph() | {"id": "outer", "nodes": outer.nodes, "links": outer.objects()}
    )
    data["nodes"][1]["type"] = "outer"
    prompt = prompt_of(data)
    assert prompt["2:7:4"]["inputs"] == {"text": "outer text", "clip": ["1", 1]}
    assert prompt["4"]["inputs"]["positive"] == ["2:7:4", 0]


def test_subgraph_in_itself_is_refused() -> None:
    data = with_subgraph([])
    data["definitions"]["subgraphs"][0]["nodes"].append({"id": 5, "type": SUB, "inputs": [], "outputs": []})
    with pytest.raises(WorkflowError, match="nested more than"):
        convert(data, NODES, CONTEXT)
    data["definitions"]["subgraphs"][0]["nodes"].append({"id": 6, "type": SUB, "inputs": [], "outputs": []})
    with pytest.raises(WorkflowError, match="more than 20 nodes"):
        convert(data, NODES, CONTEXT, limits=Limits(max_nodes=20))


# Legacy group nodes


def with_group(values: list[Any], separator: str = ">") -> dict[str, Any]:
    """A group of two text encoders and a sampler that takes the first two."""
    inner = Editor()
    for title in ("Good", "Bad"):
        inner.add("CLIPTextEncode", {"clip": None}, [title.lower()], title=title)
    inner.add("KSampler", {"model": None, "positive": None, "negative": None, "latent_image": None}, SAMPLER_VALUES)
    definition = {
        "nodes": inner.nodes,
        "links": [[0, 0, 2, 1, 1, "CONDITIONING"], [1, 0, 2, 2, 2, "CONDITIONING"]],
        "external": [[0, 0, "CONDITIONING"]],
        "config": {"2": {"input": {"denoise": {"visible": False}}}},
    }
    editor = Editor()
    editor.add("CheckpointLoaderSimple", values=["a.safetensors"])
    editor.add("EmptyLatentImage", values=[512, 512, 1])
    editor.add(
        f"workflow{separator}Sampling",
        {"clip": (1, 1), "Bad clip": (1, 1), "model": (1, 0), "latent_image": (2, 0)},
        values,
        id=9,
        outputs=("CONDITIONING", "LATENT"),
    )
    editor.add("VAEDecode", {"samples": (9, 1), "vae": (1, 2)}, id=10)
    editor.add("KSampler", {"positive": (9, 0)}, SAMPLER_VALUES, id=11)
    return editor.json(extra={"groupNodes": {"Sampling": definition}})


@pytest.mark.parametrize("separator", [">", "/"])
def test_group_node(separator: str) -> None:
    values = ["a fox", "blurry", 5, "fixed", 30, 6.0, "euler", "normal"]
    prompt = prompt_of(with_group(values, separator))
    assert prompt["9:0"]["inputs"] == {"text": "a fox", "clip": ["1", 1]}
    assert prompt["9:1"]["inputs"] == {"text": "blurry", "clip": ["1", 1]}
    assert prompt["9:2"]["inputs"] == {
        "seed": 5, "steps": 30, "cfg": 6.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 0.5,
        "model": ["1", 0], "positive": ["9:0", 0], "negative": ["9:1", 0], "latent_image": ["2", 0],
    }  # fmt: skip
    assert prompt["10"]["inputs"]["samples"] == ["9:2", 0]
    assert prompt["11"]["inputs"]["positive"] == ["9:0", 0]


def test_group_whose_values_do_not_fit_keeps_the_inner_ones() -> None:
    data = with_group(["a fox"])
    prompt, notes = convert(data, NODES, CONTEXT)
    assert prompt["9:0"]["inputs"]["text"] == "good"
    assert "do not fit" in notes[0]


# Anything

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-30, 30) | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [at] if at else []
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return found + [place for key, child in children for place in places(child, (*at, key))]


BASES = [with_subgraph(["outer"]), with_group(["a", "b", 5, "fixed", 30, 6.0, "euler", "normal"])]


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_damaged_files_raise_nothing_but_ours(data: st.DataObject) -> None:
    file = copy.deepcopy(data.draw(st.sampled_from(BASES)))
    for _ in range(data.draw(st.integers(1, 3))):
        *way, last = data.draw(st.sampled_from(places(file)))
        at: Any = file
        for key in way:
            at = at[key]
        at[last] = data.draw(JSON)
    try:
        workflow = Workflow.parse(json.dumps(file), registry=NODES, context=CONTEXT)
    except HiresError as error:
        assert "\n" not in str(error)
    else:
        json.dumps(workflow.as_json())
