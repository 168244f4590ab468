"""Where a text is cut into sentences for the model, and how long the voice rests behind each.

Rule: the sentences cover the text without gap or overlap; blanks belong to the sentence before them (those at
the very start, to the first).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

MAX_CHARACTERS = 320
"""The model takes 510 phonemes, about one a character: longer sentences are cut at a clause or a blank."""

_CLOSERS = "\"'\u201d\u2019)]"  # quotes and brackets that may stand behind a full stop
_END = re.compile(rf"[.!?…]+[{re.escape(_CLOSERS)}]*(?=\s)|\n")
_CLAUSE = re.compile(rf"[,;:—\u2013][{re.escape(_CLOSERS)}]*(?=\s)")
_BLANKS = re.compile(r"\s+")
_PARAGRAPH = re.compile(r"\n[^\S\n]*\n")
_CLOSING = _CLOSERS + "} \t\r\n\f\v"

_NEVER_LAST = frozenset((
    "Mr", "Mrs", "Ms", "Dr", "Prof", "Gen", "Gov", "Sen", "Rep", "Capt", "Lt", "Col", "Sgt", "Cmdr", "Rev",
    "Hon", "Pres", "Supt", "Cpl", "Maj", "Adm", "Fr", "Msgr", "Mt", "Ft", "Messrs", "e.g", "i.e", "cf", "vs",
    "approx", "vol", "Vol", "Fig", "Ch", "pp", "al",
))  # fmt: skip
_SELDOM_LAST = frozenset((
    "Jan", "Feb", "Mar", "Apr", "Jun", "Jul", "Aug", "Sep", "Sept", "Oct", "Nov", "Dec", "Mon", "Tue", "Tues",
    "Wed", "Thu", "Thurs", "Fri", "Sat", "Sun", "St", "Ave", "Blvd", "Rd", "Ln", "Hwy", "Jr", "Sr", "Ltd",
    "Inc", "Corp", "Co", "Bros", "Dept", "Univ", "etc", "a.m", "p.m", "A.M", "P.M", "U.S", "U.K",
))  # fmt: skip
_BEFORE_NUMBERS = frozenset(("no", "No", "nos", "Nos", "fig", "ch", "est"))
_OPENERS = frozenset((
    "The", "A", "An", "This", "That", "These", "Those", "It", "He", "She", "They", "We", "I", "You", "There",
    "Here", "What", "When", "Where", "Why", "How", "Who", "But", "And", "Or", "So", "If", "In", "On", "At",
    "For", "As", "After", "Before", "Then", "Now", "Yes", "No", "Please", "Let",
))  # fmt: skip

_PAUSES_MS = {".": 350, "!": 350, "?": 350, "…": 350, ":": 250, ";": 250, "—": 200, "\u2013": 200, ",": 150}
_LINE_PAUSE_MS, _PARAGRAPH_PAUSE_MS, _NO_PAUSE_MS = 350, 600, 30


@dataclass(frozen=True, slots=True)
class Sentence:
    """``text[start:end]``; behind it the voice rests ``pause_ms`` at speed 1."""

    start: int
    end: int
    pause_ms: int


def split_sentences(text: str) -> list[Sentence]:
    """Cut ``text``; the list is empty only for an empty text."""
    bounds = [0, *_cuts(text), len(text)]
    spans = [s for a, b in pairwise(bounds) for s in _shortened(text, a, b)]
    return [Sentence(a, b, _pause_ms(text[a:b])) for a, b in spans]


def _cuts(text: str) -> list[int]:
    cuts: list[int] = []
    for match in _END.finditer(text):
        blanks = _BLANKS.match(text, match.end())
        cut = blanks.end() if blanks else match.end()
        begun = cuts[-1] if cuts else 0
        if cut < len(text) and text[begun : match.start()].strip() and _ends_sentence(text, match, cut):
            cuts.append(cut)
    return cuts


def _ends_sentence(text: str, end: re.Match[str], following: int) -> bool:
    if text[following].islower():
        return _PARAGRAPH.search(text, end.start(), following) is not None
    if end.group().rstrip(_CLOSERS) != ".":
        return True
    word = text[: end.start()].rsplit(maxsplit=1)[-1].lstrip("(\"'\u201c\u2018[")
    if word in _NEVER_LAST or (len(word) == 1 and word.isupper() and word != "I"):
        return False
    if word in _BEFORE_NUMBERS:
        return not text[following].isdigit()
    opener = re.match(r"[A-Za-z]*", text[following:])
    return word not in _SELDOM_LAST or (opener is not None and opener.group() in _OPENERS)


def _shortened(text: str, start: int, end: int) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    while end - start > MAX_CHARACTERS:
        cut = _last(_CLAUSE, text, start) or _last(_BLANKS, text, start) or start + MAX_CHARACTERS
        spans.append((start, cut))
        start = cut
    return [*spans, (start, end)] if start < end else spans


def _last(pattern: re.Pattern[str], text: str, start: int) -> int | None:
    """Where, blanks and all, the pattern's last match in the second half of the longest sentence ends."""
    matches = list(pattern.finditer(text, start + MAX_CHARACTERS // 2, start + MAX_CHARACTERS))
    if not matches:
        return None
    blanks = _BLANKS.match(text, matches[-1].end())
    return blanks.end() if blanks else matches[-1].end()


def _pause_ms(sentence: str) -> int:
    spoken = sentence.rstrip(_CLOSING)
    pause_ms = _PAUSES_MS.get(spoken[-1:], _NO_PAUSE_MS)
    tail = sentence[len(spoken) :]
    if _PARAGRAPH.search(tail):
        return _PARAGRAPH_PAUSE_MS
    return max(pause_ms, _LINE_PAUSE_MS) if "\n" in tail else pause_ms
