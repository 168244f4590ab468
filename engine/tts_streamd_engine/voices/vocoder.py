"""From the spectra that the model predicts to samples, in blocks: the first sounds before the last is made.

This is ``hibari.dsp.synth`` cut into rows of 300 samples (one hop, 12.5 ms) with the overlap carried over;
with the same noise it gives the stock samples (to rounding).  Other timbres come from scaling the pitch and
warping the frequency axis of the spectra.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from hibari import dsp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

Float: TypeAlias = "NDArray[np.float32]"
HOP = dsp.HOP
_OVERLAP = dsp.N_FFT // HOP
_BEFORE = dsp.N_FFT // 2 // HOP  # rows of padding in front: output row q is overlapped row q + 2
_FLOOR_LOG = -12.0  # a log magnitude that cannot be heard


@dataclass(frozen=True, slots=True)
class Timbre:
    """``pitch`` scales the fundamental, ``warp`` the frequency axis (below 1: a longer vocal tract)."""

    pitch: float = 1.0
    warp: float = 1.0


@dataclass(frozen=True, slots=True)
class Spectra:
    """What the model returns for F frames: five arrays [601, F] and the pitch [F] at one frame per hop."""

    harmonic_log: Float
    harmonic_phase: Float
    noise_log: Float
    free_log: Float
    free_phase: Float
    pitch_hz: Float

    @property
    def n_rows(self) -> int:
        """Rows of 300 samples that these spectra make."""
        return int(self.harmonic_log.shape[1])


def rows(spectra: Spectra, timbre: Timbre, first: int, last: int, seed: int) -> Iterator[Float]:
    """Blocks [n, 300] of the output rows ``first`` to ``last`` (which may be cut short by the spectra's end).

    The first block has 16 rows (0.2 s), later ones up to 80: the first is soon done, the others cost less.
    """
    last = min(last, spectra.n_rows)
    excitation = _excitation(spectra, timbre)
    norm, noise = _norm(spectra.n_rows), np.random.default_rng(seed)
    # overlapped row r is the sum of frames r-3 .. r: begin three frames early, drop those rows
    frame, row, size = max(0, first + _BEFORE - (_OVERLAP - 1)), first + _BEFORE, 16
    skip = row - frame
    carry: Float = np.zeros((_OVERLAP - 1, HOP), np.float32)
    while row < last + _BEFORE:
        end = min(spectra.n_rows, frame + size + skip, last + _BEFORE)
        framed = _frames(spectra, timbre, excitation, slice(frame, end), noise)
        overlapped = np.zeros((end - frame + _OVERLAP - 1, HOP), np.float32)
        overlapped[: _OVERLAP - 1] += carry
        for k in range(_OVERLAP):
            overlapped[k : k + end - frame] += framed[:, k]
        # the last frames' overlap is complete too: no more will be added
        complete = min(end if end < spectra.n_rows else end + _OVERLAP - 1, last + _BEFORE)
        yield (overlapped[skip : complete - frame] * norm[row:complete]).astype(np.float32)
        carry = overlapped[end - frame :]
        frame, row, skip, size = end, complete, 0, min(80, size * 2)


def _excitation(spectra: Spectra, timbre: Timbre) -> Float:
    """The pulse train's windows, one per frame [F, 1200]."""
    pulses = np.pad(dsp.pulses(spectra.pitch_hz * np.float32(timbre.pitch)), dsp.N_FFT // 2, mode="reflect")
    return np.lib.stride_tricks.sliding_window_view(pulses, dsp.N_FFT)[::HOP][: spectra.n_rows]


def _frames(
    spectra: Spectra, timbre: Timbre, excitation: Float, cut: slice, noise: np.random.Generator
) -> Float:
    """Windowed waveforms of the frames in ``cut``: [n, 4, 300]."""
    logs = [
        _warped(a[:, cut], timbre.warp) for a in (spectra.harmonic_log, spectra.noise_log, spectra.free_log)
    ]
    phases = [_gathered(a[:, cut], timbre.warp) for a in (spectra.harmonic_phase, spectra.free_phase)]
    spectrum = np.ascontiguousarray(dsp.rfft(excitation[cut] * dsp.WIN_SRC, 1).T)
    spectrum *= dsp.ex(logs[0]) * _turn(np.tanh(phases[0]) * np.float32(np.pi))
    n_bins, n = logs[1].shape
    spectrum += noise.standard_normal((n_bins, 2 * n), dtype=np.float32).view(np.complex64) * dsp.ex(logs[1])
    spectrum += dsp.ex(logs[2]) * _turn(phases[1])
    waves = np.multiply(dsp.irfft(spectrum.T, dsp.N_FFT, 1), dsp.WIN, dtype=np.float32)
    return waves.reshape(n, _OVERLAP, HOP)


def _turn(angle: Float) -> NDArray[np.complex64]:
    turned = np.empty(angle.shape, np.complex64)
    np.cos(angle, out=turned.real)
    np.sin(angle, out=turned.imag)
    return turned


def _norm(n_frames: int) -> Float:
    """One over the summed squared window of each overlapped sample: [F + 3, 300]."""
    squared = (dsp.WIN * dsp.WIN).reshape(_OVERLAP, HOP)
    total = np.zeros((n_frames + _OVERLAP - 1, HOP), np.float32)
    for k in range(_OVERLAP):
        total[k : k + n_frames] += squared[k]
    return (1.0 / np.maximum(total, 1e-11)).astype(np.float32)


def _warped(log_magnitudes: Float, warp: float) -> Float:
    """The spectra with every frequency multiplied by ``warp``, linear between bins."""
    if warp == 1.0:
        return log_magnitudes
    n_bins = log_magnitudes.shape[0]
    place = np.arange(n_bins, dtype=np.float32) / np.float32(warp)
    low = np.minimum(place.astype(np.int64), n_bins - 2)
    share: Float = np.minimum(place - low, 1.0).astype(np.float32)[:, None]
    mixed = log_magnitudes[low] + (log_magnitudes[low + 1] - log_magnitudes[low]) * share
    out: Float = mixed.astype(np.float32, copy=False)
    out[place > n_bins - 1] = _FLOOR_LOG
    return out


def _gathered(phases: Float, warp: float) -> Float:
    """The same for phases, which must not be averaged: the nearest bin's."""
    if warp == 1.0:
        return phases
    n_bins = phases.shape[0]
    nearest = np.rint(np.arange(n_bins, dtype=np.float32) / np.float32(warp)).astype(np.int64)
    gathered: Float = phases[np.minimum(nearest, n_bins - 1)]
    return gathered
