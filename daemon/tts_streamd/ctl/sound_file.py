"""Where the sound is written: a file or standard output, checked before anything is said.

PCM becomes WAV; the other formats are written as they come.  What was there before is kept until the first sound.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from tts_streamd.ctl.failures import USAGE, CommandError

if TYPE_CHECKING:
    from tts_streamd_audio.wav import WavWriter


class SoundFile:
    """``write`` raises OSError at once when the disk is full; ``close`` leaves a valid file of what was written."""

    def __init__(self, file: BinaryIO, path: Path | None, *, created: bool) -> None:
        self._file = file
        self._path = path
        self._created = created
        self._wav: WavWriter | None = None
        self._begun = False
        self.is_stdout = path is None

    def begin(self, format_name: str, rate_hz: int) -> None:
        """The stream is open: from now on the file is ours."""
        self._begun = True
        if self._path is not None and stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
            self._file.truncate(0)
        if format_name.startswith("pcm_"):
            from tts_streamd_audio.wav import WavWriter  # noqa: PLC0415 - only who writes a file needs it

            self._wav = WavWriter(self._file, rate_hz)

    def write(self, data: bytes) -> None:
        """Append sound."""
        if self._wav is not None:
            self._wav.write(data)
        else:
            self._file.write(data)
        self._file.flush()

    def close(self) -> None:
        """Mend the header and close; a file that was only made to see whether it can be goes away again."""
        if self._wav is not None:
            self._wav.close()
            self._wav = None
        self._file.flush()
        if self._path is not None:
            self._file.close()
            if self._created and not self._begun:
                self._path.unlink(missing_ok=True)

    def abandon(self) -> None:
        """Close after a failure, which is what the user shall hear of."""
        try:
            self.close()
        except OSError:
            self._wav = None


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
