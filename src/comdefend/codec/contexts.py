"""Which distribution each value of a code has, given those coded before it.

The values of a tile are coded one after the other, each in its even rows first (parity 0) and then
in its odd rows (parity 1). So a value is predicted from all earlier values at its place and the
four around it, at parity 1 from its own neighbours above and below as well, and all places of a
parity are computed at once, as with a chessboard's (He et al. 2021).

Sums are of whole numbers below 2^53, in float64 for the sake of speed. These are exact in any
order, on every machine; nothing is rounded.
"""

import numpy as np
import numpy.typing as npt

from comdefend.codec.levels import Levels
from comdefend.codec.tables import BINS, FRACTION, Tables

Integers = npt.NDArray[np.int64]
_Signed = npt.NDArray[np.int16]
_Activity = npt.NDArray[np.int32]


class Contexts:
    """The contexts of a tile, from the values that are known by now.

    Args:
        tables: Probability tables.
        height, width: Of the tile, in places.
    """

    def __init__(self, tables: Tables, height: int, width: int) -> None:
        self._tables = tables
        self._width = width
        # (V, places) of the rows of each parity.
        self._values = tuple(
            np.zeros((len(tables.bias), rows * width)) for rows in (-(-height // 2), height // 2)
        )
        # Room for sums, as memory that is new each time would take longer than they do.
        self._sums = tuple(np.zeros((5, values.shape[1])) for values in self._values)
        self._known = 0
        self._activity = np.zeros((height, width), np.int32)

    def add(self, levels: Levels) -> None:
        """Make the next value known, (height, width)."""
        values = self._signed(levels)
        for parity, known in enumerate(self._values):
            known[self._known] = values[parity::2].reshape(-1)
        self._known += 1
        for activity, plane in ((self._activity, values), (self._activity.T, values.T)):
            steps = np.abs(plane[1:] - plane[:-1])
            activity[1:] += steps
            activity[:-1] += steps

    def rows(self, parity: int, levels: Levels) -> Integers:
        """Return where in `Tables.distributions` the next value is, in the rows of a parity.

        Args:
            parity: 0 or 1.
            levels: (height, width) of that value; at parity 1 those of parity 0 are used.
        """
        predictions, activity = self.signals(parity, levels)
        edges, scales = self._tables.edges[self._known], self._tables.scales[self._known]
        classes = np.searchsorted(edges[parity], activity, "right")
        return scales[parity].astype(np.int64)[classes] * BINS + bins_of(predictions)

    def signals(self, parity: int, levels: Levels) -> tuple[Integers, _Activity]:
        """Return predictions and activities of the next value; arguments as for `rows`."""
        known, tables = self._known, self._tables
        weights = tables.weights[known, parity, :, :known].astype(np.float64)
        same, other = (self._values[p][:known] for p in (parity, 1 - parity))
        beside, around = self._sums[parity][:3], self._sums[1 - parity][3:]
        here, left, right = np.matmul(weights[:3], same, beside).reshape(3, -1, self._width)
        above, below = np.matmul(weights[3:], other, around).reshape(2, -1, self._width)
        here[:, 1:] += left[:, :-1]
        here[:, :-1] += right[:, 1:]
        here[1 - parity :] += above[: len(here) - 1 + parity]
        here[: len(below) - parity] += below[parity:]
        predictions = here.astype(np.int64) + int(tables.bias[known, parity])
        activity = self._activity[parity::2]
        if parity == 1:
            own, unrest = self._own(self._signed(levels[::2]), len(here))
            for weight, values in zip(tables.own[known].tolist(), own, strict=True):
                predictions += weight * values
            activity = activity + unrest
        return predictions.reshape(-1), activity.reshape(-1)

    def _own(self, even: _Signed, rows: int) -> tuple[list[_Activity], _Activity]:
        """Return what an odd row sees of its own value: sums to predict from, and activity."""
        padded = np.zeros((rows + 1, even.shape[1] + 2), np.int32)
        padded[: len(even), 1:-1] = even
        above, below = padded[:-1], padded[1:]
        sums = above + below
        unrest = 8 * np.abs(above - below)[:, 1:-1]
        return [sums[:, 1:-1], sums[:, :-2] + sums[:, 2:]], unrest

    def _signed(self, levels: Levels) -> _Signed:
        """Return levels as odd numbers around 0."""
        return 2 * levels.astype(np.int16) - np.int16(self._tables.levels - 1)


def bins_of(predictions: Integers) -> Integers:
    """Return the bins of predictions."""
    return np.clip((predictions >> FRACTION) + BINS // 2, 0, BINS - 1)
