"""Where the daemon is looked for."""

import socket
from pathlib import Path

import pytest

from tts_streamd_client.discovery import HELLO_S, LAST_HELLO_S, candidates, runtime_dirs
from tts_streamd_client.errors import DaemonUnreachableError


def listen(directory):
    """A real socket file, whose listener has gone: as a dead daemon leaves it."""
    directory.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory / "control"))


def test_a_directory_asked_for_is_the_only_candidate(tmp_path):
    environ = {"TTS_STREAMD_RUNTIME_DIR": "/elsewhere", "XDG_RUNTIME_DIR": "/run/user/1"}
    assert runtime_dirs(tmp_path, environ) == (tmp_path,)


def test_the_environments_directory_stands_alone():
    environ = {"TTS_STREAMD_RUNTIME_DIR": "/elsewhere", "XDG_RUNTIME_DIR": "/run/user/1"}
    assert runtime_dirs(None, environ) == (Path("/elsewhere"),)


@pytest.mark.parametrize("environ", [{}, {"XDG_RUNTIME_DIR": ""}])
def test_without_a_session_only_the_system_is_asked(environ):
    assert runtime_dirs(None, environ) == (Path("/run/tts-streamd"),)


def test_the_users_daemon_comes_before_the_systems():
    expected = (Path("/run/user/1/tts-streamd"), Path("/run/tts-streamd"))
    assert runtime_dirs(None, {"XDG_RUNTIME_DIR": "/run/user/1"}) == expected


def test_a_stale_socket_gets_one_second_and_the_last_place_five(tmp_path):
    listen(tmp_path / "tts-streamd")
    first, _ = candidates(None, {"XDG_RUNTIME_DIR": str(tmp_path)})
    assert first.patience_s == HELLO_S
    (only,) = candidates(tmp_path / "tts-streamd", {})
    assert only.patience_s == LAST_HELLO_S
    assert only.endpoint == f"ipc://{tmp_path}/tts-streamd/control"


def test_an_empty_place_is_passed_over_unless_it_is_the_last(tmp_path):
    first, *_ = candidates(None, {"XDG_RUNTIME_DIR": str(tmp_path)})
    assert (first.patience_s, first.reason) == (0.0, "nothing is there")
    (only,) = candidates(tmp_path, {})
    assert only.patience_s == HELLO_S, "a daemon just started is about to bind"


def test_a_path_too_long_for_a_socket_is_named(tmp_path):
    (only,) = candidates(tmp_path / ("x" * 107), {})
    assert only.patience_s == 0
    assert "longer than 107 bytes" in only.attempt().reason


def test_the_error_says_what_was_tried_and_what_to_do(tmp_path):
    attempts = tuple(each.attempt() for each in candidates(None, {"XDG_RUNTIME_DIR": str(tmp_path)}))
    text = str(DaemonUnreachableError(attempts))
    assert f"{tmp_path}/tts-streamd: nothing is there" in text
    assert "/run/tts-streamd" in text
    assert "`tts-streamd`" in text
    assert "systemctl start tts-streamd" in text
