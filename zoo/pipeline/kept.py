"""What a run holds so far, in words: for whoever goes on with it, or stops it."""

from __future__ import annotations

from pathlib import Path

from hardware.measurement import Profile
from search.archive import known_networks
from supernet.checkpoint import read_document
from supernet.elastic.storage import WEIGHTS
from supernet.errors import StateError
from supernet.trainer import CHECKPOINT
from supernet.wording import counted
from zoo.pipeline.run import JOURNAL, PROFILE as MEASURED, Run
from zoo.pipeline.searching import ARCHIVE
from zoo.store.manifest import hash_file

TRAINING, PROFILE, SEARCH = "training", "profile", "search"


def kept(run: Run) -> dict[str, str]:
    """How far each step has come, in words, by its name; a step that left nothing is left out.

    What cannot be read counts as nothing: the step itself will say what is wrong with it.
    """
    found = {TRAINING: _training(run), PROFILE: _profiles(run), SEARCH: _search(run)}
    return {step: words for step, words in found.items() if words}


def weights_of(run: Run) -> str | None:
    """The hash of the trained weights; None when there are none."""
    path = run.supernet / WEIGHTS
    return hash_file(path) if path.exists() else None


def _training(run: Run) -> str:
    try:
        document = read_document(run.training / CHECKPOINT)
    except StateError:
        return "the trained supernet" if (run.supernet / WEIGHTS).exists() else ""
    epochs = counted(run.options.train.epochs, "epoch")
    return f"training up to step {document['step']} ({len(document['history'])} of {epochs})"


def _profiles(run: Run) -> str:
    found = {name: _profile(run.profile_on(name)) for name in ("", *run.devices)}
    return ", ".join(f"{words} on {name}" if name else words for name, words in found.items() if words)


def _profile(folder: Path) -> str:
    try:
        measured = Profile.load(folder / MEASURED)
    except StateError:
        windows = _lines(folder / JOURNAL)
        return f"{counted(windows, 'window')} of the profile" if windows else ""
    return f"a profile of {counted(len(measured.measurements), 'subnet')}"


def _search(run: Run) -> str:
    evaluated = sum(known_networks(path) for path in run.search.glob(f"*{ARCHIVE}"))
    return f"{counted(evaluated, 'network')} of the search" if evaluated else ""


def _lines(path: Path) -> int:
    """Lines of a `supernet.lines.LineFile` below its heading."""
    try:
        with path.open("rb") as file:
            return max(sum(1 for line in file if line.endswith(b"\n")) - 1, 0)
    except OSError:
        return 0
