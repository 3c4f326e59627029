"""Where decoded pixels go: one region, or squares (tiles) side by side, each in memory of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from wsi.readers.base import Reader

Pixels = NDArray[np.uint8]


class Canvas:
    """A rectangle of pixels, stored as cells of equal size, row by row: one cell, or many squares.

    Squares are filled as their pixels are decoded: cutting them out of a region afterwards would move every pixel
    through memory twice more, which takes a third of the time that decoding JPEG takes.
    """

    def __init__(self, rows: int, columns: int, height: int, width: int, row_step: int = 1) -> None:
        """`rows` × `columns` cells of `height` × `width` px; what is in them is undefined.

        row_step: only every so many px rows of each cell are kept, from its first on: (rows, columns,
        ceil(height / row_step), width, 3). Copying what nobody looks at costs as much as copying the rest.
        """
        kept = -(-height // row_step)
        self.cells: Pixels = np.empty((rows, columns, kept, width, 3), np.uint8)
        self._height, self._row_step = height, row_step
        # Rows of bytes: copied faster than rows of (x, channel).
        self._bytes = self.cells.reshape(rows, columns, kept, width * 3).transpose(0, 2, 1, 3)

    @classmethod
    def region(cls, width: int, height: int) -> Canvas:
        """One cell, which is the `picture`."""
        return cls(1, 1, height, width)

    @property
    def picture(self) -> Pixels:
        """(height, width, 3): the first cell, of a canvas that is one region."""
        first: Pixels = self.cells[0, 0]
        return first

    def paste(self, pixels: Pixels, left: int, top: int) -> None:
        """Copy (h, w, 3) RGB to (left, top) px of the rectangle; all of it lies inside."""
        width = self.cells.shape[3]
        flat = pixels.reshape(len(pixels), -1)
        for rows, ys, source_rows in self._row_runs(top, len(pixels)):
            for columns, xs, source_columns in _runs(left, pixels.shape[1], width):
                part = flat[source_rows, source_columns.start * 3 : source_columns.stop * 3]
                target = self._bytes[rows, ys, columns, xs.start * 3 : xs.stop * 3]
                target[:] = part.reshape(target.shape)

    def _row_runs(self, top: int, length: int) -> Iterator[tuple[slice, slice, slice]]:
        """`_runs` of px rows, of which only those that are kept."""
        step = self._row_step
        # Whole cells can be copied at once where the step fits into them: then their kept rows are evenly spaced.
        for cells, ys, source in _runs(top, length, self._height, at_once=self._height % step == 0):
            skipped = -ys.start % step
            if ys.start + skipped < ys.stop:
                kept = slice((ys.start + skipped) // step, -(-ys.stop // step))
                yield cells, kept, slice(source.start + skipped, source.stop, step)


def _runs(start: int, length: int, cell: int, *, at_once: bool = True) -> Iterator[tuple[slice, slice, slice]]:
    """(cells, px in each of them, px of the source): the part of a first cell, all whole cells, the part of a last.

    Without `at_once` every cell by itself.
    """
    done = 0
    while done < length:
        index, inside = divmod(start + done, cell)
        whole = (length - done) // cell if inside == 0 and at_once else 0
        count = whole * cell if whole else min(cell - inside, length - done)
        yield slice(index, index + max(1, whole)), slice(inside, inside + min(count, cell)), slice(done, done + count)
        done += count


@runtime_checkable
class Painter(Protocol):
    """A reader that puts native tiles straight to where they belong."""

    def paint(self, level: int, x: int, y: int, width: int, height: int, canvas: Canvas, left: int, top: int) -> None:
        """As `Reader.read_level`, to (left, top) of `canvas`."""
        ...


def paint(
    reader: Reader, level: int, x: int, y: int, width: int, height: int, canvas: Canvas, left: int, top: int
) -> None:
    """Read (width, height) px at (x, y) of a level, all inside of it, to (left, top) of `canvas`."""
    if isinstance(reader, Painter):
        reader.paint(level, x, y, width, height, canvas, left, top)
    else:
        canvas.paste(reader.read_level(level, x, y, width, height), left, top)
