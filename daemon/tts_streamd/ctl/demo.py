"""``demo``: a paragraph written word by word, as a language model does, spoken while it is being written.

What happened when is measured here, on one clock: when each word was sent, when its piece went upstream (as
the daemon's actors say), when sound came back.  The pace of the words is drawn from a fixed seed.
"""

from __future__ import annotations

import random
import re
import sys
import time
from array import array
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tts_streamd.ctl.failures import CommandError
from tts_streamd.ctl.private_daemon import private_daemon
from tts_streamd.ctl.say import print_json
from tts_streamd.ctl.sound_file import open_sound_file
from tts_streamd_client.blocking import Client, Stream, Tap, connect
from tts_streamd_client.errors import RequestRefusedError
from tts_streamd_client.events import Audio, End, Event, Word, Words

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tts_streamd.ctl.player import Player
    from tts_streamd.ctl.sound_file import SoundFile

PARAGRAPH = (
    "Every word you hear was spoken while the rest of this paragraph was still being written. "
    "A language model sends it here, a few letters at a time; the daemon decides where a thought may be cut, "
    "speaks the piece at once, and joins the next one to it. "
    "And if the line should break, it picks up the thread: no word is lost, and none is said twice."
)

WORDS_PER_S = 25
"""About what a hosted language model writes."""

SEED = 20_240_901
SILENCE_PEAK = 300
"""Of 32767: below this nobody spoke."""

PATIENCE_S = 50.0
"""The whole demonstration takes less than a minute, or has failed."""

WARM_UP_S = 10.0
"""How long our own daemon may take for the word that it says to itself."""

WARM_UP_TEXT = "Hello."

PIECE_OPS = frozenset({"speak_piece"})


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """Without ``runtime_dir`` a daemon is started for the occasion."""

    runtime_dir: Path | None
    out: Path
    play: bool
    as_json: bool


@dataclass(slots=True)
class Record:
    """What happened when, in seconds from the first word on."""

    texts: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    pieces: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    audio: list[tuple[float, int]] = field(default_factory=list[tuple[float, int]])
    words: list[Word] = field(default_factory=list[Word])
    end_s: float = 0.0
    end: End | None = None
    rate_hz: int = 24_000
    peak: int = 0
    tapped: bool = True
    played: bool = False

    @property
    def first_audio_s(self) -> float | None:
        """Time to first sound from the first word sent."""
        return self.audio[0][0] if self.audio else None

    @property
    def first_piece_s(self) -> float | None:
        """When the first piece went upstream; by the daemon's stamps if its actors may not be watched."""
        if self.pieces:
            return self.pieces[0][0]
        stamps = None if self.end is None else self.end.stamps_ms
        if stamps is None or stamps.sent is None or stamps.accepted is None:
            return None
        return (stamps.sent - stamps.accepted) / 1000

    @property
    def first_piece_written_s(self) -> float | None:
        """When the last word of the first piece had been sent: before that it could not be spoken."""
        if not self.pieces:
            return None
        left = len(self.pieces[0][1].strip())
        for at_s, text in self.texts:
            left -= len(text)
            if left <= 0:
                return at_s
        return None


def run_demo(options: DemoOptions) -> None:
    """Run it, draw it, and fail unless there was speech."""
    directory = private_daemon() if options.runtime_dir is None else nullcontext(options.runtime_dir)
    if not options.as_json and options.runtime_dir is None:
        sys.stderr.write(
            "Starting a daemon of our own; it says one word to itself first, to load the voice ...\n"
        )
    with ExitStack() as undo:
        file = open_sound_file(options.out)
        undo.callback(file.abandon)
        runtime_dir = undo.enter_context(directory)
        record = _perform(runtime_dir, file, options)
        _check(record)
    _report(record, options)


def _perform(runtime_dir: Path, file: SoundFile, options: DemoOptions) -> Record:
    with ExitStack() as undo:
        client = undo.enter_context(connect(runtime_dir, name="tts-streamctl demo", resume_within_s=0))
        if options.runtime_dir is None:
            _warm_up(client)
        player = _player(24_000) if options.play else None
        if player is not None:
            undo.callback(player.close)
        tap = _tap(client, undo)
        stream = undo.enter_context(client.open(cache=False, pace="realtime" if player else "eager"))
        file.begin(stream.opened.format, stream.opened.rate_hz)
        show = _Show(client, stream, tap, file, player)
        show.run()
        file.close()
    return show.record


def _warm_up(client: Client) -> None:
    """Our daemon was started this moment: its engine loads the voice with the first word that it says."""
    limit_s = time.monotonic() + WARM_UP_S
    with client.speak(WARM_UP_TEXT, cache=False, pace="eager") as stream:
        while stream.end is None and time.monotonic() < limit_s:
            stream.next_event(limit_s - time.monotonic())


def _player(rate_hz: int) -> Player | None:
    from tts_streamd.ctl.player import Player, has_sound_device  # noqa: PLC0415 - loading it takes time

    return Player(rate_hz) if has_sound_device() else None


def _tap(client: Client, undo: ExitStack) -> Tap | None:
    try:
        return undo.enter_context(client.tap())
    except RequestRefusedError:  # not our daemon: the stamps of `end` must do
        return None


def token_times(rng: random.Random) -> Iterator[tuple[float, str]]:
    """When each word is sent, in seconds: 25 a second on average, uneven as tokens are."""
    at_s = 0.0
    for word in re.findall(r"\S+\s*", PARAGRAPH):
        yield at_s, word
        at_s += rng.uniform(0.2, 1.8) / WORDS_PER_S


class _Show:
    """The performance: words go out on time, everything that comes back is noted with its time."""

    def __init__(
        self, client: Client, stream: Stream, tap: Tap | None, file: SoundFile, player: Player | None
    ) -> None:
        self.record = Record(rate_hz=stream.opened.rate_hz, tapped=tap is not None, played=player is not None)
        self._client = client
        self._stream = stream
        self._tap = tap
        self._file = file
        self._player = player
        self._began_s = time.monotonic()

    def _now_s(self) -> float:
        return time.monotonic() - self._began_s

    def run(self) -> None:
        """Until the stream has ended and been heard."""
        for at_s, text in token_times(random.Random(SEED)):  # noqa: S311 - a rhythm, not a secret
            self._listen(until_s=at_s)
            self.record.texts.append((self._now_s(), text))
            self._stream.send(text)
        self._stream.close_text()
        self._listen(until_s=PATIENCE_S)
        if self.record.end is None:
            raise CommandError(f"the stream did not end within {PATIENCE_S:g} s")
        if self._player is not None:
            self._player.drain(lambda: None)

    def _listen(self, until_s: float) -> None:
        while self.record.end is None and (left_s := until_s - self._now_s()) > 0:
            self._client.step(left_s)
            # the actors first: a piece was sent before its sound came, though both may be read at once
            while self._tap is not None and (message := self._tap.next_message(0)) is not None:
                fields = message.message or {}
                if fields.get("op") in PIECE_OPS:
                    self.record.pieces.append((self._now_s(), str(fields.get("text", ""))))
            while (event := self._stream.next_event(0)) is not None:
                self._note(event)

    def _note(self, event: Event) -> None:
        match event:
            case Audio():
                self.record.audio.append((self._now_s(), event.n))
                self.record.peak = max(self.record.peak, _peak(event.data))
                self._file.write(event.data)
                if self._player is not None:
                    self._player.write(event.data)
            case Words():
                self.record.words.extend(event.words)
            case End():
                self.record.end, self.record.end_s = event, self._now_s()
            case _:
                pass


def _peak(pcm: bytes) -> int:
    samples = array("h", pcm[: len(pcm) // 2 * 2])
    if sys.byteorder == "big":
        samples.byteswap()
    return max((abs(sample) for sample in samples), default=0)


def _check(record: Record) -> None:
    end = record.end
    assert end is not None
    if end.reason != "done":
        raise CommandError(f"the stream ended {end.reason}")
    if end.samples == 0:
        raise CommandError("no speech came: the stream ended without a sample")
    if record.peak < SILENCE_PEAK:
        raise CommandError(f"no speech came: {end.samples} samples of silence (peak {record.peak})")


def _report(record: Record, options: DemoOptions) -> None:
    end = record.end
    assert end is not None
    if options.as_json:
        print_json(
            {
                "out": str(options.out), "seconds": end.samples / record.rate_hz, "end": end,
                "first_audio_s": record.first_audio_s, "first_piece_s": record.first_piece_s,
                "first_piece_written_s": record.first_piece_written_s, "ended_s": record.end_s,
                "texts": record.texts, "pieces": record.pieces, "audio": record.audio,
            }
        )  # fmt: skip
        return
    from tts_streamd.ctl.timeline import draw  # noqa: PLC0415 - with --json nothing is drawn

    draw(record, options.out)
