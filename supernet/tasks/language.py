"""The next byte of a text; and the standard library's own source to try it on."""

from __future__ import annotations

import hashlib
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import log
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from supernet.elastic.inputs import Inputs
from supernet.errors import DataError
from supernet.losses import Distance, divergence, label_loss
from supernet.options import DataOptions
from supernet.seeds import generator
from supernet.sources import Progress, sources
from supernet.space import Value
from supernet.tasks.task import AS_TRAINED, FreeAxes, Metric, Score, SplitName, main_tensor

BITS = Metric("bits per byte", "bits", "min")
NEXT = Metric("next byte right", "%", "max")
VOCABULARY = 256
SUFFIXES = frozenset({".txt", ".md", ".rst", ".py"})


@dataclass(frozen=True)
class LanguageModelling:
    """Token ids in, one score for every token and position out; a batch is ids ``(batch, length + 1)``.

    Args:
        length: tokens a network sees.
        vocabulary: tokens there are; a token is a byte.
    """

    length: int
    vocabulary: int = VOCABULARY
    name = "text-generation"
    measures = (BITS, NEXT)
    ranked_by = BITS
    free_axes: ClassVar[FreeAxes] = {"input": {1: "length"}}

    @property
    def network(self) -> dict[str, int]:
        """Vocabulary and length."""
        return {"vocabulary": self.vocabulary, "length": self.length}

    def example_inputs(self, values: Mapping[str, Value] = AS_TRAINED) -> Inputs:
        """Two rows of random ids ``(2, length)``."""
        rng = torch.Generator().manual_seed(0)
        return Inputs((torch.randint(self.vocabulary, (2, self.length), generator=rng),))

    def inputs(self, batch: Tensor, values: Mapping[str, Value] = AS_TRAINED) -> Inputs:
        """All tokens but the last."""
        return Inputs((batch[:, :-1],))

    def loss(
        self,
        outputs: Any,
        batch: Tensor,
        teacher: Any | None = None,
        smoothing: float = 0.0,
        distance: Distance = divergence,
    ) -> Tensor:
        """Cross-entropy with the next token; with a teacher, the distance from its answers."""
        logits = main_tensor(outputs).flatten(0, 1)
        if teacher is not None:
            return distance(logits, main_tensor(teacher).flatten(0, 1))
        return label_loss(logits, batch[:, 1:].flatten(), smoothing)

    def metrics(self, outputs: Any, batch: Tensor) -> tuple[Score, ...]:
        """Bits per byte, and the share of bytes that were the likeliest."""
        logits, targets = main_tensor(outputs).flatten(0, 1), batch[:, 1:].flatten()
        count = torch.tensor(len(targets))
        bits = F.cross_entropy(logits.float(), targets, reduction="sum").double().cpu() / log(2)
        return Score(BITS, bits, count), Score(NEXT, 100 * (logits.argmax(1) == targets).sum().cpu(), count)

    def decode(self, outputs: Any) -> list[str]:
        """The likeliest byte after each position, as text."""
        return [bytes(row).decode("utf-8", "replace") for row in main_tensor(outputs).argmax(-1).tolist()]


@dataclass(frozen=True)
class Text:
    """The bytes of many files, in three splits that share no file.

    Args:
        name: the source as it was asked for.
        length: bytes a network sees.
        splits: by name, bytes ``(bytes,)``.
        workers: see `Dataset.workers`.
    """

    name: str
    length: int
    splits: Mapping[SplitName, Tensor]
    workers: int = 0
    notes: ClassVar[tuple[str, ...]] = ()

    @cached_property
    def task(self) -> LanguageModelling:
        """The next byte."""
        return LanguageModelling(self.length)

    def count(self, split: SplitName) -> int:
        """Rows of a split that do not overlap."""
        return (len(self.splits[split]) - 1) // self.length

    def epoch_steps(self, batch_size: int) -> int:
        """Steps that see as many bytes as the train split has."""
        return max(1, self.count("train") // batch_size)

    def batch(self, step: int, batch_size: int, seed: int) -> Tensor:
        """Rows that start anywhere ``(batch, length + 1)``."""
        last = len(self.splits["train"]) - self.length - 1
        starts = torch.randint(0, last + 1, (batch_size,), generator=generator(seed, "order", step))
        return self._rows("train", starts)

    def batches(self, split: SplitName, batch_size: int, most: int | None = None) -> Iterator[Tensor]:
        """Rows that follow each other; of a split with more than ``most`` as many, spread evenly."""
        rows = torch.arange(self.count(split))
        if most is not None and most < len(rows):
            rows = torch.linspace(0, len(rows) - 1, most).long()
        for chosen in torch.split(rows, batch_size):
            yield self._rows(split, chosen * self.length)

    def calibration_batches(self, examples: int = 512, batch_size: int = 128, seed: int = 0) -> list[Tensor]:
        """Training rows in random order."""
        order = torch.randperm(self.count("train"), generator=generator(seed, "calibration"))[:examples]
        return [self._rows("train", chosen * self.length) for chosen in torch.split(order, batch_size)]

    def identity(self) -> list[Any]:
        """Name, length and a hash of the bytes."""
        digest = hashlib.sha256()
        for split in self.splits.values():
            digest.update(split.numpy().tobytes())
        return [self.name, self.length, digest.hexdigest()]

    def preprocessing(self, values: Mapping[str, Value] = AS_TRAINED) -> dict[str, Any]:
        """How text becomes an input."""
        return {"length": self.length, "tokens": "the bytes of UTF-8 text, 0 to 255"}

    def _rows(self, split: SplitName, starts: Tensor) -> Tensor:
        where = starts[:, None] + torch.arange(self.length + 1)
        return self.splits[split][where].long()


@sources.register("text")
def text(rest: str, options: DataOptions, progress: Progress) -> Text:
    """``text:PATH``, a file or a folder of texts; ``text`` alone is the standard library's own source.

    Raises:
        DataError: when there is no text, or too little for three splits.
    """
    files = _files(Path(rest).expanduser()) if rest else _files(_standard_library())
    length = options.length
    parts: dict[SplitName, list[bytes]] = {"train": [], "search": [], "test": []}
    for name, content in files:
        # Which split a file belongs to depends on its name alone, so that more files change nothing.
        share = int.from_bytes(hashlib.sha256(f"{options.split_seed}/{name}".encode()).digest()[:4]) / 2**32
        rest_of = share - options.test_share
        split: SplitName = "test" if rest_of < 0 else "search" if rest_of < options.search_share else "train"
        parts[split].append(content)
    splits = {name: _bytes(part) for name, part in parts.items()}
    for name, tokens in splits.items():
        if len(tokens) < 2 * length:
            raise DataError(
                f"the {name} split of {rest or 'the standard library'} holds {len(tokens)} bytes, fewer than two "
                f"rows of {length}; give more files, or a smaller data.length"
            )
    return Text(f"text:{rest}" if rest else "text", length, splits, options.workers)


def _bytes(parts: list[bytes]) -> Tensor:
    return torch.frombuffer(bytearray(b"\n".join(parts) or b"\n"), dtype=torch.uint8)


def _standard_library() -> Path:
    return Path(sysconfig.get_path("stdlib"))


def _files(place: Path) -> list[tuple[str, bytes]]:
    if not place.exists():
        raise DataError(f"there is no file or folder {str(place)!r}; write text:PATH, or text alone")
    if place.is_file():
        lines = place.read_bytes().splitlines(keepends=True)
        # One file is cut into pieces of a hundred lines, which are split as files are.
        return [(str(i), b"".join(lines[i : i + 100])) for i in range(0, len(lines), 100)]
    kept = [
        path
        for path in sorted(place.rglob("*"))
        if path.suffix in SUFFIXES
        and not {"site-packages", "test", "tests"} & set(path.parts[len(place.parts) :])
    ]
    if not kept:
        raise DataError(f"{place} holds no text; it can be {', '.join(sorted(SUFFIXES))}")
    return [(path.relative_to(place).as_posix(), path.read_bytes()) for path in kept]
