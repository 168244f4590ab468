"""Where text may be cut: the one definition of *unit* and *cut* that ledger, chunker and reports share.

A *cut* is a place where another voice could take over without changing a reading: before the first character
of a run between whitespace and, for scripts that are written without blanks, before a letter or digit that
follows clause punctuation.  The text between two cuts is a *unit*: the least that is released, resumed or
reported.  Positions are code points; text is never normalised.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from unicodedata import category

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_UNIT_CP = 500
"""A longer unit is cut at a grapheme: the largest figure of a chunk schedule (wire contract 5.3)."""

CLAUSE_ENDS = frozenset("、。，！？；：…」』）】》।")  # noqa: RUF001 - these very characters are meant
"""Scripts without blanks are cut behind these; a cut between any two characters could change a reading."""

CUT = re.compile(rf"(?<=\s)(?=\S)|(?<=[{''.join(sorted(CLAUSE_ENDS))}])(?=[^\W_])")
r"""Matches, with no width, at each cut of a text (``\s`` is ``str.isspace``, ``[^\W_]`` ``str.isalnum``)."""

_ALNUM = re.compile(r"[^\W_]")
_ZWJ = "\u200d"


def is_cut(text: str, cp: int) -> bool:
    """Whether another voice could go on at ``text[cp]``; the edges of the text are no cuts inside it."""
    if not 0 < cp < len(text):
        return False
    before, after = text[cp - 1], text[cp]
    return (before.isspace() and not after.isspace()) or (before in CLAUSE_ENDS and after.isalnum())


def boundaries(text: str) -> Iterator[int]:
    """Each cut inside *text*, in order; the edges are not among them."""
    return (match.start() for match in CUT.finditer(text))


def last_boundary(text: str, start: int, stop: int) -> int:
    """The last cut in ``start < cp < stop``, or *start*: the beginning of the unit of ``text[stop - 1]``."""
    return next((cp for cp in range(stop - 1, start, -1) if is_cut(text, cp)), start)


def voiced(char: str) -> bool:
    """Letters, digits and their marks carry words; upstream may drop or add anything else."""
    return char.isalnum() or (category(char)[0] == "M" and not "\ufe00" <= char <= "\ufe0f")


def has_voiced(text: str) -> bool:
    """Whether there is anything in *text* that has to be spoken."""
    return _ALNUM.search(text) is not None or any(map(voiced, text))


def stripped(text: str, start: int, end: int) -> tuple[int, int]:
    """The span *start*:*end* without the blanks at its edges (empty at *start* if there is nothing else)."""
    inner = text[start:end]
    end = start + len(inner.rstrip())
    return (end - len(inner[: end - start].lstrip()), end) if end > start else (start, start)


def word_span(text: str, start: int, end: int) -> tuple[int, int]:
    """The units that ``text[start:end]`` touches, without blanks at the edges: a word as clients see it."""
    first, last = 0, len(text)
    for cp in boundaries(text):
        if cp <= start:
            first = cp
        elif cp >= end:
            last = cp
            break
    return stripped(text, first, last)


def unspoken(text: str) -> Iterator[tuple[int, int]]:
    """Spans, without blanks at the edges, of the units in *text* that hold no letter, digit or mark."""
    start = 0
    for cp in (*boundaries(text), len(text)):
        if not has_voiced(text[start:cp]):
            first, last = stripped(text, start, cp)
            if first < last:
                yield first, last
        start = cp


def grapheme_cut(text: str, start: int, stop: int) -> int:
    """The last place in ``start < cp <= stop`` that splits no character of a reader; *stop* if all do.

    An approximation of UAX #29 without its tables: never before a combining mark, a variation selector, a
    joiner, an emoji modifier or tag, or a Hangul vowel or final; never behind a joiner, nor inside CR LF or
    a flag.
    """
    return next((cp for cp in range(stop, start, -1) if not _joins(text, start, cp)), stop)


def _joins(text: str, start: int, cp: int) -> bool:
    if cp >= len(text):
        return False
    before, after = text[cp - 1], text[cp]
    if before == _ZWJ or _extends(after) or (before == "\r" and after == "\n"):
        return True
    if not (_is_regional(before) and _is_regional(after)):
        return False
    run = next((n for n in range(cp - start) if not _is_regional(text[cp - 1 - n])), cp - start)
    return run % 2 == 1  # flags are pairs


def _extends(char: str) -> bool:
    return (
        category(char)[0] == "M"  # variation selectors are marks
        or char == _ZWJ
        or "\U0001f3fb" <= char <= "\U0001f3ff"  # skin tones
        or "\U000e0020" <= char <= "\U000e007f"  # tags
        or "\u1160" <= char <= "\u11ff"  # Hangul vowels and finals
        or "\ud7b0" <= char <= "\ud7ff"
    )


def _is_regional(char: str) -> bool:
    return "\U0001f1e6" <= char <= "\U0001f1ff"
