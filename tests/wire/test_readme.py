"""What the README shows works as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from daemonprocess import environ

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_the_python_example_plays_what_it_sends(daemon_dir):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    preamble = "import sys\nplayed = []\nplay = played.append\n"
    check = "\nassert sum(map(len, played)) > 24000, len(played)\n"
    ran = subprocess.run(
        [sys.executable, "-c", preamble + code + check],
        env=environ(TTS_STREAMD_RUNTIME_DIR=str(daemon_dir)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert re.findall(r"(\w+\.?) at \d+ ms", ran.stdout) == ["It", "speaks", "while", "you", "write."]


def test_the_commands_of_the_quick_start_are_understood(daemon_dir, tmp_path):
    bin_dir = Path(sys.executable).parent
    (quick_start,) = re.findall(r"## Quick start\n\n```\n(.*?)```", README, re.DOTALL)
    lines = [line for line in quick_start.splitlines() if "tts-streamctl" in line]
    assert len(lines) == 2
    for line in lines:
        command = line if "--out" in line else f"{line} --out piped.wav"
        ran = subprocess.run(
            ["bash", "-c", command],
            env=environ(TTS_STREAMD_RUNTIME_DIR=str(daemon_dir), PATH=f"{bin_dir}:/usr/bin:/bin"),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "piped.wav").stat().st_size > 24_000
    assert (tmp_path / "later.wav").stat().st_size > 24_000
