"""The other commands of ``tts-streamctl``, as programs, against a scripted daemon."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tts_streamd_client.blocking import connect
from tts_streamd_client.testing import Scene, ScriptedDaemon

CTL = Path(sys.executable).with_name("tts-streamctl")

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def daemon(tmp_path):
    with ScriptedDaemon(tmp_path, heartbeat_ms=200) as daemon:
        yield daemon


def run(*arguments, **options):
    ctl = subprocess.run(
        [CTL, *arguments], check=False, capture_output=True, text=True, timeout=30, **options
    )
    return ctl.returncode, ctl.stdout, ctl.stderr


def test_status_is_for_people_or_for_programs(daemon, tmp_path):
    status, out, _ = run("--runtime-dir", tmp_path, "status")
    assert status == 0
    assert "scripted/1, pid 1, up 0 h 1 min 1 s" in out
    assert "gateway" in out
    assert "links: 2" in out
    assert json.loads(run("--runtime-dir", tmp_path, "status", "--json")[1])["details"] == {"links": 2}


def test_voices_shows_the_default(daemon, tmp_path):
    _, out, _ = run("--runtime-dir", tmp_path, "voices")
    assert "ada (default)" in out
    assert "a calm tone" in out
    assert json.loads(run("voices", "--json", "--runtime-dir", tmp_path)[1])["default"] == "ada"


def test_streams_shows_what_is_open(daemon, tmp_path):
    assert run("--runtime-dir", tmp_path, "streams")[1] == "No stream is open.\n"
    assert json.loads(run("--runtime-dir", tmp_path, "streams", "--json")[1]) == {"streams": []}


def test_cancel_wants_to_know_which(daemon, tmp_path):
    status, _, err = run("--runtime-dir", tmp_path, "cancel")
    assert (status, "--all" in err) == (2, True)
    assert run("--runtime-dir", tmp_path, "cancel", "--all")[1] == "0 of 0 streams cancelled\n"
    assert [request.get("scope") for request in daemon.requests if request["op"] == "cancel"] == ["all"]


def test_tap_prints_messages_as_they_come(tmp_path):
    with ScriptedDaemon(tmp_path, Scene.TAPPED):
        status, out, _ = run("--runtime-dir", tmp_path, "tap", "link", "--count", "2", "--json")
        assert (status, [json.loads(line)["message"]["text"] for line in out.splitlines()]) == (
            0,
            ["one", " two"],
        )
        status, out, _ = run("--runtime-dir", tmp_path, "tap", "-n", "1")
        assert status == 0
        assert "link-1" in out
        assert "speak_piece" in out


@pytest.mark.parametrize("command", ["status", "voices", "streams", "tap", "cancel"])
def test_without_a_daemon_each_command_says_so(tmp_path, command):
    status, out, err = run("--runtime-dir", tmp_path, command, *(["--all"] if command == "cancel" else []))
    assert (status, out) == (1, "")
    assert err.count("\n") == 1
    assert "no tts-streamd is running here" in err


def test_help_teaches_with_examples():
    for arguments in ((), ("say",), ("tap",), ("cancel",)):
        status, out, _ = run(*arguments, "--help")
        assert status == 0
        assert "Example" in out
    assert run()[0] == 2, "a bare command shows its help and is wrong usage"


def test_shell_completion_is_there():
    assert "--show-completion" in run("--help")[1]


def test_the_version_is_told():
    assert run("--version")[1].startswith("tts-streamctl 0.")


def test_help_loads_neither_numpy_nor_trio_nor_the_client():
    code = (
        "import sys; import tts_streamd.ctl.cli;"
        "print(*{'numpy', 'trio', 'zmq', 'miniaudio', 'msgspec', 'rich.console'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert out.strip() == ""


def test_saying_something_loads_neither_numpy_nor_trio(daemon, tmp_path):
    code = (
        "import sys; from tts_streamd.ctl.cli import app;"
        f"app(['--runtime-dir', {str(tmp_path)!r}, 'say', '--out', '/dev/null', 'hi'], standalone_mode=False);"
        "print(*{'numpy', 'trio', 'miniaudio', 'structlog', 'httpx', 'rich.console'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert out.strip() == ""


def test_one_client_does_not_disturb_another(daemon, tmp_path):
    with connect(tmp_path) as client, client.open() as stream:
        stream.send("one ")
        assert run("--runtime-dir", tmp_path, "status")[0] == 0
        stream.close_text()
        assert stream.collect().n_samples == 2400
