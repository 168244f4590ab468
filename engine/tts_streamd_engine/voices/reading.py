"""How a sentence is read: runs of phonemes to be spoken, and words between them that the voice cannot say.

Rule: every place in the sentence keeps its order; each mark says which character a phoneme belongs to.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from tts_streamd_engine.voices.spans import Ramp, word_ramp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from hibari.g2p import G2P
    from hibari.g2p.token import Tok

MAX_PHONEMES = 400
"""Of one run; the model's own limit is 510."""
_NOT_SOUNDING = frozenset(';:,.!?—…"()“” ˈˌ')
_ENDLESS_NUMBER = re.compile(r"\d(?:,?\d){15,}")
_BETWEEN_DIGITS = re.compile(r"(?<=\d)(?=\d)")
_SCRIPT_EDGE = re.compile(r"(?<=[^\W\d_])(?=[^\W\d_])")

# words that the rules would read as abbreviations ("I said number.") even where they end a sentence: a blank
# before the full stop prevents it, and the rules take it out again
_ORDINARY_LAST_WORD = re.compile(r"(\b(?:no|ed|est|fig|ch|Sun|Sat|Mon|Mar))(\.\W*)$")


@dataclass(frozen=True, slots=True)
class Mark:
    """Before ``ids[index]`` the reading stands at ``source`` (a place in the sentence, in characters)."""

    source: float
    index: int


@dataclass(frozen=True, slots=True)
class Spoken:
    """Phonemes for one call of the model: ids, padded; ``last`` is the index of the last that sounds."""

    ids: tuple[int, ...]
    last: int
    marks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True)
class Unspeakable:
    """The characters from ``start`` to ``end`` have no phonemes: another script, or pictures."""

    start: float
    end: float


Run: TypeAlias = Spoken | Unspeakable


class Reader:
    """The way from a sentence to runs, by hibari's grapheme-to-phoneme rules; for many threads."""

    def __init__(self, g2p: G2P, normalise: Callable[[str], str], vocabulary: Mapping[str, int]) -> None:
        self._g2p = g2p
        self._normalise = normalise
        self._ids = vocabulary

    def read(self, sentence: str) -> list[Run]:
        """The runs of one sentence; none if it has nothing to say (only punctuation)."""
        separated = spaced(_ORDINARY_LAST_WORD.sub(r"\1 \2", sentence))
        text = self._normalise(separated)
        to_separated, to_source = word_ramp(text, separated), _separation(separated, sentence)
        runs, builder, at = list[Run](), _RunBuilder(self._ids), 0
        for token in self._g2p.phonemize_tokens(self._g2p.tokenize(text)):
            start = max(text.find(token.text, at), at)
            at = start + len(token.text)
            source = to_source(to_separated(start)), to_source(to_separated(at))
            if is_unspeakable(token):
                runs += builder.close()
                runs.append(Unspeakable(*source))
            else:
                runs += builder.add(token, *source)
        return _merged([*runs, *builder.close()])


class _RunBuilder:
    """Collects tokens until the model has enough for one call."""

    def __init__(self, vocabulary: Mapping[str, int]) -> None:
        self._vocabulary = vocabulary
        self._ids: list[int] = [0]
        self._marks: list[Mark] = []
        self._last = 0

    def add(self, token: Tok, start: float, end: float) -> Iterable[Run]:
        phonemes = [p for p in (token.phonemes or "")[:MAX_PHONEMES] if p in self._vocabulary]
        done = self.close() if len(self._ids) + len(phonemes) > MAX_PHONEMES else []
        self._marks.append(Mark(start, len(self._ids)))
        for phoneme in phonemes:
            if phoneme not in _NOT_SOUNDING:
                self._last = len(self._ids)
            self._ids.append(self._vocabulary[phoneme])
        self._marks.append(Mark(end, len(self._ids)))
        if token.whitespace:
            self._ids.append(self._vocabulary[" "])
        return done

    def close(self) -> list[Run]:
        """The run so far, if it makes any sound, and a fresh start."""
        ids, space = self._ids, self._vocabulary[" "]
        while ids[-1] == space:
            ids.pop()
        done = [Spoken((*ids, 0), self._last, tuple(self._marks))] if self._last else []
        self._ids, self._marks, self._last = [0], [], 0
        return list(done)


def is_unspeakable(token: Tok) -> bool:
    """Whether a reader would expect to hear the token, and the voice has nothing for it."""
    return not token.phonemes and any(_is_worded(c) for c in token.text)


def _is_worded(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] in "LN" or category == "So"


def _is_latin(character: str) -> bool:
    return ord(character) < 0x250 or 0x1E00 <= ord(character) < 0x1F00  # noqa: PLR2004 -- Unicode's Latin blocks


def spaced(text: str) -> str:
    """Put blanks where a Latin letter meets another script's, and between the digits of endless numbers.

    Else the whole word would count as Latin; and the rules have no name for a number of more than 15 digits.
    """
    text = _SCRIPT_EDGE.sub(
        lambda edge: " " if _is_latin(text[edge.start() - 1]) != _is_latin(text[edge.start()]) else "", text
    )
    return _ENDLESS_NUMBER.sub(lambda number: _BETWEEN_DIGITS.sub(" ", number.group()), text)


def _separation(separated: str, source: str) -> Ramp:
    """Where in the source a place of the separated text was: the two differ only by added blanks."""
    points: list[tuple[float, float]] = [(0, 0)]
    at = 0
    for place, character in enumerate(separated):
        if at < len(source) and character == source[at]:
            at += 1
        points.append((place + 1, at))
    return Ramp(points)


def _merged(runs: list[Run]) -> list[Run]:
    merged: list[Run] = []
    for run in runs:
        before = merged[-1] if merged else None
        if isinstance(run, Unspeakable) and isinstance(before, Unspeakable):
            merged[-1] = Unspeakable(before.start, run.end)
        else:
            merged.append(run)
    return merged
