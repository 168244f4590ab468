import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from tts_streamd.config import KEYS, RELOADABLE
from tts_streamd.config.sections import SECTIONS
from tts_streamd_actors.reception import FEATURES
from tts_streamd_protocol import errors, messages

ROOT = Path(__file__).parents[2]
CONFIGURATION = (ROOT / "docs/configuration.md").read_text("utf-8")
PROTOCOL = (ROOT / "docs/PROTOCOL.md").read_text("utf-8")


def rows(text):
    """Table rows by their first cell, without its back-quotes."""
    lines = (re.split(r"(?<!\\)\|", line) for line in text.splitlines() if line.startswith("| `"))
    return {cells[1].strip().strip("`"): [cell.strip() for cell in cells[2:-1]] for cells in lines}


def shown(default):
    match default:
        case None:
            return "not set"
        case bool():
            return f"`{str(default).lower()}`"
        case str():
            return f'`"{default}"`'
        case _:
            return f"`{default}`"


def ops(union):
    return {kind.__struct_config__.tag for kind in get_args(union)}


@pytest.mark.parametrize("key", KEYS)
def test_each_key_stands_with_its_default_and_whether_it_reloads(key):
    default, reloads, meaning = rows(CONFIGURATION)[key]
    assert default == shown(KEYS[key].default)
    assert reloads == ("yes" if key in RELOADABLE else "")
    assert meaning


def test_no_key_stands_that_is_not_there():
    documented = {key for key in rows(CONFIGURATION) if key == "runtime_dir" or key.split(".")[0] in SECTIONS}
    assert documented == set(KEYS)


def test_each_error_code_stands_with_whether_a_second_try_may_help():
    documented = {code: cells[0] == "yes" for code, cells in rows(PROTOCOL).items() if code in errors.CODES}
    assert documented == {code: code in errors.RETRYABLE for code in errors.CODES}


def test_exactly_the_requests_that_work_stand_as_working():
    documented = {op for op, cells in rows(PROTOCOL).items() if cells[-1] == "works"}
    assert documented == {"hello"} | (ops(messages.AnyRequest) & set(FEATURES))


def test_no_request_is_forgotten():
    documented = {op for op, cells in rows(PROTOCOL).items() if cells[-1] in {"works", "not yet"}}
    assert documented == ops(messages.AnyRequest) | {
        "pause",
        "resume",
        "models",
        "metrics",
        "prefetch",
        "attach",
    }


@pytest.mark.parametrize("op", sorted(ops(messages.AnyReply)))
def test_each_message_of_the_daemon_stands_there(op):
    assert re.search(rf"`{op}[` ]", PROTOCOL)


@pytest.mark.parametrize("kind", get_args(messages.AnyRequest), ids=lambda kind: kind.__name__)
def test_each_field_of_a_request_stands_there(kind):
    names = {field.encode_name for field in msgspec.structs.fields(kind)}
    assert {name for name in names if not re.search(rf"\b{name}\b", PROTOCOL)} == set()


def test_the_limits_stand_as_they_are():
    for field in msgspec.structs.fields(messages.Limits):
        assert f"`{field.name}` ({field.default})" in PROTOCOL
