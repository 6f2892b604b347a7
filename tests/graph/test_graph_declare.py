"""Declarations, ComfyUI-style classes, object_info, keys and the cache."""

from __future__ import annotations

import dataclasses
import math
from typing import Annotated, Any

import numpy as np
import pytest

from hires.errors import HiresError
from hires.graph.cache import OVERHEAD_BYTES, CachedResult, ResultCache, nbytes
from hires.graph.comfy import comfy_class
from hires.graph.context import Context, PlainContext
from hires.graph.declare import Registry, node
from hires.graph.execute import execute
from hires.graph.inputs import Bool, Choice, Extra, FileChoice, Float, Hidden, Int, Lazy, OptionalInput, Socket, Text
from hires.graph.keys import UnnameableError, digest
from hires.graph.object_info import node_info, object_info
from hires.graph.report import RunReport
from hires.graph.validate import validate
from hires.graph.workflow import Workflow

Steps = Annotated[int, Int(1, 10000), "How often to denoise."]
CONTEXT = PlainContext({"checkpoints": ["a.ckpt", "b.ckpt"], "input": ["x.png"]})


@node("KSampler", outputs=("LATENT",), category="sampling")
def sampler(
    context: Context,
    *,
    model: Annotated[Any, Socket("MODEL"), "The model."],
    emphasis: Annotated[str, Choice(("comfy", "a1111")), Extra] = "comfy",
    seed: Annotated[int, Int(0, 2**64 - 1, control_after_generate=True)] = 0,
    steps: Steps = 20,
    cfg: Annotated[float, Float(0.0, 100.0, 0.1, round=0.01)] = 8.0,
    name: Annotated[str, Choice(lambda context: [f.upper() for f in context.files("checkpoints")])],
    mask: Annotated[Any, Socket("MASK"), Lazy] | None = None,
    more: Annotated[bool, Bool(), OptionalInput] = True,
    me: Annotated[str, Hidden("UNIQUE_ID")] = "",
) -> None:
    """Denoise a latent.

    Further words.
    """


@node("Load", outputs=("IMAGE", "MASK"), output_names=("image", "mask"), title="Load Image", is_output=True,
      output_is_list=(False, True), deprecated=True)  # fmt: skip
def load(
    *,
    image: Annotated[str, FileChoice("input", upload=True), {"image_folder": "input"}],
    note: Annotated[str, Text(multiline=True, dynamic_prompts=True)] = "",
) -> None:
    """Load."""


def test_object_info() -> None:
    info = object_info(Registry.of(sampler, load), CONTEXT)
    assert list(info) == ["KSampler", "Load"]
    assert info["KSampler"] == {
        "input": {
            "required": {
                "model": ["MODEL", {"tooltip": "The model."}],
                "seed": ["INT", {"default": 0, "min": 0, "max": 2**64 - 1, "control_after_generate": True}],
                "steps": ["INT", {"default": 20, "min": 1, "max": 10000, "tooltip": "How often to denoise."}],
                "cfg": ["FLOAT", {"default": 8.0, "min": 0.0, "max": 100.0, "step": 0.1, "round": 0.01}],
                "name": [["A.CKPT", "B.CKPT"]],
            },
            "optional": {
                "mask": ["MASK", {"lazy": True}],
                "more": ["BOOLEAN", {"default": True}],
                "emphasis": [["comfy", "a1111"], {"default": "comfy", "advanced": True}],
            },
            "hidden": {"me": "UNIQUE_ID"},
        },
        "input_order": {
            "required": ["model", "seed", "steps", "cfg", "name"],
            "optional": ["mask", "more", "emphasis"],
            "hidden": ["me"],
        },
        "is_input_list": False,
        "output": ["LATENT"],
        "output_is_list": [False],
        "output_name": ["LATENT"],
        "name": "KSampler",
        "display_name": "KSampler",
        "description": "Denoise a latent.",
        "python_module": "nodes",
        "category": "sampling",
        "output_node": False,
        "deprecated": False,
        "experimental": False,
    }
    assert info["Load"]["input"]["required"]["image"] == [["x.png"], {"image_upload": True, "image_folder": "input"}]
    assert info["Load"]["input"]["required"]["note"][1] == {"default": "", "multiline": True, "dynamicPrompts": True}
    assert info["Load"]["output_name"] == ["image", "mask"]
    assert info["Load"]["output_is_list"] == [False, True]
    assert (info["Load"]["display_name"], info["Load"]["output_node"], info["Load"]["deprecated"]) == (
        "Load Image", True, True)  # fmt: skip


def test_a_decorated_function_stays_a_function() -> None:
    assert sampler(PlainContext(), model=1, name="A") is None
    assert Registry.of(sampler)["KSampler"].function is sampler
    assert Registry.of(sampler)["KSampler"].depends_on_id


def test_wrong_declarations_are_refused_at_once() -> None:
    with pytest.raises(TypeError, match="'x' has no declaration"):
        node("A")(_plain)
    with pytest.raises(TypeError, match="the default of 'x' is out of its range"):
        node("A")(_out_of_range)
    with pytest.raises(TypeError, match="optional input 'x' needs a default"):
        node("A")(_without_default)
    with pytest.raises(TypeError, match="one entry per output"):
        node("A", outputs=("A", "B"), output_names=("a",))(_nothing)
    with pytest.raises(ValueError, match="two nodes are called 'A'"):
        Registry.of(node("A")(_nothing), node("A")(_other))


def _plain(x: int) -> None: ...
def _out_of_range(*, x: Annotated[int, Int(1, 5)] = 9) -> None: ...
def _without_default(*, x: Annotated[int, Int(1, 5), Extra]) -> None: ...
def _nothing() -> None: ...
def _other() -> None: ...


# ComfyUI-style classes


class Mixer:
    """All that such a class may have."""

    CATEGORY = "test"
    DESCRIPTION = "Mix."
    RETURN_TYPES = ("NUMBER", ["a", "b"])
    RETURN_NAMES = ("number", "letter")
    FUNCTION = "mix"
    OUTPUT_NODE = True
    letters = ("a", "b")

    def __init__(self) -> None:
        self.calls = 0

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {
            "required": {
                "a": ("INT", {"default": 1, "min": 0, "max": 9, "display": "slider"}),
                "letter": (list(cls.letters),),
                "word": ("COMBO", {"options": ["x", "y"]}),
                "curve": ("CURVE",),
            },
            "optional": {"b": ("NUMBER", {"lazy": True}), "c": ("FLOAT", {"default": 0.5})},
            "hidden": {"unique_id": "UNIQUE_ID", "prompt": "PROMPT", "token": "AUTH_TOKEN"},
        }

    @classmethod
    def VALIDATE_INPUTS(cls, a: int) -> bool | str:  # noqa: N802
        return True if a != 3 else "3 is unlucky"

    @classmethod
    def IS_CHANGED(cls, a: int, **kwargs: Any) -> float:  # noqa: N802
        return math.nan if a == 7 else 0.0

    def check_lazy_status(self, a: int, b: Any = None, **kwargs: Any) -> list[str]:
        return ["b"] if a == 5 and b is None else []

    def mix(self, a: int, letter: str, word: str, curve: Any, unique_id: str, prompt: Any, token: Any, b: Any = None,
            c: float = 0.25) -> dict[str, Any]:  # fmt: skip
        self.calls += 1
        seen = (a, letter, word, curve, unique_id, sorted(prompt), token, b, c, self.calls)
        return {"result": (a, letter), "ui": {"seen": [seen]}}


class Numbers:
    RETURN_TYPES = ("NUMBER",)
    OUTPUT_IS_LIST = (True,)
    FUNCTION = "numbers"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"count": ("INT", {})}}

    async def numbers(self, count: int) -> tuple[list[int]]:
        return (list(range(count)),)


class Total:
    RETURN_TYPES = ("NUMBER",)
    INPUT_IS_LIST = True
    FUNCTION = "total"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"values": ("NUMBER",), "start": ("INT", {})}}

    def total(self, values: list[int], start: list[int]) -> tuple[int]:
        return (sum(values) + start[0],)


CLASSES = Registry.of(
    comfy_class(Mixer, "Mixer", "The Mixer"), comfy_class(Numbers, "Numbers"), comfy_class(Total, "Total")
)
MIX = {"a": 1, "letter": "a", "word": "x", "curve": {"points": [1, 2]}}


def run_classes(prompt: dict[str, Any], targets: list[str], cache: ResultCache | None = None) -> RunReport:
    validated = validate(Workflow.parse(prompt), CLASSES, CONTEXT, targets)
    validated.raise_for_faults()
    report = execute(validated, CLASSES, CONTEXT, cache or ResultCache(10**6))
    report.raise_for_failure()
    return report


def test_comfy_class_object_info() -> None:
    info = node_info(CLASSES["Mixer"], CONTEXT)
    assert info["input"] == {
        "required": {
            "a": ["INT", {"default": 1, "min": 0, "max": 9, "display": "slider"}],
            "letter": [["a", "b"]],
            "word": [["x", "y"]],
            "curve": ["CURVE"],
        },
        "optional": {"b": ["NUMBER", {"lazy": True}], "c": ["FLOAT", {"default": 0.5}]},
        "hidden": {"unique_id": "UNIQUE_ID", "prompt": "PROMPT", "token": "AUTH_TOKEN"},
    }
    assert (info["output"], info["output_name"]) == (["NUMBER", "COMBO"], ["number", "letter"])
    assert (info["display_name"], info["description"], info["output_node"]) == ("The Mixer", "Mix.", True)


def test_comfy_class_lists_are_asked_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Mixer, "letters", ("a", "b", "c"))
    assert node_info(CLASSES["Mixer"], CONTEXT)["input"]["required"]["letter"] == [["a", "b", "c"]]


def test_comfy_class_runs_with_lazy_inputs_and_a_lasting_object() -> None:
    cache = ResultCache(10**6)
    prompt = {
        "n": {"class_type": "Numbers", "inputs": {"count": 2}},
        "t": {"class_type": "Total", "inputs": {"values": ["n", 0], "start": 10}},
        "m": {"class_type": "Mixer", "inputs": MIX | {"b": ["t", 0]}},
    }
    report = run_classes(prompt, ["m"], cache)
    curve = {"points": [1, 2]}
    assert report.ui["m"] == {"seen": [(1, "a", "x", curve, "m", ["m", "n", "t"], None, None, 0.25, 1)]}
    assert report.nodes["t"].status == "unneeded"
    prompt["m"]["inputs"] |= {"a": 5, "c": 2}
    report = run_classes(prompt, ["m"], cache)
    assert report.ui["m"] == {"seen": [(5, "a", "x", curve, "m", ["m", "n", "t"], None, 11, 2.0, 2)]}
    assert report.value("m", 0) == 5
    run_classes({"n": prompt["n"]}, ["n"], cache)  # the object is gone with its node
    prompt["m"]["inputs"] |= {"a": 4}
    assert run_classes(prompt, ["m"], cache).ui["m"]["seen"][0][-1] == 1


def test_comfy_class_checks_and_fingerprint() -> None:
    def validated(a: int) -> Any:
        return validate(Workflow.parse({"m": {"class_type": "Mixer", "inputs": MIX | {"a": a}}}), CLASSES, CONTEXT)

    assert [fault.details for fault in validated(3).faults] == ["a - 3 is unlucky"]
    cache = ResultCache(10**6)
    statuses = [execute(validated(a), CLASSES, CONTEXT, cache).nodes["m"].status for a in (1, 1, 7, 7)]
    assert statuses == ["computed", "reused", "computed", "computed"]


# Keys


@dataclasses.dataclass(frozen=True)
class Handle:
    identity: str
    weights: Any = None


@dataclasses.dataclass(frozen=True)
class Region:
    x: int
    mask: Any


DIFFERENT = [
    None, True, 1, 1.0, "1", b"1", [1], ["1"], [[1]], [1, 2], ["12"], {"1": 1}, {1: 1}, {"a": {}}, -0.0, 2**70,
    "\ud800",
    np.arange(3), np.arange(3.0), np.arange(4).reshape(2, 2), np.arange(4), Handle("a"), Handle("b"), Region(1, None),
    Region(1, np.zeros(2)),
]  # fmt: skip


def test_different_values_have_different_names() -> None:
    assert len({digest(value) for value in DIFFERENT}) == len(DIFFERENT)


def test_equal_values_have_the_same_name() -> None:
    assert digest({"a": 1, "b": [2.5]}) == digest({"b": (2.5,), "a": 1})
    assert digest(Handle("a", object())) == digest(Handle("a", object()))
    assert digest(np.arange(6).reshape(2, 3).T) == digest(np.arange(6).reshape(2, 3).T.copy())


@pytest.mark.parametrize("value", [math.nan, [math.nan], object(), {"x": lambda: 0}, np.array([object()])])
def test_values_without_a_name(value: Any) -> None:
    with pytest.raises(UnnameableError):
        digest(value)


def test_tensors_by_content() -> None:
    torch = pytest.importorskip("torch")
    x = torch.arange(6.0).reshape(2, 3)
    assert digest(x) == digest(x.clone()) == digest(x.T.contiguous().T)
    assert len({digest(x), digest(x.half()), digest(x.bfloat16()), digest(x.reshape(3, 2)), digest(x + 1)}) == 5


class Files(PlainContext):
    """A context whose files can change under their names."""

    stamp = "1"

    def file_identity(self, kind: str, name: str) -> str:
        return f"{kind}/{name}/{self.stamp}"


def _read(context: Context, *, name: Annotated[str, FileChoice("input")]) -> str:
    return context.node_key


def test_a_file_that_changed_is_read_again_and_nodes_know_their_key() -> None:
    registry, cache = Registry.of(node("Read", outputs=("STRING",))(_read)), ResultCache(10**6)
    context = Files({"input": ["x.png"]})
    workflow = Workflow.parse({"1": {"class_type": "Read", "inputs": {"name": "x.png"}}})
    validated = validate(workflow, registry, context, ["1"])
    first = execute(validated, registry, context, cache)
    assert execute(validated, registry, context, cache).nodes["1"].status == "reused"
    context.stamp = "2"
    second = execute(validated, registry, context, cache)
    assert second.nodes["1"].status == "computed"
    assert first.value("1") != second.value("1")


# The cache


class Weighed:
    """A value that says what it weighs."""

    def __init__(self, cache_nbytes: int) -> None:
        self.cache_nbytes = cache_nbytes


def result(size: int) -> CachedResult:
    return CachedResult(([Weighed(size)],))


def test_the_least_recently_used_goes_first() -> None:
    probe = ResultCache(10**6)
    probe.put("a", result(100))
    assert 100 + OVERHEAD_BYTES <= probe.used_bytes <= 200 + OVERHEAD_BYTES
    cache = ResultCache(3 * probe.used_bytes)
    for key in "abc":
        cache.put(key, result(100))
    assert cache.get("a") is not None
    cache.put("d", result(100))
    assert [key in cache for key in "abcd"] == [True, False, True, True]
    assert cache.used_bytes <= cache.limit_bytes
    cache.put("e", result(10**6))  # too large to be kept; the others stay
    assert "e" not in cache
    assert cache.count == 3
    cache.put("a", result(50))
    assert cache.count == 3
    cache.clear()
    assert (cache.count, cache.used_bytes) == (0, 0)


def test_limit_must_make_sense() -> None:
    with pytest.raises(HiresError, match="cannot hold -1 bytes"):
        ResultCache(-1)


def test_sizes() -> None:
    array = np.zeros((4, 8), np.float32)
    assert nbytes(array) == 128
    assert nbytes({"samples": array}) == 128 + len("samples")
    assert nbytes([array, array]) == 128 + 16
    assert nbytes(Region(1, array)) == 128
    assert nbytes(Weighed(1000)) == 1000
    assert nbytes([object(), None, 3]) == 24
    assert nbytes(lambda: 0) == 0


def test_sizes_of_tensors() -> None:
    torch = pytest.importorskip("torch")
    x = torch.zeros(10, 10)
    assert nbytes(x) == 400
    assert nbytes(x[0]) == 400  # the view keeps all of it
    assert nbytes((x[0], x[1])) == 400 + 16
    assert nbytes(torch.nn.Linear(10, 10)) == 0  # a model handle: the model manager counts it
