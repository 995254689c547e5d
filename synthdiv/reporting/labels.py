"""Where the labels of a chart hide the least."""

from collections.abc import Sequence

_Box = tuple[float, float, float, float]  # left, top, right, bottom

_UP, _DOWN = -6, 16  # from a point's middle to the line that a label above or below it stands on
_HEIGHT = 14  # of a label


class Labels:
    """The labels and points of a chart between two sides, `left` and `right`."""

    def __init__(self, left: float, right: float) -> None:
        self._left, self._right = left, right
        self._taken: list[_Box] = []

    def keep_free(self, x: float, y: float, radius: float) -> None:
        """Says where a point is drawn."""
        self._taken.append((x - radius, y - radius, x + radius, y + radius))

    def beside(self, x: float, y: float, radius: float, width: float) -> tuple[float, float, str]:
        """Places a label of a point at one of its four corners.

        Returns:
            Where its text starts or ends, the line that it stands on, and its `text-anchor`.
        """
        away = radius + 4
        corners = [(anchor, down) for down in (_UP, _DOWN) for anchor in ("start", "end")]

        def box(anchor: str, down: int) -> _Box:
            start = x + away if anchor == "start" else x - away - width
            return start, y + down - _HEIGHT + 3, start + width, y + down + 3

        def hidden(corner: tuple[str, int]) -> float:
            one = box(*corner)
            beyond = max(self._left - one[0], 0.0) + max(one[2] - self._right, 0.0)
            return 100 * beyond + self._hidden_by(one)

        anchor, down = min(corners, key=hidden)
        self._taken.append(box(anchor, down))
        return x + (away if anchor == "start" else -away), y + down, anchor

    def on_line(self, y: float, middles: Sequence[int], half: float) -> int:
        """Returns the middle of a label on a level line where it has the most room.

        Of several that are as good, the first.
        """

        def room(x: int) -> tuple[float, float]:
            one = (x - half, y - _HEIGHT - 2, x + half, y)
            gaps = (
                max(o[0] - one[2], one[0] - o[2], o[1] - one[3], one[1] - o[3]) for o in self._taken
            )
            return -self._hidden_by(one), min(gaps, default=0.0)

        return max(middles, key=room)

    def _hidden_by(self, one: _Box) -> float:
        return sum(_overlap(one, other) for other in self._taken)


def _overlap(one: _Box, other: _Box) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return max(wide, 0.0) * max(high, 0.0)
