"""The facts of one stream that outlive its actor: what was accepted, released, handed over, heard.

Routes come and go with an incarnation of the actor (``ledger``); this stays.  So everything behind
``released_cp`` is settled, everything after it is still to be said, and no third thing exists: one call,
``release``, checks first and then commits all of a release, or raises and changes nothing.

Text is counted in code points of the client's original text (the first of this stream is ``start_cp``),
audio in samples of the stream.  Pure: no clock, no I/O, no randomness.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from typing import TYPE_CHECKING

from tts_streamd_protocol.errors import TtsStreamdError
from tts_streamd_protocol.release import LedgerError, Release, Source, split
from tts_streamd_protocol.transcript import Transcript
from tts_streamd_protocol.units import stripped

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

KEPT_CP = 65_536
"""Text kept behind ``released_cp``: the text window, within which a client may send again what it sent."""

MAX_HEARD_WORDS = 8192
"""Words kept to tell what was heard: three quarters of an hour of speech, far above the 600 s of audio that a
client may be ahead of its listener (``limits.max_credit_ms``).  Older ones are presumed heard."""

MAX_SKIPPED = 1024
"""Spans told in ``end.skipped`` (16 KiB of the 64 KiB of a message); later ones count in the source only."""


class TextGapError(TtsStreamdError):
    """Text is missing between what was accepted and this message.  ``chars`` were accepted (5.2)."""

    def __init__(self, chars: int, accepted_cp: int, cp: int) -> None:
        super().__init__(
            "text_gap", f"text begins at cp {cp}, accepted is up to {accepted_cp}: send from there"
        )
        self.chars = chars
        self.accepted_cp = accepted_cp


class TextMismatchError(TtsStreamdError):
    """Text sent again differs from what was accepted.  ``chars`` were accepted (5.2)."""

    def __init__(self, chars: int, accepted_cp: int, cp: int) -> None:
        super().__init__(
            "bad_value", f"text sent again differs from the accepted text at cp {cp}: use a new stream"
        )
        self.chars = chars
        self.accepted_cp = accepted_cp


class Journal:
    """One stream's facts; *before* is context just before *start_cp* that is never spoken.

    ``released_cp`` and ``samples`` say how far speech was released, ``source`` where its code points came
    from (the sum is ``released_cp - start_cp``), ``sent`` how many upstream was given (text said again
    counts again), ``spoke`` whether any letter or digit sounded.  Read them; only the methods change them.
    """

    def __init__(self, *, start_cp: int = 0, before: str = "", rate_hz: int = 24_000) -> None:
        self.start_cp = start_cp
        self.rate_hz = rate_hz
        self.closed = False
        self.cancelled = False
        self.released_cp: int = start_cp
        self.samples: int = 0
        self.source: dict[Source, int] = {"live": 0, "cache": 0, "fallback": 0, "silent": 0}
        self.sent = 0
        self.losses = 0
        self.losses_since_release = 0
        self.last_route = -1
        self.spoke = False
        self.skipped: list[tuple[int, int]] = []
        self.pending: deque[Release] = deque()
        self.pending_samples = 0
        self.handed_samples = 0
        self.handed_cp = start_cp
        self._text = Transcript(start_cp - len(before), before)
        self._heard = _Heard(start_cp)

    # -- text ------------------------------------------------------------------------------------------
    @property
    def accepted_cp(self) -> int:
        """The position behind the last accepted code point."""
        return self._text.end

    @property
    def chars(self) -> int:
        """Code points accepted by this stream (``end.chars``)."""
        return self._text.end - self.start_cp

    @property
    def complete(self) -> bool:
        """Closed, and all text released; an open route may still bring a pause."""
        return self.closed and self.released_cp == self.accepted_cp

    def accept(self, text: str) -> int:
        """More text; returns the new ``accepted_cp``.  ``LedgerError`` after ``close``."""
        if self.closed:
            raise LedgerError("text after close")
        self._text.append(text)
        return self._text.end

    def check_overlap(self, cp: int, text: str) -> str:
        """What of *text*, sent from position *cp*, is new (contract 5.3); nothing is taken.

        ``TextGapError`` if something is missing before it, ``TextMismatchError`` if it differs from what was
        accepted.  Text that was let go, or lies before this stream, counts as equal.
        """
        if cp > self.accepted_cp:
            raise TextGapError(self.chars, self.accepted_cp, cp)
        known = max(cp, self.start_cp, self._text.base)
        stop = min(cp + len(text), self.accepted_cp)
        if known < stop and self.slice(known, stop) != text[known - cp : stop - cp]:
            raise TextMismatchError(self.chars, self.accepted_cp, cp)
        return text[self.accepted_cp - cp :]

    def slice(self, start_cp: int, end_cp: int) -> str:
        """Accepted text; ``KEPT_CP`` behind ``released_cp`` are sure to be there, else ``LedgerError``."""
        return self._text.slice(start_cp, end_cp)

    def is_blank(self, start_cp: int, end_cp: int) -> bool:
        """Whether there is nothing but whitespace in *start_cp*:*end_cp*."""
        return self._text.is_blank(start_cp, end_cp)

    def context(self, n: int) -> str:
        """Up to *n* code points just before ``released_cp``, those before this stream included."""
        return self._text.slice(max(self._text.base, self.released_cp - n), self.released_cp)

    def close(self) -> None:
        """No more text will come."""
        self.closed = True

    def cancel(self) -> None:
        """Nothing more is accepted, released or handed over."""
        self.closed = self.cancelled = True
        self.purge()

    # -- routes ----------------------------------------------------------------------------------------
    @property
    def next_route(self) -> int:
        """An id that no route of this stream has had: frames for an earlier actor's routes stay strangers."""
        return self.last_route + 1

    def record_sent(self, route_id: int, n_cp: int) -> None:
        """Upstream was given *n_cp* code points on this route."""
        self.last_route = max(self.last_route, route_id)
        self.sent += n_cp

    def record_loss(self) -> None:
        """A route was lost: ``losses_since_release`` is the caller's ground for giving up."""
        self.losses += 1
        self.losses_since_release += 1

    # -- speech ----------------------------------------------------------------------------------------
    def release(self, release: Release, source: Source, skipped: Sequence[tuple[int, int]] = ()) -> None:
        """Commit speech: all of it, or ``LedgerError`` and nothing.  It begins where the last one ended."""
        if release.at != self.samples or release.cp_start != self.released_cp or self.cancelled:
            raise LedgerError(
                f"release at {release.at}, {release.cp_start} instead of {self.samples}, {self.released_cp}"
            )
        if len(release.pcm) % 2 or release.cuts[-1:] != ((release.end, release.cp_end),):
            raise LedgerError("a release holds whole samples and ends at a cut")
        points = self._points(release)
        spans = self._merged(skipped)
        spoke = self.spoke or any(word.end > word.start for word in release.words)
        # Nothing from here on can fail: a crash never leaves half a release.
        self.released_cp, self.samples, self.spoke, self.skipped = release.cp_end, release.end, spoke, spans
        self.source[source if release.pcm else "silent"] += release.cp_end - release.cp_start
        self.pending.append(release)
        self.pending_samples += release.n_samples
        self.losses_since_release = 0
        self._heard.extend(points)
        self._text.forget(
            min(self.released_cp - KEPT_CP, self.handed_cp)
        )  # words not handed over need theirs

    def pass_blank(self, cp: int) -> None:
        """Whitespace up to *cp* that nobody needs to speak: a release without samples."""
        if cp == self.released_cp:
            return
        if not self.is_blank(self.released_cp, cp):
            raise LedgerError(f"{self.released_cp}:{cp} is not blank")
        losses = self.losses_since_release
        self.release(Release(b"", self.samples, self.released_cp, cp, cuts=((self.samples, cp),)), "silent")
        self.losses_since_release = losses  # a blank is no sign of life

    def pad(self, n_samples: int) -> int:
        """Put silence into the stream, behind what was released (never into it); returns where."""
        at = self.samples
        end = at + n_samples
        self.pending.append(
            Release(
                bytes(2 * n_samples), at, self.released_cp, self.released_cp, cuts=((end, self.released_cp),)
            )
        )
        self.pending_samples += n_samples
        self.samples = end
        return at

    def hand_over(self, max_samples: int | None = None) -> Release | None:
        """The next speech for the client, in parts of at most *max_samples* that end where units end."""
        if not self.pending:
            return None
        if max_samples is not None and self.pending[0].n_samples > max_samples:
            parts = tuple(split(self.pending[0], max_samples))
            self.pending.popleft()
            self.pending.extendleft(reversed(parts))
        release = self.pending.popleft()
        self.pending_samples -= release.n_samples
        self.handed_samples, self.handed_cp = release.end, release.cp_end
        return release

    def purge(self) -> None:
        """Drop what was released and not handed over: it will never be heard."""
        self.pending.clear()
        self.pending_samples = 0

    # -- listening -------------------------------------------------------------------------------------
    def heard_cp_at(self, samples: int | None = None) -> int:
        """The end of the last unit that had sounded whole at this sample, blanks behind it excluded.

        ``None`` means all that was handed over, which is also the most that can have been heard.
        ``start_cp`` if no unit had; all released text once the stream is ``complete`` and the last sample
        was played.
        """
        at = self.handed_samples if samples is None else min(samples, self.handed_samples)
        if self.complete and at == self.samples:
            return self.handed_cp
        return min(self._heard.at(at), self.handed_cp)

    def _points(self, release: Release) -> list[tuple[int, int]]:
        """(sample, cp): by this sample the unit that ends at this cp, blanks excluded, has sounded."""
        points: list[tuple[int, int]] = []
        words, cp = deque(release.words), release.cp_start
        for sample, cut_cp in release.cuts:
            sounded = None
            while words and words[0].cp_start < cut_cp:
                sounded = words.popleft().end
            _, end = stripped(self.slice(cp, cut_cp), 0, cut_cp - cp)
            if end:
                points.append((sample if sounded is None else sounded, cp + end))
            cp = cut_cp
        return points

    def _merged(self, skipped: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
        """``skipped`` with more spans, those with only blanks between them made one; bounded."""
        spans = self.skipped
        for start, end in skipped:
            if spans and spans[-1][1] >= self._text.base and self.is_blank(spans[-1][1], start):
                spans = [*spans[:-1], (spans[-1][0], end)]
            elif len(spans) < MAX_SKIPPED:
                spans = [*spans, (start, end)]
        return spans


class _Heard:
    """Ends of units, by sample and by code point, both rising; the oldest are let go and presumed heard."""

    def __init__(self, start_cp: int) -> None:
        self._floor = start_cp
        self._samples: list[int] = []
        self._cps: list[int] = []

    def extend(self, points: Iterable[tuple[int, int]]) -> None:
        for sample, cp in points:
            self._samples.append(max(sample, self._samples[-1]) if self._samples else sample)
            self._cps.append(cp)
        if (n := len(self._cps) - MAX_HEARD_WORDS) > 0:
            n = min(n + MAX_HEARD_WORDS // 8, len(self._cps) - 1)  # seldom, and then many
            self._floor = self._cps[n - 1]
            del self._samples[:n], self._cps[:n]

    def at(self, sample: int) -> int:
        i = bisect_right(self._samples, sample)
        return self._cps[i - 1] if i else self._floor
