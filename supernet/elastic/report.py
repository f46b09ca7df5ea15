"""What is elastic in a supernet, in a table a person can read: groups, choices, and what is fixed and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from supernet.elastic.costs import Costs
from supernet.elastic.plan import Dim, Plan
from supernet.elastic.slicing import is_present


@dataclass(frozen=True)
class Row:
    """One size of a network.

    Args:
        name: of the group or choice.
        kind: ``hidden``, ``heads``, ``residual``, ``kernel``, ``depth``, ...
        sizes: what it can be, ascending; of a depth, how many blocks the stage keeps.
        share: of the network's parameters that lie in its tensors, 0 to 1. A tensor with two elastic
            axes counts for both.
        fixed: why it can not change; None for a live one.
    """

    name: str
    kind: str
    sizes: tuple[int, ...]
    share: float
    fixed: str | None = None


@dataclass(frozen=True)
class Report:
    """A supernet in numbers; ``str(report)`` is the table.

    Args:
        network: class of the largest network.
        choices: how many choices the space has.
        log10_size: decimal logarithm of the number of subnets.
        params: entries of the parameters of the smallest and of the largest subnet.
        elastic_share: of the parameters that lie in a tensor some architecture uses less of, 0 to 1.
        verified: whether the groups were checked by running them; None when it is not recorded.
        trained: whether they were in training, too.
        rows: live sizes, then fixed ones, each in the order of the network.
    """

    network: str
    choices: int
    log10_size: float
    params: tuple[int, int]
    elastic_share: float
    verified: bool | None
    rows: tuple[Row, ...]
    trained: bool = True

    @property
    def live(self) -> tuple[Row, ...]:
        """What can change."""
        return tuple(row for row in self.rows if row.fixed is None)

    @property
    def fixed(self) -> tuple[Row, ...]:
        """What can not, each with the reason."""
        return tuple(row for row in self.rows if row.fixed is not None)

    def __str__(self) -> str:
        low, high = self.params
        lines = [
            f"{self.network}: 10^{self.log10_size:.1f} subnets from {self.choices} choices, "
            f"{low:,} to {high:,} parameters",
            f"{len(self.live)} sizes are elastic and hold {self.elastic_share:.1%} of the parameters; "
            f"{len(self.fixed)} are fixed"
            + _verified(self.verified)
            + ("" if self.trained else ", in evaluation only"),
            "",
        ]
        table = [("size", "kind", "can be", "parameters")]
        table += [(row.name, row.kind, _few(row.sizes), f"{row.share:.1%}") for row in self.live]
        lines += _aligned(table)
        if self.fixed:
            table = [("fixed because", "sizes", "for example", "parameters")]
            table += [
                (reason, str(len(rows)), rows[0].name, f"{sum(row.share for row in rows):.1%}")
                for reason, rows in self._reasons().items()
            ]
            lines += ["", *_aligned(table)]
        return "\n".join(lines)

    def _reasons(self) -> dict[str, list[Row]]:
        reasons: dict[str, list[Row]] = {}
        for row in self.fixed:
            reasons.setdefault(row.fixed or "", []).append(row)
        return reasons


def report(largest: nn.Module, plan: Plan, conversion: Mapping[str, Any] | None = None) -> Report:
    """What is elastic in a supernet, what is not and why.

    Args:
        largest: its largest network.
        plan: what each architecture uses of it.
        conversion: what was found when it became elastic, `Supernet.conversion`.
    """
    counts = {name: p.numel() for name, p in largest.named_parameters() if name not in plan.matrices}
    total = max(sum(counts.values()), 1)
    costs = Costs(plan, (), largest)
    ends = costs.params(plan.space.matrix([plan.space.smallest(), plan.space.largest()]))
    record = conversion or {}
    fixed = [
        Row(
            g["name"],
            g["kind"],
            (g["units"],),
            g["parameters"] / total,
            g["reason"] or "it was not asked to change",
        )
        for g in record.get("groups", ())
        if not g["live"]
    ]
    elastic = {name for name in counts if _is_elastic(plan, name)}
    return Report(
        network=type(largest).__name__,
        choices=len(plan.space),
        log10_size=plan.space.log10_size,
        params=(int(ends[0]), int(ends[1])),
        elastic_share=sum(counts[name] for name in elastic) / total,
        verified=record.get("verified"),
        trained=not record.get("verified") or record["verified_in_training"],
        rows=(*_sizes(plan, counts, total), *_depths(plan, counts, total), *fixed),
    )


def _is_elastic(plan: Plan, name: str) -> bool:
    return name in plan.touched or not is_present(name, frozenset(plan.switches))


def _sizes(plan: Plan, counts: dict[str, int], total: int) -> Iterator[Row]:
    held: dict[str, set[str]] = {}
    for name in plan.touched:
        for one in plan.dims_of(name):
            held.setdefault(one, set()).add(name)
    for dim in plan.dims.values():
        if dim.kind != "present":
            share = sum(counts.get(name, 0) for name in held.get(dim.name, ())) / total
            yield Row(dim.name, dim.kind, _values(dim.table.ravel().tolist()), share)


def _depths(plan: Plan, counts: dict[str, int], total: int) -> Iterator[Row]:
    """Modules that can be left out, one row for all that follow the same choices."""
    together: dict[tuple[str, ...], list[tuple[str, Dim]]] = {}
    for path, name in plan.switches.items():
        together.setdefault(plan.dims[name].by, []).append((path, plan.dims[name]))
    for by, switched in together.items():
        paths = frozenset(path for path, _ in switched)
        own = sum(count for name, count in counts.items() if not is_present(name, paths))
        yield Row(" + ".join(by), "depth", _values(_block_counts(plan, by, switched)), own / total)


def _block_counts(plan: Plan, by: tuple[str, ...], switched: Sequence[tuple[str, Dim]]) -> list[int]:
    """The depths as the choice counts them, fixed blocks included; how many modules are there otherwise."""
    values = plan.space[by[0]].values if len(by) == 1 else ()
    depths = [value for value in values if isinstance(value, int)]
    if depths and len(depths) == len(values):
        return depths
    return [int(count) for count in np.sum([dim.table for _, dim in switched], axis=0).ravel()]


def _values(sizes: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted({int(size) for size in sizes}))


def _few(sizes: Sequence[int]) -> str:
    if len(sizes) <= 8:
        return " ".join(map(str, sizes))
    return f"{sizes[0]} {sizes[1]} ... {sizes[-2]} {sizes[-1]} ({len(sizes)})"


def _verified(verified: bool | None) -> str:
    return {None: "", True: "; every live group was verified", False: "; nothing was verified"}[verified]


def _aligned(table: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    return [
        "  ".join(
            cell.rjust(width) if i == 3 else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in table
    ]
