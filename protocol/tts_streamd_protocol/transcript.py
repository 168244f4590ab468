"""A stream's text by position: grows without limit at its end, is forgotten at its beginning.

Kept in blocks of one size, so that finding, adding and forgetting cost the same however long the stream is.
"""

from __future__ import annotations

import re

from tts_streamd_protocol.release import LedgerError

BLOCK_CP = 4096
"""Adding a token copies at most this much; a few tens of blocks make up what a stream keeps."""

_NON_BLANK = re.compile(r"\S")


class Transcript:
    """Text whose first code point has position *base*."""

    def __init__(self, base: int, text: str = "") -> None:
        self._base = base  # where the first block begins
        self._blocks: list[str] = []  # all but the last are full
        self._end = base
        self.append(text)

    @property
    def base(self) -> int:
        """The first position that is still known."""
        return self._base

    @property
    def end(self) -> int:
        """The position behind the last code point."""
        return self._end

    def append(self, text: str) -> None:
        """Add *text* at the end."""
        tail = self._blocks.pop() if self._blocks and len(self._blocks[-1]) < BLOCK_CP else ""
        whole = tail + text
        self._blocks += [whole[i : i + BLOCK_CP] for i in range(0, len(whole), BLOCK_CP)]
        self._end += len(text)

    def slice(self, start: int, end: int) -> str:
        """The text of *start*:*end*; ``LedgerError`` if any of it is not (or no longer) known."""
        if not self._base <= start <= end <= self._end:
            raise LedgerError(f"{start}:{end} is not within {self._base}:{self._end}")
        if start == end:
            return ""
        first, last = (start - self._base) // BLOCK_CP, (end - 1 - self._base) // BLOCK_CP
        offset = self._base + first * BLOCK_CP
        found = self._blocks[first] if first == last else "".join(self._blocks[first : last + 1])
        return found[start - offset : end - offset]

    def is_blank(self, start: int, end: int) -> bool:
        """Whether *start*:*end* holds whitespace only; looks no further than the first other character."""
        while start < end:
            stop = min(end, start + BLOCK_CP)
            if _NON_BLANK.search(self.slice(start, stop)):
                return False
            start = stop
        return True

    def forget(self, before: int) -> None:
        """Let go of whole blocks before this position, sixteen or more at a time (constant cost a block)."""
        n = min((before - self._base) // BLOCK_CP, len(self._blocks) - 1)
        if n >= 16:  # noqa: PLR2004 - amortises the shift of the list
            del self._blocks[:n]
            self._base += n * BLOCK_CP
