"""What can be chosen, and what was: choices, architectures and the space that holds them.

Genes are integers; values live in the space. An architecture is a tuple of gene indices that is
*canonical*: a choice that does not matter (a kernel size in a block that is left out) is always
gene 0, so two genomes that build the same network are the same architecture.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from math import log10, prod
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from supernet.errors import ArchitectureError, SpaceError, did_you_mean

Value = int | float | str
Genes = NDArray[np.int64]


@dataclass(frozen=True)
class Choice:
    """One thing to choose.

    Args:
        name: unique in its space, dotted like a module path: ``"blocks.1.depth"``.
        values: at least one, all distinct, from smallest to largest network; numbers must ascend.
        needs: ``(name of an earlier choice, the values of it under which this one matters)``;
            None when it always matters.

    Raises:
        SpaceError: for values that are missing, duplicated or unsorted.
    """

    name: str
    values: tuple[Value, ...]
    needs: tuple[str, tuple[Value, ...]] | None = None

    def __post_init__(self) -> None:
        if not self.values:
            raise SpaceError(f"choice {self.name!r} has no values; give at least one")
        if len(set(self.values)) < len(self.values):
            raise SpaceError(f"choice {self.name!r} holds a value twice: {self.values}; remove the duplicate")
        numbers = [value for value in self.values if not isinstance(value, str)]
        if any(low > high for low, high in pairwise(numbers)):
            raise SpaceError(
                f"choice {self.name!r} is not sorted: {self.values}; try {tuple(sorted(numbers))}"
            )


@dataclass(frozen=True)
class Architecture:
    """One point of a space: immutable, hashable, canonical. Made by a `SearchSpace`, never by hand."""

    genes: tuple[int, ...]
    space: str
    """Fingerprint of the space it belongs to."""

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits that name this network everywhere: files, logs, the zoo."""
        return hashlib.sha256(json.dumps([self.space, self.genes]).encode()).hexdigest()[:12]

    def __str__(self) -> str:
        return "-".join(map(str, self.genes))


@dataclass(frozen=True)
class SearchSpace:
    """An ordered set of choices.

    Raises:
        SpaceError: when two choices share a name, or one needs a choice that does not come before it.
    """

    choices: tuple[Choice, ...]
    _index: dict[str, int] = field(init=False, repr=False, compare=False)
    _needs: tuple[tuple[int, int, NDArray[np.bool_]], ...] = field(init=False, repr=False, compare=False)
    """Of each choice that does not always matter: its position, that of the one it needs, and whether it
    matters at each gene of that one. A choice comes after the one it needs."""

    def __post_init__(self) -> None:
        index: dict[str, int] = {}
        needs: list[tuple[int, int, NDArray[np.bool_]]] = []
        for i, choice in enumerate(self.choices):
            if choice.name in index:
                raise SpaceError(f"two choices are called {choice.name!r}; rename one")
            if choice.needs is not None:
                parent, allowed = choice.needs
                if parent not in index:
                    raise SpaceError(
                        f"{choice.name!r} needs {parent!r}, which does not come before it{did_you_mean(parent, index)}"
                    )
                values = self.choices[index[parent]].values
                missing = [value for value in allowed if value not in values]
                if missing:
                    raise SpaceError(
                        f"{choice.name!r} needs {parent!r} to be {missing[0]!r}, which it can not be: {values}"
                    )
                needs.append((i, index[parent], np.array([value in allowed for value in values])))
            index[choice.name] = i
        object.__setattr__(self, "_index", index)
        object.__setattr__(self, "_needs", tuple(needs))

    def __len__(self) -> int:
        return len(self.choices)

    def __contains__(self, arch: object) -> bool:
        return isinstance(arch, Architecture) and arch.space == self.fingerprint

    def __getitem__(self, name: str) -> Choice:
        return self.choices[self.index(name)]

    def index(self, name: str) -> int:
        """The position of a choice among the genes.

        Raises:
            SpaceError: when no choice has that name.
        """
        if name not in self._index:
            raise SpaceError(f"the space has no choice {name!r}{did_you_mean(name, self._index)}")
        return self._index[name]

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits: equal for equal spaces, in every process."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()[:16]

    @cached_property
    def size(self) -> int:
        """How many distinct architectures the space holds, exactly."""
        children: dict[int, list[tuple[int, NDArray[np.bool_]]]] = {}
        for child, parent, allowed in self._needs:
            children.setdefault(parent, []).append((child, allowed))

        def count(i: int) -> int:
            """How many ways there are to choose ``i`` and whatever needs it."""
            return sum(
                prod(count(child) for child, allowed in children.get(i, ()) if allowed[gene])
                for gene in range(len(self.choices[i].values))
            )

        dependent = {child for child, _, _ in self._needs}
        return prod(count(i) for i in range(len(self)) if i not in dependent)

    @property
    def log10_size(self) -> float:
        """Decimal logarithm of `size`."""
        return log10(self.size)

    def architecture(self, genes: Sequence[int]) -> Architecture:
        """The architecture of a genome, made canonical.

        Raises:
            ArchitectureError: when the genome is too long, too short or out of range.
        """
        if len(genes) != len(self):
            raise ArchitectureError(
                f"a genome of {len(genes)} genes was given to a space of {len(self)} choices"
            )
        for gene, choice in zip(genes, self.choices):
            if not 0 <= gene < len(choice.values):
                raise ArchitectureError(
                    f"gene {gene} of {choice.name!r} is outside 0 to {len(choice.values) - 1} (values {choice.values})"
                )
        canonical = (int(gene) if matters else 0 for gene, matters in zip(genes, self._active(genes)))
        return Architecture(tuple(canonical), self.fingerprint)

    def architectures(self, genes: Genes) -> list[Architecture]:
        """The architectures of many genomes ``(architectures, choices)``, made canonical; for genes within range."""
        rows, space = self.canonical(genes).tolist(), self.fingerprint
        return [Architecture(tuple(row), space) for row in rows]

    def canonical(self, genes: Genes) -> Genes:
        """Many genomes made canonical at once.

        Args:
            genes: integers ``(architectures, choices)``; not changed.
        """
        matters = self.matters(genes)
        return np.where(matters, genes, 0)

    def matters(self, genes: Genes) -> NDArray[np.bool_]:
        """Which genes matter in each genome ``(architectures, choices)``."""
        live = np.empty(genes.shape, dtype=np.bool_)
        for i, column in enumerate(self._active(genes.T)):
            live[:, i] = column
        return live

    def _active(self, genes: Sequence[Any] | NDArray[np.int64]) -> list[Any]:
        """Whether each choice matters: the one place that says so.

        A choice matters when the choice it needs matters and has one of the values it is needed at.

        Args:
            genes: one entry for each choice: a gene, or the column of a choice over many genomes.

        Returns:
            As many truth values, or columns of them.
        """
        active: list[Any] = [np.True_] * len(self)
        for child, parent, allowed in self._needs:
            active[child] = active[parent] & allowed[genes[parent]]
        return active

    def matrix(self, archs: Iterable[Architecture]) -> Genes:
        """The genes of several architectures as ``(architectures, choices)``."""
        rows = [self.check(arch).genes for arch in archs]
        return np.array(rows, dtype=np.int64).reshape(len(rows), len(self))

    def check(self, arch: Architecture) -> Architecture:
        """The architecture itself, when it is of this space.

        Raises:
            ArchitectureError: when it was made by another space.
        """
        if arch not in self:
            raise ArchitectureError(
                f"architecture {arch} is not of this space ({len(self)} choices, fingerprint {self.fingerprint}); "
                f"make one with space.sample(rng), space.encode(values) or space.architecture(genes)"
            )
        return arch

    def encode(self, values: Mapping[str, Value]) -> Architecture:
        """The architecture with these values; a choice that does not matter may be left out.

        Raises:
            ArchitectureError: for an unknown name, a value outside its choice, or a missing choice that matters.
        """
        genes = [0] * len(self)
        for name, value in values.items():
            if name not in self._index:
                raise ArchitectureError(f"the space has no choice {name!r}{did_you_mean(name, self._index)}")
            choice = self[name]
            if value not in choice.values:
                raise ArchitectureError(
                    f"{name!r} was asked to be {value!r}; it can be one of {choice.values}"
                )
            genes[self.index(name)] = choice.values.index(value)
        arch = self.architecture(genes)
        missing = [name for name in self.decode(arch) if name not in values]
        if missing:
            raise ArchitectureError(
                f"no value was given for {missing[0]!r}; it can be one of {self[missing[0]].values}"
            )
        return arch

    def decode(self, arch: Architecture) -> dict[str, Value]:
        """The values of the choices that matter, by name."""
        genes = self.check(arch).genes
        known = zip(self.choices, genes, self._active(genes))
        return {choice.name: choice.values[gene] for choice, gene, matters in known if matters}

    def sample(self, rng: Random) -> Architecture:
        """A random architecture: every gene uniform, then made canonical."""
        return self.architecture([rng.randrange(len(choice.values)) for choice in self.choices])

    def largest(self) -> Architecture:
        """The last value of every choice."""
        return self.architecture([len(choice.values) - 1 for choice in self.choices])

    def smallest(self) -> Architecture:
        """The first value of every choice."""
        return self.architecture([0] * len(self))

    def to_json(self) -> list[dict[str, Any]]:
        """The choices as plain JSON values; `from_json` reads them back."""
        return [
            {"name": c.name, "values": list(c.values)}
            | ({"needs": [c.needs[0], list(c.needs[1])]} if c.needs else {})
            for c in self.choices
        ]

    @classmethod
    def from_json(cls, document: Iterable[Mapping[str, Any]]) -> SearchSpace:
        """The space that `to_json` wrote."""
        return cls(
            tuple(
                Choice(
                    c["name"],
                    tuple(c["values"]),
                    (c["needs"][0], tuple(c["needs"][1])) if "needs" in c else None,
                )
                for c in document
            )
        )
