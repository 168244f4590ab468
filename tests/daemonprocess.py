"""A real daemon on real sockets: started as a process, with the embedded engine, in a directory of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

TESTS = Path(__file__).parent


def environ(**extra):
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return kept | {"PYTHONUNBUFFERED": "1", "XDG_CONFIG_HOME": "/nonexistent"} | extra


@contextlib.contextmanager
def daemon_process(directory, *arguments, planted=False, **env):
    """The daemon's process, ready; asserts at the end that it stopped in order unless it has already ended."""
    program = (
        [str(TESTS / "planted.py"), str(directory)]
        if planted
        else ["-m", "tts_streamd", "--runtime-dir", str(directory), *arguments]
    )
    log = Path(f"{directory}.log")
    with (
        log.open("wb") as stderr,
        subprocess.Popen(
            [sys.executable, *program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=environ(**env),
        ) as process,
    ):
        process.log = log
        try:
            wait_until_ready(process, directory)
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def wait_until_ready(process, directory):
    limit = time.monotonic() + 20
    while " ready" not in process.log.read_text():
        assert process.poll() is None, process.log.read_text()
        assert time.monotonic() < limit, process.log.read_text()
        time.sleep(0.01)
