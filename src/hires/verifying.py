"""`hires verify`: a picture drawn again from what its file says, compared pixel by pixel, and why it differs."""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import get_sampling

from hires.api import Engine, OnEvent, raise_failure
from hires.errors import HiresError, ImageFileError, ModelFileError, SettingError
from hires.graph.inputs import FileChoice
from hires.graph.workflow import Workflow
from hires.imaging.pictures import open_picture
from hires.metadata.carrying import SECTIONS
from hires.metadata.infotext import Infotext, read_infotext
from hires.metadata.origin import read_origin
from hires.metadata.workflows import file_texts
from hires.recipes.img2img_infotext import not_acted_on
from hires.recipes.infotext import request_from
from hires.recipes.named_files import LookedUp, look_up_all, named_in_request, named_in_workflow
from hires.recipes.txt2img import txt2img

EQUAL, DIFFERS, CANNOT = 0, 1, 2
LEFT_OUT = ("LoRA", "embedding")
"""Roles without which a picture is drawn all the same, as in the web UI."""
Pixels = NDArray[np.int16]


@dataclass(frozen=True)
class Comparison:
    """Two pictures of one size, in levels of 0..255: largest and mean difference; PSNR in dB, infinite if equal."""

    largest: int
    mean: float
    psnr: float


@dataclass(frozen=True)
class Verdict:
    """What came of one file. comparison is None where no picture of its size was drawn; problem says why it could not
    be drawn at all, "" if it was."""

    file: Path
    comparison: Comparison | None = None
    reasons: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problem: str = ""

    @property
    def code(self) -> int:
        """EQUAL, DIFFERS or CANNOT."""
        if self.problem:
            return CANNOT
        return EQUAL if self.comparison is not None and self.comparison.largest == 0 else DIFFERS

    def lines(self) -> list[str]:
        """The verdict, then what was said, then why it differs."""
        notes = [f"  note: {note}" for note in self.notes]
        if self.problem:
            return [f"{self.file}: cannot be drawn: {self.problem}", *notes]
        if self.code == EQUAL:
            return [f"{self.file}: equal", *notes]
        why = [f"  why: {reason}" for reason in self.reasons]
        if self.comparison is None:
            return [f"{self.file}: differs", *notes, *why]
        told = self.comparison
        head = f"largest difference {told.largest} of 255, mean {told.mean:.3g}, PSNR {told.psnr:.1f} dB"
        unknown = ["  why: not known; nothing that the file says of itself is different here"]
        return [f"{self.file}: differs: {head}", *notes, *(why or unknown)]


def compared(a: Image.Image, b: Image.Image) -> Comparison | None:
    """How two pictures differ in red, green and blue; None for pictures of different sizes."""
    if a.size != b.size:
        return None
    difference = np.abs(_pixels(a) - _pixels(b))
    square = float(np.mean(difference.astype(np.float64) ** 2))
    psnr = math.inf if square == 0 else 10 * math.log10(255**2 / square)
    return Comparison(int(difference.max()), float(difference.mean()), psnr)


def _pixels(picture: Image.Image) -> Pixels:
    return np.asarray(picture.convert("RGB"), dtype=np.int16)


def verify_all(
    engine: Engine, files: Sequence[Path], display: Callable[[], AbstractContextManager[OnEvent]]
) -> list[Verdict]:
    """One file after the other; one that cannot be drawn is told of, and the next one is taken."""
    verdicts = []
    for path in files:
        with display() as on_event:
            verdicts.append(verify(engine, path, on_event))
    return verdicts


def verify(engine: Engine, path: Path, on_event: OnEvent | None = None) -> Verdict:
    """Draw a picture file again and compare."""
    try:
        return _Verifying(engine, path).verdict(on_event)
    except HiresError as error:
        return Verdict(path, problem=str(error))


class _Verifying:
    """One file: its picture, what it says, and which of its files are here."""

    def __init__(self, engine: Engine, path: Path) -> None:
        self.engine, self.path = engine, path
        self.texts = file_texts(path)
        self.picture = open_picture(path, int(engine.settings.max_megapixels * 1e6))
        self.info = read_infotext(self.texts.get("parameters", ""))
        self.workflow = self._workflow()
        self.sources = self._sources()
        self.request = request_from(self.texts["parameters"]) if self.info.fields else None
        if self.workflow is None and self.request is None:
            raise SettingError("it carries no workflow and no generation parameters")
        self.files = self._files()

    def verdict(self, on_event: OnEvent | None) -> Verdict:
        notes = [one.line() for one in self.files if one.state == "renamed"]
        missing = [one for one in self.files if one.state == "missing" and one.named.role not in LEFT_OUT]
        if missing:
            raise ModelFileError("; ".join(one.line() for one in missing))
        drawn = self._drawn(on_event)
        stored = [self._as_stored(picture) for picture in drawn]
        found = [comparison for picture in stored if (comparison := compared(picture, self.picture)) is not None]
        best = min(found, key=lambda comparison: comparison.mean, default=None)
        if len(drawn) > 1 and best is not None:
            notes.append(f"the workflow draws {len(drawn)} pictures; the nearest is number {found.index(best) + 1}")
        reasons = self._reasons()
        if best is None:
            sizes = ", ".join(dict.fromkeys("x".join(map(str, picture.size)) for picture in drawn)) or "none"
            reasons.insert(0, f"size: {self.picture.width}x{self.picture.height} in the file, {sizes} drawn")
        return Verdict(self.path, best, reasons, notes)

    def _workflow(self) -> Workflow | None:
        """The workflow that draws it; None where infotext does, which then says everything."""
        if not any(key in self.texts for key in ("prompt", "workflow")):
            return None
        found = self.engine.read_texts(self.texts, self.path.name)
        if not isinstance(found, Workflow):
            return None
        own = self.info.fields.get("Version", "").startswith("hires")
        return found if not own or self._loads_pictures(found) else None

    def _loads_pictures(self, workflow: Workflow) -> bool:
        kinds = ("input", "output", "input latents")
        types = [self.engine.registry.get(node.class_type or "") for node in workflow.nodes.values()]
        choices = [entry.declaration for node_type in types if node_type is not None for entry in node_type.inputs]
        return any(isinstance(choice, FileChoice) and choice.kind in kinds for choice in choices)

    def _sources(self) -> dict[str, Path]:
        """The pictures that the workflow loads: of the input folder, else of its name beside the file or in the current
        folder. ImageFileError for one that is nowhere."""
        root = self.engine.settings.input_dir.resolve()
        found: dict[str, Path] = {}
        for node in () if self.workflow is None else self.workflow.nodes.values():
            node_type = self.engine.registry.get(node.class_type or "")
            for entry in () if node_type is None else node_type.inputs:
                name, choice = node.inputs.get(entry.name), entry.declaration
                if not isinstance(choice, FileChoice) or choice.kind != "input" or not isinstance(name, str):
                    continue
                if name.endswith("]"):  # of the output folder or of the previews
                    continue
                own = (root / name).resolve()
                bare = Path(name.replace("\\", "/")).name
                places = [self.path.parent / bare, Path(bare)]
                if own.is_relative_to(root):
                    places.insert(0, own)
                here = [place for place in places if place.is_file()]
                if not here:
                    raise ImageFileError(f"it was drawn over {bare}, which is not here", "Put that picture beside it.")
                found[name] = here[0].absolute()
        return found

    def _other_sources(self) -> list[str]:
        """What is said of pictures that it was drawn over and that are not those any more."""
        digest = self.info.fields.get("Init image hash")
        if digest is None or not self.sources:
            return []
        name, path = next(iter(self.sources.items()))
        same = hashlib.md5(open_picture(path).tobytes(), usedforsecurity=False).hexdigest() == digest
        return [] if same else [f"{name} is another picture than the one that it was drawn over"]

    def _files(self) -> list[LookedUp]:
        named = [] if self.request is None else named_in_request(self.request)
        if self.workflow is not None:
            told = {(one.kind, Path(one.name).stem) for one in named}
            more = named_in_workflow(self.workflow, self.engine.registry)
            named += [one for one in more if (one.kind, Path(one.name).stem) not in told]
        return look_up_all(self.engine.store, named)

    def _drawn(self, on_event: OnEvent | None) -> list[Image.Image]:
        if self.workflow is None:
            assert self.request is not None
            request, facts = self.engine.prepare(replace(self.request, format="png"))
            flow: Any = txt2img(request, facts)
        else:
            flow = self._with_found(self.workflow)
        with tempfile.TemporaryDirectory(prefix="hires-verify-") as folder:
            report = self.engine.run(
                flow, on_event=on_event, force_outputs=True, output_dir=Path(folder), given=self.sources
            )
            raise_failure(report)
            paths = self.engine.saved(report, Path(folder))
            return [open_picture(path) for path in paths if path.suffix != ".latent"]

    def _with_found(self, workflow: Workflow) -> Workflow:
        """The workflow with the names that renamed files have here, and its pictures as PNG."""
        names = {(one.named.kind, Path(one.named.name).stem): one.found for one in self.files if one.state == "renamed"}
        nodes = {}
        for node_id, node in workflow.nodes.items():
            node_type = self.engine.registry.get(node.class_type or "")
            inputs = dict(node.inputs)
            for entry in () if node_type is None else node_type.inputs:
                value, choice = inputs.get(entry.name), entry.declaration
                if isinstance(choice, FileChoice) and isinstance(value, str):
                    inputs[entry.name] = names.get((choice.kind, Path(value).stem), value)
            if node.class_type == "SaveImage":
                inputs.pop("format", None)
            nodes[node_id] = replace(node, inputs=inputs)
        return replace(workflow, nodes=nodes)

    def _as_stored(self, drawn: Image.Image) -> Image.Image:
        """What was drawn, through the loss of the file's format: a JPEG by its own tables, others by the quality that
        its workflow says."""
        how: dict[str, Any] = {}
        with Image.open(self.path) as raw:
            kind = raw.format or "PNG"
            if kind == "JPEG":
                how = {"qtables": raw.quantization, "subsampling": get_sampling(raw)}  # type: ignore[attr-defined]
        if kind in ("WEBP", "AVIF") and (quality := self._quality()) is not None:
            how = {"quality": quality}
        if not how:
            return drawn
        buffer = BytesIO()
        drawn.convert("RGB").save(buffer, format=kind, **how)
        return open_picture(buffer.getvalue())

    def _quality(self) -> int | None:
        flow = self.engine.read_texts(self.texts, self.path.name) if "prompt" in self.texts else None
        nodes = flow.nodes.values() if isinstance(flow, Workflow) else ()
        found = [n.inputs.get("quality") for n in nodes if n.class_type == "SaveImage" and "format" in n.inputs]
        return found[0] if found and isinstance(found[0], int) else None

    def _reasons(self) -> list[str]:
        """Everything known that could make a difference, the likeliest first."""
        lost = [one for one in self.files if one.state == "other" or one.state == "missing"]
        reasons = self._other_sources()
        reasons += [f"{one.line()}{'; drawn without it' if one.state == 'missing' else ''}" for one in lost]
        reasons += _of_infotext(self.info) if self.request is not None else []
        origin = read_origin(self.texts)
        reasons += origin.differences(self.engine.origin)
        if self.request is None and not origin.version:
            reasons.append("dialect: drawn by ComfyUI itself, whose last digits depend on its versions and device")
        done = [self.texts[section] for section in SECTIONS if self.texts.get(section)]
        reasons += [
            f"what was done to the picture afterwards is not done again: {text.splitlines()[-1]}" for text in done
        ]
        with Image.open(self.path) as raw:
            if raw.format in ("WEBP", "AVIF") and self._quality() is None:
                reasons.append(f"{raw.format} may be lossy, and the file does not say its quality")
        return reasons


def _of_infotext(info: Infotext) -> list[str]:
    """What infotext itself tells of another program, and what of it is not known here."""
    fields, reasons = info.fields, []
    version = fields.get("Version", "")
    if not version.startswith("hires"):
        reasons.append(f"drawn by another program ({version or 'of unknown version'})")
        if fields.get("RNG", "GPU") == "GPU":
            reasons.append("random source: the file's was its own GPU; drawn with NV, which gives CUDA's numbers")
        if not fields.get("Model hash"):
            reasons.append("the file states no hash of its model")
    unknown = not_acted_on(info)
    if unknown:
        reasons.append(f"settings that are not known: {', '.join(f'{key}: {value}' for key, value in unknown.items())}")
    done = [key for key in fields if key.startswith("Postprocess")]
    if done:
        reasons.append(f"what was done afterwards is not done again: {', '.join(done)}")
    return reasons
