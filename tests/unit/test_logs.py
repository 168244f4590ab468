import io
import json
import logging
import os

import pytest
import structlog

from tts_streamd.config import Secret
from tts_streamd.config.sections import LogSection
from tts_streamd.logs import REPEATS, WINDOW_S, is_journal, logging_to, set_level

API_KEY = "sk_0123456789abcdef"


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def said(clock):
    """Log as JSON while the test runs; returns what was said so far."""
    stream = io.StringIO()
    with to(stream, "json", clock=clock):
        yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def to(stream, form, *, level="info", environ=None, **arguments):
    arguments.setdefault("secret", Secret(API_KEY))
    return logging_to(LogSection(level=level, format=form), environ=environ or {}, stream=stream, **arguments)


def test_structlog_and_the_standard_library_come_out_alike(said):
    structlog.get_logger("tts_streamd.x").info("link opened", ms=12)
    logging.getLogger("third.party").warning("retry %d", 3)
    ours, theirs = said()
    assert (ours["event"], ours["level"], ours["logger"], ours["ms"]) == (
        "link opened",
        "info",
        "tts_streamd.x",
        12,
    )
    assert (theirs["event"], theirs["level"], theirs["logger"]) == ("retry 3", "warning", "third.party")
    assert ours["timestamp"].endswith("Z")


def test_the_key_is_taken_out_wherever_it_stands(said):
    log = structlog.get_logger()
    log.info("event %s", API_KEY, field=API_KEY, nested={"headers": [API_KEY]})
    logging.getLogger("x").warning("header %s", API_KEY)
    try:
        int(API_KEY)
    except ValueError:
        log.exception("failed")
    text = json.dumps(said())
    assert API_KEY not in text
    assert text.count("<redacted>") >= 5
    assert "ValueError" in text


def test_texts_are_not_logged(said):
    structlog.get_logger().info("cut", text="my diary", before="dear", words=[["my", 0, 1]], n=8)
    (line,) = said()
    assert (line["text"], line["before"], line["words"], line["n"]) == (
        "<8 characters>",
        "<4 characters>",
        "<withheld>",
        8,
    )


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_traceback_shows_no_local_variables(form):
    stream = io.StringIO()
    with to(stream, form):
        try:
            diary = "my " + "diary"
            diary.index("yours")
        except ValueError:
            structlog.get_logger().exception("failed")
    assert "ValueError" in stream.getvalue()
    assert "my diary" not in stream.getvalue()


def test_a_repeated_line_is_counted_instead_of_said(said, clock):
    log = structlog.get_logger("a")
    for n in range(REPEATS + 7):
        log.warning("link lost", n=n)
    structlog.get_logger("b").warning("link lost")
    assert len(said()) == REPEATS + 1
    clock.now += WINDOW_S
    log.warning("link lost")
    assert said()[-1]["suppressed"] == 7
    log.warning("link lost")
    assert "suppressed" not in said()[-1]


def test_repeats_of_the_standard_library_are_counted_too(said, clock):
    for n in range(REPEATS + 2):
        logging.getLogger("c").warning("retry %d", n)
    clock.now += WINDOW_S
    logging.getLogger("c").warning("retry %d", 99)
    assert said()[-1]["event"] == "retry 99 (suppressed 2)"


def test_the_memory_of_repeats_is_bounded(said):
    log = structlog.get_logger()
    for _ in range(REPEATS + 1):
        log.info("first")
    for n in range(2000):
        structlog.get_logger(f"x{n}").info("event")
    log.info("first")  # forgotten meanwhile, so said again
    assert said()[-1]["event"] == "first"


def test_the_level_can_be_changed_while_it_runs(said):
    log = structlog.get_logger()
    log.debug("one")
    set_level("debug")
    log.debug("two")
    set_level("error")
    log.warning("three")
    assert [line["event"] for line in said()] == ["two"]


def test_third_parties_never_say_their_frames(said):
    set_level("debug")
    logging.getLogger("httpcore").debug("send_request_headers")
    logging.getLogger("trio-websocket").debug("frame")
    assert said() == []


def test_the_journal_gets_priorities_and_no_time(tmp_path):
    with (tmp_path / "journal").open("w+") as stream:
        facts = os.fstat(stream.fileno())
        environ = {"JOURNAL_STREAM": f"{facts.st_dev}:{facts.st_ino}"}
        assert is_journal(stream, environ)
        with to(stream, "auto", environ=environ):
            structlog.get_logger().error("engine gone", code=3)
        stream.seek(0)
        assert stream.read().startswith("<3>engine gone")


def test_a_stream_without_a_file_is_no_journal():
    assert not is_journal(io.StringIO(), {"JOURNAL_STREAM": "1:2"})


def test_a_plain_stream_gets_no_colours():
    stream = io.StringIO()
    with to(stream, "auto"):
        structlog.get_logger().warning("hello")
    assert "hello" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_afterwards_nothing_is_left():
    root = logging.getLogger()
    before = (root.handlers[:], root.level, logging.getLogger("httpx").level, structlog.is_configured())
    with pytest.raises(KeyError), to(io.StringIO(), "json", level="debug"):
        raise KeyError
    assert before == (root.handlers, root.level, logging.getLogger("httpx").level, structlog.is_configured())
