"""A real daemon on real sockets, in a directory of its own."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from daemonprocess import daemon_process


@pytest.fixture(scope="module")
def daemon_dir():
    """One daemon for the tests of a module; the path is short, as sockets want it."""
    with tempfile.TemporaryDirectory(prefix="tts") as top:
        directory = Path(top, "run")
        with daemon_process(directory):
            yield directory


@pytest.fixture
def fresh_dir():
    """A place for a daemon of the test's own."""
    with tempfile.TemporaryDirectory(prefix="tts") as top:
        yield Path(top, "run")
