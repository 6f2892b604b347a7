"""The engine: settings in, workflows and requests run, with everything shared between them.

from hires.api import Engine
engine = Engine()
engine.txt2img(prompt="1girl, smile, beach", scale=2).pictures[0].show()
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from hires.drawn import Drawn, Redrawn, TokenCount, Upscaled, raise_failure
from hires.errors import WorkflowError
from hires.from_pictures import Pictures, draw_over, hires_over, prepare_over
from hires.graph.report import NodeProgress
from hires.gridding.drawing import Gridded, OnCell, continue_grid, draw_grid
from hires.imaging.pictures import open_picture
from hires.imaging.sizes import check_size
from hires.imaging.upscalers import PLAIN, find_name
from hires.merging import Merge, Merged, merge
from hires.metadata.carrying import format_of
from hires.models.captioners.finding import captioner_for
from hires.models.captioners.tagger import Tagger
from hires.models.captioners.tags import TagRules
from hires.models.faces.restorer import find_face_restorer
from hires.models.upscale_names import find_upscaler
from hires.nodes.context import Counts
from hires.nodes.redraw_run import planned_calls
from hires.nodes.tile_words import LOOKS
from hires.nodes.upscaling import plan_of
from hires.over_plans import hires_plan, img2img_plan
from hires.recipes.controlnets import control_pictures, shown_itself
from hires.recipes.extras import Extras, check_extras, extras, restorers, target_of
from hires.recipes.facts import ModelFacts
from hires.recipes.grids.request import AxisValues, GridRequest
from hires.recipes.img2img_request import Img2Img
from hires.recipes.redraw import Redrawing, sampler_of
from hires.recipes.request import HiresFix, Txt2Img
from hires.recipes.sd_upscale import SDUpscale, check_sd_upscale
from hires.recipes.tiled_img2img import TiledImg2Img, check_tiled_img2img, tiled_img2img
from hires.recipes.txt2img import txt2img
from hires.recipes.ultimate import UltimateUpscale, check_ultimate
from hires.recipes.wording import per_picture, with_prompts_of
from hires.runner import OnEvent, Runner
from hires.text.encode import count_chunks, count_tokens


class Engine(Runner):
    """What one asks of hires: drawing, enlarging, redrawing, grids, and what else there is to do with models."""

    def txt2img(
        self,
        request: Txt2Img | None = None,
        *,
        on_event: OnEvent | None = None,
        hires: HiresFix | None = None,
        **fields: Any,
    ) -> Drawn:
        """Draw a request, given whole or as its fields. Raises the user's errors as HiresError."""
        request = replace(request or Txt2Img(), **fields)
        if hires is not None:
            request = replace(request, hires=hires)
        request, _ = self.prepare(request)
        counts = Counts()
        reports, paths = [], []
        given = control_pictures(request, self.settings.input_dir)

        def flows() -> Iterator[tuple[dict[str, Any], Mapping[str, Path]]]:
            for part in per_picture(request, self.preparation.phrasebook(request)):
                part, facts = self.prepare(part)
                for batch in range(part.batch_count):
                    yield txt2img(part, facts, batch), given

        for report in self.run_in_order(flows(), on_event=on_event, counts=counts):
            raise_failure(report)
            reports.append(report)
            paths += self.saved(report)
        return Drawn(request, paths, [open_picture(path) for path in paths], reports, counts)

    def upscale(
        self,
        picture: Path | str,
        request: Extras | None = None,
        *,
        out: Path | None = None,
        output_dir: Path | None = None,
        name: str = "",
        on_event: OnEvent | None = None,
        **fields: Any,
    ) -> Upscaled:
        """Enlarge a picture file by a request, given whole or as its fields. Its texts, profile and depth go along.

        The result is the file `out`, whose ending says the format and which must not be there yet; else a numbered one
        of `name`, else of the picture's, in `output_dir`. Raises the user's errors as HiresError.
        """
        source, folder = Path(picture), output_dir or self.settings.output_dir
        request = self.prepare_extras(replace(request or Extras(), **fields), out)
        prefix = (name or source.stem).rstrip("_") if out is None else out.name
        folder = folder if out is None else out.parent
        flow = extras(request, source.name, prefix, numbered=out is None)
        report = self.run(
            flow, on_event=on_event, force_outputs=True, given={source.name: source.absolute()}, output_dir=folder
        )
        raise_failure(report)
        return Upscaled(request, source, self.saved(report, folder)[0], report)

    def prepare_extras(self, request: Extras, out: Path | None = None) -> Extras:
        """The request with its upscalers found, the format of the file `out`, and everything checked."""
        if out is not None:
            request = replace(request, format=format_of(out))
        first, second = (find_upscaler(self.store, name) for name in (request.upscaler, request.upscaler_2))
        request = replace(request, upscaler=first, upscaler_2=second)
        check_extras(request)
        for title, _ in restorers(request):
            find_face_restorer(self.store, title)
        return request

    def upscale_plan(self, picture: Path | str, request: Extras) -> list[str]:
        """What enlarging a picture would do, in lines: the sizes, and the tiles of each run of a network."""
        width, height = open_picture(Path(picture), int(self.settings.max_megapixels * 1e6)).size
        target = target_of(request, width, height)
        lines = [f"{Path(picture).name}: {width}x{height} to {target.delivered[0]}x{target.delivered[1]}"]
        context = self._context(Counts())
        for title in (request.upscaler, request.upscaler_2 if request.visibility > 0 else "None"):
            if title != "None":
                with torch.inference_mode():
                    plans = plan_of(
                        context, title, width, height, target, request.tile or None, request.rule, request.tiling
                    )
                lines += [f"  {title}, {plan.describe()}" for plan in plans] or [f"  {title}"]
        return lines

    def tiled(
        self,
        picture: Path | str,
        request: TiledImg2Img | None = None,
        *,
        on_event: OnEvent | None = None,
        **fields: Any,
    ) -> Drawn:
        """Enlarge a picture file and draw over it in joint tiles. Raises the user's errors as HiresError."""
        source = Path(picture)
        width, height = open_picture(source, int(self.settings.max_megapixels * 1e6)).size
        request, facts = self.prepare_tiled(replace(request or TiledImg2Img(), **fields), width, height)
        counts = Counts()
        flow = tiled_img2img(request, facts, source.name, width, height)
        given = {source.name: source.absolute()} | control_pictures(request.base, self.settings.input_dir)
        report = self.run(flow, on_event=on_event, force_outputs=True, counts=counts, given=given)
        raise_failure(report)
        paths = self.saved(report)
        width, height = request.canvas(width, height)
        base = replace(request.base, width=width, height=height)
        return Drawn(base, paths, [open_picture(path) for path in paths], [report], counts)

    def prepare_tiled(
        self, request: TiledImg2Img, width: int, height: int
    ) -> tuple[TiledImg2Img, dict[str, ModelFacts]]:
        """The request over a picture of so many pixels, with names found, seeds filled in and everything checked."""
        names = [*PLAIN, *self.store.names("upscale_models")]
        request = replace(request, upscaler=find_name(request.upscaler, names))
        base, facts = self.prepare(replace(request.base, tiled=request.tiled))
        request = replace(request, base=base)
        check_tiled_img2img(request, width, height, self.settings.max_megapixels)
        return request, facts

    def img2img(
        self,
        picture: Pictures,
        request: Img2Img | None = None,
        *,
        mask: Pictures | None = None,
        sketch: Path | str | None = None,
        on_event: OnEvent | None = None,
        **fields: Any,
    ) -> Drawn:
        """Draw over a picture file, or over several as one batch. Fields are the request's, or those of its base.

        `mask` is a file, one for all pictures or one each, white = repaint, or "alpha" for what is transparent in them;
        `sketch` is the picture with something painted over it, whose mask is where the two differ. Raises the user's
        errors as HiresError.
        """
        return draw_over(self, picture, (request or Img2Img()).of(**fields), mask, sketch, on_event)

    def img2img_plan(
        self,
        picture: Pictures,
        request: Img2Img | None = None,
        *,
        mask: Pictures | None = None,
        sketch: Path | str | None = None,
        **fields: Any,
    ) -> str:
        """What `img2img` would do, in lines: sizes, steps, denoiser calls, the masked part and its scale, memory."""
        return img2img_plan(self, picture, (request or Img2Img()).of(**fields), mask, sketch)

    def prepare_img2img(self, request: Img2Img, size: tuple[int, int]) -> tuple[Img2Img, dict[str, ModelFacts]]:
        """The request for a picture of `size` (width, height), with names, size and seeds filled in, all checked."""
        return prepare_over(self, request, size)

    def hires(
        self, picture: Path | str, request: Txt2Img | None = None, *, on_event: OnEvent | None = None, **fields: Any
    ) -> Drawn:
        """The second pass of hires fix over a picture file, in the place of what its first pass would draw."""
        return hires_over(self, Path(picture), replace(request or Txt2Img(), **fields), on_event)

    def hires_plan(self, picture: Path | str, request: Txt2Img | None = None, **fields: Any) -> str:
        """What `hires` would do, in lines as `img2img_plan`."""
        return hires_plan(self, Path(picture), replace(request or Txt2Img(), **fields))

    def grid(
        self,
        request: GridRequest | Path,
        axes: Sequence[AxisValues | None] = (),
        *,
        on_event: OnEvent | None = None,
        on_cell: OnCell | None = None,
        on_folder: Callable[[Path], None] | None = None,
        noise_repeats: int = 0,
    ) -> Gridded:
        """Draw a grid into a folder of its own, of which `on_folder` is told before it is made; or what is missing of
        the one in a folder, for which `axes` take the place of its own. noise_repeats: seeds from which to tell what
        another seed alone would change."""
        if isinstance(request, Path):
            return continue_grid(self, request, axes, on_event=on_event, on_cell=on_cell, noise_repeats=noise_repeats)
        return draw_grid(
            self, request, on_event=on_event, on_cell=on_cell, on_folder=on_folder, noise_repeats=noise_repeats
        )

    def sd_upscale(
        self, picture: Path | str, request: SDUpscale | None = None, *, on_event: OnEvent | None = None, **fields: Any
    ) -> Redrawn:
        """Enlarge a picture file and redraw it in overlapping tiles. Fields are the request's, or those of its base."""
        return self.redraw(picture, (request or SDUpscale()).of(**fields), on_event=on_event)

    def ultimate(
        self,
        picture: Path | str,
        request: UltimateUpscale | None = None,
        *,
        on_event: OnEvent | None = None,
        **fields: Any,
    ) -> Redrawn:
        """Enlarge a picture file and redraw it cell by cell with context around each. Fields as for `sd_upscale`."""
        return self.redraw(picture, (request or UltimateUpscale()).of(**fields), on_event=on_event)

    def redraw(self, picture: Path | str, request: Redrawing, *, on_event: OnEvent | None = None) -> Redrawn:
        """Enlarge a picture file and redraw it in tiles. Raises the user's errors as HiresError."""
        source = Path(picture)
        request, facts = self.prepare_redraw(request, source)
        size = open_picture(source, int(self.settings.max_megapixels * 1e6)).size
        check_size(*request.size(*size), self.settings.max_megapixels, "the enlarged picture")
        counts, reports, paths = Counts(), [], []
        book = self.preparation.phrasebook(request.base)
        for batch in range(request.base.batch_count):
            base = with_prompts_of(request.base, batch, book)
            if base != request.base:
                request, facts = self.prepare_redraw(replace(request, base=base), source)
            flow = request.workflow(source.name, size, facts, batch)
            given = {source.name: source.absolute()} | control_pictures(request.base, self.settings.input_dir)
            report = self.run(flow, on_event=on_event, force_outputs=True, counts=counts, given=given)
            raise_failure(report)
            reports.append(report)
            paths += self.saved(report)
        return Redrawn(request, paths, reports, counts)

    def prepare_redraw(
        self, request: Redrawing, picture: Path | None = None
    ) -> tuple[Redrawing, dict[str, ModelFacts]]:
        """The request with names found, seed and tile filled in and everything checked; and its models' facts.
        `picture` is what ControlNets are shown that name none."""
        base, facts = self.prepare(request.tile_base())
        base = base if picture is None else shown_itself(base, str(picture))
        native = facts[base.checkpoint or ""].native_size
        request = request.prepared(base, native, find_upscaler(self.store, request.upscaler))
        if isinstance(request, SDUpscale):
            check_sd_upscale(request)
        elif isinstance(request, UltimateUpscale):
            check_ultimate(request)
        return request, facts

    def redraw_plan(self, picture: Path | str, request: Redrawing) -> str:
        """What redrawing a picture would do, in two lines: its tiles and the denoiser calls they take; the memory."""
        size = open_picture(Path(picture), int(self.settings.max_megapixels * 1e6)).size
        request, facts = self.prepare_redraw(request, Path(picture))
        check_size(*request.size(*size), self.settings.max_megapixels, "the enlarged picture")
        plan = request.plan(*size)
        seam_denoise = request.seam_denoise if isinstance(request, UltimateUpscale) else request.denoise
        base = request.base
        calls = planned_calls(plan, sampler_of(request), base.steps, request.denoise, seam_denoise, base.dialect)
        looks = len(LOOKS) if request.tile_prompts == "attention" else 0
        source = Path(picture)
        given = {source.name: source.absolute()} | control_pictures(base, self.settings.input_dir)
        needs = self.forecast(request.workflow(source.name, size, facts, 0), given)
        return f"{plan.describe(calls * base.batch_count + looks)}\n{needs.describe()}"

    def count_tokens(
        self, prompt: str, *, negative: bool = False, steps: int = 20, checkpoint: str = "", **rules: Any
    ) -> TokenCount:
        """A prompt's tokens as the web UI's counter has them; a checkpoint's embeddings count by their vectors.

        rules are emphasis and comma_backtrack, as `Txt2Img` has them.
        """
        stack = self.store.checkpoint(checkpoint).clip if checkpoint else None
        given = {"steps": steps, "negative": negative, **rules}
        return TokenCount(*count_tokens(prompt, stack, **given), tuple(count_chunks(prompt, stack, **given)))

    def interrogate(self, picture: Path | str, model: str = "", rules: TagRules | None = None) -> str:
        """What a picture file shows, as a prompt. `model` is a captioner's name, "clip", "deepbooru" or "" for any."""
        opened = open_picture(Path(picture), int(self.settings.max_megapixels * 1e6))
        captioner = captioner_for(self.store, model)
        if isinstance(captioner, Tagger) and rules is not None:
            captioner = replace(captioner, rules=rules)
        return captioner.caption(opened)

    def merge(self, request: Merge, out: Path | None = None, *, on_event: OnEvent | None = None) -> Merged:
        """Merge checkpoints to a new file (see `hires.merging`)."""
        told = None if on_event is None else lambda done, total: on_event(NodeProgress("merge", done, total))
        return merge(self.store, request, out, stop=self.stop, on_progress=told)


__all__ = ["Drawn", "Engine", "Extras", "HiresFix", "Txt2Img", "Upscaled", "WorkflowError", "raise_failure"]
