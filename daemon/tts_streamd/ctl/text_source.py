"""Where the text comes from: the command line, a file, or standard input as it is being written.

``read`` gives what is there and never waits for more than that: a language model's words go out as they come.
"""

from __future__ import annotations

import codecs
import os
from typing import TYPE_CHECKING

from tts_streamd.ctl.failures import USAGE, CommandError

if TYPE_CHECKING:
    from pathlib import Path

CHUNK_BYTES = 4096
"""Read at a time; so many code points must fit into the daemon's text window before more is read."""


class TextSource:
    """Text in pieces.  ``fd`` is what to wait for, None if the text is there already."""

    def __init__(self, fd: int | None, text: str = "", *, name: str = "the text") -> None:
        self.fd = fd
        self.ended = False
        self._rest = text
        self._name = name
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    @property
    def whole(self) -> str | None:
        """All of the text, where it is known before the first word is said."""
        return self._rest if self.fd is None else None

    def read(self) -> str:
        """The next piece; ``ended`` once there is no more."""
        if self.fd is None:
            piece, self._rest = self._rest[:CHUNK_BYTES], self._rest[CHUNK_BYTES:]
            self.ended = not self._rest
            return piece
        data = os.read(self.fd, CHUNK_BYTES)
        self.ended = not data
        return self._decode(data)

    def _decode(self, data: bytes) -> str:
        try:
            return self._decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            raise CommandError(f"{self._name} is not UTF-8 ({error.reason})") from None


def choose_source(words: list[str], file: Path | None) -> TextSource:
    """The source that the command line asks for; without one, standard input if something is piped in."""
    if file is not None and words:
        raise CommandError("give either TEXT or --file, not both", USAGE)
    if file is not None and str(file) != "-":
        return TextSource(None, _read_file(file))
    if words and words != ["-"]:
        return TextSource(None, _checked(" ".join(words)))
    if not words and file is None and os.isatty(0):
        raise CommandError("nothing to say: give TEXT, --file FILE, or - to type it", USAGE)
    return TextSource(0, name="standard input")


def _read_file(file: Path) -> str:
    try:
        return file.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise CommandError(f"{file} is not UTF-8 (byte {error.start}: {error.reason})") from None


def _checked(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:  # bytes of the command line that were not UTF-8 became surrogates
        raise CommandError("TEXT is not UTF-8", USAGE) from None
    return text
