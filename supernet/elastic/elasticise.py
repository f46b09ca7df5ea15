"""Any network that `torch.export` traces becomes a verified supernet."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from itertools import pairwise
from random import Random
from typing import Any

import torch
from torch import Tensor, nn

from supernet.elastic.caches import empty_caches
from supernet.elastic.cutting import duplicate
from supernet.elastic.depth import Passed, Stage, candidates, passing, stages
from supernet.elastic.inputs import Inputs, fitting
from supernet.elastic.notes import refuse_computed, ties
from supernet.elastic.plan import Plan
from supernet.elastic.planning import plan_of
from supernet.elastic.sizes import DIMS, MANY_GROUPS, SMALLEST, Rules, SpaceBuilder
from supernet.elastic.skeleton import bind
from supernet.elastic.slicing import Slices
from supernet.elastic.storage import add_transforms
from supernet.elastic.supernet import Supernet
from supernet.elastic.trace import Trace, trace
from supernet.elastic.translate import in_dims
from supernet.elastic.trial import Failed, answered, numberless, training_inputs, without_drops
from supernet.elastic.verify import Verification, verify as verify_groups
from supernet.errors import ConversionError, did_you_mean

log = logging.getLogger(__name__)

Example = Tensor | Sequence[int] | Inputs


@dataclass(frozen=True)
class Record:
    """One group of a conversion, as it is kept with the supernet and shown by its report.

    Args:
        name: of the group, as in `supernet.elastic.trace.Group`.
        kind: ``hidden``, ``squeeze``, ``heads``, ``head_dim``, ``residual`` or ``kernel``.
        units: in the largest network.
        choices: sizes it can have; empty when it is fixed or was not asked to be elastic.
        by: names of the choices that set it.
        members: ``[tensor, axis]`` pairs that hold it.
        parameters: entries of the parameters among the members, each counted once.
        live: whether it was verified (or, without verification, nothing speaks against it).
        reason: why it is fixed; None for a live one.
    """

    name: str
    kind: str
    units: int
    choices: list[int]
    by: list[str]
    members: list[list[str | int]]
    parameters: int
    live: bool
    reason: str | None


def elasticise(
    model: nn.Module | str,
    example: Example | None = None,
    *,
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    batch_axis: int = 0,
    dims: Sequence[str] = DIMS,
    choices: Mapping[str, Sequence[int | float]] | None = None,
    divisor: int = 8,
    tie: str = "none",
    resolution: Sequence[int] = (),
    kernel_transform: bool = False,
    verify: bool = True,
    seed: int = 0,
    **options: Any,
) -> Supernet:
    """A supernet whose largest subnet is the given network, bit for bit.

    The network is exported once, one rule per op groups the sizes that move together, and every
    group is verified: the cut network has to answer as the masked one does. What does not hold, or
    no rule knows, stays whole; ``supernet.conversion`` says why.

    Args:
        model: any network; it is taken over, give a copy to keep yours plain. Or the name of a timm model.
        example: what a network of one input takes, or its shape, ``(batch, channels, height, width)``;
            None for one image of the size a timm model is made for.
        args: positional arguments instead, for a network of several inputs: tensors, or tuples, lists
            and dictionaries of tensors.
        kwargs: keyword arguments, likewise.
        batch_axis: axis of the inputs along which the examples of a batch lie.
        dims: what may be elastic, of ``hidden``, ``heads``, ``residual``, ``depth`` and ``kernel``.
        choices: by kind, or by a pattern of names of groups and stages (``"blocks.2.*"``): ratios
            (floats up to 1.0) of the largest size, or sizes (integers). The largest is always kept.
        divisor: channel counts picked by ratio are multiples of it.
        tie: ``none``, ``block`` or ``stage``: hidden widths (and heads) inside one share a choice.
        resolution: sides of square inputs to choose among, ascending, in pixels; whoever runs an
            architecture resizes to ``supernet.space.decode(arch)["resolution"]``.
        kernel_transform: reach smaller kernels through learned matrices (Once-for-all,
            arXiv:1908.09791) instead of a plain centre crop.
        verify: check every group; without it only the graph's rules decide.
        seed: of the random cut that is verified beside the smallest one.
        **options: of ``timm.create_model`` when ``model`` is a name, e.g. ``pretrained=True``.

    Raises:
        ConversionError: for a network that can not be exported, an example it does not take, or
            choices that its layers do not hold.
        SpaceError: for duplicated or unsorted resolutions.
    """
    _check(dims, tie, divisor)
    network, origin = _network(model, options)
    refuse_computed(network)
    inputs = fitting(network, _inputs(network, example, args, kwargs, batch_axis))
    empty_caches(network, inputs)
    traced = trace(network, inputs)
    job = _Conversion(
        network, traced, inputs, Rules(tuple(dims), dict(choices or {}), divisor, tie), resolution
    )
    if verify:
        job.check_resolutions()
        job.verify(Random(seed))
    traced = job.traced
    plan = job.plan(_transforms(traced, job.builder) if kernel_transform else {})
    add_transforms(network, plan)
    return Supernet(
        network,
        plan,
        ops=in_dims(traced, plan),
        example=traced.example,
        origin=origin,
        conversion=job.record(verify),
    )


class _Conversion:
    """What is known on the way from a trace to a plan."""

    def __init__(
        self, network: nn.Module, traced: Trace, inputs: Inputs, rules: Rules, resolutions: Sequence[int]
    ) -> None:
        self.network, self.traced, self.inputs, self.rules = network, traced, inputs, rules
        self.resolutions = resolutions
        self.passes = self._passes() if "depth" in rules.dims else {}
        found = stages(traced, self.passes) if self.passes else []
        tied = ties(network)
        self.stages: list[Stage] = [stage for stage in found if not _shares(stage, tied)]
        _check_patterns(rules, traced, self.stages)
        self.live = [
            g.name for g in traced.groups.values() if g.fixed is None and _is_asked(g.kind, rules.dims)
        ]
        few = sum(traced.groups[name].kind in SMALLEST for name in self.live) < MANY_GROUPS
        self.rules = replace(rules, step=1 if few else 2)
        self.builder = self._menu()
        self.verification = Verification(traced, tuple(self.builder.dims), {}, ())

    def _menu(self) -> SpaceBuilder:
        return SpaceBuilder(self.rules, self.traced, self.stages, self.live, self.resolutions)

    def _passes(self) -> dict[str, tuple[Passed, ...] | None]:
        """Blocks that could be left out, with what they answer then."""
        blocks = candidates(self.traced)
        shared = bind(self.network, Slices({}, frozenset()), own=True, training=False)
        try:
            with numberless():  # who hands what to whom is asked, and no number
                return passing(shared, self.inputs, blocks)
        except Exception as error:  # code that looks at the entries of a tensor may raise anything
            log.info("the blocks are run for real: %s", error)
            return passing(duplicate(self.network).eval(), self.inputs, blocks)

    def check_resolutions(self) -> None:
        """Make sure that the network takes images of every size it is to choose among."""
        for side in self.resolutions:
            network = duplicate(self.network).eval()
            try:
                answered(network, self.inputs.at_resolution(side))
            except Failed as error:
                raise ConversionError(f"the network does not run at resolution {side}: {error}") from error

    def verify(self, rng: Random) -> None:
        """Check groups at the smallest and at a random cut, then that it runs without its blocks."""

        def cuts(traced: Trace, live: Sequence[str]) -> list[dict[str, int]]:
            """The sizes to check at: the smallest, and a random cut."""
            builder = SpaceBuilder(self.rules, traced, (), live)
            return [_cut(builder, None), _cut(builder, rng)]

        def tables(traced: Trace, live: Sequence[str]) -> dict[str, list[int]]:
            """All units that a group can have."""
            builder = SpaceBuilder(self.rules, traced, (), live)
            return {name: [int(size) for size in dim.table.flat] for name, dim in builder.dims.items()}

        asked = list(self.builder.dims)
        self.verification = verify_groups(self.network, self.traced, self.inputs, asked, cuts, tables)
        self.traced = self.verification.trace
        self.live = list(self.verification.live)
        self.builder = self._menu()
        while self.stages and not self._agrees(rng):
            guilty = [stage for stage in self.stages if not self._agrees(rng, stage)] or self.stages
            for stage in guilty:
                log.info("the depth of %s is fixed: the network does not run without its blocks", stage.name)
            self.stages = [stage for stage in self.stages if stage not in guilty]
            self.builder = self._menu()

    def _agrees(self, rng: Random, stage: Stage | None = None) -> bool:
        """Whether subnet and cut-out network agree when blocks (of one stage, or of all) are left out."""
        builder = SpaceBuilder(self.rules, self.traced, self.stages if stage is None else [stage], self.live)
        plan = self._plan_of(builder, {})
        supernet = Supernet(without_drops(duplicate(self.network)), plan)
        for training in self.verification.modes:
            inputs = training_inputs(self.inputs) if training else self.inputs
            supernet.train(training)
            for arch in (plan.space.smallest(), plan.space.sample(rng)):
                try:
                    alone = supernet.extract(arch)
                    bound = bind(supernet.largest, supernet.slices(arch))
                    pairs = zip(answered(bound, inputs), answered(alone, inputs))
                except (Failed, ConversionError) as error:
                    log.info("left out blocks: %s", error)
                    return False
                if not all(torch.equal(a, b) for a, b in pairs):
                    return False
        return True

    def plan(self, transforms: Mapping[str, tuple[tuple[int, str], ...]]) -> Plan:
        """The plan of all that held."""
        return self._plan_of(self.builder, transforms)

    def _plan_of(self, builder: SpaceBuilder, transforms: Mapping[str, tuple[tuple[int, str], ...]]) -> Plan:
        return plan_of(
            self.network,
            self.traced,
            builder.space,
            builder.dims,
            switches=builder.switches,
            transforms=transforms,
            size_attributes=self.verification.size_attributes,
            passes=self.passes,
        )

    def record(self, verified: bool) -> dict[str, Any]:
        """What was found and decided, as plain JSON values: see `Record`."""
        sizes = {name: p.numel() for name, p in self.network.named_parameters()}
        records = []
        for group in self.traced.groups.values():
            dim = self.builder.dims.get(group.name)
            reason = group.fixed or self.verification.fixed.get(group.name)
            tensors = dict.fromkeys(tensor for tensor, _ in group.members)
            own = sum(sizes.get(tensor, 0) for tensor in tensors)
            values = sorted(int(size) for size in set(dim.table.flat)) if dim is not None else []
            by = list(dim.by) if dim is not None else []
            members: list[list[str | int]] = [[tensor, axis] for tensor, axis in group.members]
            name, kind, units = group.name, group.kind, group.size
            records.append(
                asdict(Record(name, kind, units, values, by, members, own, dim is not None, reason))
            )
        live = {tensor for r in records if r["live"] for tensor, _ in r["members"]}
        return {
            "verified": verified,
            "verified_in_training": verified and self.verification.trained,
            "example": self.traced.example.to_json(),
            "parameters": sum(sizes.values()),
            "elastic_parameters": sum(count for name, count in sizes.items() if name in live),
            "groups": records,
            "stages": [
                {"name": stage.name, "fixed": stage.fixed, "blocks": list(stage.blocks)}
                for stage in self.stages
            ],
        }


def _check(dims: Sequence[str], tie: str, divisor: int) -> None:
    for name in dims:
        if name not in DIMS:
            raise ConversionError(f"nothing called {name!r} can be elastic{did_you_mean(name, DIMS)}")
    if tie not in ("none", "block", "stage"):
        raise ConversionError(f"tie was {tie!r}{did_you_mean(tie, ('none', 'block', 'stage'))}")
    if divisor < 1:
        raise ConversionError(f"divisor was {divisor}; it has to be at least 1")


def _check_patterns(rules: Rules, traced: Trace, found: Sequence[Stage]) -> None:
    names = [*traced.groups, *(stage.name for stage in found)]
    for pattern in rules.choices:
        if pattern not in DIMS and not any(fnmatchcase(name, pattern) for name in names):
            known = [g.name for g in traced.groups.values() if g.fixed is None] + [
                stage.name for stage in found
            ]
            raise ConversionError(
                f"choices were given for {pattern!r}, which is nothing here{did_you_mean(pattern, [*DIMS, *known])}"
            )


def _shares(stage: Stage, tied: Mapping[str, str]) -> bool:
    """Whether a block holds a tensor that something outside of it holds too, and needs without the block."""
    return any(
        name.startswith(f"{block}.") != first.startswith(f"{block}.")
        for block in stage.blocks
        for name, first in tied.items()
    )


def _is_asked(kind: str, dims: Sequence[str]) -> bool:
    return kind in dims or kind == "squeeze"


def _network(model: nn.Module | str, options: dict[str, Any]) -> tuple[nn.Module, dict[str, Any] | None]:
    if isinstance(model, nn.Module):
        if options:
            raise ConversionError(
                f"unknown options {', '.join(options)}; only a timm model by name takes options of its own"
            )
        return model, None
    import timm

    if not timm.is_model(model.partition(".")[0]):
        hint = did_you_mean(model, timm.list_models()).partition(" (")[0]
        raise ConversionError(f"timm has no model {model!r}{hint}; timm.list_models() names them all")
    kept = {key: value for key, value in options.items() if key != "pretrained"}
    return timm.create_model(model, **options).eval(), {"timm": model, "kwargs": kept}


def _inputs(
    network: nn.Module,
    example: Example | None,
    args: Sequence[Any] | None,
    kwargs: Mapping[str, Any] | None,
    batch_axis: int,
) -> Inputs:
    if args is not None or kwargs is not None:
        if example is not None:
            raise ConversionError("an example was given beside args or kwargs; give one or the other")
        args = (args,) if isinstance(args, Tensor) else tuple(args or ())
        return Inputs(args, dict(kwargs or {}), batch_axis)
    if example is None:
        known = getattr(network, "pretrained_cfg", None) or getattr(network, "default_cfg", None)
        if not known or not known.get("input_size"):
            raise ConversionError(
                f"{type(network).__name__} does not say what input it takes; give an example or its shape, "
                f"or args=... and kwargs=... for several inputs"
            )
        example = (1, *known["input_size"])
    found = Inputs.of(example, batch_axis=batch_axis)
    weight = next((p for p in network.parameters() if p.is_floating_point()), None)
    if isinstance(example, Tensor | Inputs) or weight is None:
        return found
    return found.to(weight.device, weight.dtype)


def _cut(builder: SpaceBuilder, rng: Random | None) -> dict[str, int]:
    """Units to keep of every group: the fewest, or some of its sizes at random."""
    return {
        name: int(dim.table.min()) if rng is None else int(rng.choice(dim.table.flatten().tolist()))
        for name, dim in builder.dims.items()
    }


def _transforms(traced: Trace, builder: SpaceBuilder) -> dict[str, tuple[tuple[int, str], ...]]:
    """Matrices from every kernel size to the next smaller one, named as their layers will hold them."""
    out = {}
    for weight, name in traced.kernels.items():
        if name in builder.dims:
            sides = sorted({int(size) for size in builder.dims[name].table.flat}, reverse=True)
            owner = weight.rpartition(".")[0]
            out[weight] = tuple(
                (small, f"{owner}.transform_{large}to{small}") for large, small in pairwise(sides)
            )
    return out
