"""The command itself, as its own process: what it says and with which status it ends."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from tts_streamd.runtime import RuntimeDir

COMMAND = [sys.executable, "-c", "from tts_streamd.cli import main; main()"]


@pytest.fixture
def environ(tmp_path):
    """Where nothing of this machine's configuration counts."""
    kept = {name: value for name, value in os.environ.items() if name.startswith(("COVERAGE", "PYTHON"))}
    return kept | {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "XDG_RUNTIME_DIR": str(tmp_path / "xdg"),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }


@pytest.fixture
def tts_streamd(environ):
    def run(*arguments, **more):
        return subprocess.run(
            [*COMMAND, *map(str, arguments)],
            env=environ | more,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def only_line(result, status):
    assert result.returncode == status, result.stderr
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert "Traceback" not in line
    return line


def test_a_mistake_in_a_file_is_one_line_and_status_2(tts_streamd, tmp_path):
    (tmp_path / "c.toml").write_text("[streams]\nmax_totel = 3\n")
    line = only_line(tts_streamd("--config", tmp_path / "c.toml"), 2)
    where = f"tts-streamd: {tmp_path / 'c.toml'}: streams.max_totel"
    assert line == f"{where}: no such setting; did you mean streams.max_total?"


def test_a_file_that_is_not_there_is_one_line_and_status_2(tts_streamd):
    assert "there is no such file" in only_line(tts_streamd("--config", "/nonexistent.toml"), 2)


@pytest.mark.parametrize("arguments", [("--upstream", "ws://tts.example"), ("--log-level", "loud")])
def test_a_flag_that_does_not_fit_is_one_line_and_status_2(tts_streamd, arguments):
    assert "command line" in only_line(tts_streamd(*arguments), 2)


def test_a_variable_that_does_not_fit_is_one_line_and_status_2(tts_streamd):
    line = only_line(tts_streamd(TTS_STREAMD_GATEWAY_HEARTBEAT_MS="soon"), 2)
    assert "TTS_STREAMD_GATEWAY_HEARTBEAT_MS" in line


def test_an_unknown_flag_is_status_2_without_a_traceback(tts_streamd):
    result = tts_streamd("--louder")
    assert result.returncode == 2
    assert "--louder" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_taken_directory_is_one_line_with_the_other_process_and_status_1(tts_streamd, tmp_path):
    with RuntimeDir(tmp_path / "run"):
        line = only_line(tts_streamd("--runtime-dir", tmp_path / "run"), 1)
    assert f"process {os.getpid()} already serves here" in line


def test_a_directory_open_to_others_is_one_line_and_status_1(tts_streamd, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run").chmod(0o777)
    assert "chmod go-w" in only_line(tts_streamd("--runtime-dir", tmp_path / "run"), 1)


def test_check_config_shows_every_value_with_its_origin_and_no_key(tts_streamd, tmp_path):
    environ = {"ELEVENLABS_API_KEY": "sk_secret", "TTS_STREAMD_VOICE_SPEED": "1.1"}
    result = tts_streamd("--check-config", "--runtime-dir", tmp_path / "run", **environ)
    assert (result.returncode, result.stderr) == (0, "")
    assert "# environment TTS_STREAMD_VOICE_SPEED" in result.stdout
    assert "wss://api.elevenlabs.io (key from environment ELEVENLABS_API_KEY)" in result.stdout
    assert f"# serves in: {tmp_path / 'run'}" in result.stdout
    assert "sk_secret" not in result.stdout
    assert not (tmp_path / "run").exists()


def test_version_and_help_are_there(tts_streamd):
    assert tts_streamd("--version").stdout.startswith("tts-streamd 0.")
    helped = tts_streamd("--help")
    assert helped.returncode == 0
    assert "Examples:" in helped.stdout


async def wait_for_door(path: Path, process):
    """Until the control socket takes connections."""
    while True:
        assert process.returncode is None, "the daemon ended before it was ready"
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except OSError:
                await trio.sleep(0.05)
            else:
                return


@pytest.fixture
async def daemon(environ, tmp_path, nursery):
    """A running daemon and its runtime directory; ends with the test."""
    path = tmp_path / "run"
    config = tmp_path / "c.toml"
    config.write_text("")
    arguments = ["--runtime-dir", str(path), "--config", str(config), "--upstream", "embedded"]
    with (tmp_path / "stderr").open("wb") as stderr:
        process = await trio.lowlevel.open_process([*COMMAND, *arguments], env=environ, stderr=stderr)
    try:
        with trio.fail_after(30):
            await wait_for_door(path / "control", process)
        await said(tmp_path / "stderr", " ready")
        yield process, path
    finally:
        if process.returncode is None:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_it_in_order_with_status_0_and_nothing_left(daemon, signum):
    process, path = daemon
    process.send_signal(signum)
    with trio.fail_after(20):
        assert await process.wait() == 0
    assert not path.exists()


async def test_hangup_reloads_and_a_broken_file_changes_nothing(daemon, tmp_path):
    process, _ = daemon
    log = tmp_path / "stderr"
    (tmp_path / "c.toml").write_text("[voice]\nspeed = 1.1\n[gateway]\nshare_default = true\n")
    process.send_signal(signal.SIGHUP)
    await said(log, "voice.speed")
    await said(log, "gateway.share_default")
    (tmp_path / "c.toml").write_text("[voice\n")
    process.send_signal(signal.SIGHUP)
    await said(log, "configuration not reloaded")
    assert process.returncode is None
    assert "Traceback" not in log.read_text()


async def said(log, words):
    with trio.fail_after(10):
        while words not in log.read_text():  # noqa: ASYNC110 - another process writes it
            await trio.sleep(0.05)


async def test_a_second_daemon_does_not_disturb_the_first(daemon, environ):
    process, path = daemon
    second = await trio.run_process(
        [*COMMAND, "--runtime-dir", str(path)], env=environ, check=False, capture_stderr=True
    )
    assert second.returncode == 1
    assert f"process {process.pid}".encode() in second.stderr
    with trio.fail_after(5):
        await wait_for_door(path / "control", process)
