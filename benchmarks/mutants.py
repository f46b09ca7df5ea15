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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
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
DECLARED, WARM = Path(__file__).with_suffix(".toml"), Path(__file__).with_name("warm.py")
WORKERS = 2
LIBRARIES = (
    *("torch", "torch.onnx", "torch.export", "torch.utils.flop_counter", "torchvision", "timm", "timm.optim"),
    *(
        "numpy",
        "scipy.stats",
        "sklearn.datasets",
        "sklearn.linear_model",
        "networkx",
        "msgspec",
        "safetensors.torch",
    ),
    *("pymoo.algorithms.moo.nsga2", "pymoo.indicators.hv", "onnx", "onnx_ir", "onnxruntime", "onnxscript"),
    *("matplotlib.figure", "typer.testing", "rich.table", "PIL.Image"),
)
"""What takes seconds to import, and is imported once."""
BY_THE_CLOCK = 20
"""Seconds by the clock for each second of processor time that a run of tests may take."""

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
    libraries: Sequence[str] = LIBRARIES,
) -> Iterator[Trial]:
    """Every fault in turn, as their tests end.

    Args:
        mutants: by name.
        root: of the working tree, which is not touched.
        cpu_seconds: processor time of one run of tests, at most.
        journal: what an earlier run found out on the same tree, and where this one goes on.
        everything: whether the rest of the package's tests runs where the likeliest find nothing.
        libraries: to import before the first test; what is not installed is left out.

    Raises:
        ConfigError: for a fault that does not fit the code.
        SupernetError: when a test fails without any fault.
        StateError: when the journal is of another tree.
    """
    for mutant in mutants.values():
        mutant.applied(root)
    known: dict[str, Trial] = {}
    with TemporaryDirectory(prefix="mutants-") as place, ExitStack() as stack:
        first = copied(root, Path(place) / "tree0")
        lines: LineFile | None = None
        if journal is not None:
            read = _reader(mutants, known)
            lines = stack.enter_context(
                LineFile(journal, {"tree": digest(first)}, read, what="journal of faults")
            )
        yield from known.values()
        due = {name: mutant for name, mutant in mutants.items() if name not in known}
        if not due:
            return
        others = [shutil.copytree(first, first.with_name(f"tree{i}")) for i in range(1, WORKERS)]
        free = SimpleQueue[Tree]()
        for path in (first, *others):
            free.put(stack.enter_context(Tree(path, cpu_seconds, libraries)))
        pool = stack.enter_context(ThreadPoolExecutor(WORKERS))
        _check_likeliest(due.values(), free, pool)
        jobs = [pool.submit(_try, name, mutant, free, everything) for name, mutant in due.items()]
        for job in as_completed(jobs):
            trial = job.result()
            if lines is not None:
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


def _check_likeliest(mutants: Iterable[Mutant], free: SimpleQueue[Tree], pool: Executor) -> None:
    """Make sure that the likeliest tests pass without any fault, or their failing would say nothing."""

    def check(tests: Sequence[str]) -> None:
        """Run some on a tree that is free."""
        tree = free.get()
        try:
            tree.check(tests)
        finally:
            free.put(tree)

    tests = sorted({test for mutant in mutants for test in mutant.tests})
    # Of a file that is run whole, its single tests are run with it.
    whole = [test for test in tests if "::" not in test or test.partition("::")[0] not in tests]
    list(pool.map(check, filter(None, (whole[i::WORKERS] for i in range(WORKERS)))))


def _try(name: str, mutant: Mutant, free: SimpleQueue[Tree], everything: bool) -> Trial:
    tree, start = free.get(), time.monotonic()
    try:
        with tree.broken(mutant):
            outcome, by = tree.tested(mutant.tests)
            likely = outcome != "survived"
            if not likely and everything:
                outcome, by = tree.tested([mutant.rest], without=mutant.tests)
        if not likely and outcome == "caught":
            tree.check([by])
    finally:
        free.put(tree)
    return Trial(name, outcome, by, round(time.monotonic() - start, 1))


class Tree:
    """A copy of the working tree to put faults into, beside a process that has imported the libraries.

    A context manager, which ends that process.

    Args:
        path: of the copy.
        cpu_seconds: processor time of one run of tests, at most.
        libraries: to import.
    """

    def __init__(self, path: Path, cpu_seconds: int, libraries: Sequence[str]) -> None:
        self.path, self.cpu_seconds = path, cpu_seconds
        settings = {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        self._process = subprocess.Popen(
            [sys.executable, str(WARM), *libraries],
            cwd=path, env=os.environ | settings, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def __enter__(self) -> Tree:
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.terminate()
        self._process.wait()

    @contextmanager
    def broken(self, mutant: Mutant) -> Iterator[None]:
        """The fault is in the tree for as long as the block lasts."""
        path = self.path / mutant.file
        before, stamp = path.read_bytes(), path.stat()
        try:
            path.write_text(mutant.applied(self.path), encoding="utf-8")
            # Of another second, or the compiled file beside it would be taken for that of the fault.
            os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 10_000_000_000))
            yield
        finally:
            path.write_bytes(before)
            # The compiled file beside it is of that moment, and holds again.
            os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))

    def check(self, tests: Sequence[str]) -> None:
        """Make sure that tests pass.

        Raises:
            SupernetError: naming the one that fails.
        """
        outcome, by = self.tested(tests, patience=10)
        if outcome != "survived":
            raise SupernetError(
                f"{by or 'a test'} fails or takes too long without any fault; mend that first"
            )

    def tested(
        self, tests: Sequence[str], *, without: Sequence[str] = (), patience: int = 1
    ) -> tuple[Outcome, str]:
        """Run quick tests until one fails, and say which.

        Args:
            tests: files, folders or single tests.
            without: those of them that do not run.
            patience: how many times the usual processor time they may take.

        Raises:
            SupernetError: when pytest could not run them at all.
        """
        said = self.path.with_suffix(".said")
        words = ["-x", "-q", "-n", "0", "-m", "not slow", "-p", "no:cacheprovider"]
        words += [f"--basetemp={self.path}.tests", *(f"--deselect={test}" for test in without), *tests]
        run = {
            "tree": str(self.path),
            "words": words,
            "said": str(said),
            "cpu_seconds": self.cpu_seconds * patience,
            "seconds": self.cpu_seconds * patience * BY_THE_CLOCK,
        }
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(run) + "\n")
        self._process.stdin.flush()
        status = int(self._process.stdout.readline())
        if status in (-signal.SIGXCPU, -signal.SIGKILL):
            return "timed_out", ""
        if status == 0:
            return "survived", ""
        text = said.read_text(encoding="utf-8", errors="replace")
        failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", text, re.MULTILINE)
        if status == 1 and failed:
            return "caught", failed[0]
        raise SupernetError(f"pytest cannot run {' '.join(tests)} (it ends with {status}):\n{text[-2000:]}")


if __name__ == "__main__":
    main()
