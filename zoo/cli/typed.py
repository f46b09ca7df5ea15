"""The options and arguments that commands share, with the words that explain them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from search.options import check_limit


def _limit(param: typer.CallbackParam, value: float | None) -> float | None:
    return check_limit(param.opts[0], value)


def _keys(incomplete: str) -> Iterator[tuple[str, str]]:
    """For the shell: what ``--set`` can set, with its meaning."""
    from zoo.pipeline.settings import run_settings

    for setting in run_settings():
        if setting.key.startswith(incomplete):
            yield f"{setting.key}=", setting.meaning


def _devices(incomplete: str) -> Iterator[str]:
    """For the shell: the devices that are described."""
    from hardware.described import device_names

    yield from (name for name in device_names() if name.startswith(incomplete))


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
    typer.Option(
        "--set",
        help="One option, as section.key=value; may be repeated. supernet settings lists them.",
        metavar="KEY=VALUE",
        autocompletion=_keys,
    ),
]
Data = Annotated[
    str | None,
    typer.Option("--data", help="digits | folder:PATH | torchvision:NAME@ROOT | scattered | text:PATH"),
]
Model = Annotated[
    str | None,
    typer.Option("--model", help="A preset, a network or any timm model: supernet settings supernet.model"),
]
Weights = Annotated[
    str | None,
    typer.Option("--weights", help="File to begin with: safetensors, or a state_dict of tensors (.pth)."),
]
MaxLatency = Annotated[
    float | None,
    typer.Option("--max-latency-ms", help="Limit on the latency, in milliseconds.", callback=_limit),
]
MaxLatencies = Annotated[
    list[str] | None,
    typer.Option(
        "--max-latency-ms",
        metavar="MS | DEVICE=MS",
        help="Limit on the latency, in milliseconds: on all devices, or on one; may be repeated.",
    ),
]
MaxParams = Annotated[
    float | None, typer.Option("--max-params", help="Limit on the number of parameters.", callback=_limit)
]
NoLimits = Annotated[
    bool, typer.Option("--no-limits", help="Forget the limits an earlier command gave this run.")
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="NAME",
        help="A device that is described (supernet device list); the run's own otherwise.",
        autocompletion=_devices,
    ),
]
Devices = Annotated[
    list[str] | None,
    typer.Option(
        "--device",
        metavar="NAME",
        help="A device that is described (supernet device list); may be repeated. The run's own otherwise.",
        autocompletion=_devices,
    ),
]
StoreAt = Annotated[
    str | None, typer.Option("--store", help="Folder or address of the zoo; the one of --run otherwise.")
]
Entry = Annotated[str, typer.Argument(help="Id of an entry, or the folder it was pulled into.")]
