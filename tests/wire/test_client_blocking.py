"""The blocking client against a scripted daemon, over real sockets."""

import os
import socket
import threading
import time

import pytest

from tts_streamd_client import (
    Audio,
    ClientError,
    DaemonProtocolError,
    DaemonUnreachableError,
    End,
    NoAnswerError,
    RequestRefusedError,
    SessionLostError,
    StreamFailedError,
    Words,
)
from tts_streamd_client.blocking import connect
from tts_streamd_client.testing import Scene, ScriptedDaemon

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
def daemon(tmp_path):
    with ScriptedDaemon(tmp_path, heartbeat_ms=200) as daemon:
        yield daemon


@pytest.fixture
def client(daemon):
    with connect(daemon.runtime_dir) as client:
        yield client


def ops(daemon):
    return [request["op"] for request in daemon.requests]


def wait_for(condition):
    limit = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < limit, "it did not happen within 5 s"
        time.sleep(0.005)


def test_text_goes_in_piece_by_piece_and_speech_comes_back(client):
    with client.open(voice="bo") as stream:
        for piece in ("Hello ", "there, my ", "friend."):
            stream.send(piece)
        stream.close_text()
        events = list(stream)
    words = [word for event in events if isinstance(event, Words) for word in event.words]
    sound = b"".join(event.data for event in events if isinstance(event, Audio))
    assert [word.text for word in words] == ["Hello", "there,", "my", "friend."]
    assert words[1] == ("there,", 100, 200, 6, 12)
    assert isinstance(events[-1], End)
    assert events[-1].samples == len(sound) // 2 == 9600
    assert stream.opened.voice == "bo"
    assert list(stream) == [], "the end was heard"


def test_speech_comes_while_text_is_still_being_written(client):
    with client.open() as stream:
        stream.send("one two ")
        first = stream.next_event(timeout_s=5)
        assert isinstance(first, Words)
        assert stream.end is None


def test_a_text_of_one_message_is_spoken_in_one_request(daemon, client):
    speech = client.speak("Hello there.").collect()
    assert ops(daemon) == ["hello", "speak"]
    assert (speech.n_samples, speech.rate_hz, len(speech.data)) == (4800, 24_000, 9600)


def test_a_longer_text_is_cut_into_messages(daemon, client):
    text = "word " * 5000
    stream = client.speak(text)
    assert stream.collect().end.chars == len(text)
    assert ops(daemon)[:4] == ["hello", "open", "text", "text"]
    assert "".join(request["text"] for request in daemon.requests if request["op"] == "text") == text


def test_requests_about_the_daemon(client):
    assert client.voices().default == "ada"
    assert client.status().actors[0].name == "gateway"
    client.ping()
    with client.open() as stream:
        assert [info.sid for info in client.streams()] == [stream.sid]
        client.cancel_all()
        assert [event.reason for event in stream] == ["cancelled"]


def test_no_routing_id_is_set_and_sids_rise(daemon, client):
    sids = [client.speak("one").sid for _ in range(3)]
    assert sids == [1, 2, 3]


def test_a_refused_voice_opens_nothing(client):
    with pytest.raises(RequestRefusedError) as refused:
        client.open(voice="nobody")
    assert refused.value.code == "voice_not_found"
    assert not refused.value.retryable
    assert client.statistics().streams_open == 0


def test_another_voice_from_here_on(client):
    with client.open() as stream:
        stream.set_voice("bo")
        with pytest.raises(RequestRefusedError):
            stream.set_voice("nobody")
        assert stream.resumption().voice == "bo"


def test_unspeakable_text_fails_its_stream_only(client):
    with pytest.raises(StreamFailedError) as failed:
        client.speak("...").collect()
    assert failed.value.code == "unspeakable_text"
    assert client.speak("one").collect().n_samples == 2400


def test_leaving_the_block_cancels_what_is_left(daemon, client):
    with client.open() as stream:
        stream.send("one two ")
    client.ping()
    assert ops(daemon)[-2:] == ["cancel", "ping"]


def test_cancel_says_how_far_it_got(client):
    with client.open() as stream:
        stream.send("one two three")
        end = stream.cancel()
    assert (end.reason, end.heard_cp) == ("cancelled", 7)
    with pytest.raises(RequestRefusedError):
        stream.send("four")


def test_disconnecting_cancels_open_streams(daemon):
    with connect(daemon.runtime_dir) as client:
        client.open()
    wait_for(lambda: "cancel" in ops(daemon))


def test_waiting_for_an_event_ends_when_told(client):
    with client.open() as stream:
        assert stream.next_event(timeout_s=0.05) is None


def test_a_program_waits_for_its_own_descriptor_and_for_speech_at_once(client):
    reading, writing = os.pipe()
    try:
        assert client.step(0.01, fds=[reading]) == set()
        os.write(writing, b"x")
        assert client.step(5, fds=[reading]) == {reading}
    finally:
        os.close(reading)
        os.close(writing)


def test_observers_hear_everything_after_their_subscription(client):
    with client.listen("audio/", "end/") as observer:
        client.speak("one two").collect()
        topics = [observer.next_message(timeout_s=5).topic for _ in range(3)]
    assert topics == ["audio/-/1-1/", "audio/-/1-1/", "end/-/1-1/"]


def test_tapped_messages_come_in_order_until_the_tap_is_closed(daemon, client):
    with client.tap() as tap:
        client.speak("one two").collect()
        texts = [tap.next_message(timeout_s=5).message["text"] for _ in range(2)]
        assert tap.next_message(timeout_s=0.01) is None
    client.ping()
    assert texts == ["one", " two"]
    assert daemon.requests[-2] == {"op": "tap", "on": False}


# -- scenes -------------------------------------------------------------------------------------------------


def scripted(tmp_path, scene, **options):
    return ScriptedDaemon(tmp_path, scene, heartbeat_ms=100, **options)


def test_scene_gap(tmp_path):
    with scripted(tmp_path, Scene.GAP) as daemon, connect(tmp_path) as client:
        with pytest.raises(DaemonProtocolError, match="report"):
            client.speak("one two three").collect()
        client.ping()
        assert "cancel" in ops(daemon)


def test_scene_unknown_op_and_field(tmp_path):
    with scripted(tmp_path, Scene.UNKNOWN), connect(tmp_path) as client:
        assert client.speak("one two").collect().n_samples == 4800


def test_scene_late_frame_after_cancel(tmp_path):
    with scripted(tmp_path, Scene.LATE), connect(tmp_path) as client:
        with client.open() as stream:
            stream.send("one two ")
            assert stream.cancel().reason == "cancelled"
        client.ping()
        assert client.statistics().n_late == 1
        assert [type(event) for event in stream] == [End]


def test_scene_goodbye(tmp_path):
    with (
        scripted(tmp_path, Scene.GOODBYE),
        connect(tmp_path, resume_within_s=0) as client,
        client.open() as stream,
    ):
        stream.send("one two three ")
        assert isinstance(stream.next_event(5), Words)
        assert isinstance(stream.next_event(5), Audio)
        with pytest.raises(SessionLostError, match="goodbye"):
            list(stream)
        assert client.goodbye.reason == "stopped, as scripted"


def test_scene_lost_session_can_be_resumed(tmp_path):
    with (
        scripted(tmp_path, Scene.SILENT),
        connect(tmp_path, resume_within_s=0) as client,
        client.open(voice="bo") as stream,
    ):
        stream.send("one two")
        with pytest.raises(SessionLostError, match="silent"):
            list(stream)
        with pytest.raises(SessionLostError):
            client.ping()
        left = stream.resumption()
    assert (left.start_cp, left.text, left.voice, left.closed) == (0, "one two", "bo", False)


def test_scene_restarted_daemon(tmp_path):
    with scripted(tmp_path, Scene.FORGETFUL), connect(tmp_path, resume_within_s=0) as client:
        stream = client.open()
        with pytest.raises(SessionLostError, match="does not know this session"):
            client.ping()
        with pytest.raises(SessionLostError, match="resume"):
            stream.send("one")


def test_scene_new_boot_id(tmp_path):
    with scripted(tmp_path, Scene.REBORN), connect(tmp_path, resume_within_s=0) as client:
        stream = client.open()
        with pytest.raises(SessionLostError, match="started anew"):
            list(stream)


def test_scene_slow_credit(tmp_path):
    with scripted(tmp_path, Scene.PLAIN), connect(tmp_path) as client:
        stream = client.speak("a b c d e f g h i j k l", buffer_ms=300)
        time.sleep(0.2)
        client.ping()
        assert stream.next_event(5) is not None
        n_waiting = sum(isinstance(event, Audio) for event in stream._book.events)
        assert n_waiting <= 4, "300 ms of credit, one message beyond it"
        assert stream.collect().end.samples == 12 * 2400


def test_scene_slow_acks(tmp_path):
    text = "word " * 100
    with scripted(tmp_path, Scene.SLOW_ACKS, text_window=100) as daemon, connect(tmp_path) as client:
        stream = client.open()
        stream.send(text)
        stream.close_text()
        assert stream.collect().end.chars == 500
        assert max(len(request.get("text", "")) for request in daemon.requests) <= 100


def test_a_text_longer_than_the_window_is_spoken_by_one_thread(tmp_path):
    text = "word " * 100
    with (
        scripted(tmp_path, Scene.SLOW_ACKS, text_window=100, max_message_bytes=456),
        connect(tmp_path) as client,
    ):
        stream = client.speak(text)
        left = stream.resumption()
        assert (left.closed, left.text[-5:]) == (True, "word "), "what waits is not forgotten"
        with pytest.raises(RequestRefusedError):
            stream.send("more")
        assert stream.collect().end.chars == 500


def test_text_without_room_is_given_up_in_time(tmp_path):
    daemon = ScriptedDaemon(tmp_path, Scene.SLOW_ACKS, heartbeat_ms=2000, text_window=10)
    with daemon, connect(tmp_path) as client, client.open() as stream:
        with pytest.raises(NoAnswerError, match="text"):
            stream.send("x" * 11, timeout_s=0.05)
        assert stream.sent_cp == 10


def test_a_daemon_that_answers_nothing_is_given_up_in_time(tmp_path):
    with scripted(tmp_path, Scene.MUTE), connect(tmp_path, timeout_s=0.1) as client:
        with pytest.raises(NoAnswerError, match=r"`voices` within 0\.1 s"):
            client.voices()
        with pytest.raises(ClientError):
            client.open()


def test_resuming_counts_from_the_original_text(tmp_path):
    with scripted(tmp_path, Scene.PLAIN), connect(tmp_path) as client:
        stream = client.open(start_cp=6, before="Hello ")
        stream.send("there.")
        stream.close_text()
        speech = stream.collect()
    assert speech.words[0] == ("there.", 0, 100, 6, 12)
    assert speech.end.chars == 6


# -- discovery ----------------------------------------------------------------------------------------------


def test_no_daemon_is_told_with_what_was_tried(tmp_path, monkeypatch):
    monkeypatch.setenv("TTS_STREAMD_RUNTIME_DIR", str(tmp_path))
    with pytest.raises(DaemonUnreachableError) as unreachable, connect():
        pass
    assert [attempt.runtime_dir for attempt in unreachable.value.attempts] == [tmp_path]


def test_a_stale_socket_of_the_user_does_not_hide_the_next_place(tmp_path, monkeypatch):
    stale, live = tmp_path / "user/tts-streamd", tmp_path / "system"
    stale.mkdir(parents=True)
    live.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(stale / "control"))
    monkeypatch.setattr("tts_streamd_client.discovery.runtime_dirs", lambda *_: (stale, live))
    with ScriptedDaemon(live), connect() as client:
        assert client.welcome.daemon == "scripted/1"


def test_a_daemon_that_is_just_starting_is_waited_for(tmp_path):
    late = ScriptedDaemon(tmp_path)
    timer = threading.Timer(0.3, late.__enter__)
    timer.start()
    try:
        with connect(tmp_path) as client:
            client.ping()
    finally:
        timer.join()
        late.__exit__(None, None, None)


def test_whoever_only_listens_notices_that_the_daemon_is_gone(tmp_path, monkeypatch):
    monkeypatch.setattr("tts_streamd_client.blocking.stream.QUIET_S", 0.2)
    monkeypatch.setattr("tts_streamd_client.blocking.line.QUIET_S", 0.2)
    daemon = scripted(tmp_path, Scene.TAPPED)
    daemon.__enter__()
    with connect(tmp_path, timeout_s=0.3) as client, client.listen("audio/") as observer, client.tap() as tap:
        assert observer.next_message(timeout_s=0.3) is None
        daemon.__exit__(None, None, None)
        with pytest.raises(SessionLostError, match="nothing was published"):
            observer.next_message()
        with pytest.raises(NoAnswerError, match="ping"):
            list(tap)
