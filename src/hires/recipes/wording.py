"""From what a user wrote to the prompts that are drawn: styles, comments and choices, in this order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hires.recipes.request import Templates, Txt2Img
from hires.text.styles import Style, applied, apply_styles, chosen_styles
from hires.text.syntax_webui import strip_comments
from hires.text.wildcards import has_choices, resolve


@dataclass(frozen=True)
class Phrasebook:
    """What prompts may refer to: styles by name, and the folders of wildcard files."""

    styles: Mapping[str, Style]
    wildcards: Sequence[Path] = ()


def worded(request: Txt2Img, book: Phrasebook) -> Txt2Img:
    """The request with the prompts of its first picture; its seed must be set. A second time it changes nothing.

    Where a prompt has choices, the request keeps it as `templates`, which the other pictures are worded by.
    SettingError for a style that is not there, PromptError for a wildcard that leads out of its folder.
    """
    request = _without_comments(styled(request, book.styles))
    if request.templates is not None or not request.wildcards or request.seed < 0:
        return request
    written = _written(request)
    if not any(map(has_choices, (written.prompt, written.negative, written.hires_prompt, written.hires_negative))):
        return request
    return _resolved(replace(request, templates=written), request.seed, book)


def per_picture(request: Txt2Img, book: Phrasebook) -> list[Txt2Img]:
    """A worded request as one request for each picture, where the pictures' prompts differ; else the request alone.

    Each choice comes from its picture's seed; pictures that only vary one seed share its prompt.
    """
    count = request.batch_size * request.batch_count
    if request.templates is None or count == 1 or request.variation_strength > 0:
        return [request]
    alone = replace(request, batch_size=1, batch_count=1)
    seeds = range(request.seed + 1, request.seed + count)
    return [alone, *(_resolved(replace(alone, seed=seed), seed, book) for seed in seeds)]


def with_prompts_of(request: Txt2Img, number: int, book: Phrasebook) -> Txt2Img:
    """A worded request with the prompts of picture `number` of its job, all else, the seed too, as it is."""
    if request.templates is None or number == 0 or request.variation_strength > 0:
        return request
    return _resolved(request, request.seed + number, book)


def styled(request: Txt2Img, styles: Mapping[str, Style]) -> Txt2Img:
    """The request with the styles that it names laid over its prompts. SettingError for one that is not there."""
    if not request.styles:
        return request
    chosen = chosen_styles(request.styles, styles)
    prompt, negative = apply_styles(request.prompt, request.negative, chosen)
    hires = request.hires
    if hires is not None:  # an empty prompt there is that of the first pass, which has them already
        own, own_negative = hires.prompt, hires.negative
        for style in chosen:
            own = applied(own, style.prompt) if own else own
            own_negative = applied(own_negative, style.negative) if own_negative else own_negative
        hires = replace(hires, prompt=own, negative=own_negative)
    return replace(request, prompt=prompt, negative=negative, hires=hires, styles=())


def _without_comments(request: Txt2Img) -> Txt2Img:
    if not request.comments or request.dialect != "webui":
        return request
    hires = request.hires
    if hires is not None:
        hires = replace(hires, prompt=strip_comments(hires.prompt), negative=strip_comments(hires.negative))
    return replace(
        request, prompt=strip_comments(request.prompt), negative=strip_comments(request.negative), hires=hires
    )


def _written(request: Txt2Img) -> Templates:
    hires = request.hires
    own = ("", "") if hires is None else (hires.prompt, hires.negative)
    return Templates(request.prompt, request.negative, *own)


def _texts(templates: Templates) -> list[tuple[str, str]]:
    """Each text with its stream: the passes choose alike where they are written alike."""
    return [
        (templates.prompt, "prompt"),
        (templates.negative, "negative"),
        (templates.hires_prompt, "prompt"),
        (templates.hires_negative, "negative"),
    ]


def _resolved(request: Txt2Img, seed: int, book: Phrasebook) -> Txt2Img:
    assert request.templates is not None
    prompt, negative, own, own_negative = (
        resolve(text, seed, book.wildcards, role).text for text, role in _texts(request.templates)
    )
    hires = request.hires
    if hires is not None:
        hires = replace(hires, prompt=own, negative=own_negative)
    return _without_comments(replace(request, prompt=prompt, negative=negative, hires=hires))
