"""The errors a user can cause. Each says what was asked, what is accepted and what to try."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class SupernetError(ValueError):
    """A request that cannot be met; the message says what would be."""


class ArchitectureError(SupernetError):
    """An architecture, or the values it was asked from, is not a point of the space."""


class SpaceError(SupernetError):
    """A search space, or one of its choices, contradicts itself."""


class WidthError(SupernetError):
    """A size that the axis it was asked of does not hold."""


class ConversionError(SupernetError):
    """A network that cannot be made elastic as asked."""


class WeightsError(SupernetError):
    """Weights whose names or shapes are not those of the network."""


class DataError(SupernetError):
    """A data set that is missing, damaged or of another shape than asked."""


class ConfigError(SupernetError):
    """A configuration with an unknown key or a value of the wrong kind."""


class StateError(SupernetError):
    """Files of a run that are missing, damaged or of another run."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint naming the closest known name and all of them, to end an error message with."""
    names = sorted(known)
    near = get_close_matches(name, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{hint} (there are: {', '.join(names) or 'none'})"
