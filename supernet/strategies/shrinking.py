"""Smaller and smaller, kind by kind."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate
from math import inf
from typing import Literal

from supernet.errors import ConfigError, did_you_mean
from supernet.options import within
from supernet.space import Architecture, Choice
from supernet.strategies.strategy import Context, Lesson, Sort, strategies

SUBNETS = {"largest": 0, "kernel": 1, "depth": 2, "expand": 4}
"""Random architectures per step in a phase of each kind, as published."""


@strategies.register("shrinking")
@dataclass(frozen=True)
class Shrinking:
    """The largest first, then subnets of ever more kinds: smaller kernels, then fewer layers, then narrower ones.

    Source: Cai et al., Once-for-All, arXiv:1908.09791. There the teacher is a copy of the trained largest network,
    as with ``train.teacher = "finetuned"``; else it is the largest itself, which goes on learning beside its pupils.

    Args:
        phases: each ``largest``, ``kernel``, ``depth`` or ``expand`` (all other choices but the resolution,
            which is always open); ``depth:2`` opens the two largest values only. What was opened stays open.
        epochs: of each phase, together those of the training; empty for parts alike.
        sort: by what the units are sorted when a phase of widths begins, those of widths that were trained
            among themselves: ``taylor``, ``l1`` (as published), ``l2`` or ``none``.

    Raises:
        ConfigError: for an unknown phase, or epochs that are not one number for each.
    """

    phases: tuple[str, ...] = ("largest", "kernel", "depth:2", "depth", "expand:2", "expand")
    epochs: tuple[int, ...] = ()
    sort: Literal["taylor", "l1", "l2", "none"] = "taylor"

    def __post_init__(self) -> None:
        if not self.phases:
            raise ConfigError(f"phases is empty; each can be one of {', '.join(SUBNETS)}")
        for phase in self.phases:
            kind, colon, values = phase.partition(":")
            if kind not in SUBNETS:
                raise ConfigError(f"no phase is called {kind!r}{did_you_mean(kind, SUBNETS)}")
            if colon and not (values.isdecimal() and int(values) > 0):
                raise ConfigError(f"the phase {phase!r} opens {values!r} values; write it like 'depth:2'")
        if self.epochs and len(self.epochs) != len(self.phases):
            raise ConfigError(f"epochs has {len(self.epochs)} entries for {len(self.phases)} phases")
        for epochs in self.epochs:
            within("epochs", epochs, 1)

    def lessons(self, context: Context) -> list[Lesson]:
        """The largest, and its pupils of the phase."""
        phase = self.phase(context)
        opened = _opened(self.phases[: phase + 1])
        most = max(len(choice.values) for choice in context.space.choices)
        context.state["trained"] = max(_trained(context), int(min(opened.get("expand", 1), most)))
        pupils = SUBNETS[self.phases[phase].partition(":")[0]]
        drawn = [_sample(context, opened) for _ in range(pupils)]
        return [Lesson(context.space.largest()), *(Lesson(arch, teacher=0) for arch in drawn)]

    def sorts(self, context: Context) -> Sort | None:
        """At the first step of every phase of widths."""
        phase = self.phase(context)
        begins = context.step == 0 or self.phase(replace(context, step=context.step - 1)) < phase
        if self.sort == "none" or not begins or not self.phases[phase].startswith("expand"):
            return None
        return Sort(self.sort, _trained(context))

    def phase(self, context: Context) -> int:
        """The position of the phase that a step belongs to.

        Raises:
            ConfigError: when the phases do not cover the epochs of the training.
        """
        epochs = self.epochs or (1,) * len(self.phases)
        if self.epochs and sum(epochs) != context.epochs:
            raise ConfigError(
                f"the phases cover {sum(epochs)} epochs ({', '.join(map(str, epochs))}) of a training of "
                f"{context.epochs}; change strategy_options.epochs, or train.epochs to {sum(epochs)}"
            )
        done = context.step * sum(epochs)
        return next(i for i, end in enumerate(accumulate(epochs)) if done < end * context.steps)


def _trained(context: Context) -> int:
    """Of how many of its largest values the widths have been trained so far, those of an earlier schedule included."""
    return int(context.state.get("trained", 1))


def _opened(phases: tuple[str, ...]) -> dict[str, float]:
    """How many of the largest values are open by now, by kind."""
    opened: dict[str, float] = {"resolution": inf}
    for phase in phases:
        kind, _, values = phase.partition(":")
        opened[kind] = max(opened.get(kind, 1), int(values) if values else inf)
    return opened


def _sample(context: Context, opened: dict[str, float]) -> Architecture:
    """A random architecture of what is open."""
    genes = []
    for choice in context.space.choices:
        count, kind = len(choice.values), _kind(choice, context.kinds.get(choice.name, frozenset()))
        genes.append(context.rng.randrange(count - int(min(opened.get(kind, 1), count)), count))
    return context.space.architecture(genes)


def _kind(choice: Choice, kinds: frozenset[str]) -> str:
    """The phase that opens a choice: the last one that concerns what it sets."""
    if choice.name == "resolution" or kinds == {"resolution"}:
        return "resolution"
    if kinds - {"kernel", "present", "resolution"} or not kinds:
        return "expand"
    return "depth" if "present" in kinds else "kernel"
