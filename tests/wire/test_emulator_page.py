"""What docs/emulator.md shows works as it stands there, and it names every fault."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import get_args

import pytest

from tts_streamd_engine.faults import Kind, TransportKind, to_script

PAGE = (Path(__file__).parents[2] / "docs/emulator.md").read_text("utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("number", range(2))
def test_each_example_runs(number):
    ran = subprocess.run(
        [sys.executable, "-c", EXAMPLES[number]], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr


def test_the_script_is_understood():
    (script,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    read = to_script(tomllib.loads(script))
    assert (read.fault[0].frame, read.transport[0].idle_s) == (4, 5)


def test_every_kind_stands_in_its_table_and_no_other():
    server, line = PAGE.split("## Faults of the line")
    assert len(EXAMPLES) == 2
    assert set(re.findall(r"^\| `(\w+)`", server, re.MULTILINE)) == set(get_args(Kind))
    assert set(re.findall(r"^\| `(\w+)`", line, re.MULTILINE)) == set(get_args(TransportKind))
