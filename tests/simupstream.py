"""A make-believe upstream with the `codepoint` voice: audio that decodes to the text it speaks.

Each UTF-16 unit of a code point sounds for 120 samples (60 where there are two) of its value, 24 kHz.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from tts_streamd_protocol.take import Alignment
from tts_streamd_protocol.units import voiced

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

PER_CP = 120
PER_MS = 24
Frame: TypeAlias = tuple[bytes, Alignment | None, Alignment | None]


def voice(text: str) -> bytes:
    units = np.frombuffer(text.encode("utf-16-le"), "<u2")
    pair = (units >= 0xD800) & (units < 0xE000)
    return np.repeat(units, np.where(pair, PER_CP // 2, PER_CP)).tobytes()


def heard(pcm: bytes) -> str:
    """Decode; a cut may be half a millisecond off, so runs are rounded, and zeros are silence."""
    out = bytearray()
    for value, run in groupby(np.frombuffer(pcm, "<u2").tolist()):
        length = PER_CP // 2 if 0xD800 <= value < 0xE000 else PER_CP
        times = (sum(1 for _ in run) + length // 2) // length
        out += (value.to_bytes(2, "little") * times) if value else b""
    return out.decode("utf-16-le", "replace")


def solid(text: str) -> str:
    return "".join(text.split())


@dataclass(frozen=True)
class Habits:
    """How one route treats text, frames and alignment."""

    align: str = "segment"  # segment | frame | slice (frames end inside characters) | never | normalized
    # | lengths (broken lists) | spelled (other letters than were sent) | gaps (some segments have none)
    append_space: bool = False  # a voiced space behind each segment
    collapse: bool = False  # runs of blanks become one space
    strip: bool = False  # blanks at the start of a segment vanish
    split: bool = False  # the server cuts segments where it likes, inside words too
    merge: bool = False  # ... or speaks several pieces as one segment
    drop_symbols: bool = False  # what is neither letter, digit nor blank is neither voiced nor aligned
    odd_bytes: bool = False
    overshoot_ms: int = 0  # the last character lasts longer in the alignment than in the audio
    truncate: bool = False  # the final comes although the last text was never spoken

    @property
    def verbatim(self) -> bool:
        return not (self.append_space or self.collapse or self.strip or self.drop_symbols)


ALIGN = ("segment", "frame", "slice", "never", "normalized", "lengths", "spelled", "gaps")


def any_habits(rng: random.Random) -> Habits:
    align = rng.choice(ALIGN)
    switch = [rng.random() < 0.3 for _ in range(7)]
    # Audio that nothing accounts for and text that was never spoken cannot be told apart.
    truncate = align in ("segment", "frame") and rng.random() < 0.2
    return replace(Habits(align, *switch), truncate=truncate)


class Upstream:
    """One route: ``send`` pieces, ``close``, then take ``frames`` one by one; None is the final."""

    def __init__(self, rng: random.Random, habits: Habits) -> None:
        self.rng, self.habits = rng, habits
        self.frames: deque[Frame | None] = deque()
        self.closed = False
        self._buffer = ""
        self._tail = 0  # frames that a truncating server forgets

    def send(self, text: str) -> None:
        self._buffer += text
        if not self.habits.merge or self.rng.random() < 0.5:
            self._speak()

    def close(self) -> None:
        self._speak()
        if self.habits.truncate and self.frames:
            for _ in range(self.rng.randint(1, 3)):
                if self.frames:
                    self.frames.pop()
        self.frames.append(None)
        self.closed = True

    def _speak(self) -> None:
        text, self._buffer = self._buffer, ""
        while text:
            n = self.rng.randint(1, len(text)) if self.habits.split else len(text)
            self.frames.extend(self._segment(self._spoken(text[:n])))
            text = text[n:]

    def _spoken(self, text: str) -> str:
        habits = self.habits
        if habits.drop_symbols:
            text = "".join(c for c in text if voiced(c) or c.isspace())
        if habits.strip:
            text = text.lstrip()
        if habits.collapse:
            text = "".join(" " if blank else "".join(run) for blank, run in groupby(text, str.isspace))
        return text + " " if habits.append_space else text

    def _segment(self, text: str) -> Iterator[Frame]:
        if not text:
            return
        pcm, habits, rng = voice(text), self.habits, self.rng
        at, align = 0, habits.align
        if align == "gaps" and rng.random() < 0.3:
            align = "never"
        while at < len(pcm):
            n = rng.choice((PER_CP * 2, rng.randint(1, 4000), rng.randint(1, 400), len(pcm)))
            if align == "frame":
                n = max(n // (PER_CP * 2), 1) * PER_CP * 2
            elif not habits.odd_bytes:
                n += n % 2
            frame = pcm[at : at + n]
            start, stop = at // 2, (at + len(frame)) // 2
            alignment = normalized = None
            if align in ("frame", "slice"):
                first, last = -(-start // PER_CP), -(-stop // PER_CP)
                alignment = self._times(text[first:last], [i * PER_CP - start for i in range(first, last)])
            elif at == 0 and align != "never":
                alignment = self._times(text, [i * PER_CP for i in range(len(text))])
                normalized = self._times(" " + text, [0, *(i * PER_CP for i in range(len(text)))])
                if align == "normalized":
                    alignment = None
                elif align == "lengths":
                    normalized, alignment = None, Alignment(alignment.chars, alignment.starts_ms[1:], [])
                elif align == "spelled":
                    spelled = text.replace("5", "five").replace("e", "x")
                    normalized = self._times(spelled, [i * PER_CP for i in range(len(spelled))])
                    alignment = None
            yield frame, alignment, normalized
            at += n

    def _times(self, chars: str, starts: list[int]) -> Alignment:
        # Rounding both edges, not the length: contiguous, as the service's are.
        begins = [round(s / PER_MS) for s in starts]
        ends = [round((s + PER_CP) / PER_MS) for s in starts]
        if ends:
            ends[-1] += self.habits.overshoot_ms
        return Alignment(list(chars), begins, [e - b for b, e in zip(begins, ends, strict=True)])
