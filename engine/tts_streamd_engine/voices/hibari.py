"""The embedded engine's real voice: hibari's model, inside its wheel, with exact timing before any sound.

The model's duration network alone takes an eighth of the time of the whole model.  It runs over the whole
segment first, so the segment's timing is known at once; the spectra and the samples are then made sentence by
sentence and block by block.  The figures below were measured on 145 sentences at speeds 0.8, 1.0 and 1.2
(threshold -48 dBFS).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import onnxruntime
from hibari.g2p import G2P
from hibari.g2p.normalize import normalize
from hibari.voices import ASSETS, voice_path

from tts_streamd_engine.voices.interface import SAMPLES_PER_MS, Utterance, VoiceSettings, silence
from tts_streamd_engine.voices.onnx_graph import only_output, with_output
from tts_streamd_engine.voices.reading import Reader, Run, Spoken, Unspeakable
from tts_streamd_engine.voices.sentences import Sentence, split_sentences
from tts_streamd_engine.voices.spans import whole_ms
from tts_streamd_engine.voices.vocoder import HOP, Spectra, Timbre, rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

DURATIONS = "/Cast_32_output_0"
"""The model's tensor of durations: one int64 per phoneme id, in units of 600 samples; pinned by a test."""
_UNIT = 600
_SEED = 0  # of the noise: the same text gives the same samples

_LEAD_IN = (
    7 * HOP
)  # kept of the 0.3 s of silence in front: sound begins at most 80 ms before the first phoneme's time
_EARLY = 60 * SAMPLES_PER_MS  # phonemes sound this much before the time that the durations give (median)
_LAST_SOUNDS = (
    60 * SAMPLES_PER_MS
)  # sound ends 60 ms (std 35, at most 165) behind the start of the last phoneme
_LEAST_REST = 90 * SAMPLES_PER_MS  # so this much is always played behind that, lest a final sound be clipped
_PUNCTUATION_SHARE = 1 / 3  # of the pause; the rest is the following blank's
_FADE_IN, _FADE_OUT = 5 * SAMPLES_PER_MS, 10 * SAMPLES_PER_MS
_SILENT_BLOCK = 500 * SAMPLES_PER_MS

Point: TypeAlias = "tuple[float, float]"


class Model:
    """The network: two sessions over the same weights.  Safe to use from many threads."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = (
            1  # a second thread gains nothing, costs others
        )
        options.log_severity_level = 3
        stored = Path(voice_path("heart", download_missing=False)).read_bytes()
        providers = ["CPUExecutionProvider"]
        self._durations = onnxruntime.InferenceSession(
            only_output(stored, DURATIONS), options, providers=providers
        )
        self._full = onnxruntime.InferenceSession(
            with_output(stored, DURATIONS), options, providers=providers
        )

    def durations(self, ids: tuple[int, ...], speed: float) -> list[int]:
        """Units of 600 samples per phoneme id."""
        (units,) = self._durations.run([DURATIONS], _inputs(ids, speed))
        return [int(n) for n in units.reshape(-1)]

    def spectra(self, ids: tuple[int, ...], speed: float) -> tuple[Spectra, list[int]]:
        """What the vocoder needs, and the durations again (always equal to ``durations``; a test says so)."""
        *arrays, units = self._full.run(None, _inputs(ids, speed))
        return Spectra(*(array[0] for array in arrays)), [int(n) for n in units.reshape(-1)]


def _inputs(ids: tuple[int, ...], speed: float) -> dict[str, NDArray[np.generic]]:
    return {"ids": np.asarray([ids], np.int64), "speed": np.asarray([speed], np.float32)}


@dataclass(frozen=True, slots=True)
class _Slot:
    """``n_samples`` of the segment: phonemes, from output row ``first_row`` on, or silence."""

    n_samples: int
    ids: tuple[int, ...] = ()
    first_row: int = 0


class Hibari:
    """The loaded model with its reader: about 0.9 s and 200 MB.  Timbres share it."""

    def __init__(self) -> None:
        self.model = Model()
        vocabulary: dict[str, int] = json.loads(Path(ASSETS, "vocab.json").read_text(encoding="utf-8"))
        self.reader = Reader(G2P(), normalize, vocabulary)

    def warm_up(self) -> None:
        """Load what is loaded lazily: the first real word then costs as the second."""
        for _ in HibariVoice(self, Timbre()).utter("Warm up, xyzzy.", " ", VoiceSettings()).blocks:
            pass


class HibariVoice:
    """One timbre of the model."""

    def __init__(self, hibari: Hibari, timbre: Timbre) -> None:
        self._hibari = hibari
        self._timbre = timbre

    def utter(self, text: str, appended: str, settings: VoiceSettings) -> Utterance:
        """Speak; text without a speakable word becomes a short digital silence of honest length."""
        plan, n_characters = _Plan(self._hibari, settings.speed), len(text) + len(appended)
        for sentence in split_sentences(text):
            plan.add(text[sentence.start : sentence.end], sentence)
        plan.points[-1] = (n_characters, plan.n_samples)  # the last rest is the appended blank's too
        bounds_ms = whole_ms(plan.points, n_characters, SAMPLES_PER_MS)
        return Utterance(bounds_ms, self._blocks(plan.slots, settings.speed))

    def _blocks(self, slots: list[_Slot], speed: float) -> Iterator[bytes]:
        for slot in slots:
            made = 0
            if slot.ids:
                spectra, _ = self._hibari.model.spectra(slot.ids, speed)
                for block in _sounding(slot, spectra, self._timbre):
                    made += len(block) // 2
                    yield block
            for start in range(made, slot.n_samples, _SILENT_BLOCK):
                yield silence(min(_SILENT_BLOCK, slot.n_samples - start))


def _sounding(slot: _Slot, spectra: Spectra, timbre: Timbre) -> Iterator[bytes]:
    last_row = min(spectra.n_rows, slot.first_row + -(-slot.n_samples // HOP))
    n_samples = min(slot.n_samples, (last_row - slot.first_row) * HOP)
    at = 0
    for block in rows(spectra, timbre, slot.first_row, last_row, _SEED):
        wave = block.reshape(-1)[: n_samples - at]
        place = np.arange(at, at + len(wave), dtype=np.float32)
        wave = wave * np.clip(place / _FADE_IN, 0, 1) * np.clip((n_samples - place) / _FADE_OUT, 0, 1)
        at += len(wave)
        yield (np.clip(wave, -1, 1) * 32767).astype("<i2").tobytes()


class _Plan:
    """The segment's slots and the points (character, sample) of its timing, grown sentence by sentence."""

    def __init__(self, hibari: Hibari, speed: float) -> None:
        self._hibari = hibari
        self._speed = speed
        self.n_samples = 0
        self.slots: list[_Slot] = []
        self.points: list[Point] = [(0, 0)]

    def add(self, sentence: str, place: Sentence) -> None:
        pause = round(place.pause_ms / self._speed) * SAMPLES_PER_MS
        runs = self._hibari.reader.read(sentence)
        for number, run in enumerate(runs):
            self._add_run(run, place.start, pause if number == len(runs) - 1 else _LEAST_REST)
        if not runs:
            self._add_slot(_Slot(pause))
        self.points.append((place.end, self.n_samples))

    def _add_run(self, run: Run, origin: int, pause: int) -> None:
        if isinstance(run, Spoken):
            self._add_spoken(run, origin, max(pause, _LEAST_REST))
            return
        begun = self.n_samples
        self._add_slot(_Slot(_unspoken_ms(run) * SAMPLES_PER_MS))
        self.points += [(origin + run.start, begun), (origin + run.end, self.n_samples)]
        self._add_slot(_Slot(pause))

    def _add_spoken(self, run: Spoken, origin: int, pause: int) -> None:
        begun = self.n_samples
        starts = [0, *accumulate(_UNIT * n for n in self._hibari.model.durations(run.ids, self._speed))]
        first_row = max(0, starts[1] - _LEAD_IN) // HOP
        sounding = starts[run.last] + _LAST_SOUNDS - first_row * HOP
        for mark in run.marks:
            at = sounding if mark.index > run.last else starts[mark.index] - _EARLY - first_row * HOP
            self.points.append((origin + mark.source, begun + max(0, at)))
        if (
            run.marks[-2].index > run.last
        ):  # something stands behind the last word: it takes part of the pause
            self.points[-1] = (origin + run.marks[-1].source, begun + sounding + pause * _PUNCTUATION_SHARE)
        self._add_slot(_Slot(-(-(sounding + pause) // SAMPLES_PER_MS) * SAMPLES_PER_MS, run.ids, first_row))

    def _add_slot(self, slot: _Slot) -> None:
        self.n_samples += slot.n_samples
        self.slots.append(slot)


def _unspoken_ms(run: Unspeakable) -> int:
    """20 ms a character up to 0.3 s, but never less than 2 ms: nothing that is timed has no time at all."""
    n = round(run.end - run.start)
    return max(60, min(20 * n, 300), 2 * n)
