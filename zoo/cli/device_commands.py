"""``supernet device``: describing devices, looking at them, and lending this one to another machine."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Annotated

import typer

from supernet.errors import ConfigError, SupernetError
from zoo.cli.session import Session, in_session

if TYPE_CHECKING:
    from hardware.options import DeviceOptions

device_app = typer.Typer(
    help="Devices: describe them, check them, lend this one. A described one is named by --device elsewhere.",
    no_args_is_help=True,
)

LOCAL = ("localhost", "127.0.0.1", "::1")

Name = Annotated[str, typer.Argument(help="What the device is called.", show_default=False)]
Address = Annotated[
    str | None,
    typer.Option(
        help="Of another machine that `supernet device serve` runs on, or ssh://user@host; this machine otherwise."
    ),
]
Threads = Annotated[int | None, typer.Option(help="Of one forward pass; 1 otherwise.")]


def _options(changes: Sequence[str] = (), **given: str | int | None) -> DeviceOptions:
    """The options that were typed; a key may be written as in a run, ``device.batch=8``."""
    from hardware.options import DeviceOptions
    from supernet.config import decode, override

    typed = {key: value for key, value in given.items() if value is not None}
    return decode(override(typed, [change.removeprefix("device.") for change in changes]), DeviceOptions)


@device_app.command()
@in_session
def add(
    session: Session,
    name: Name,
    runtime: Annotated[
        str | None, typer.Option(help="What runs networks there: supernet settings device.runtime")
    ] = None,
    address: Address = None,
    threads: Threads = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Any other option, batch=8; may be repeated. supernet settings device lists them.",
        ),
    ] = None,
) -> None:
    """Describe a device, for --device of the other commands."""
    from hardware.described import add_device
    from hardware.onnx_session import check_level
    from hardware.runners import runtime_of

    options = _options(set_ or (), runtime=runtime, address=address, threads=threads)
    if options.address:
        check_level(options.optimisation)
    else:
        runtime_of(options)
    path = add_device(name, options)
    session.narrator.say(f"{name} is described in {path}. Next: supernet device check {name}")
    session.result({"name": name, "file": path, "options": options})


@device_app.command("list")
@in_session
def list_(session: Session) -> None:
    """The devices that are described, and whether they can be reached now."""
    from hardware.described import device_names

    with ThreadPoolExecutor(16) as pool:
        rows = list(pool.map(_row, device_names()))
    columns, narrator = ("name", "id", "runtime", "address", "reachable"), session.narrator
    narrator.table(
        f"{len(rows)} described", [{column: row[column] for column in columns} for row in rows], text=columns
    )
    for row in rows:
        if row["why"]:
            narrator.say(f"{row['name']}: {row['why']}")
    session.result({"devices": rows})


def _row(name: str) -> dict[str, str]:
    """What can be said of a device now."""
    from hardware.checkup import reach
    from hardware.described import read_device

    row = {"name": name, "id": "", "runtime": "", "address": "", "reachable": "yes", "why": ""}
    try:
        options = read_device(name)
        row |= {"runtime": options.runtime, "address": options.address or "this machine"}
        row["id"] = reach(options).id
    except SupernetError as error:
        row |= {"reachable": "no", "why": str(error)}
    return row


@device_app.command()
@in_session
def show(
    session: Session,
    name: Annotated[
        str | None,
        typer.Argument(help="A described device; one by its --address otherwise, or this machine."),
    ] = None,
    address: Address = None,
    threads: Threads = None,
) -> None:
    """What a device is: everything that its latencies belong to."""
    from hardware.checkup import reach
    from hardware.described import read_device

    if name and not (address is None and threads is None):
        raise ConfigError(
            f"how {name!r} is used stands in its description; leave out --address and --threads"
        )
    device = reach(read_device(name) if name else _options(address=address, threads=threads)).to_json()
    session.narrator.table(
        f"device {device['id']}",
        [{"what": key, "is": str(value)} for key, value in device.items()],
        text=("is",),
    )
    session.result(device)


@device_app.command()
@in_session
def check(session: Session, name: Name) -> None:
    """Reach a device, and find out whether it is quiet enough to be measured."""
    from hardware.checkup import check_up
    from hardware.described import read_device
    from hardware.energy import NOT_AVAILABLE, in_words

    options, narrator = read_device(name), session.narrator
    found = check_up(options)
    device = found.device
    if options.address:
        narrator.say(f"The agent at {options.address} answers, speaks this protocol and knows the token.")
    narrator.say(f"{name}: {device.chip}, {device.runtime} {device.version}, id {device.id}")
    narrator.say(
        f"A tiny network took {found.median_ms:.3f} ms; from one burst to the next that moved by {found.noise:.1%}."
    )
    narrator.say(
        "It is quiet enough to be measured."
        if found.is_quiet
        else f"Note: it is too noisy to be measured well: a profile measures again whatever moves by more than "
        f"{found.drift:.0%}. End what else runs there, and check again."
    )
    narrator.say(f"Energy: {in_words(found.energy)}.")
    session.result(
        {
            "name": name,
            "device": device.to_json(),
            "energy": found.energy or NOT_AVAILABLE,
            "median_ms": found.median_ms,
            "noise": found.noise,
            "drift": found.drift,
            "is_quiet": found.is_quiet,
        }
    )


@device_app.command()
@in_session
def remove(session: Session, name: Name) -> None:
    """Forget a description; what was measured on the device stays in its runs."""
    from hardware.described import remove_device

    remove_device(name)
    session.narrator.say(f"{name} is described no more.")
    session.result({"removed": name})


@device_app.command()
@in_session
def serve(
    session: Session,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="To listen on; 0 takes any that is free.")
    ] = 8765,
    listen: Annotated[
        str,
        typer.Option(
            help="Name or number to listen on. Whoever reaches it and has the token can run networks."
        ),
    ] = "localhost",
    max_megabytes: Annotated[int, typer.Option(min=1, help="Of the largest network that is taken.")] = 1024,
) -> None:
    """Lend this device: run the networks that `supernet profile` sends from elsewhere, and answer with times."""
    from hardware.agent import Agent, Limits
    from hardware.remote import TOKEN

    token = os.environ.get(TOKEN) or secrets.token_urlsafe(24)
    try:
        agent = Agent((listen, port), Limits(token, max_megabytes))
    except OSError as error:
        raise ConfigError(
            f"nothing can listen on {listen}, port {port} ({error}); try another --port"
        ) from error
    with agent:
        reached = f"http://{listen}:{agent.server_port}"
        session.narrator.say(f"Lending this device at {reached}, until it is stopped. On the other machine:")
        session.narrator.say(f"  export {TOKEN}={token}")
        session.narrator.say(f"  supernet profile --run RUN --set device.address={reached}")
        session.narrator.say(f"or, beside other devices: supernet device add NAME --address {reached}")
        if listen in LOCAL:
            session.narrator.say(
                f"It is reached from this machine alone; from another one through a tunnel: "
                f"ssh -L {agent.server_port}:localhost:{agent.server_port} THIS-MACHINE"
            )
        else:
            session.narrator.say(
                "The token and the networks travel as they are: use this in a network you trust."
            )
        agent.serve_forever()
