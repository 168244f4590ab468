"""A daemon of one's own, for as long as it is needed; if something fails, the end of its log is shown."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tts_streamd.ctl.failures import CommandError
from tts_streamd_client.errors import ClientError

if TYPE_CHECKING:
    from collections.abc import Generator

READY_S = 30.0
"""How long it may take until the socket is there; half a second is usual."""

STOP_S = 10.0
LOG_LINES = 15
POLL_S = 0.02


@contextmanager
def private_daemon() -> Generator[Path]:
    """Start ``tts-streamd`` in a directory of its own and yield that directory.

    Raises:
        CommandError: it did not come up; its last words are in the message.
    """
    with tempfile.TemporaryDirectory(prefix="tts-streamd-") as directory:
        runtime_dir, log = Path(directory, "run"), Path(directory, "log")
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 - our own program
                [_program(), "--runtime-dir", str(runtime_dir)],
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us: we stop it in order
            )  # fmt: skip
        try:
            _wait_for(runtime_dir / "control", process)
            yield runtime_dir
        except (CommandError, ClientError):
            sys.stderr.write(f"The daemon's log ends so:\n{_tail(log)}")
            raise
        finally:
            _stop(process)


def _program() -> str:
    beside = Path(sys.executable).with_name("tts-streamd")
    found = str(beside) if beside.exists() else shutil.which("tts-streamd")
    if found is None:
        raise CommandError("the program tts-streamd is not installed beside this one, nor in PATH")
    return found


def _wait_for(socket: Path, process: subprocess.Popen[bytes]) -> None:
    limit_s = time.monotonic() + READY_S
    while not socket.exists():
        if process.poll() is not None:
            raise CommandError(f"tts-streamd ended at once with status {process.returncode}")
        if time.monotonic() > limit_s:
            raise CommandError(f"tts-streamd was not ready after {READY_S:g} s")
        time.sleep(POLL_S)


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:]
    return "".join(f"  {line}\n" for line in lines)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
