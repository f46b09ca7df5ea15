"""Text that came from outside (names, paths, messages of other libraries), as it can be shown."""

from __future__ import annotations


def plain(text: object) -> str:
    """The text on one line, with nothing in it that a terminal would obey.

    Whatever is not printable (colours, moves of the cursor, line ends, marks that turn the direction of writing,
    undecodable bytes of a path) is written as Python would write it: ``\\x1b``, ``\\n``, ``\\u202e``.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
