"""The loop of training: schedule, averages, checkpoints, curves; and resuming to the same bits."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from hires.errors import Interrupted, ModelFileError, SettingError
from hires.pocket.curves import plot_curves, read_curves, running_mean
from hires.pocket.training import (
    CHECKPOINT,
    CURVES,
    Learner,
    Limits,
    Recipe,
    clock,
    rate_share,
    step_generator,
    train,
)


class Line:
    """A stage that fits one number a step: y = 3x."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        network = nn.Linear(1, 1)
        nn.init.zeros_(network.weight)
        nn.init.zeros_(network.bias)
        self.learner = Learner(network, Recipe(rate=0.05, weight_decay=0.0, average=0.9))

    @property
    def learners(self) -> Mapping[str, Learner]:
        return {"line": self.learner}

    @property
    def facts(self) -> Mapping[str, Any]:
        return {"seed": self.seed}

    def step(self, index: int, progress: float, share: float) -> dict[str, Tensor]:
        x = torch.randn(8, 1, generator=step_generator(self.seed, index, torch.device("cpu")))
        loss = (self.learner.network(x) - 3 * x).square().mean()
        self.learner.update(loss, share, index)
        return {"loss": loss.detach()}

    def sheet(self) -> NDArray[np.uint8]:
        return np.zeros((4, 4, 3), np.uint8)


def quiet(line: str) -> None:
    assert line


def states(stage: Line) -> list[Tensor]:
    state = stage.learner.state()
    return [*state["network"].values(), *state["average"].values()]


def test_gradients_of_parts_are_those_of_the_whole_in_any_memory_layout() -> None:
    torch.manual_seed(0)
    layers = nn.Conv2d(4, 8, 3, padding=1), nn.Conv2d(8, 4, 3, padding=1)
    whole, parted = (
        Learner(copy.deepcopy(nn.Sequential(*layers)).to(memory_format=torch.channels_last), Recipe(rate=1e-2))
        for _ in range(2)
    )
    for step in range(3):
        pixels = torch.randn(6, 4, 5, 7).contiguous(memory_format=torch.channels_last)
        whole.update(whole.network(pixels).square().mean(), 1.0, step)
        losses = [parted.network(part).square().sum() / pixels.numel() for part in pixels.chunk(2)]
        parted.update_by([parted.gradients(loss) for loss in losses], 1.0, step)
    for one, other in zip(whole.network.parameters(), parted.network.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_it_learns_and_leaves_what_one_wants_to_see(tmp_path: Path) -> None:
    stage = Line()
    assert train(stage, tmp_path, Limits(300, log_every=50, sheet_every=150), say=quiet) == 300
    assert float(stage.learner.average.weight) == pytest.approx(3, abs=0.05)
    curves = read_curves(tmp_path / CURVES)
    assert curves["step"].tolist() == [50, 100, 150, 200, 250, 300]
    assert curves["loss"][-1] < 0.01 * curves["loss"][0]
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {CHECKPOINT, CURVES, "curves.png", "sheet_000150.png", "sheet_000300.png"}


@given(first=st.integers(1, 11))
def test_resuming_gives_the_bits_of_an_uninterrupted_run(first: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    limits = Limits(12, log_every=4)
    whole = Line()
    train(whole, tmp_path_factory.mktemp("whole"), limits, say=quiet)
    folder = tmp_path_factory.mktemp("parts")
    calls = iter(range(1, 100))
    with pytest.raises(Interrupted):
        train(Line(), folder, limits, say=quiet, stop=lambda: next(calls) == first)
    resumed = Line()
    assert train(resumed, folder, limits, say=quiet) == 12
    assert all(torch.equal(a, b) for a, b in zip(states(whole), states(resumed), strict=True))


def test_the_minutes_end_a_run_that_goes_on_later(tmp_path: Path) -> None:
    assert train(Line(), tmp_path, Limits(5, minutes=0.0), say=quiet) == 1
    assert train(Line(), tmp_path, Limits(5), say=quiet) == 5
    assert train(Line(), tmp_path, Limits(5), say=quiet) == 5, "nothing is left to do"


def test_rows_logged_after_the_checkpoint_are_done_again_not_twice(tmp_path: Path) -> None:
    train(Line(), tmp_path, Limits(4, log_every=2), say=quiet)
    with (tmp_path / CURVES).open("a") as file:
        file.write("6,1,0.5\n")
    train(Line(), tmp_path, Limits(8, log_every=2), say=quiet)
    assert read_curves(tmp_path / CURVES)["step"].tolist() == [2, 4, 6, 8]


def test_without_resume_it_starts_anew(tmp_path: Path) -> None:
    train(Line(), tmp_path, Limits(4, log_every=2), say=quiet)
    train(Line(seed=1), tmp_path, Limits(2, log_every=2), resume=False, say=quiet)
    assert read_curves(tmp_path / CURVES)["step"].tolist() == [2]


def test_another_stages_checkpoint_is_refused(tmp_path: Path) -> None:
    train(Line(), tmp_path, Limits(1), say=quiet)
    with pytest.raises(SettingError, match="trained with seed = 0, not 1"):
        train(Line(seed=1), tmp_path, Limits(1), say=quiet)


def test_a_broken_checkpoint_is_said_to_be_broken(tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT).write_bytes(b"half of a file")
    with pytest.raises(ModelFileError, match="is broken"):
        train(Line(), tmp_path, Limits(1), say=quiet)


def test_the_average_is_a_running_mean_that_starts_short() -> None:
    stage = Line()
    expected = stage.learner.network.weight.detach().clone()
    for step in range(30):
        stage.step(step, 0.0, 1.0)
        decay = min(0.9, (step + 1) / (step + 20))
        expected = decay * expected + (1 - decay) * stage.learner.network.weight.detach()
    assert torch.allclose(stage.learner.average.weight, expected, atol=1e-6)


@given(steps=st.integers(1, 5000))
def test_the_rate_rises_stays_and_falls(steps: int) -> None:
    shares = [rate_share(step, steps) for step in range(steps)]
    assert all(0 < share <= 1 for share in shares)
    level = shares[min(100, max(1, steps // 10)) - 1 : round(steps * 0.7)]
    assert all(share == pytest.approx(1) for share in level)
    if steps > 100:
        assert shares[0] < 0.11 and shares[-1] < 0.02


def test_more_steps_change_nothing_that_was_done() -> None:
    assert [rate_share(step, 5000) for step in range(3500)] == [rate_share(step, 9500) for step in range(3500)]


def test_a_step_has_its_own_random_numbers() -> None:
    first, same, other = (
        torch.rand(4, generator=step_generator(*pair, torch.device("cpu"))) for pair in ((1, 2), (1, 2), (2, 1))
    )
    assert torch.equal(first, same) and not torch.equal(first, other)


def test_clock() -> None:
    assert [clock(seconds) for seconds in (5, 65, 3725)] == ["0:05", "1:05", "1:02:05"]


def test_running_mean() -> None:
    assert running_mean(np.array([2.0, 4.0, 6.0, 8.0]), 2).tolist() == [2, 3, 5, 7]


def test_a_plot_of_nothing_is_no_plot(tmp_path: Path) -> None:
    plot_curves(tmp_path / CURVES, tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()
