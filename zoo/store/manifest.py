"""What a published network says about itself: origin, measurements, and the hash of every file.

A manifest is JSON in one canonical form, so its own SHA-256 names it. It is read strictly: an unknown or
missing key is an error, because a number whose meaning was guessed is worse than none.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import msgspec

from supernet.errors import StateError
from supernet.space import Architecture, SearchSpace, Value
from supernet.versions import check_version

SCHEMA_VERSION = 2
MANIFEST_BYTES = 8 << 20
"""The most a manifest may have; nothing promises its size before it is read. Ten thousand classes take a tenth."""

DEPTH = 32
"""The most levels of lists and tables inside each other."""

MANIFEST, CARD = "manifest.json", "README.md"
FORMATS = {
    ".onnx": "onnx",
    ".safetensors": "safetensors",
    ".json": "json",
    ".toml": "toml",
    ".md": "markdown",
    ".txt": "text",
    ".png": "png",
}
"""What an entry may hold; none of it can run code when it is read, as a pickle would."""

_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,95}")
_SHA = re.compile(r"[0-9a-f]{64}")


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a manifest; plain JSON on disk."""


class FileRecord(Record, frozen=True):
    """One file of the entry.

    Args:
        path: relative to the entry, with forward slashes.
        size: in bytes.
        sha256: of its bytes.
        format: one of `FORMATS`, as the ending of the path says.
    """

    path: str
    size: int
    sha256: str
    format: str

    def __post_init__(self) -> None:
        check_path(self.path)
        check_sha256(self.sha256)
        if self.size < 0:
            raise StateError(f"{self.path!r} has the size {self.size}")
        if FORMATS.get(PurePosixPath(self.path).suffix) != self.format:
            raise StateError(f"{self.path!r} is said to be {self.format!r}; {_accepted()}")


class SpaceRecord(Record, frozen=True):
    """The search space: a ``name`` for people, the ``fingerprint`` of its choices, how many networks."""

    name: str
    fingerprint: str
    log10_size: float


class ArchitectureRecord(Record, frozen=True):
    """A point of the space: ``genes``, the ``values`` they stand for, and the hash of space and genes."""

    id: str
    genes: tuple[int, ...]
    values: dict[str, Value]
    sha256: str


class LicenceRecord(Record, frozen=True):
    """Terms, as SPDX names or in words: of the ``weights`` and of the ``data`` they were trained on."""

    weights: str
    data: str


class DatasetRecord(Record, frozen=True):
    """The data a network was trained on.

    Args:
        name: as people call them, without where they lie.
        splits: examples of each.
        preprocess: how an example becomes an input; of images, `ImagePreprocessing` as JSON values.
        classes: names, in the order of the outputs.
    """

    name: str
    splits: dict[str, int]
    preprocess: dict[str, Any]
    classes: tuple[str, ...] = ()


class RecipeRecord(Record, frozen=True):
    """How the shared weights were trained.

    Args:
        strategy: registered name.
        epochs: passes over the training split.
        restarts: epochs after which the schedule of the learning rate began anew; absent when it never did.
        seeds: of everything random.
        config_sha256: hash of the whole configuration.
        commit: of the code, where it is known.
    """

    strategy: str
    epochs: int
    seeds: tuple[int, ...]
    config_sha256: str
    restarts: tuple[int, ...] | msgspec.UnsetType = msgspec.UNSET
    commit: str | None = None


class MetricRecord(Record, frozen=True):
    """One quality: ``value`` of ``metric`` on ``n`` examples of a split, with its 95 % interval.

    The first one of a split ranks networks; ``sense`` says which way is better.
    """

    dataset: str
    split: str
    metric: str
    value: float
    unit: str
    sense: Literal["min", "max"]
    n: int
    ci: tuple[float, float] | None = None


class DeviceRecord(Record, frozen=True):
    """A latency on one device.

    Args:
        device: the identity, `hardware.device.Device.to_json`; its ``id`` and ``name`` are searched for.
        median_ms: measured.
        p10_ms: tenth percentile of single runs.
        p90_ms: ninetieth percentile of single runs.
        runs: how many counted.
        date: when, UTC.
        method: how.
        predicted_ms: what the predictor had said before it was measured.
    """

    device: dict[str, Any]
    median_ms: float
    p10_ms: float
    p90_ms: float
    runs: int
    date: str
    method: str
    predicted_ms: float | None = None

    def __post_init__(self) -> None:
        if not all(isinstance(self.device.get(key), str) for key in ("id", "name")):
            raise StateError("a device needs an 'id' and a 'name'")


class TensorRecord(Record, frozen=True):
    """An input or output of the exported file; an axis of any length has a name in place of a size."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


class CalibrationRecord(Record, frozen=True):
    """How normalisation statistics were re-estimated: on ``examples`` of a ``split``, by which ``method``."""

    split: str
    examples: int
    method: str


class ParityRecord(Record, frozen=True):
    """Largest difference between PyTorch and the exported file, absolute and over the largest output."""

    runtime: str
    max_abs: float
    max_relative: float
    batches: tuple[int, ...]


class Manifest(Record, frozen=True):
    """All that is known of an entry.

    Args:
        id: unique in its store; lower-case letters, digits, dots, dashes, underscores.
        kind: whether it holds shared weights or one network.
        task: what it is for, as model hubs call it: ``image-classification``.
        parent: id or weight hash of the supernet it was cut from; None for a supernet.
        weights_sha256: `hardware.export.weight_hash` of its parameters and buffers.
        costs: exact counts, at least ``params``.
        versions: of the libraries that made it.
        opset: of the ONNX file, None when there is none.
        inputs: what the ONNX file takes, in its order.
        outputs: what it answers.

    Raises:
        StateError: when read from a document with an unknown, missing or wrong key (`parse`).
    """

    id: str
    kind: Literal["supernet", "subnet"]
    task: str
    space: SpaceRecord
    architecture: ArchitectureRecord
    weights_sha256: str
    files: tuple[FileRecord, ...]
    licences: LicenceRecord
    dataset: DatasetRecord
    recipe: RecipeRecord
    metrics: tuple[MetricRecord, ...]
    costs: dict[str, float]
    versions: dict[str, str]
    parent: str | None = None
    devices: tuple[DeviceRecord, ...] = ()
    calibration: CalibrationRecord | None = None
    parity: ParityRecord | None = None
    opset: int | None = None
    inputs: tuple[TensorRecord, ...] = ()
    outputs: tuple[TensorRecord, ...] = ()
    date: str = ""
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        check_id(self.id)
        if self.architecture != architecture_record(
            self.space.fingerprint, self.architecture.genes, self.architecture.values
        ):
            raise StateError("the genes of the architecture do not have its id and sha256")
        paths = [file.path for file in self.files]
        if len(set(paths)) < len(paths):
            raise StateError("a file is listed twice")
        if MANIFEST in paths:
            raise StateError(f"{MANIFEST!r} is listed among the files that it describes")
        if "params" not in self.costs:
            raise StateError("the costs lack 'params'")

    def file(self, ending: str) -> FileRecord:
        """The first file with that ending, for example ``".onnx"``.

        Raises:
            StateError: when there is none.
        """
        for file in self.files:
            if file.path.endswith(ending):
                return file
        raise StateError(
            f"{self.id} holds no *{ending}; it has {', '.join(file.path for file in self.files)}"
        )

    def metric(self, name: str | None = None, split: str = "test") -> MetricRecord | None:
        """A metric on a split, the first one when no name is given; None when it was not taken."""
        taken = (m for m in self.metrics if m.split == split)
        return next((m for m in taken if name in (None, m.metric)), None)

    def latency(self, device: str) -> DeviceRecord | None:
        """What is known on the device of that id or name, None when nothing is."""
        return next((d for d in self.devices if device in (d.device["id"], d.device["name"])), None)

    def to_bytes(self) -> bytes:
        """The canonical JSON, as UTF-8: keys sorted, one to a line."""
        # through the types once, so that a whole number given for a float is written as it will be read
        plain = msgspec.to_builtins(msgspec.convert(msgspec.to_builtins(self), Manifest))
        text = json.dumps(plain, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
        return text.encode() + b"\n"

    @property
    def sha256(self) -> str:
        """Of the canonical JSON."""
        return hashlib.sha256(self.to_bytes()).hexdigest()


def parse(content: bytes, where: str) -> Manifest:
    """The manifest in a file.

    Args:
        where: what to call it in messages.

    Raises:
        StateError: when it is no JSON, of another version, or for an unknown, missing or wrong key, which
            is named.
    """
    check_schema(content, SCHEMA_VERSION, f"the manifest {where}", "publish the entry anew")
    try:
        return msgspec.json.decode(content, type=Manifest)
    except msgspec.DecodeError as error:
        raise StateError(f"{where} is no valid manifest: {error}") from error


def check_schema(content: bytes, reads: int, what: str, older: str) -> None:
    """Refuse JSON of another version by its version, not by the first key that one added or dropped.

    Raises:
        StateError: for another version, or more levels than `DEPTH`; what is no JSON object is left to the decoder.
    """
    try:
        document = msgspec.json.decode(content)
    except msgspec.DecodeError:
        return
    except RecursionError:
        document = None
    if document is None or _is_deeper(document, DEPTH):
        raise StateError(f"{what} is damaged: its JSON is nested more than {DEPTH} levels deep; {older}")
    if isinstance(document, dict):
        check_version(
            {"schema_version": reads} | document, reads, what=what, older=older, key="schema_version"
        )


def _is_deeper(document: object, levels: int) -> bool:
    inner = (
        document.values() if isinstance(document, dict) else document if isinstance(document, list) else ()
    )
    return levels < 0 or any(_is_deeper(value, levels - 1) for value in inner)


def architecture_record(space: str, genes: Sequence[int], values: Mapping[str, Value]) -> ArchitectureRecord:
    """The record of genes in the space with that fingerprint; its hash begins with `Architecture.id`."""
    sha256 = hashlib.sha256(json.dumps([space, tuple(genes)]).encode()).hexdigest()
    return ArchitectureRecord(id=sha256[:12], genes=tuple(genes), values=dict(values), sha256=sha256)


def describe_architecture(space: SearchSpace, arch: Architecture) -> ArchitectureRecord:
    """The record of an architecture."""
    return architecture_record(space.fingerprint, arch.genes, space.decode(arch))


def describe_file(path: Path, name: str | None = None) -> FileRecord:
    """Size and hash of a file, under the name it will have in the entry.

    Raises:
        StateError: when it cannot be read, or its ending is not one of `FORMATS`.
    """
    name = name or path.name
    try:
        return FileRecord(
            path=name,
            size=path.stat().st_size,
            sha256=hash_file(path),
            format=FORMATS.get(PurePosixPath(name).suffix, "unknown"),
        )
    except OSError as error:
        raise StateError(f"cannot read {path}: {error.strerror}") from error


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_id(entry: str) -> str:
    """The id itself, when it may name an entry.

    Raises:
        StateError: otherwise.
    """
    if not _ID.fullmatch(entry):
        raise StateError(f"{entry!r} is no id; use lower-case letters, digits, dots, dashes and underscores")
    return entry


def check_sha256(digest: str) -> str:
    """The hash itself, when it is one; files are named after it.

    Raises:
        StateError: otherwise.
    """
    if not _SHA.fullmatch(digest):
        raise StateError(f"{digest!r} is no SHA-256; 64 digits and letters from a to f are accepted")
    return digest


def check_path(path: str) -> str:
    """The path itself, when it stays inside its entry and may be published.

    Raises:
        StateError: for an absolute path, one that climbs out or cannot be shown, or a kind of file that is refused.
    """
    if not path.isprintable():
        raise StateError(
            f"the path {path!r} holds what cannot be printed; use letters, digits, dots and dashes"
        )
    parts = path.split("/")
    if (
        path.startswith("/")
        or "\\" in path
        or ":" in path
        or not all(p not in ("", ".", "..") for p in parts)
    ):
        raise StateError(f"the path {path!r} leaves its entry; use a relative one without '..'")
    if parts[-1].startswith(".") or PurePosixPath(path).suffix not in FORMATS:
        raise StateError(f"the file {path!r} is refused; {_accepted()}")
    return path


def _accepted() -> str:
    return f"accepted are {', '.join(sorted(FORMATS))}"


def names(files: Iterable[FileRecord]) -> str:
    """The paths of files, for messages."""
    return ", ".join(file.path for file in files) or "none"
