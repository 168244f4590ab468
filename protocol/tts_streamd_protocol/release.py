"""What a stream's books hand on: words with their times, and speech that may be heard.

A release covers its text and its samples completely: whoever hands it on, whole or split, has said all of it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

Source: TypeAlias = Literal["live", "cache", "fallback", "silent"]


class LedgerError(Exception):
    """A call that breaks the rules of the books: a bug in the daemon, nobody else's doing."""


@dataclass(frozen=True, slots=True)
class Word:
    """Code points ``cp_start:cp_end`` sound in samples ``start:end`` (of the stream, once released)."""

    cp_start: int
    cp_end: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Release:
    """Speech that may be heard now: all of ``cp_start:cp_end``, at sample ``at`` of the stream.

    ``pcm`` is 16-bit mono and may be empty (text in which nothing sounds); the span of text may be empty
    too (a pause).  ``cuts`` are the ends of the units inside, as (sample of the stream, cp); where there
    are any the last is (``end``, ``cp_end``).
    """

    pcm: bytes
    at: int
    cp_start: int
    cp_end: int
    words: tuple[Word, ...] = ()
    joint: bool = False
    """Another take than the audio before it."""
    cuts: tuple[tuple[int, int], ...] = ()

    @property
    def n_samples(self) -> int:
        """Samples of ``pcm``."""
        return len(self.pcm) // 2

    @property
    def end(self) -> int:
        """The sample of the stream behind the last one."""
        return self.at + self.n_samples


def split(release: Release, max_samples: int) -> Iterator[Release]:
    """Parts of at most *max_samples*, in order, that end where units end.

    A unit that is longer by itself is split anywhere and ``cp_end`` moves with its last part.  A word goes
    with the part in which it begins.  Linear in the size of the release.
    """
    if release.n_samples <= max_samples:
        yield release
        return
    cuts, words = deque(release.cuts), deque(release.words)
    at, cp, joint = release.at, release.cp_start, release.joint
    while at < release.end:
        stop, stop_cp = min(at + max_samples, release.end), cp
        ended: list[tuple[int, int]] = []
        while cuts and cuts[0][0] <= stop:
            ended.append(cuts.popleft())
        if ended:
            stop_cp = ended[-1][1]
            stop = ended[-1][0] if ended[-1][0] > at else stop
        if stop == release.end:
            stop_cp = release.cp_end
        begun: list[Word] = []
        while words and (words[0].cp_start < stop_cp or words[0].start < stop):
            begun.append(words.popleft())
        pcm = release.pcm[2 * (at - release.at) : 2 * (stop - release.at)]
        yield Release(pcm, at, cp, stop_cp, tuple(begun), joint, tuple(ended))
        at, cp, joint = stop, stop_cp, False
