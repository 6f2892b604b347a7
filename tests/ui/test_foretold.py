"""What the line under the form says before is what is done: its denoiser calls are counted while jobs run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.server.conftest import PATIENCE, settings_in, shades, square_mask

from hires.jobs.record import State
from hires.pocket import BUILT_IN_NAME
from hires.server.options import Options
from hires.server.state import Server
from hires.ui.asking import coded
from hires.ui.asking_over import drawn_over, painted, png
from hires.ui.foretold import Foreteller, Given, Told
from hires.ui.painted import MOST_FILES, Paintings

SMALL = {"prompt": "1girl, smile", "steps": 4, "width": 64, "height": 64, "seed": 7, "sampler_name": "Euler",
         "override_settings": {"sd_model_checkpoint": BUILT_IN_NAME}}  # fmt: skip
OVER = {**SMALL, "denoising_strength": 0.75}
EDITED = "1girl, [smile:frown:3]"


@dataclass
class Bench:
    """A server's engine and queue, without its routes."""

    server: Server
    foreteller: Foreteller
    picture: Path
    mask: Path

    def told(self, body: dict[str, Any], given: Given | None = None) -> Told:
        kind = "txt2img" if given is None else "img2img"
        return self.foreteller.tell(kind, body, given or Given())

    def done(self, body: dict[str, Any], given: Given | None = None) -> int:
        """The denoiser calls that a job made."""
        kind = "txt2img" if given is None else "img2img"
        if given is not None:
            body = body | {"init_images": [coded(path) for path in given.pictures]}
            body |= {} if given.mask is None else {"mask": coded(given.mask)}
        return self.counted(kind, body)

    def counted(self, kind: str, body: dict[str, Any]) -> int:
        """The denoiser calls that the job of a body made."""
        assert self.server.work.engine is not None
        counter = self.server.work.engine.trajectories
        before, store = counter.denoiser_calls, self.server.desk.store
        job, until = self.server.desk.submit(kind, body), time.monotonic() + PATIENCE
        while not store.get(job.id).state.has_ended and time.monotonic() < until:
            time.sleep(0.01)
        assert store.get(job.id).state is State.DONE, store.get(job.id).error
        return counter.denoiser_calls - before

    def agrees(self, body: dict[str, Any], shared: int, given: Given | None = None) -> None:
        """What is foretold shares so many calls, and the others are made."""
        told = self.told(body, given)
        assert not told.is_rough and told.shared == shared
        assert self.done(body, given) == told.calls - told.shared


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    home = tmp_path_factory.mktemp("foretold")
    server = Server(settings_in(home), Options(None))
    server.desk.open()
    server.work.ready()
    shades(64).save(home / "picture.png")
    square_mask(64).save(home / "mask.png")
    yield Bench(server, Foreteller(server, str), home / "picture.png", home / "mask.png")
    server.work.close()
    server.work.join(PATIENCE)
    server.desk.close()


def test_over_a_picture_what_is_there_is_told_and_not_done_again(bench: Bench) -> None:
    given = Given((bench.picture,))
    bench.agrees(OVER, 0, given)
    bench.agrees(OVER, 4, given)
    bench.agrees(OVER | {"n_iter": 2}, 4, given)
    bench.agrees(OVER | {"n_iter": 2, "batch_size": 1, "seed": 8}, 4, given)
    bench.agrees(OVER | {"denoising_strength": 0.5}, 0, given)
    bench.agrees(OVER | {"sampler_name": "Heun"}, 0, given)


def test_a_prompt_that_changes_late_shares_the_steps_before(bench: Bench) -> None:
    for kind in (None, Given((bench.picture,))):
        body = {**OVER, "steps": 5, "denoising_strength": 0.9, "seed": 20}
        if kind is None:
            body.pop("denoising_strength")
        bench.done(body, kind)
        told = bench.told(body | {"prompt": EDITED}, kind)
        assert 0 < told.shared < told.calls
        assert bench.done(body | {"prompt": EDITED}, kind) == told.calls - told.shared


def test_another_picture_shares_nothing_and_another_name_everything(bench: Bench, tmp_path: Path) -> None:
    bench.done(OVER | {"seed": 30}, Given((bench.picture,)))
    other, same = tmp_path / "other.png", tmp_path / "renamed.png"
    shades(64).rotate(90).save(other)
    same.write_bytes(bench.picture.read_bytes())
    bench.agrees(OVER | {"seed": 30}, 0, Given((other,)))
    bench.agrees(OVER | {"seed": 30}, 4, Given((same,)))


def test_under_a_mask(bench: Bench) -> None:
    masked = Given((bench.picture,), bench.mask)
    body = OVER | {"seed": 40, "inpainting_fill": 1, "mask_blur": 2}
    bench.agrees(body, 0, masked)
    bench.agrees(body, 4, masked)
    bench.agrees(body | {"inpainting_fill": 2}, 0, masked)


def test_all_batches_of_txt2img_are_told(bench: Bench) -> None:
    body = SMALL | {"seed": 50, "n_iter": 2}
    bench.agrees(body, 0)
    bench.agrees(body | {"n_iter": 3}, 8)
    bench.agrees(body | {"seed": -1}, 0)


def test_loops_are_counted(bench: Bench) -> None:
    loops = {"script_name": "loopback", "script_args": [2, 0.5, "Linear", "None"]}
    given = Given((bench.picture,))
    told = bench.told(OVER | {"seed": 60} | loops, given)
    assert told.shared == 0 and told.calls == bench.done(OVER | {"seed": 60} | loops, given)


def test_while_there_is_no_picture_it_says_what_one_would_take(bench: Bench) -> None:
    told = bench.told(OVER, Given())
    assert (told.calls, told.shared) == (4, 0) and told.memory.startswith("memory")


def test_batches_beyond_any_count_share_all_that_is_there(bench: Bench) -> None:
    """Eighteen batches are there, and the one after them is not."""
    body = SMALL | {"seed": 300, "steps": 1}
    bench.done(body | {"n_iter": 18})
    bench.agrees(body | {"n_iter": 19}, 18)


def test_what_was_dropped_from_memory_is_not_promised(bench: Bench) -> None:
    """Room for the states of three runs: the oldest of five are gone."""
    assert bench.server.work.engine is not None
    states = bench.server.work.engine.trajectories
    body = SMALL | {"seed": 400, "steps": 2}
    bench.done(body | {"n_iter": 5})
    whole, states.limit_bytes = states.limit_bytes, 3 * 2 * 2 * 4 * 4 * (64 // 8) ** 2
    try:
        bench.done(SMALL | {"seed": 399, "steps": 2})
        told = bench.told(body | {"n_iter": 5})
    finally:
        states.limit_bytes = whole
    assert (told.calls, told.shared) == (10, 4)


def editing(source: Path, at: int, colour: tuple[int, int, int] = (255, 75, 75)) -> dict[str, Any]:
    """An editor's value: a square of 16 painted over a picture."""
    background = Image.open(source).convert("RGBA")
    layer = Image.new("RGBA", background.size, (0, 0, 0, 0))
    layer.paste((*colour, 255), (at, at, at + 16, at + 16))
    composite = Image.alpha_composite(background, layer)
    return {"background": background, "layers": [layer], "composite": composite}


@pytest.mark.parametrize(("mode", "seed"), [("sketch", 70), ("inpaint", 80), ("inpaint_sketch", 90)])
def test_what_is_painted_is_told_as_it_is_drawn(bench: Bench, mode: str, seed: int, tmp_path: Path) -> None:
    """By the bodies that the form sends: painted alike again all is there, painted elsewhere nothing."""
    paintings, body = Paintings(), OVER | {"seed": seed, "inpainting_fill": 1}

    def agrees(edited: dict[str, Any], shared: int) -> None:
        given = paintings.given(mode, edited)
        assert given is not None and given.is_there and not given.lack
        told = bench.told(body, given)
        assert told.shared == shared
        sent: dict[str, Any] = {"init_images": [png(drawn_over(mode, edited))]}
        sent |= {"mask": png(painted(edited))} if given.mask else {}
        assert bench.counted("img2img", body | sent) == told.calls - told.shared

    agrees(editing(bench.picture, 8), 0)
    agrees(editing(bench.picture, 8), 4)
    agrees(editing(bench.picture, 40), 0)


def test_a_mask_that_is_not_painted_yet_is_said(bench: Bench) -> None:
    edited = {**editing(bench.picture, 8), "layers": [Image.new("RGBA", (64, 64), (0, 0, 0, 0))]}
    paintings = Paintings()
    given = paintings.given("inpaint", edited)
    assert given is not None and given.mask is None
    told = bench.told(OVER, given)
    assert any("nothing is painted" in text for text in told.warnings) and told.calls == 4
    assert paintings.given("inpaint", {"background": None, "layers": [], "composite": None}) is None


def test_paintings_are_few_files_and_each_is_written_once(bench: Bench) -> None:
    paintings = Paintings()
    first = paintings.given("inpaint", editing(bench.picture, 0))
    assert first is not None and first == paintings.given("inpaint", editing(bench.picture, 0))
    for at in range(1, MOST_FILES + 2):
        given = paintings.given("inpaint", editing(bench.picture, at))
        assert given is not None and given.is_there
    assert len(list(first.pictures[0].parent.iterdir())) == MOST_FILES
    assert not first.is_there and first.pictures[0].is_file()  # its mask is gone, the picture is that of all


def test_the_jobs_of_a_batch_are_told_together(bench: Bench, tmp_path: Path) -> None:
    for name, angle in (("a.png", 0), ("b.png", 90), ("c.png", 180)):
        shades(64).rotate(angle).save(tmp_path / name)
    paths, body = tuple(sorted(tmp_path.glob("*.png"))), OVER | {"seed": 500}
    bench.done(body, Given(paths[:1]))
    told = bench.told(body, Given(paths, is_apart=True))
    assert (told.pictures, told.calls, told.shared) == (3, 12, 4)
    assert sum(bench.done(body, Given((path,))) for path in paths) == 8
