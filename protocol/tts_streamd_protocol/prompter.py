"""What is to be said next: lost text first, then new text, cut into pieces.

It reads the journal and the cuts that the client asked for, and hands out one piece at a time; a piece stays the
next one until it is ``taken``.  After a crash a new one begins at ``journal.released_cp``.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from tts_streamd_protocol.chunking import Chunker, Piece, pieces

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tts_streamd_protocol.journal import Journal


class Prompter:
    """*flushes*: ascending positions at which a piece must end, as the client goes on adding them."""

    def __init__(self, journal: Journal, schedule: Sequence[int], flushes: Iterable[int]) -> None:
        self._journal = journal
        self._schedule = tuple(schedule)
        self._flushes = flushes
        self._chunker = Chunker(schedule, start_cp=journal.released_cp)
        self._fed_cp = self._flushed_cp = journal.released_cp
        self._again: deque[Piece] = deque()
        self._new: Piece | None = None

    @property
    def saying_again(self) -> bool:
        """Whether the next piece was said before, and lost."""
        return bool(self._again)

    @property
    def waiting(self) -> bool:
        """Whether a piece has been cut and not been taken."""
        return bool(self._again) or self._new is not None

    def next(self) -> Piece | None:
        """The next piece, if the text that has come so far makes one."""
        self._feed()
        if self._again:
            return self._again[0]
        if self._new is None:
            self._new = self._chunker.cut()
        return self._new

    def taken(self) -> None:
        """The next piece is on its way."""
        if self._again:
            self._again.popleft()
        else:
            self._new = None

    def say_again(self, start_cp: int, end_cp: int) -> None:
        """Text was lost: it comes before anything new, and in its place among what was lost before."""
        lost = pieces(self._journal.slice(start_cp, end_cp), self._schedule, start_cp=start_cp)
        self._again = deque(sorted((*self._again, *lost), key=lambda piece: piece.start_cp))

    def _feed(self) -> None:
        """Give the chunker the text that has come, up to each cut that the client asked for."""
        for flush_cp in self._flushes:
            if flush_cp > self._flushed_cp and flush_cp >= self._fed_cp:  # it may come after its text
                self._feed_to(flush_cp)
                self._chunker.flush()
                self._flushed_cp = flush_cp
        self._feed_to(self._journal.accepted_cp)
        if self._journal.closed:
            self._chunker.close()

    def _feed_to(self, cp: int) -> None:
        if cp == self._fed_cp:
            return
        self._chunker.feed(self._journal.slice(self._fed_cp, cp))
        self._fed_cp = cp
