"""One route's take: the audio it has brought, matched to the run of text that it was given.

``marks`` holds the cuts (``units``) not yet released, each with the sample at which it lies, counted from
the route's first.  Alignment is evidence, not truth: it is walked along the text, and where the two part
the take is *blind* from there on.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from tts_streamd_protocol.release import Source, Word
from tts_streamd_protocol.units import has_voiced, is_cut, voiced

if TYPE_CHECKING:
    from collections.abc import Sequence

DAY_MS = 86_400_000  # an alignment that lasts longer is nonsense (infinite and NaN times are, too)


@dataclass(frozen=True, slots=True)
class Alignment:
    """Upstream's character times, in ms from the first sample of the frame that carried them."""

    chars: Sequence[str]
    starts_ms: Sequence[float]
    durations_ms: Sequence[float]

    @property
    def sound(self) -> bool:
        """Lists of one length, times that never go back, and some time for letters."""
        starts, durations = self.starts_ms, self.durations_ms
        if not len(self.chars) == len(starts) == len(durations):
            return False
        if not starts:
            return True
        in_order = all(a <= b for a, b in pairwise(starts))
        lasts = starts[-1] + durations[-1] > 0 or not has_voiced("".join(self.chars))
        finite = starts[-1] + sum(durations) < DAY_MS
        return in_order and lasts and finite and starts[0] >= 0 and min(durations) >= 0


@dataclass(slots=True)
class Mark:
    """A cut not yet released: ``cp`` lies at ``sample``."""

    sample: int
    cp: int
    word: Word | None  # the word that ends before this cut

    @property
    def needs(self) -> int:
        """A word is whole when its letters have sounded; the blank behind it may be missing."""
        return self.word.end if self.word else self.sample


@dataclass(frozen=True, slots=True)
class Spoken:
    """The text and samples between two cuts; ``word`` is what alignment matched in it."""

    cp_start: int
    cp_end: int
    start: int
    end: int
    word: Word | None


@dataclass(slots=True, eq=False)
class Take:
    """The take of route *id*; its text begins at *start* and grows by ``extend``."""

    id: int
    start: int
    source: Source
    per_ms: float
    slack: int
    end: int = field(init=False)
    cp: int = field(init=False)  # the held audio begins at this code point ...
    cursor: int = field(init=False)  # ... and alignment has come as far as this one
    cut: int = 0  # samples already released: the held audio begins here
    aligned: int = 0  # alignment accounts for the audio up to this sample
    live: bool = True
    blind: bool = False
    pcm: bytearray = field(default_factory=bytearray)
    marks: deque[Mark] = field(default_factory=deque[Mark])
    word: Word | None = None
    _ends: list[int] = field(default_factory=list[int])  # of pieces, rising
    _text: str = ""
    _base: int = field(init=False)  # the code point that ``_text`` begins with

    def __post_init__(self) -> None:
        self.end = self.cp = self.cursor = self._base = self.start

    @property
    def received(self) -> int:
        """Samples brought so far; half a sample waits for its other half."""
        return self.cut + len(self.pcm) // 2

    @property
    def owed(self) -> int:
        """The sample by which the last word that alignment promised has sounded."""
        return self.word.end if self.word else self.marks[-1].needs if self.marks else 0

    @property
    def whole_mark(self) -> Mark | None:
        """The last cut before which every word has sounded."""
        found = None
        for mark in self.marks:
            if mark.needs > self.received:
                break
            found = mark
        return found

    def extend(self, piece: str) -> None:
        """One more piece of text; what was released is let go."""
        self._text = self._text[self.cp - self._base :] + piece
        self._base = self.cp
        del self._ends[: bisect_left(self._ends, self.cp)]
        self.end += len(piece)
        self._ends.append(self.end)

    def slice(self, start: int, end: int) -> str:
        """Text of this take that is not yet released."""
        return self._text[start - self._base : end - self._base]

    # -- matching --------------------------------------------------------------------------------------
    def is_short(self, alignment: Alignment) -> bool:
        """A new segment begins although the last one's words have not all sounded."""
        return self.owed > self.received + self.slack + round(alignment.starts_ms[0] * self.per_ms)

    def follow(self, alignment: Alignment) -> bool:
        """Walk the text along the characters; False where they part.  Only voiced ones must agree."""
        base = self.received
        if base - self.aligned > self.slack:
            return False  # speech that nothing accounts for
        for mark in self.marks:
            mark.sample = min(mark.sample, base + round(alignment.starts_ms[0] * self.per_ms))
        times = zip(alignment.chars, alignment.starts_ms, alignment.durations_ms, strict=True)
        for chars, start_ms, duration_ms in times:
            start = base + round(start_ms * self.per_ms)
            end = base + round((start_ms + duration_ms) * self.per_ms)
            if not all(self._match(char, start, end) for char in chars):
                return False
            self.aligned = max(self.aligned, end)
        self._rest()
        return True

    def _match(self, char: str, start: int, end: int) -> bool:
        text, base, stop = self._text, self._base, self.end
        at = self.cursor
        if char.isspace():
            self.cursor += at < stop and text[at - base].isspace()
            return True
        while at < stop and text[at - base] != char and not voiced(text[at - base]):
            at += 1
        if at < stop and text[at - base] == char:
            self._step(at, start, end)
            return True
        return not voiced(char)

    def _step(self, at: int, start: int, end: int) -> None:
        if self._is_cut(at):
            self._mark(start, at)
        word = self.word
        self.word = Word(word.cp_start if word else at, at + 1, word.start if word else start, end)
        self.cursor = at + 1

    def _rest(self) -> None:
        """Blanks that upstream swallowed at the end of a piece must not hold its last word back."""
        at = self.cursor
        while at < self.end and not self._is_piece_end(at) and self._text[at - self._base].isspace():
            at += 1
        if self._is_piece_end(at):
            self.cursor = at
        if self._is_cut(self.cursor):
            self._mark(self.aligned, self.cursor)

    def _is_piece_end(self, cp: int) -> bool:
        i = bisect_left(self._ends, cp)
        return i < len(self._ends) and self._ends[i] == cp

    def _is_cut(self, cp: int) -> bool:
        return is_cut(self._text, cp - self._base) or self._is_piece_end(cp)

    def _mark(self, sample: int, cp: int, *, last: bool = False) -> None:
        word, self.word = self.word, None
        if self.marks and self.marks[-1].cp == cp:
            word = self.marks.pop().word  # what a later frame says of the same cut is truer
        if cp > self.cp or last:
            floor = self.marks[-1].sample if self.marks else self.cut
            self.marks.append(Mark(max(sample, floor), cp, word))

    # -- endings ---------------------------------------------------------------------------------------
    def whole(self) -> int:
        """Drop what a broken route leaves unfinished; returns the code point to go on from."""
        while self.marks and self.marks[-1].needs > self.received:
            self.marks.pop()
        self._clamp()
        self.end = self.marks[-1].cp if self.marks else self.cp
        return self.end

    def finish(self) -> bool:
        """The end of the take: all audio belongs to all text, if there can be enough of it."""
        if has_voiced(self.slice(self.cursor, self.end)):
            # Alignment did not cover the text: unmatched audio must be there to have said the rest.
            if self.received - self.aligned <= (self.slack if self.aligned else 0):
                return False
            last = self.marks[-1] if self.marks else Mark(self.cut, self.cp, None)
            self.word = Word(last.cp, self.end, last.sample, self.received)  # one coarse but true time
        elif self.owed > self.received + self.slack:
            return False
        self._clamp()
        self._mark(self.received, self.end, last=True)
        return True

    def _clamp(self) -> None:
        """No cut lies behind the audio once no more will come: all that is left can be released."""
        for mark in self.marks:
            mark.sample = min(mark.sample, self.received)

    # -- release ---------------------------------------------------------------------------------------
    def pop(self) -> tuple[bytes, list[Spoken]]:
        """Take what has sounded up to the last cut that audio has reached, and what lies between the cuts."""
        spoken: list[Spoken] = []
        cut, cp, received = self.cut, self.cp, self.received
        while self.marks and self.marks[0].sample <= received:
            mark = self.marks.popleft()
            spoken.append(Spoken(cp, mark.cp, cut, mark.sample, mark.word))
            cut, cp = mark.sample, mark.cp
        size = 2 * (cut - self.cut)
        pcm = bytes(self.pcm[:size])
        del self.pcm[:size]
        self.cut, self.cp = cut, cp
        return pcm, spoken
