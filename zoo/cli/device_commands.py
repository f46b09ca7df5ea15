"""``supernet device``: what a device is, and lending this one to another machine."""

from __future__ import annotations

import os
import secrets
from typing import Annotated

import typer

from supernet.errors import ConfigError
from zoo.cli.session import Session, in_session

device_app = typer.Typer(help="Devices: what one is, and lending this one.", no_args_is_help=True)

LOCAL = ("localhost", "127.0.0.1", "::1")

Address = Annotated[
    str, typer.Option(help="Of another machine that `supernet device serve` runs on; this machine otherwise.")
]
Threads = Annotated[int, typer.Option(help="Of one forward pass.")]


@device_app.command()
@in_session
def show(session: Session, address: Address = "", threads: Threads = 1) -> None:
    """What a device is: everything that its latencies belong to."""
    from hardware.device import local_device
    from hardware.options import DeviceOptions

    device = local_device(DeviceOptions(address=address, threads=threads)).to_json()
    session.narrator.table(
        f"device {device['id']}", [{"what": key, "is": str(value)} for key, value in device.items()]
    )
    session.result(device)


@device_app.command()
@in_session
def serve(
    session: Session,
    port: Annotated[int, typer.Option(help="To listen on; 0 takes any that is free.")] = 8765,
    listen: Annotated[
        str,
        typer.Option(
            help="Name or number to listen on. Whoever reaches it and has the token can run networks."
        ),
    ] = "localhost",
    max_megabytes: Annotated[int, typer.Option(help="Of the largest network that is taken.")] = 1024,
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
