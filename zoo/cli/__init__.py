"""The console command ``supernet``: the only part of the house that prints.

In the order one would read them:

- `commands`: what can be typed; each command calls steps of `zoo.pipeline` and says what came out
- `front_commands`: likewise, to search, and to ask what was found for another device
- `zoo_commands`: likewise of what was published
- `device_commands`: likewise of devices: describing, checking and lending them
- `eight_bits_printing`: likewise, of files in eight bits
- `precision_printing`: likewise, of fronts where every stage has a precision
- `explain_command`: likewise, where the time of a network goes
- `scores_command`: likewise, zero-cost scores
- `differentiate_command`: likewise, a training that is a search as well
- `typed`: the options and arguments that commands share
- `session`: one call of a command: who tells it, and how it ends when it is stopped
- `images`: a published network shown images
- `quickstart`: the whole road at once
- `printing`: results as sentences and tables
- `profile_printing`: likewise, what was measured of a device
- `report_printing`: how a search ended, and what its front has in common
- `verified`: a verified front as a table and as JSON
- `documents`: results as JSON
- `narrator`: the terminal: headings, bars, tables
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from supernet.lazy import offers

if TYPE_CHECKING:
    from zoo.cli.commands import app as app, main as main

_MODULES = {"app": "zoo.cli.commands", "main": "zoo.cli.commands"}
__all__ = list(_MODULES)
__getattr__, __dir__ = offers(__name__, _MODULES)
