"""Denoiser calls that leave the negative prompt out: A1111's NGMS and "skip early CFG"."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SkippedNegative:
    """Which calls of a run are guided by the positive prompt alone.

    below: noise levels under which every second call does (A1111's NGMS, "negative guidance minimum sigma"), or, with
    every_call, each one. early: the share (0..1) of the run's `calls` before which each one does. 0 turns a rule off.
    """

    below: float = 0.0
    every_call: bool = False
    early: float = 0.0
    calls: int = 0

    def __bool__(self) -> bool:
        return self.below > 0 or self.early > 0

    def applies(self, sigma: float, call: int) -> bool:
        """Whether the call with this number, from 0 in its run, does without the negative prompt."""
        late = sigma < self.below and (self.every_call or call % 2 == 1)
        return late or (self.early > 0 and call <= self.early * self.calls)

    def key(self, calls: int, calls_a_step: int, sigma_next: float) -> bytes:
        """What a step depends on that begins after `calls` calls and ends at sigma_next: nothing where no call of it
        can be skipped, so that runs with and without the rules share such steps."""
        late = sigma_next < self.below
        early = self.early > 0 and calls <= self.early * self.calls
        return repr((self, calls, calls_a_step)).encode() if late or early else b""
