"""The console command ``supernet``: the steps of a run. Nothing heavy is imported until a command runs."""

from __future__ import annotations

import logging
from importlib.metadata import version
from typing import Annotated

import typer

from hardware.errors import DeviceError
from supernet.errors import SupernetError
from supernet.plain import plain
from supernet.wording import counted
from zoo.cli.device_commands import device_app
from zoo.cli.differentiate_command import differentiate
from zoo.cli.explain_command import explain
from zoo.cli.front_commands import front, search
from zoo.cli.scores_command import scores
from zoo.cli.session import Session, Stopped, as_typed, heed_signals, in_session
from zoo.cli.typed import (
    Config,
    Data,
    Device,
    Devices,
    MaxLatencies,
    MaxParams,
    Model,
    NoLimits,
    RunFolder,
    Set,
    Weights,
)
from zoo.cli.zoo_commands import zoo_app

app = typer.Typer(
    help="Train a supernet once, search its Pareto subnets for each device, pull them as ONNX.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.add_typer(zoo_app, name="zoo")
app.add_typer(device_app, name="device")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"supernet {version('supernet')}")
        raise typer.Exit


@app.callback()
def supernet(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """What every command has before its name."""


@app.command()
@in_session
def quickstart(
    session: Session,
    run: RunFolder = "runs/quickstart",
    config: Config = None,
    data: Data = None,
    model: Model = None,
    weights: Weights = None,
    set_: Set = None,
    max_latency_ms: MaxLatencies = None,
    max_params: MaxParams = None,
    no_limits: NoLimits = False,
) -> None:
    """The whole road in minutes: train, profile this machine, search, export, publish, pull."""
    from zoo.cli import documents
    from zoo.cli.quickstart import quickstart as walk

    opened = session.open(
        run,
        config,
        set_,
        data=data,
        model=model,
        weights=weights,
        max_latency_ms=max_latency_ms,
        max_params=max_params,
        no_limits=no_limits,
    )
    walked = walk(opened, session.narrator, as_typed())
    session.result(
        {
            "train": documents.trained(opened, walked.trainer),
            "profile": documents.profiled(opened, walked.known, walked.predictions),
            "search": documents.searched(opened, walked.known, walked.searched, walked.chosen, walked.front),
            "export": documents.proven(opened, walked.known, walked.proofs, walked.published),
            "pull": documents.pulled(walked.back.pulled) | {"test": documents.judged(walked.back.result)},
            "seconds": walked.seconds,
        }
    )


@app.command()
@in_session
def train(
    session: Session,
    run: RunFolder = None,
    config: Config = None,
    data: Data = None,
    model: Model = None,
    weights: Weights = None,
    set_: Set = None,
    until: Annotated[
        int | None,
        typer.Option(
            metavar="EPOCHS",
            help="Epochs in all. A training that has begun ends as it was to end, and goes on with a second "
            "warm-up and a second way down.",
        ),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Most memory that a step may take, such as 2GiB: what does not fit is computed again instead of "
            "kept, and the weights stay the same to the last bit. Short for train.memory.",
        ),
    ] = None,
) -> None:
    """Train the shared weights; goes on where it stopped."""
    from zoo.cli import documents
    from zoo.cli.printing import print_beginning, print_data, print_kept, print_offer, print_outdated
    from zoo.pipeline.kept import TRAINING, weights_of
    from zoo.pipeline.training import train as step
    from zoo.pipeline.workspace import read

    changes = [*(set_ or ()), *([] if memory is None else [f'train.memory="{memory}"'])]
    opened = session.open(
        run, config, changes, data=data, model=model, weights=weights, first="default", until=until
    )
    narrator, before = session.narrator, weights_of(opened)
    print_kept(opened, TRAINING, narrator)
    with narrator.progress() as progress:
        dataset = read(opened, progress)
    print_data(dataset, narrator)
    with narrator.progress() as progress:
        trainer = step(opened, progress, dataset)
    print_offer(opened, dataset.task, narrator)
    print_beginning(trainer, narrator)
    narrator.say(
        f"10^{trainer.supernet.space.log10_size:.1f} networks after {counted(len(trainer.history), 'epoch')}; "
        f"on the search split: {trainer.words()}."
    )
    narrator.say(f"{opened.supernet} holds the supernet. Next: {opened.command('profile')}")
    print_outdated(opened, before, narrator)
    session.result(documents.trained(opened, trainer))


@app.command()
@in_session
def profile(
    session: Session, run: RunFolder = None, config: Config = None, set_: Set = None, device: Devices = None
) -> None:
    """Time some subnets on this machine, or on described devices, and fit a latency predictor for each."""
    from zoo.cli import documents
    from zoo.cli.printing import print_kept
    from zoo.cli.profile_printing import print_failed, print_profile
    from zoo.pipeline.devices import profile_devices
    from zoo.pipeline.figure import draw_profile
    from zoo.pipeline.kept import PROFILE
    from zoo.pipeline.profiling import profile_device
    from zoo.pipeline.run import devices_typed
    from zoo.pipeline.workspace import opened

    workspace, narrator = opened(session.open(run, config, set_)), session.narrator
    print_kept(workspace.run, PROFILE, narrator)
    with narrator.progress() as progress:
        if device:
            found = profile_devices(workspace, device, progress)
            profiles, failed = found.known, found.failed
        else:
            profiles, failed = [profile_device(workspace, progress)], {}
    pictures = [draw_profile(workspace, known, as_typed()) for known in profiles]
    for known, png in zip(profiles, pictures):
        print_profile(known, narrator)
        narrator.say(f"Predicted against measured: {png}")
    print_failed(failed, narrator)
    if profiles:
        names = devices_typed([known.name for known in profiles])
        narrator.say(f"Next: {workspace.run.command('search', *names)}")
    session.result(documents.profiles(workspace.run, list(zip(profiles, pictures)), failed))
    if failed:
        raise DeviceError(
            f"{counted(len(failed), 'device')} of {len(profiles) + len(failed)} could not be profiled: "
            f"{', '.join(failed)}; see above, and type the same again: what was measured is kept"
        )


app.command()(search)
app.command()(front)
app.command()(explain)
app.command()(scores)
app.command()(differentiate)


@app.command()
@in_session
def export(
    session: Session,
    run: RunFolder = None,
    config: Config = None,
    set_: Set = None,
    arch: Annotated[
        list[str] | None, typer.Option("--arch", help="As for show, e.g. an id or genes; may be repeated.")
    ] = None,
    publish: Annotated[bool, typer.Option(help="Also publish to the zoo of the run.")] = True,
    int8: Annotated[
        bool,
        typer.Option("--int8", help="Also write each in eight bits, with the types that are fastest here."),
    ] = False,
    device: Device = "",
    max_latency_ms: MaxLatencies = None,
    max_params: MaxParams = None,
    no_limits: NoLimits = False,
) -> None:
    """Cut subnets out as ONNX, check, time and judge them, and publish them."""
    from zoo.cli import documents
    from zoo.cli.eight_bits_printing import print_eight_bits
    from zoo.cli.precision_printing import print_not_faster
    from zoo.cli.printing import print_limits, print_proofs, print_remark
    from zoo.pipeline.eight_bits import eight_bits
    from zoo.pipeline.entries import publish_proofs
    from zoo.pipeline.find import named
    from zoo.pipeline.mixed import on
    from zoo.pipeline.pick import pick
    from zoo.pipeline.profiling import profiled
    from zoo.pipeline.prove import prove
    from zoo.pipeline.workspace import opened

    asked = session.open(
        run,
        config,
        set_,
        max_latency_ms=max_latency_ms,
        max_params=max_params,
        no_limits=no_limits,
        devices=[device],
    )
    workspace = on(opened(asked), [device])
    known, narrator = profiled(workspace, device), session.narrator
    if not arch:
        print_limits(workspace.run.options.search, narrator, [device])
    chosen = named(workspace, arch, device) if arch else pick(workspace, known)
    print_remark(chosen, narrator)
    with narrator.progress() as progress:
        proofs = prove(workspace, known, chosen.archs, progress)
        small = eight_bits(workspace, known, proofs, progress) if int8 else []
    print_proofs(proofs, narrator)
    print_eight_bits(proofs, small, narrator)
    print_not_faster(workspace, known, chosen.archs.values(), narrator)
    for proof in proofs:
        narrator.say(f"{proof.name}: {proof.onnx.path}")
    entries = publish_proofs(workspace, proofs, known.profile) if publish else []
    if publish:
        narrator.say(f"published in {workspace.run.store}: {', '.join(entry.id for entry in entries)}")
    session.result(documents.proven(workspace.run, known, proofs, entries) | documents.in_eight_bits(small))


@app.command()
@in_session
def show(
    session: Session,
    arch: Annotated[
        str,
        typer.Argument(
            help="largest | smallest | fastest | knee | best | id of a network or an entry | the best of what was "
            "evaluated within limits, 'latency_ms<=12, params<=3e6' or 'latency_NAME<=12' for a device of a name, or "
            "the nearest to a size, 'params~3e6' | JSON: its genes, or the values of its choices."
        ),
    ],
    run: RunFolder = None,
    config: Config = None,
    device: Device = "",
) -> None:
    """What a subnet looks like, stage by stage, and what it costs."""
    from supernet.stages import stages
    from zoo.cli import documents
    from zoo.cli.printing import print_architecture
    from zoo.pipeline.find import find, known_of
    from zoo.pipeline.mixed import on
    from zoo.pipeline.workspace import opened

    workspace = on(opened(session.open(run, config, None)), [device])
    found = find(workspace, arch, device)
    known = known_of(workspace, found, device)
    print_architecture(workspace, found, known, session.narrator)
    session.result(
        documents.architecture(workspace.net.space, found)
        | {"known": known, "stages": stages(workspace.net, found)}
    )


@app.command()
@in_session
def sensitivity(
    session: Session,
    run: RunFolder = None,
    config: Config = None,
    data: Data = None,
    model: Model = None,
    weights: Weights = None,
    set_: Set = None,
) -> None:
    """What each kind of cut costs alone, before the training or after: which dimensions are worth offering."""
    from zoo.cli import documents
    from zoo.cli.printing import print_data, print_study
    from zoo.pipeline.study import study
    from zoo.pipeline.workspace import read

    opened = session.open(run, config, set_, data=data, model=model, weights=weights, first="default")
    narrator = session.narrator
    with narrator.progress() as progress:
        dataset = read(opened, progress)
    print_data(dataset, narrator)
    with narrator.progress() as progress:
        found = study(opened, progress, dataset)
    print_study(opened, found, dataset.task, narrator)
    session.result(documents.studied(opened, found))


@app.command()
@in_session
def split(
    session: Session,
    run: RunFolder = None,
    by: Annotated[
        str,
        typer.Option(
            help="gradients: where values would move the weights they share | lid: what they make of it."
        ),
    ] = "gradients",
    parts: Annotated[int, typer.Option(help="How many.")] = 2,
) -> None:
    """Give values that disagree weights of their own: a trained run becomes several, each to be trained on."""
    from zoo.cli import documents
    from zoo.cli.printing import print_parts
    from zoo.pipeline.parts import split_run

    opened, narrator = session.open(run, None, None), session.narrator
    with narrator.progress() as progress:
        found, made = split_run(opened, by, parts, progress)
    print_parts(found, made, narrator)
    session.result(documents.parts(opened, found, made))


@app.command()
@in_session
def settings(
    session: Session,
    key: Annotated[
        str, typer.Argument(help="Only what begins with this; of one option also the names it can be.")
    ] = "",
) -> None:
    """Everything that --set can set, with what it accepts and what it means."""
    from zoo.cli.printing import print_settings
    from zoo.pipeline.settings import find_settings

    found = find_settings(key)
    print_settings(found, session.narrator)
    session.result({"settings": found.rows, "names": found.names})


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
