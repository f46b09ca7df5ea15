"""The console command ``supernet``. Nothing heavy is imported until a command runs."""

from __future__ import annotations

import json
import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from search.options import LIMITS, check_limit
from supernet.errors import SupernetError
from supernet.plain import plain
from supernet.wording import counted
from zoo.cli.session import Session, Stopped, as_typed, heed_signals, in_session

if TYPE_CHECKING:
    from zoo.pipeline.run import Run
    from zoo.store import Store

app = typer.Typer(
    help="Train a supernet once, search its Pareto subnets for each device, pull them as ONNX.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
zoo_app = typer.Typer(help="Published subnets: list, pull, try out, verify.", no_args_is_help=True)
app.add_typer(zoo_app, name="zoo")

RunFolder = Annotated[
    str | None,
    typer.Option(
        "--run", help="Folder of the run, made when it is not there; the one used last in runs/ otherwise."
    ),
]
Config = Annotated[
    Path | None, typer.Option("--config", help="TOML file with the options of the run (configs/ has some).")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="One option, as section.key=value; may be repeated.", metavar="KEY=VALUE"),
]
Data = Annotated[
    str | None,
    typer.Option("--data", help="digits | folder:PATH | torchvision:NAME@ROOT | scattered | text:PATH"),
]


def _limit(param: typer.CallbackParam, value: float | None) -> float | None:
    return check_limit(param.opts[0], value)


MaxLatency = Annotated[
    float | None,
    typer.Option("--max-latency-ms", help="Limit on the latency, in milliseconds.", callback=_limit),
]
MaxParams = Annotated[
    float | None, typer.Option("--max-params", help="Limit on the number of parameters.", callback=_limit)
]
NoLimits = Annotated[
    bool, typer.Option("--no-limits", help="Forget the limits an earlier command gave this run.")
]
StoreAt = Annotated[
    str | None, typer.Option("--store", help="Folder or address of the zoo; the one of --run otherwise.")
]

Entry = Annotated[str, typer.Argument(help="Id of an entry, or the folder it was pulled into.")]


@app.command()
@in_session
def quickstart(
    session: Session,
    run: RunFolder = "runs/quickstart",
    config: Config = None,
    data: Data = None,
    set_: Set = None,
    max_latency_ms: MaxLatency = None,
    max_params: MaxParams = None,
    no_limits: NoLimits = False,
) -> None:
    """The whole road in minutes: train, profile this machine, search, export, publish, pull."""
    from zoo.cli.quickstart import quickstart as walk

    opened = _open(session, run, config, data, set_, max_latency_ms, max_params, no_limits)
    walk(opened, session.narrator, as_typed())


@app.command()
@in_session
def train(
    session: Session, run: RunFolder = None, config: Config = None, data: Data = None, set_: Set = None
) -> None:
    """Train the shared weights; goes on where it stopped."""
    from zoo.cli.printing import print_data, print_kept
    from zoo.pipeline.kept import TRAINING
    from zoo.pipeline.steps import read, train as step

    opened, narrator = _open(session, run, config, data, set_, first="default"), session.narrator
    print_kept(opened, TRAINING, narrator)
    with narrator.progress() as progress:
        dataset = read(opened, progress)
    print_data(dataset, narrator)
    with narrator.progress() as progress:
        trainer = step(opened, progress, dataset)
    narrator.say(
        f"10^{trainer.supernet.space.log10_size:.1f} networks after {counted(len(trainer.history), 'epoch')}; "
        f"on the search split: {trainer.words()}."
    )
    narrator.say(f"{opened.supernet} holds the supernet. Next: {opened.command('profile')}")


@app.command()
@in_session
def profile(session: Session, run: RunFolder = None, config: Config = None, set_: Set = None) -> None:
    """Time some subnets on this machine and fit a latency predictor."""
    from zoo.cli.printing import print_kept, print_profile
    from zoo.pipeline.kept import PROFILE
    from zoo.pipeline.steps import opened, profile_device

    workspace, narrator = opened(_open(session, run, config, None, set_)), session.narrator
    print_kept(workspace.run, PROFILE, narrator)
    with narrator.progress() as progress:
        known = profile_device(workspace, progress)
    print_profile(known, narrator)
    narrator.say(f"Next: {workspace.run.command('search')}")


@app.command()
@in_session
def search(
    session: Session,
    run: RunFolder = None,
    config: Config = None,
    set_: Set = None,
    max_latency_ms: MaxLatency = None,
    max_params: MaxParams = None,
    no_limits: NoLimits = False,
) -> None:
    """Search the Pareto front of accuracy, latency and parameters, within limits."""
    from zoo.cli.printing import print_front, print_kept, print_limits
    from zoo.pipeline.kept import SEARCH
    from zoo.pipeline.steps import opened, profiled, search_front

    workspace = opened(_open(session, run, config, None, set_, max_latency_ms, max_params, no_limits))
    known, narrator = profiled(workspace), session.narrator
    print_limits(workspace.run.options.search, narrator)
    print_kept(workspace.run, SEARCH, narrator)
    with narrator.progress() as progress:
        searched = search_front(workspace, known, progress)
    print_front(searched, narrator)
    narrator.say(f"Next: {workspace.run.command('export')}")


@app.command()
@in_session
def export(
    session: Session,
    run: RunFolder = None,
    config: Config = None,
    set_: Set = None,
    arch: Annotated[
        list[str] | None, typer.Option("--arch", help="Id of an evaluated network; may be repeated.")
    ] = None,
    publish: Annotated[bool, typer.Option(help="Also publish to the zoo of the run.")] = True,
    max_latency_ms: MaxLatency = None,
    max_params: MaxParams = None,
    no_limits: NoLimits = False,
) -> None:
    """Cut subnets out as ONNX, check, time and judge them, and publish them."""
    from zoo.cli.printing import print_limits, print_proofs
    from zoo.pipeline.entries import publish_proofs
    from zoo.pipeline.prove import prove
    from zoo.pipeline.steps import opened, pick, profiled

    workspace = opened(_open(session, run, config, None, set_, max_latency_ms, max_params, no_limits))
    known, narrator = profiled(workspace), session.narrator
    if not arch:
        print_limits(workspace.run.options.search, narrator)
    chosen = pick(workspace, known, arch or [])
    with narrator.progress() as progress:
        proofs = prove(workspace, known, chosen, progress)
    print_proofs(proofs, narrator)
    for proof in proofs:
        narrator.say(f"{proof.name}: {proof.onnx.path}")
    if publish:
        entries = publish_proofs(workspace, proofs, known.profile)
        narrator.say(f"published in {workspace.run.store}: {', '.join(entry.id for entry in entries)}")


@zoo_app.command("list")
@in_session
def list_(
    session: Session,
    run: RunFolder = None,
    store: StoreAt = None,
    device: Annotated[
        str | None, typer.Option(help="Only what was measured on this device (id or name).")
    ] = None,
    max_latency_ms: MaxLatency = None,
) -> None:
    """What a zoo holds."""
    from zoo.cli.printing import entry_rows, limits
    from zoo.store.pull import manifests

    source = _store(run, store)
    rows = entry_rows(manifests(source), device, max_latency_ms)
    within = f" with {limits(max_latency_ms, None)}" if max_latency_ms is not None else ""
    session.narrator.table(f"{source.address}: {counted(len(rows), 'entry', 'entries')}{within}", rows)


@zoo_app.command()
@in_session
def pull(
    session: Session,
    entry: Annotated[
        str | None, typer.Argument(help="Id of an entry; the best one within the limits otherwise.")
    ] = None,
    run: RunFolder = None,
    store: StoreAt = None,
    into: Annotated[str | None, typer.Option(help="Folder to put the files in; the cache otherwise.")] = None,
    device: Annotated[str | None, typer.Option(help="Id or name of the device the limit is about.")] = None,
    max_latency_ms: MaxLatency = None,
    max_params: MaxParams = None,
) -> None:
    """Fetch an entry by its id, or the most accurate one within limits; every hash is checked."""
    from zoo.pipeline.run import folder_named
    from zoo.store.load import load_onnx
    from zoo.store.pull import best, manifests, pull as fetch

    folder = None if into is None else folder_named(into, "--into")
    source, narrator = _store(run, store), session.narrator
    if entry is None:
        known = manifests(source)
        entry = best(known, device=device, max_latency_ms=max_latency_ms, max_params=max_params).id
    with narrator.progress() as progress:
        pulled = fetch(source, entry, into=folder, progress=partial(progress, "pulling"))
    load_onnx(pulled)
    narrator.say(
        f"{pulled.manifest.id}: {counted(len(pulled.files), 'file')} in {pulled.folder}, every hash checked."
    )
    narrator.say(f"ONNX Runtime opens {pulled.path('.onnx')}.")


@zoo_app.command()
@in_session
def verify(session: Session, run: RunFolder = None, store: StoreAt = None) -> None:
    """Read every byte of a zoo and compare it with what was published."""
    from supernet.errors import StateError
    from zoo.store.verify import verify as check

    found = check(_store(run, store))
    for damage in found.damaged:
        session.narrator.say(str(damage))
    if found.damaged:
        raise StateError(
            f"damaged, missing or not listed: {counted(len(found.damaged), 'file')}, named above; "
            f"publish or copy the entries anew"
        )
    session.narrator.say(
        f"{counted(found.entries, 'entry', 'entries')}, {counted(found.files, 'file')}, {found.bytes:,} bytes: "
        f"every byte is as the index says."
    )
    session.narrator.say(
        f"Not to be known without a signature: {found.unseen}. "
        f"Compare with the publisher's: sha256 of index.json {found.index_sha256}"
    )


@zoo_app.command()
@in_session
def reindex(session: Session, run: RunFolder = None, store: StoreAt = None) -> None:
    """Write the index of a zoo in a folder anew, from the entries that are there."""
    from supernet.errors import StateError
    from zoo.store import LocalStore

    source = _store(run, store)
    if not isinstance(source, LocalStore):
        raise StateError(f"{source.address} can only be read; name the folder it is served from")
    count = len(source.reindex().entries)
    session.narrator.say(f"{source.address}: {counted(count, 'entry', 'entries')} in its index.")


@zoo_app.command()
@in_session
def demo(
    session: Session,
    entry: Entry,
    images: Annotated[list[Path], typer.Argument(help="Image files.", show_default=False)],
    run: RunFolder = None,
    store: StoreAt = None,
) -> None:
    """What a published network sees on your images."""
    from zoo.cli.images import demo as show, entry_or_folder

    show(entry_or_folder(entry, lambda: _store(run, store)), images, session.narrator)


@zoo_app.command()
@in_session
def evaluate(
    session: Session,
    entry: Entry,
    data: Annotated[str, typer.Argument(help="folder:PATH; PATH holds CLASS/IMAGE, or test/CLASS/IMAGE.")],
    run: RunFolder = None,
    store: StoreAt = None,
) -> None:
    """How good a published network is on your labelled images, matched by the names of the classes."""
    from zoo.cli.images import entry_or_folder, evaluate as judge

    judge(entry_or_folder(entry, lambda: _store(run, store)), data, session.narrator)


def _open(
    session: Session,
    run: str | None,
    config: Path | None,
    data: str | None,
    changes: list[str] | None,
    max_latency_ms: float | None = None,
    max_params: float | None = None,
    no_limits: bool = False,
    *,
    first: str | None = None,
) -> Run:
    from zoo.pipeline.run import open_run

    short = {
        "data.source": data and json.dumps(data, ensure_ascii=False),
        "search.max_latency_ms": max_latency_ms,
        "search.max_params": max_params,
    }
    given = [f"{key}={value}" for key, value in short.items() if value is not None]
    forgotten = [f"search.{name}" for name in LIMITS] if no_limits else []
    session.run = open_run(_folder(run, first), config, [*(changes or []), *given], forgotten)
    return session.run


def _folder(run: str | None, first: str | None = None) -> Path:
    """The folder of the run; on standard error stands which one, when none was named."""
    from zoo.pipeline.run import find_run

    folder = find_run(run, first)
    if run is None:
        typer.echo(plain(f"run: {folder}"), err=True)
    return folder


def _store(run: str | None, store: str | None) -> Store:
    from zoo.pipeline.run import open_run
    from zoo.store import open_store

    return open_store(open_run(_folder(run)).store if store is None else store)


class Warnings(logging.Handler):
    """Says a line on standard error, without breaking into a bar that is drawn meanwhile."""

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        typer.echo(plain(record.getMessage()), err=True)


def main() -> None:
    """Run the command; an error a user can cause, or a request to stop, ends in its message alone."""
    heed_signals()
    logging.basicConfig(level=logging.WARNING, handlers=[Warnings()])
    try:
        app()
    except SupernetError as error:
        typer.echo(f"supernet: {plain(error)}", err=True)
        raise SystemExit(1) from error
    except Stopped as stopped:
        typer.echo(f"supernet: {plain(stopped)}", err=True)
        raise SystemExit(stopped.exit_code) from None
