import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tts_streamd.runtime import (
    SOCKETS,
    RuntimeDir,
    RuntimeDirError,
    RuntimeDirTakenError,
    choose_runtime_dir,
)


def refused(path):
    with pytest.raises(RuntimeDirError) as caught, RuntimeDir(path):
        pass
    assert "\n" not in str(caught.value)
    return str(caught.value)


def bind(path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def bind_twice(path):
    bind(path)
    bind(path)


def test_what_is_configured_goes_first_then_xdg(tmp_path):
    environ = {"XDG_RUNTIME_DIR": "/run/user/7"}
    assert choose_runtime_dir(str(tmp_path), environ) == tmp_path
    assert choose_runtime_dir(None, environ) == Path("/run/user/7/tts-streamd")


def test_a_relative_directory_is_taken_from_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert choose_runtime_dir("run", {}) == tmp_path / "run"


def test_root_serves_the_system_and_nobody_else_does(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert choose_runtime_dir(None, {}) == Path("/run/tts-streamd")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(RuntimeDirError, match="--runtime-dir"):
        choose_runtime_dir(None, {})


def test_it_is_made_for_its_owner_alone_and_removed(tmp_path):
    path = tmp_path / "deep" / "run"
    with RuntimeDir(path) as runtime:
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        assert [runtime.control, runtime.events, runtime.engine] == [path / name for name in SOCKETS]
        for name in SOCKETS:
            bind(path / name)
    assert not path.exists()


def test_a_directory_that_was_there_stays_and_is_left_empty(tmp_path):
    with RuntimeDir(tmp_path) as runtime:
        bind(runtime.control)
    assert list(tmp_path.iterdir()) == []


def test_the_body_failing_still_cleans_up(tmp_path):
    path = tmp_path / "run"
    with pytest.raises(OSError, match="Address already in use"), RuntimeDir(path) as runtime:
        bind_twice(runtime.events)
    assert not path.exists()


def test_a_second_daemon_is_told_who_holds_it(tmp_path):
    with RuntimeDir(tmp_path) as runtime:
        bind(runtime.control)
        with pytest.raises(RuntimeDirTakenError) as caught, RuntimeDir(tmp_path):
            pass
        assert caught.value.pid == os.getpid()
        assert f"kill {os.getpid()}" in str(caught.value)
        assert runtime.control.exists()  # the loser touched nothing
    with RuntimeDir(tmp_path):
        pass


def test_a_killed_daemon_leaves_nothing_that_hinders(tmp_path):
    body = (
        "import os, socket, sys; from pathlib import Path; from tts_streamd.runtime import RuntimeDir\n"
        "runtime = RuntimeDir(Path(sys.argv[1])).__enter__()\n"
        "socket.socket(socket.AF_UNIX).bind(str(runtime.control)); os._exit(9)"
    )
    path = tmp_path / "run"
    assert subprocess.run([sys.executable, "-c", body, path], check=False, timeout=30).returncode == 9
    assert (path / "control").exists()
    with RuntimeDir(path) as runtime:
        assert not runtime.control.exists()


def test_a_file_in_the_place_of_a_socket_is_not_removed(tmp_path):
    (tmp_path / "events").write_text("mine")
    assert f"{tmp_path / 'events'}: something else" in refused(tmp_path)
    assert (tmp_path / "events").read_text() == "mine"


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777])
def test_a_directory_in_which_others_may_write_is_refused(tmp_path, mode):
    path = tmp_path / "run"
    path.mkdir()
    path.chmod(mode)
    assert "chmod go-w" in refused(path)


def test_a_directory_of_somebody_else_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    assert "belongs to user" in refused(tmp_path)


def test_a_link_and_a_file_are_refused(tmp_path):
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    (tmp_path / "file").write_text("")
    assert "not a directory" in refused(tmp_path / "link")
    assert "not a directory" in refused(tmp_path / "file")
    assert "cannot be made" in refused(tmp_path / "file" / "run")


def test_the_lock_is_not_followed_through_a_link(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path = tmp_path / "run"
    path.mkdir()
    (path / "lock").symlink_to(victim)
    assert "cannot be opened" in refused(path)
    assert victim.read_text() == "precious"


def test_a_path_too_long_for_a_socket_is_refused_before_anything_is_made(tmp_path):
    room = 107 - len(os.fsencode(tmp_path)) - len("/" + "/control")
    fits, too_long = tmp_path / ("x" * room), tmp_path / ("y" * (room + 1))
    with RuntimeDir(fits) as runtime:
        bind(runtime.control)
    assert "1 bytes too long" in refused(too_long)
    assert not too_long.exists()
