"""Where the sound is written: a file or standard output, checked before anything is said.

PCM becomes WAV; the other formats are written as they come.  What was there before is kept until the first
sound.
"""

from __future__ import annotations

import os
import stat
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO

from tts_streamd.ctl.failures import USAGE, CommandError

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from tts_streamd_audio.wav import WavWriter


class SoundFile:
    """``write`` tells at once of a full disk; ``close`` leaves a valid file of what was written."""

    def __init__(self, file: BinaryIO, path: Path | None, *, created: bool) -> None:
        self._file = file
        self._path = path
        self._created = created
        self._wav: WavWriter | None = None
        self._begun = False
        self._closed = False
        self.is_stdout = path is None

    def begin(self, format_name: str, rate_hz: int) -> None:
        """The stream is open: from now on the file is ours."""
        with self._named():
            self._begin(format_name, rate_hz)

    def _begin(self, format_name: str, rate_hz: int) -> None:
        self._begun = True
        if self._path is not None and stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
            self._file.truncate(0)
        if format_name.startswith("pcm_"):
            from tts_streamd_audio.wav import WavWriter  # noqa: PLC0415 - only who writes a file needs it

            self._wav = WavWriter(self._file, rate_hz)

    def write(self, data: bytes) -> None:
        """Append sound.

        Raises:
            CommandError: the disk is full.
            BrokenPipeError: the reader has gone away.
        """
        with self._named():
            if self._wav is not None:
                self._wav.write(data)
            else:
                self._file.write(data)
            self._file.flush()

    def close(self) -> None:
        """Mend the header and close; a file that was only made to see whether it can be goes away again."""
        if self._closed:
            return
        self._closed = True
        with self._named():
            if self._wav is not None:
                self._wav.close()
            self._file.flush()
            if self._path is not None:
                self._file.close()
        if self._path is not None and self._created and not self._begun:
            self._path.unlink(missing_ok=True)

    def abandon(self) -> None:
        """Close after a failure, which is what the user shall hear of."""
        with suppress(OSError, CommandError):
            self.close()

    @contextmanager
    def _named(self) -> Generator[None]:
        """An error says which file it was."""
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            raise CommandError(f"--out {self._path or '-'}: {error.strerror}") from None


def open_sound_file(path: Path) -> SoundFile:
    """Open ``path`` (``-``: standard output) for writing without harming what is there.

    Raises:
        CommandError: it cannot be written.
    """
    if str(path) == "-":
        if sys.stdout.isatty():
            raise CommandError("--out -: sound will not be written to a terminal; redirect it", USAGE)
        return SoundFile(sys.stdout.buffer, None, created=False)
    created = not path.exists()
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise CommandError(f"--out {path}: {error.strerror}") from None
    return SoundFile(os.fdopen(fd, "wb"), path, created=created)
