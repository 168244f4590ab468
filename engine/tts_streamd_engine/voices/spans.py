"""From places in a rewritten text back to places in the text it was written from, and from places to times.

Rule: every map is non-decreasing, so characters never change their order and times never go back.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from difflib import SequenceMatcher
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_WORD = re.compile(r"\S+")


class Ramp:
    """A non-decreasing function through given points, linear between them, constant outside.

    Points that would fall below their predecessor (in x or y) are lifted to it.  Where several share one x,
    the value there is the last one's.
    """

    def __init__(self, points: Iterable[tuple[float, float]]) -> None:
        self._xs: list[float] = []
        self._ys: list[float] = []
        for x, y in points:
            self._xs.append(max(x, self._xs[-1]) if self._xs else x)
            self._ys.append(max(y, self._ys[-1]) if self._ys else y)
        if not self._xs:
            raise ValueError("a ramp needs at least one point")

    def __call__(self, x: float) -> float:
        """The value at x."""
        after = bisect_right(self._xs, x)
        if after == 0:
            return self._ys[0]
        if after == len(self._xs):
            return self._ys[-1]
        x0, x1, y0, y1 = self._xs[after - 1], self._xs[after], self._ys[after - 1], self._ys[after]
        return y0 + (y1 - y0) * (x - x0) / (x1 - x0)


def word_ramp(rewritten: str, source: str) -> Ramp:
    """Where in ``source`` a place of ``rewritten`` came from, if rewriting kept the words' order.

    Words that both have map character for character; a run of words that was replaced ("3:30" by "three
    thirty") maps linearly onto what it replaced.
    """
    new, old = list(_WORD.finditer(rewritten)), list(_WORD.finditer(source))
    matcher = SequenceMatcher(None, [w.group() for w in new], [w.group() for w in old], autojunk=False)
    points: list[tuple[float, float]] = [(0, 0)]
    for kind, n0, n1, s0, s1 in matcher.get_opcodes():
        if kind == "equal":
            for word, origin in zip(new[n0:n1], old[s0:s1], strict=True):
                points += [(word.start(), origin.start()), (word.end(), origin.end())]
        elif kind == "replace":
            points += [(new[n0].start(), old[s0].start()), (new[n1 - 1].end(), old[s1 - 1].end())]
    if points[-1][0] < len(
        rewritten
    ):  # else the end of the last word is there: blanks behind it are not its own
        points.append((len(rewritten), len(source)))
    return Ramp(points)


def whole_ms(
    points: Iterable[tuple[float, float]], n_characters: int, samples_per_ms: int
) -> tuple[int, ...]:
    """Times in whole ms of the ``n_characters + 1`` character bounds, from points (character, sample).

    The first is 0; the last is the last point's time, which must fall on a whole millisecond.
    """
    ordered = list(points)
    ramp, total = Ramp(ordered), ordered[-1][1]
    inner = [int(ramp(i)) // samples_per_ms for i in range(1, n_characters)]
    bounds = (0, *inner, int(total) // samples_per_ms)
    assert all(a <= b for a, b in pairwise(bounds))
    return bounds
