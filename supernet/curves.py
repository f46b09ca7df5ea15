"""Curves and pictures for TensorBoard, beside whatever they are of: a training, a search."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from supernet.errors import StateError

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

LOG = "tensorboard"
"""The folder of the curves."""


class Curves:
    """Writes curves, once they are open; until then, and without a folder, what they are told is lost.

    All that writes raises `StateError` when the folder cannot be written to.

    Args:
        folder: they go into ``tensorboard`` there; None keeps none.
        name: of a folder in that, where several things have curves.
    """

    def __init__(self, folder: Path | None, name: str = "") -> None:
        self.folder = folder
        self._log = (folder or Path()) / LOG / name
        self._writer: SummaryWriter | None = None

    @property
    def is_open(self) -> bool:
        """Whether curves are drawn."""
        return self._writer is not None

    def open(self, step: int) -> None:
        """Begin or go on with the curves; what a killed process wrote after ``step`` is written again."""
        if self.folder is None:
            return
        from torch.utils.tensorboard.writer import SummaryWriter

        with _writing(self.folder):
            self._writer = SummaryWriter(str(self._log), purge_step=step + 1)

    def close(self) -> None:
        """End the curves."""
        if self._writer and self.folder:
            with _writing(self.folder):
                self._writer.close()

    def scalar(self, name: str, value: float, step: int) -> None:
        """One point of a curve."""
        if self._writer and self.folder:
            with _writing(self.folder):
                # TensorBoard's thread would print a traceback of its own
                self._log.stat()
                self._writer.add_scalar(name.replace(" ", "_"), value, step)

    def picture(self, name: str, png: Path | BytesIO, step: int) -> None:
        """A picture that was drawn."""
        if self._writer and self.folder:
            with Image.open(png) as image, _writing(self.folder):
                self._writer.add_image(name, np.asarray(image.convert("RGB")), step, dataformats="HWC")

    def flush(self) -> None:
        """Let whoever looks see all of it, also when the process is killed next."""
        if self._writer and self.folder:
            with _writing(self.folder):
                self._writer.flush()

    def text(self, name: str, words: str, step: int) -> None:
        """Words beside the curves."""
        if self._writer and self.folder:
            with _writing(self.folder):
                self._writer.add_text(name, words, step)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StateError(
            f"cannot write the curves in {folder}: {error.strerror}; free some space, or choose a folder "
            f"that can be written to"
        ) from error
