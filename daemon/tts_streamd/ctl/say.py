"""``say``: text in as it comes, speech out to a device, a file, or both.

One thread, one loop: it waits for text and speech at once and takes only as much speech as it has room for.
"""

from __future__ import annotations

import sys
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tts_streamd.ctl.failures import FAILED, USAGE, CommandError
from tts_streamd.ctl.sound_file import SoundFile, open_sound_file
from tts_streamd.ctl.text_source import CHUNK_BYTES, TextSource
from tts_streamd_client.blocking import Client, Stream, connect
from tts_streamd_client.events import Audio, End, Event, State, Word, Words

if TYPE_CHECKING:
    from pathlib import Path

    from tts_streamd.ctl.player import Player
    from tts_streamd_client.options import Options

WAIT_S = 10.0
"""Longest single wait: the client notices a dead daemon by itself, this only bounds a step."""

LISTENING_S = 0.02
"""While something is played: how often the clock of what is heard is read."""


@dataclass(frozen=True, slots=True)
class SayOptions:
    """What the command line asked for; ``play`` None: if there is a device and no file."""

    stream: Options
    runtime_dir: Path | None = None
    out: Path | None = None
    play: bool | None = None
    words: bool = False
    as_json: bool = False


def say(source: TextSource, options: SayOptions) -> None:
    """Speak ``source``; returns when all of it has been written and heard.

    Raises:
        CommandError: there is nothing to do with the speech, or the file cannot be written.
        ClientError: no daemon, a refused request, a failed stream.
    """
    format_name = options.stream.get("format", "pcm_24000")
    with ExitStack() as undo:
        file = None if options.out is None else open_sound_file(options.out)
        if file is not None:
            undo.callback(file.abandon)
        play = _shall_play(options, format_name)
        client = undo.enter_context(connect(options.runtime_dir, name="tts-streamctl"))
        stream = undo.enter_context(_begin(client, source, options, live=play))
        if file is not None:
            file.begin(stream.opened.format, stream.opened.rate_hz)
        player = _player(stream.opened.rate_hz) if play else None
        if player is not None:
            undo.callback(player.close)
        speaking = _Speaking(
            client, stream, source, file, player, words=options.words, as_json=options.as_json
        )
        end = speaking.run()
        if file is not None:
            file.close()
        _tell(end, speaking.heard, stream, options)


def _shall_play(options: SayOptions, format_name: str) -> bool:
    pcm = format_name.startswith("pcm_")
    if options.play and not pcm:
        raise CommandError(f"only PCM can be played here, not {format_name}: use --no-play --out FILE", USAGE)
    if options.play is False or (options.play is None and (options.out is not None or not pcm)):
        play = False
    else:
        from tts_streamd.ctl.player import has_sound_device  # noqa: PLC0415 - loading it takes time

        play = has_sound_device()
        if options.play and not play:
            raise CommandError("there is no sound device here: use --out FILE")
    if not (play or options.out or options.words or options.as_json):
        why = "it shall not be played" if options.play is False else f"{format_name} is not played here"
        why = "there is no sound device here" if options.play is None and pcm else why
        raise CommandError(
            f"nothing would come of it: {why}, and there is no --out FILE (or --words, --json)"
        )
    return play


def _player(rate_hz: int) -> Player:
    from tts_streamd.ctl.player import Player  # noqa: PLC0415 - loading it takes time

    return Player(rate_hz)


def _begin(client: Client, source: TextSource, options: SayOptions, *, live: bool) -> Stream:
    request: Options = {"pace": "realtime" if live else "eager", **options.stream}
    if source.whole is not None and len(source.whole) <= CHUNK_BYTES:
        stream = client.speak(source.read(), **request)
        source.ended = True
        return stream
    return client.open(**request)


def _tell(end: End, words: list[Word], stream: Stream, options: SayOptions) -> None:
    if options.as_json:
        print_json(
            {
                "end": end, "seconds": end.samples / stream.opened.rate_hz, "rate_hz": stream.opened.rate_hz,
                "voice": stream.opened.voice, "format": stream.opened.format,
                "words": [word._asdict() for word in words], "out": str(options.out) if options.out else None,
            }
        )  # fmt: skip
    if end.reason != "done":
        raise CommandError(f"the stream was {end.reason} by somebody else before all was said", FAILED)
    if not end.samples:
        sys.stderr.write("tts-streamctl: the text was blank: nothing to say\n")


def print_json(document: Any) -> None:  # noqa: ANN401 - whatever msgspec can encode
    """One JSON document, on one line of standard output."""
    import msgspec  # noqa: PLC0415 - loaded with the client in any case

    sys.stdout.write(msgspec.json.encode(document).decode() + "\n")
    sys.stdout.flush()


class _Speaking:
    """The loop of one stream."""

    def __init__(  # noqa: PLR0913 - the loop's ends
        self,
        client: Client,
        stream: Stream,
        source: TextSource,
        file: SoundFile | None,
        player: Player | None,
        *,
        words: bool,
        as_json: bool,
    ) -> None:
        self.heard: list[Word] = []
        self._client = client
        self._stream = stream
        self._source = source
        self._file = file
        self._player = player
        self._due: deque[Word] = deque()
        self._keeps = as_json
        self._prints = words and not as_json
        self._printed_to = sys.stderr if file is not None and file.is_stdout else sys.stdout

    def run(self) -> End:
        """Send and hear until the stream has ended and all has been played."""
        while (end := self._take_events()) is None:
            self._give_text()
            self._print_words()
            fds = [self._source.fd] if self._source.fd is not None and self._has_room() else []
            if self._client.step(self._patience_s(), fds=fds):
                self._send(self._source.read())
        if self._player is not None:
            self._player.drain(self._print_words)
        self._print_words(everything=True)
        return end

    # -- text ----------------------------------------------------------------------------------------------
    def _has_room(self) -> bool:
        return not self._source.ended and self._stream.room_cp >= CHUNK_BYTES

    def _give_text(self) -> None:
        """Hand over what is there already, as far as the daemon takes it now."""
        while self._source.fd is None and self._has_room():
            self._send(self._source.read())

    def _send(self, piece: str) -> None:
        if piece:
            self._stream.send(piece)
        if self._source.ended:
            self._stream.close_text()

    # -- speech --------------------------------------------------------------------------------------------
    def _take_events(self) -> End | None:
        while self._player is None or self._player.wants_more:
            event = self._stream.next_event(0)
            if event is None:
                return None
            if isinstance(event, End):
                return event
            self._take(event)
        return None

    def _take(self, event: Event) -> None:
        match event:
            case Audio():
                if self._file is not None:
                    self._file.write(event.data)
                if self._player is not None:
                    self._player.write(event.data)
            case Words():
                self.heard.extend(event.words if self._keeps else ())
                self._due.extend(event.words)
            case State(state="recovering"):
                sys.stderr.write(
                    f"tts-streamctl: interrupted ({event.detail or 'upstream'}); it goes on by itself\n"
                )
            case State(state="speaking", detail="recovered"):
                sys.stderr.write("tts-streamctl: recovered, nothing is lost\n")
            case _:
                pass

    def _patience_s(self) -> float:
        return WAIT_S if self._player is None else LISTENING_S

    def _print_words(self, *, everything: bool = False) -> None:
        while self._due and (
            everything or self._player is None or self._player.played_ms >= self._due[0].start_ms
        ):
            word = self._due.popleft()
            if self._prints:
                self._printed_to.write(
                    f"{word.start_ms / 1000:8.3f} {word.end_ms / 1000:8.3f}  {word.text}\n"
                )
                self._printed_to.flush()
