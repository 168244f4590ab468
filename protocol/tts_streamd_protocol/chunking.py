"""Where accepted text is cut into pieces: one piece = one message upstream = one generated segment.

The daemon is the only chunker; upstream's own schedule never delays a piece.  A piece ends at the first cut
(``units``) at or behind the schedule's figure, counted from the first non-blank of the piece, so that blanks
never move a cut.  A blank at the end of the text so far ends its unit at once: waiting for the next character
would only add delay.  Otherwise where pieces end does not depend on how the text came in.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from tts_streamd_protocol.errors import TtsStreamdError
from tts_streamd_protocol.release import LedgerError
from tts_streamd_protocol.units import CUT, MAX_UNIT_CP, grapheme_cut, last_boundary

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ScheduleName: TypeAlias = Literal["aggressive", "speed", "balanced", "quality"]

SCHEDULES: Mapping[ScheduleName, tuple[int, ...]] = {
    "aggressive": (50, 50, 100, 100),
    "speed": (50, 75, 100, 150),
    "balanced": (120, 160, 250, 290),
    "quality": (250, 350, 450, 500),
}
"""Code points of the first, second, ... piece (the guide's figures); the last one repeats."""

MIN_CP, MAX_CP = 50, MAX_UNIT_CP
"""What a figure of a schedule may be: ElevenLabs' own range for ``chunk_length_schedule``."""

_BLANK, _NON_BLANK = re.compile(r"\s"), re.compile(r"\S")


def schedule(value: str | Sequence[int] | None) -> tuple[int, ...]:
    """The figures of a schedule by name or as given; absent and ``adaptive`` (not built yet) mean ``speed``.

    ``TtsStreamdError`` (``bad_value``) for an unknown name, no figures, or one outside 50..500.
    """
    if value is None or value == "adaptive":
        return SCHEDULES["speed"]
    if isinstance(value, str):
        for name in get_args(ScheduleName):
            if name == value:
                return SCHEDULES[name]
        raise TtsStreamdError(
            "bad_value", f"no schedule {value!r}: use one of {', '.join(SCHEDULES)} or a list"
        )
    if not value or not all(MIN_CP <= figure <= MAX_CP for figure in value):
        raise TtsStreamdError("bad_value", f"a schedule is one or more figures of {MIN_CP} to {MAX_CP}")
    return tuple(value)


@dataclass(frozen=True, slots=True)
class Piece:
    """Text *start_cp*:*end_cp*, never blank only."""

    start_cp: int
    end_cp: int


class Chunker:
    """Feed it the text from *start_cp* on, take pieces with ``cut``; it keeps only the piece in making.

    However the same text is fed, with the same flushes, the pieces are the same but for the blanks at their
    edges; they are the same altogether if no feed ends inside a run of blanks.  The work per character is
    constant.
    """

    def __init__(self, figures: Sequence[int], *, start_cp: int = 0) -> None:
        self._figures = tuple(figures)
        self._n = 0  # pieces cut so far
        self._start = start_cp  # of the piece in making, leading blanks included
        self._base = start_cp  # of ``_text``: its first non-blank
        self._text = ""
        self._ready: deque[Piece] = deque()
        self._closed = False

    @property
    def end_cp(self) -> int:
        """The position behind the last code point fed."""
        return self._base + len(self._text)

    def feed(self, text: str) -> None:
        """More text.  ``LedgerError`` after ``close``."""
        if self._closed:
            raise LedgerError("text after close")
        at = 0 if self._text else _skip_blanks(text, 0)
        text = self._text + text
        while at < len(text) and (end := self._end_of_piece(text, at)) is not None:
            self._cut_at(self._base + end)
            at = end  # a non-blank, or the end of the text so far
        self._base += at
        self._text = text[at:]

    def flush(self) -> None:
        """Cut exactly here; blanks by themselves wait for the next piece."""
        if self._text:
            self._base += len(self._text)
            self._text = ""
            self._cut_at(self._base)

    def close(self) -> None:
        """No more text: the rest becomes the last piece; blanks by themselves are left over."""
        self.flush()
        self._closed = True

    def cut(self) -> Piece | None:
        """The next piece, if there is one."""
        return self._ready.popleft() if self._ready else None

    def _cut_at(self, cp: int) -> None:
        self._ready.append(Piece(self._start, cp))
        self._start = cp
        self._n += 1

    def _end_of_piece(self, text: str, at: int) -> int | None:
        """Where the piece ends whose first non-blank is ``text[at]``, if that can be told yet."""
        figure = at + self._figures[min(self._n, len(self._figures) - 1)]
        if len(text) < figure:
            return None
        near = figure + MAX_UNIT_CP + 2  # without a cut up to here there is a long unit, or a run of blanks
        found = CUT.search(text, figure, near)
        if found is None or found.start() - at > MAX_UNIT_CP:
            unit = last_boundary(text, at, figure)
            limit = unit + MAX_UNIT_CP
            if (
                len(text) > limit
                and not (found and found.start() <= limit)
                and not _BLANK.search(text, unit, limit + 1)
            ):
                return grapheme_cut(text, unit, limit)
        found = found or CUT.search(text, near - 1)
        if found is None:
            return len(text) if text[-1].isspace() else None
        return found.start()


def pieces(text: str, figures: Sequence[int], *, start_cp: int = 0) -> Iterator[Piece]:
    """All pieces of *text*, which begins at *start_cp*: for text that was lost and must be said again.

    Blanks at the end that no piece carries are left over.
    """
    chunker = Chunker(figures, start_cp=start_cp)
    chunker.feed(text)
    chunker.close()
    while (piece := chunker.cut()) is not None:
        yield piece


def _skip_blanks(text: str, at: int) -> int:
    found = _NON_BLANK.search(text, at)
    return found.start() if found else len(text)
