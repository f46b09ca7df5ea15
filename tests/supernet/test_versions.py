"""A file of another version is refused with what to do about it."""

from __future__ import annotations

from typing import Any

import pytest

from supernet.errors import StateError
from supernet.versions import check_version


def check(document: Any) -> None:
    check_version(document, 3, what="the thing here", older="make it anew")


def test_the_version_that_is_read_is_accepted() -> None:
    check({"format": 3, "more": 1})


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"format": 2}, "the thing here has format 2, .* reads 3; an older version wrote it: make it anew"),
        ({"format": 4}, "has format 4, .* reads 3; a newer version wrote it: install"),
        ({}, "does not say its format.*make it anew"),
        ({"format": "3"}, "does not say its format"),
        ({"format": True}, "does not say its format"),
        ([3], "does not say its format"),
    ],
)
def test_any_other_is_refused_with_what_to_do(document: Any, message: str) -> None:
    with pytest.raises(StateError, match=message):
        check(document)
