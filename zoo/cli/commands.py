"""The console command ``supernet``. Nothing heavy is imported until a command runs."""

from __future__ import annotations

import logging
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from supernet.errors import SupernetError
from zoo.pipeline.options import DEFAULT_RUN

if TYPE_CHECKING:
    from zoo.cli.narrator import Narrator
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

RunFolder = Annotated[Path, typer.Option("--run", help="Folder of the run; made when it is not there.")]
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
MaxLatency = Annotated[
    float | None, typer.Option("--max-latency-ms", help="Limit on the latency, in milliseconds.")
]
MaxParams = Annotated[float | None, typer.Option("--max-params", help="Limit on the number of parameters.")]
StoreAt = Annotated[
    str | None, typer.Option("--store", help="Folder or address of the zoo; the one of --run otherwise.")
]

Entry = Annotated[str, typer.Argument(help="Id of an entry, or the folder it was pulled into.")]


@app.command()
def quickstart(
    run: RunFolder = Path("runs/quickstart"),
    config: Config = None,
    data: Data = None,
    set_: Set = None,
    max_latency_ms: MaxLatency = None,
    max_params: MaxParams = None,
) -> None:
    """The whole road in minutes: train, profile this machine, search, export, publish, pull."""
    from zoo.cli.quickstart import quickstart as walk

    opened = _open(run, config, data, set_, max_latency_ms, max_params)
    walk(opened, _narrator(), shlex.join(["supernet", *sys.argv[1:]]))


@app.command()
def train(run: RunFolder = DEFAULT_RUN, config: Config = None, data: Data = None, set_: Set = None) -> None:
    """Train the shared weights; goes on where it stopped."""
    from supernet.sources import load_data
    from zoo.cli.printing import print_data
    from zoo.pipeline.steps import train as step

    opened, narrator = _open(run, config, data, set_), _narrator()
    with narrator.progress() as progress:
        dataset = load_data(opened.options.data, progress)
    print_data(dataset, narrator)
    with narrator.progress() as progress:
        trainer = step(opened, progress, dataset)
    narrator.say(
        f"10^{trainer.supernet.space.log10_size:.1f} networks after {len(trainer.history)} epochs; "
        f"on the search split: {trainer.words()}."
    )
    narrator.say(f"{opened.supernet} holds the supernet. Next: supernet profile --run {run}")


@app.command()
def profile(run: RunFolder = DEFAULT_RUN, config: Config = None, set_: Set = None) -> None:
    """Time some subnets on this machine and fit a latency predictor."""
    from zoo.cli.printing import print_profile
    from zoo.pipeline.steps import opened, profile_device

    workspace, narrator = opened(_open(run, config, None, set_)), _narrator()
    with narrator.progress() as progress:
        known = profile_device(workspace, progress)
    print_profile(known, narrator)
    narrator.say(f"Next: supernet search --run {run}")


@app.command()
def search(
    run: RunFolder = DEFAULT_RUN,
    config: Config = None,
    set_: Set = None,
    max_latency_ms: MaxLatency = None,
    max_params: MaxParams = None,
) -> None:
    """Search the Pareto front of accuracy, latency and parameters, within limits."""
    from zoo.cli.printing import print_front
    from zoo.pipeline.steps import opened, profiled, search_front

    workspace, narrator = opened(_open(run, config, None, set_, max_latency_ms, max_params)), _narrator()
    known = profiled(workspace)
    with narrator.progress() as progress:
        searched = search_front(workspace, known, progress)
    print_front(searched, narrator)
    narrator.say(f"Next: supernet export --run {run}")


@app.command()
def export(
    run: RunFolder = DEFAULT_RUN,
    config: Config = None,
    set_: Set = None,
    arch: Annotated[
        list[str] | None, typer.Option("--arch", help="Id of an evaluated network; may be repeated.")
    ] = None,
    publish: Annotated[bool, typer.Option(help="Also publish to the zoo of the run.")] = True,
) -> None:
    """Cut subnets out as ONNX, check, time and judge them, and publish them."""
    from zoo.cli.printing import print_proofs
    from zoo.pipeline.entries import publish_proofs
    from zoo.pipeline.prove import prove
    from zoo.pipeline.steps import opened, pick, profiled

    workspace, narrator = opened(_open(run, config, None, set_)), _narrator()
    known = profiled(workspace)
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
def list_(
    run: RunFolder = Path("runs/quickstart"),
    store: StoreAt = None,
    device: Annotated[
        str | None, typer.Option(help="Only what was measured on this device (id or name).")
    ] = None,
    max_latency_ms: MaxLatency = None,
) -> None:
    """What a zoo holds."""
    from zoo.cli.printing import entry_rows
    from zoo.store.pull import manifests

    rows = entry_rows(manifests(_store(run, store)), device, max_latency_ms)
    _narrator().table(f"{store or run}: {len(rows)} entries", rows)


@zoo_app.command()
def pull(
    entry: Annotated[
        str | None, typer.Argument(help="Id of an entry; the best one within the limits otherwise.")
    ] = None,
    run: RunFolder = Path("runs/quickstart"),
    store: StoreAt = None,
    into: Annotated[
        Path | None, typer.Option(help="Folder to put the files in; the cache otherwise.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="Id or name of the device the limit is about.")] = None,
    max_latency_ms: MaxLatency = None,
    max_params: MaxParams = None,
) -> None:
    """Fetch an entry by its id, or the most accurate one within limits; every hash is checked."""
    from zoo.store.load import load_onnx
    from zoo.store.pull import best, manifests, pull as fetch

    source, narrator = _store(run, store), _narrator()
    wanted = (
        entry
        or best(manifests(source), device=device, max_latency_ms=max_latency_ms, max_params=max_params).id
    )
    pulled = fetch(source, wanted, into=into)
    load_onnx(pulled)
    narrator.say(
        f"{pulled.manifest.id}: {len(pulled.manifest.files)} files in {pulled.folder}, every hash checked."
    )
    narrator.say(f"ONNX Runtime opens {pulled.path('.onnx')}.")


@zoo_app.command()
def verify(run: RunFolder = Path("runs/quickstart"), store: StoreAt = None) -> None:
    """Read every byte of a zoo and compare it with what was published."""
    from supernet.errors import StateError
    from zoo.store.verify import verify as check

    found = check(_store(run, store))
    for damage in found.damaged:
        _narrator().say(str(damage))
    if found.damaged:
        raise StateError(f"{len(found.damaged)} files are damaged; pull or publish their entries anew")
    _narrator().say(f"{found.entries} entries, {found.files} files, {found.bytes:,} bytes: all as published.")


@zoo_app.command()
def demo(
    entry: Entry,
    images: Annotated[list[Path], typer.Argument(help="Image files.", show_default=False)],
    run: RunFolder = Path("runs/quickstart"),
    store: StoreAt = None,
) -> None:
    """What a published network sees on your images."""
    from zoo.cli.images import demo as show, entry_or_folder

    show(entry_or_folder(entry, lambda: _store(run, store)), images, _narrator())


@zoo_app.command()
def evaluate(
    entry: Entry,
    data: Annotated[str, typer.Argument(help="folder:PATH; PATH holds CLASS/IMAGE, or test/CLASS/IMAGE.")],
    run: RunFolder = Path("runs/quickstart"),
    store: StoreAt = None,
) -> None:
    """How good a published network is on your labelled images, matched by the names of the classes."""
    from zoo.cli.images import entry_or_folder, evaluate as judge

    judge(entry_or_folder(entry, lambda: _store(run, store)), data, _narrator())


def _open(
    run: Path,
    config: Path | None,
    data: str | None,
    changes: list[str] | None,
    max_latency_ms: float | None = None,
    max_params: float | None = None,
) -> Run:
    from zoo.pipeline.run import open_run

    short = {
        "data.source": data and f'"{data}"',
        "search.max_latency_ms": max_latency_ms,
        "search.max_params": max_params,
    }
    return open_run(run, config, [*(changes or []), *(f"{k}={v}" for k, v in short.items() if v is not None)])


def _store(run: Path, store: str | None) -> Store:
    from zoo.pipeline.run import open_run
    from zoo.store import open_store

    return open_store(store or open_run(run).store)


def _narrator() -> Narrator:
    from zoo.cli.narrator import Narrator

    return Narrator()


def main() -> None:
    """Run the command; an error a user can cause ends in its message alone."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        app()
    except SupernetError as error:
        typer.echo(f"supernet: {error}", err=True)
        raise SystemExit(1) from error
    except KeyboardInterrupt:
        typer.echo("supernet: stopped; the same command goes on from here", err=True)
        raise SystemExit(130) from None
