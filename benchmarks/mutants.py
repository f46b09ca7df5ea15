"""Whether the tests bite: one deliberate fault at a time, and whether what CI runs finds it.

    python -m benchmarks.mutants [--only PATTERN] [--journal FILE] [--quick] [--json FILE]

``benchmarks/mutants.toml`` declares the faults: a wrong sign, a seed that is ignored, a limit turned round, the hash
of another file. Each is put into a copy of the working tree, and the quick tests run there until one fails: first
those that are most likely to, then the rest of the package's. ``tried`` and ``caught`` count faults, ``share`` is
the one over the other; a fault whose tests ran out of time is not counted as caught.

A fault that no longer fits the code ends the run, and so does a test that fails without any fault: neither would say
anything. With ``--journal`` a run that was stopped goes on where it was, as long as the tree is the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from typing import Any, Literal

from benchmarks.contract import Result, arguments
from supernet.config import decode
from supernet.errors import ConfigError, SupernetError, did_you_mean
from supernet.lines import LineFile

ROOT = Path(__file__).resolve().parents[1]
DECLARED = Path(__file__).with_suffix(".toml")
WORKERS = 2
PATIENCE = 20
"""Seconds by the clock for each second of processor time a test run may take, before it is given up."""

Outcome = Literal["caught", "survived", "timed_out"]


@dataclass(frozen=True)
class Mutant:
    """One deliberate fault.

    Args:
        file: where it is, from the root of the repository.
        breaks: what is wrong then, in words.
        old: a piece of that file, found there once.
        new: what takes its place.
        tests: files or single tests that are most likely to find it.
    """

    file: str
    breaks: str
    old: str
    new: str
    tests: tuple[str, ...]

    @property
    def rest(self) -> str:
        """The folder of the tests of its package."""
        return f"tests/{self.file.partition('/')[0]}"

    def applied(self, root: Path) -> str:
        """The text of the file with the fault.

        Raises:
            ConfigError: when the file does not hold the old piece exactly once, or a test is not there.
        """
        path = root / self.file
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        if (count := text.count(self.old)) != 1:
            raise ConfigError(
                f"the fault {self.breaks!r} looks for {self.old!r} in {self.file}, which holds it {count} times; "
                f"adapt it in {DECLARED.name}"
            )
        for test in self.tests:
            file, _, name = test.partition("::")
            there = (root / file).read_text(encoding="utf-8") if (root / file).is_file() else ""
            if not (there and f"def {name.partition('[')[0]}" in there) and not (root / file).is_dir():
                raise ConfigError(f"the fault {self.breaks!r} names the test {test}, which is not there")
        return text.replace(self.old, self.new)


@dataclass(frozen=True)
class Trial:
    """What became of one fault.

    Args:
        name: of the fault.
        outcome: whether a test failed.
        by: which one.
        seconds: the tests took, by the clock.
    """

    name: str
    outcome: Outcome
    by: str
    seconds: float


def main() -> None:
    """Run the benchmark."""
    parser = arguments("mutants", __doc__.partition("\n")[0])
    parser.add_argument(
        "--only", metavar="PATTERN", default="*", help="names or files of faults, e.g. 'search/*'"
    )
    parser.add_argument(
        "--journal", type=Path, metavar="FILE", help="keep what is known here, and go on from it"
    )
    parser.add_argument("--cpu-seconds", type=int, default=300, help="processor time of one run of tests")
    args = parser.parse_args()
    mutants = chosen(declared(), "search/front.py" if args.quick else args.only)
    result = Result("mutants", vars(args), columns=("name", "breaks", "outcome", "by", "seconds"))
    for trial in tried(mutants, ROOT, args.cpu_seconds, args.journal, everything=not args.quick):
        mutant = mutants[trial.name]
        result.rows.append({**asdict(trial), "breaks": mutant.breaks, "file": mutant.file})
        print(
            f"{len(result.rows)} of {len(mutants)}: {trial.name}: {trial.outcome} {trial.by}", file=sys.stderr
        )
    order = list(mutants)
    result.rows.sort(key=lambda row: order.index(row["name"]))
    for outcome in ("caught", "survived", "timed_out"):
        result.figures[outcome] = sum(row["outcome"] == outcome for row in result.rows)
    result.figures["tried"] = len(result.rows)
    result.figures["share"] = result.figures["caught"] / len(result.rows)
    result.finish(args.json)


def declared(path: Path = DECLARED) -> dict[str, Mutant]:
    """The faults by name, in the order of the file.

    Raises:
        ConfigError: for an unknown or missing key.
    """
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    return {name: decode(entry, Mutant, name) for name, entry in document.items()}


def chosen(mutants: Mapping[str, Mutant], pattern: str) -> dict[str, Mutant]:
    """Those whose name or file fits a pattern of the shell.

    Raises:
        ConfigError: when there is none.
    """
    found = {
        name: mutant
        for name, mutant in mutants.items()
        if fnmatch(name, pattern) or fnmatch(mutant.file, pattern)
    }
    if not found:
        raise ConfigError(f"no fault has the name or file {pattern!r}{did_you_mean(pattern, mutants)}")
    return found


def tried(
    mutants: Mapping[str, Mutant],
    root: Path,
    cpu_seconds: int,
    journal: Path | None = None,
    *,
    everything: bool = True,
) -> Iterable[Trial]:
    """Every fault in turn, as their tests end.

    Args:
        mutants: by name.
        root: of the working tree, which is not touched.
        cpu_seconds: processor time of one run of tests, at most.
        journal: what an earlier run found out on the same tree, and where this one goes on.
        everything: whether the rest of the package's tests runs where the likeliest find nothing.

    Raises:
        ConfigError: for a fault that does not fit the code.
        SupernetError: when a test fails without any fault.
        StateError: when the journal is of another tree.
    """
    for mutant in mutants.values():
        mutant.applied(root)
    known: dict[str, Trial] = {}
    with TemporaryDirectory(prefix="mutants-") as place:
        clean = copied(root, Path(place) / "clean")
        heading = {"tree": digest(clean)}
        lines = (
            LineFile(journal, heading, _reader(mutants, known), what="journal of faults") if journal else None
        )
        with lines or nullcontext():
            yield from known.values()
            due = {name: mutant for name, mutant in mutants.items() if name not in known}
            if not due:
                return
            _check_clean(
                clean, sorted({test for mutant in due.values() for test in mutant.tests}), cpu_seconds
            )
            trees = SimpleQueue[Path]()
            for i in range(WORKERS):
                trees.put(Path(shutil.copytree(clean, Path(place) / f"tree{i}")))
            with ThreadPoolExecutor(WORKERS) as pool:
                jobs = [
                    pool.submit(_try, *pair, trees, clean, cpu_seconds, everything) for pair in due.items()
                ]
                for job in as_completed(jobs):
                    trial = job.result()
                    if lines:
                        lines.append(asdict(trial) | {"fault": _print(mutants[trial.name])})
                    yield trial


def _reader(mutants: Mapping[str, Mutant], known: dict[str, Trial]) -> Any:
    """Takes from a journal what is known of faults that are still the same."""

    def read(line: dict[str, Any]) -> None:
        fault, trial = line.pop("fault"), Trial(**line)
        if trial.name in mutants and _print(mutants[trial.name]) == fault:
            known[trial.name] = trial

    return read


def _print(mutant: Mutant) -> str:
    """A hash of all that a fault is."""
    return hashlib.sha256(json.dumps(asdict(mutant)).encode()).hexdigest()[:16]


def copied(root: Path, to: Path) -> Path:
    """What git knows or would take of a working tree, compiled, so that a run of tests begins sooner."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (root / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, to / name)
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(to)], check=False)
    return to


def digest(tree: Path) -> str:
    """A hash of the code and the tests of a tree, the benchmarks left out."""
    found = hashlib.sha256()
    for path in sorted(tree.rglob("*.py")):
        name = path.relative_to(tree).as_posix()
        if not name.startswith("benchmarks/"):
            found.update(name.encode() + b"\0" + path.read_bytes())
    return found.hexdigest()


def _try(
    name: str, mutant: Mutant, trees: SimpleQueue[Path], clean: Path, cpu_seconds: int, everything: bool
) -> Trial:
    tree, start = trees.get(), time.monotonic()
    path = tree / mutant.file
    before, stamp = path.read_bytes(), path.stat()
    try:
        path.write_text(mutant.applied(tree), encoding="utf-8")
        outcome, by = tested(tree, mutant.tests, cpu_seconds)
        if outcome == "survived" and everything:
            outcome, by = tested(tree, [mutant.rest], cpu_seconds, without=mutant.tests)
            if outcome == "caught":
                _check_clean(clean, [by], cpu_seconds)
    finally:
        path.write_bytes(before)
        # The compiled file beside it is of that moment, and holds again.
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        trees.put(tree)
    return Trial(name, outcome, by, round(time.monotonic() - start, 1))


def _check_clean(clean: Path, tests: Sequence[str], cpu_seconds: int) -> None:
    outcome, by = tested(clean, tests, 10 * cpu_seconds)
    if outcome != "survived":
        raise SupernetError(f"{by or 'a test'} fails or takes too long without any fault; mend that first")


def tested(
    tree: Path, tests: Sequence[str], cpu_seconds: int, without: Sequence[str] = ()
) -> tuple[Outcome, str]:
    """Run quick tests in a tree until one fails, and say which.

    Raises:
        SupernetError: when pytest could not run them at all.
    """
    words = [
        "-x",
        "-q",
        "-n",
        "0",
        "-m",
        "not slow",
        "-p",
        "no:cacheprovider",
    ]
    words += [f"--basetemp={tree}.tests", *(f"--deselect={test}" for test in without), *tests]
    limited = [
        "sh",
        "-c",
        'ulimit -t "$0"; exec "$@"',
        str(cpu_seconds),
        sys.executable,
        "-m",
        "pytest",
        *words,
    ]
    settings = {
        "PYTHONPATH": str(tree),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "200",
    }
    process = subprocess.Popen(
        limited, cwd=tree, env=os.environ | settings, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        said, _ = process.communicate(timeout=PATIENCE * cpu_seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return "timed_out", ""
    if process.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        return "timed_out", ""
    if process.returncode == 0:
        return "survived", ""
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", said, re.MULTILINE)
    if process.returncode == 1 and failed:
        return "caught", failed[0]
    raise SupernetError(
        f"pytest cannot run {' '.join(tests)} (it ends with {process.returncode}):\n{said[-2000:]}"
    )


if __name__ == "__main__":
    main()
