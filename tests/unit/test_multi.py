import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts_streamd_protocol.elevenlabs.contexts import TRANSITIONS, ContextInput, ContextState
from tts_streamd_protocol.elevenlabs.multi import (
    CLOSE_SOCKET,
    CLOSE_WAIT_S,
    FINAL_WAIT_S,
    MAX_CONTEXTS,
    ContextEvent,
    MultiStreamInput,
    Output,
    multi_path,
)
from tts_streamd_protocol.elevenlabs.session import (
    AudioEvent,
    FaultEvent,
    FinalEvent,
    LocalProtocolError,
    url_path,
)
from tts_streamd_protocol.messages import VoiceSettings

FULL = (
    '{"message":"Maximum simultaneous contexts per WebSocket connection exceeded (5). Please close an existing '
    'context before opening a new one.","error":"max_active_conversations","code":1008}'
)
UNKNOWN = '{"type":"flush_done","done":false,"status_code":206}'
NOTHING = Output()


def audio(context, **more):
    return json.dumps({"audio": "QUI=", "isFinal": None, "contextId": context, **more})


def final(context, **more):
    return json.dumps({"audio": None, "isFinal": True, "contextId": context, **more})


def heard(context):
    return ContextEvent(context, AudioEvent(b"AB"))


def opened(*texts):
    socket = MultiStreamInput()
    context, _ = socket.open()
    for text in texts:
        socket.speak(context, text)
    return socket, context


def closing(*texts):
    socket, context = opened(*texts)
    socket.finish(context, 0)
    socket.receive(audio(context), 0)
    socket.finish(context, 0) if socket.state(context) is ContextState.OPEN else None
    return socket, context


def fault_of(output):
    (told,) = output.events
    assert isinstance(told.event, FaultEvent)
    return told.event.fault


def frames(output):
    return [json.loads(frame) for frame in output.frames]


def test_one_utterance_from_open_to_final():
    socket = MultiStreamInput(voice_settings=VoiceSettings(stability=0.5), generation_config=[50])
    context, first = socket.open()
    assert json.loads(first) == {
        "text": " ",
        "context_id": context,
        "voice_settings": {"stability": 0.5},
        "generation_config": {"chunk_length_schedule": [50]},
    }
    said = json.loads(socket.speak(context, "Hi. "))
    assert said == {"text": "Hi. ", "context_id": context, "flush": True}
    assert socket.finish(context, 1) == NOTHING
    assert socket.state(context) is ContextState.HELD
    output = socket.receive(audio(context), 2)
    assert frames(output) == [{"context_id": context, "close_context": True}]
    assert output.events == (heard(context),)
    assert socket.state(context) is ContextState.CLOSING
    assert socket.receive(final(context), 3).events == (ContextEvent(context, FinalEvent()),)
    assert socket.state(context) is ContextState.ENDED
    assert socket.n_free == MAX_CONTEXTS
    assert socket.next_deadline() is None


def test_a_context_whose_words_have_all_brought_audio_is_closed_at_once():
    socket, context = opened("Hi. ")
    socket.receive(audio(context), 1)
    assert frames(socket.finish(context, 1)) == [{"context_id": context, "close_context": True}]


def test_the_close_waits_for_audio_of_the_last_words_and_not_only_the_first():
    socket, context = opened("Hi. ")
    socket.receive(audio(context), 1)
    socket.speak(context, "There. ")
    assert socket.finish(context, 1) == NOTHING
    assert socket.receive(audio(context), 2).frames


def test_alignment_alone_does_not_set_the_close_free():
    socket, context = opened("Hi. ")
    socket.finish(context, 1)
    times = {"chars": ["H"], "charStartTimesMs": [0], "charDurationsMs": [1]}
    output = socket.receive(audio(context, audio=None, alignment=times), 2)
    assert output.frames == ()
    assert output.events[0].event.alignment.chars == ["H"]


@pytest.mark.parametrize("text", ["… ", " ", "😀"])
def test_no_audio_is_waited_for_where_nothing_is_to_be_said(text):
    socket, context = opened(text)
    assert frames(socket.finish(context, 0)) == [{"context_id": context, "close_context": True}]
    assert socket.receive(final(context), 1).events == (ContextEvent(context, FinalEvent()),)


def test_the_close_is_sent_at_the_deadline_without_audio():
    socket, context = opened("Hi. ")
    socket.finish(context, 1)
    assert socket.next_deadline() == 1 + CLOSE_WAIT_S
    assert socket.on_time(CLOSE_WAIT_S) == NOTHING
    assert frames(socket.on_time(1 + CLOSE_WAIT_S)) == [{"context_id": context, "close_context": True}]
    assert socket.next_deadline() == 1 + CLOSE_WAIT_S + FINAL_WAIT_S


def test_text_without_flush_is_flushed_at_the_end_before_the_close():
    socket, context = opened()
    assert json.loads(socket.speak(context, "Hi. ", flush=False)) == {"text": "Hi. ", "context_id": context}
    assert frames(socket.finish(context, 1)) == [{"flush": True, "context_id": context}]
    assert frames(socket.receive(audio(context), 2)) == [{"context_id": context, "close_context": True}]
    other, _ = socket.open()
    socket.speak(other, "… ", flush=False)
    assert [list(frame) for frame in frames(socket.finish(other, 1))] == [
        ["flush", "context_id"],
        ["close_context", "context_id"],
    ]


def test_a_closing_context_keeps_its_slot_until_its_final():
    socket, first = closing("Hi. ")
    others = [socket.open()[0] for _ in range(MAX_CONTEXTS - 1)]
    assert socket.n_free == 0
    with pytest.raises(LocalProtocolError):
        socket.open()
    socket.receive(final(first), 1)
    assert socket.n_free == 1
    assert socket.open()[0] not in {first, *others}


def test_frames_after_the_final_are_dropped_and_counted():
    socket, context = closing("Hi. ")
    socket.receive(final(context), 1)
    assert socket.receive(audio(context), 2) == NOTHING
    assert socket.receive(final(context), 2) == NOTHING
    assert socket.receive(audio("phantom"), 2) == NOTHING
    assert socket.late == 3


def test_unknown_frames_are_ignored_and_audio_without_a_name_is_counted():
    socket, context = opened("Hi. ")
    assert socket.receive(UNKNOWN, 1) == NOTHING
    assert socket.receive(f'{{"contextId":"{context}"}}', 1) == NOTHING
    assert socket.unnamed == 0
    assert socket.receive('{"audio":"QUI="}', 1) == NOTHING
    assert socket.receive('{"isFinal":true}', 1) == NOTHING
    assert (socket.late, socket.unnamed) == (0, 2)


@pytest.mark.parametrize("name", ["contextId", "context_id"])
@pytest.mark.parametrize("end", ["isFinal", "is_final"])
def test_both_spellings_are_read(name, end):
    socket, context = closing("Hi. ")
    assert socket.receive(json.dumps({"audio": "QUI=", name: context}), 1).events == (heard(context),)
    events = socket.receive(json.dumps({end: True, name: context}), 1).events
    assert events == (ContextEvent(context, FinalEvent()),)


def test_contexts_interleave_and_keep_apart():
    socket, first = opened("Hi. ")
    second, _ = socket.open()
    socket.speak(second, "Ho. ")
    assert socket.receive(audio(second), 1).events == (heard(second),)
    assert socket.receive(audio(first), 1).events == (heard(first),)
    socket.finish(first, 1)
    socket.receive(final(first), 1)
    assert socket.state(second) is ContextState.OPEN


def test_audio_and_final_in_one_frame_end_a_held_context_without_a_close():
    socket, context = opened("Hi. ")
    socket.finish(context, 0)
    output = socket.receive(audio(context, isFinal=True), 1)
    assert output == Output(events=(heard(context), ContextEvent(context, FinalEvent())))


def test_a_final_without_sound_is_marked_wherever_it_comes():
    socket, context = opened("Hi. ")
    assert socket.receive(final(context), 1).events == (
        ContextEvent(context, FinalEvent(without_audio=True)),
    )
    socket, context = opened("Hi. ")
    socket.finish(context, 0)
    assert socket.receive(final(context), 1).events == (
        ContextEvent(context, FinalEvent(without_audio=True)),
    )


def test_a_final_that_nobody_asked_for_breaks_its_context_only():
    socket, context = opened("Hi. ")
    idle, _ = socket.open()
    third, _ = socket.open()
    socket.receive(audio(context), 1)
    told = fault_of(socket.receive(final(context), 1))
    assert (told.code, told.retryable) == ("upstream_protocol", True)
    assert fault_of(socket.receive(final(idle), 1)).code == "timeout"
    assert socket.state(third) is ContextState.OPEN
    assert not socket.is_over


def test_a_dropped_context_is_closed_at_once_and_not_heard_any_more():
    socket, context = opened("Hi. ")
    assert frames(socket.drop(context, 1)) == [{"close_context": True, "context_id": context}]
    assert socket.drop(context, 1) == NOTHING
    assert socket.receive(audio(context), 2) == NOTHING
    assert (socket.late, socket.n_free, socket.n_listened) == (1, MAX_CONTEXTS - 1, 0)
    assert socket.receive(final(context), 3) == NOTHING
    assert socket.n_free == MAX_CONTEXTS
    assert socket.drop(context, 4) == NOTHING


def test_a_held_context_can_be_dropped():
    socket, context = opened("Hi. ")
    socket.finish(context, 0)
    assert len(socket.drop(context, 1).frames) == 1
    assert socket.receive(audio(context), 2) == NOTHING


def test_a_closing_context_that_never_ends_is_given_up_and_its_slot_with_it():
    socket, context = closing("Hi. ")
    socket.receive(audio(context), 5)
    assert socket.on_time(4 + FINAL_WAIT_S) == NOTHING
    told = fault_of(socket.on_time(5 + FINAL_WAIT_S))
    assert (told.code, told.retryable) == ("timeout", True)
    assert socket.state(context) is ContextState.LOST
    assert (socket.n_free, socket.next_deadline()) == (MAX_CONTEXTS - 1, None)
    assert socket.receive(audio(context), 99) == NOTHING
    assert socket.late == 1
    assert socket.receive(final(context), 99) == NOTHING
    assert socket.n_free == MAX_CONTEXTS


def test_nobody_is_told_of_a_dropped_context_that_never_ends():
    socket, context = opened("Hi. ")
    socket.drop(context, 0)
    assert socket.on_time(FINAL_WAIT_S) == NOTHING
    assert socket.state(context) is ContextState.LOST


@pytest.mark.parametrize(
    ("happens", "code", "retryable"),
    [
        (lambda socket: socket.receive(FULL, 1), "rate_limited", True),
        (
            lambda socket: socket.receive('{"error":"invalid_api_key","message":"no"}', 1),
            "auth_failed",
            False,
        ),
        (lambda socket: socket.receive("rubbish", 1), "upstream_protocol", True),
        (lambda socket: socket.receive('{"audio":"?","contextId":"c1"}', 1), "upstream_protocol", True),
        (lambda socket: socket.closed(1006), "upstream_unreachable", True),
        (lambda socket: socket.closed(1000), "upstream_protocol", True),
        (lambda socket: socket.closed(1008, "Maximum simultaneous contexts per"), "rate_limited", True),
    ],
)
def test_what_breaks_the_socket_breaks_every_context_once(happens, code, retryable):
    socket, speaking = opened("Hi. ")
    held, dropped = socket.open()[0], socket.open()[0]
    socket.speak(held, "Ho. ")
    socket.finish(held, 0)
    socket.drop(dropped, 0)
    events = happens(socket).events
    assert [told.context_id for told in events] == [speaking, held]
    assert {(told.event.fault.code, told.event.fault.retryable) for told in events} == {(code, retryable)}
    assert socket.is_over
    assert socket.fault.code == code
    assert (socket.n_free, socket.next_deadline()) == (0, None)
    assert socket.receive(audio(speaking), 2) == NOTHING
    assert socket.closed(1008) == NOTHING
    assert socket.drop(speaking, 2) == NOTHING
    assert socket.keep_alive(speaking) is None


def test_a_fault_without_contexts_is_kept():
    socket = MultiStreamInput()
    assert socket.closed(1011) == NOTHING
    assert socket.fault.code == "upstream_unreachable"


def test_a_key_is_never_told():
    socket = MultiStreamInput(key="topsecretkey")
    socket.closed(1008, "what is topsecretkey?")
    assert "topsecret" not in socket.fault.message


def test_keep_alives_name_only_contexts_that_upstream_knows():
    socket, context = opened("Hi. ")
    alive = {"text": "", "context_id": context}
    assert json.loads(socket.keep_alive(context)) == alive
    socket.finish(context, 0)
    assert json.loads(socket.keep_alive(context)) == alive
    socket.receive(audio(context), 1)
    assert socket.keep_alive(context) is None
    socket.receive(final(context), 2)
    assert socket.keep_alive(context) is None
    assert socket.keep_alive("c2") is None


def test_the_socket_is_closed_when_nothing_is_open_on_it():
    socket, context = opened("Hi. ")
    with pytest.raises(LocalProtocolError):
        socket.close_socket()
    socket.drop(context, 0)
    assert socket.close_socket() == CLOSE_SOCKET
    assert socket.n_free == 0
    with pytest.raises(LocalProtocolError):
        socket.close_socket()
    assert socket.closed(1000) == NOTHING
    assert (socket.is_over, socket.fault) == (True, None)


def test_a_close_that_we_asked_for_is_a_fault_to_whom_it_leaves_without_a_final():
    socket, context = closing("Hi. ")
    socket.close_socket()
    assert fault_of(socket.closed(1000)).retryable
    socket, context = closing("Hi. ")
    socket.close_socket()
    assert socket.receive(final(context), 1).events == (ContextEvent(context, FinalEvent()),)
    assert socket.closed(1000) == NOTHING
    assert socket.fault is None


def test_what_we_do_out_of_turn_is_our_bug():
    socket, context = closing("Hi. ")
    for wrong in (
        lambda: socket.speak(context, "more"),
        lambda: socket.finish(context, 1),
        lambda: socket.speak("c9", "hi"),
        lambda: socket.finish("c9", 1),
        lambda: socket.speak(socket.open()[0], ""),
    ):
        with pytest.raises(LocalProtocolError):
            wrong()
    socket.closed(1006)
    with pytest.raises(LocalProtocolError):
        socket.open()


def test_every_context_that_lives_can_break_and_none_that_ended_does_anything():
    assert all(ContextInput.FAULT in inputs for inputs in TRANSITIONS.values() if inputs)
    assert not TRANSITIONS[ContextState.ENDED]


def test_the_path_differs_in_the_endpoint_only():
    single = url_path("a/stream-input?", model="m", options={"seed": 1})
    path = multi_path(single)
    assert path.startswith("/v1/text-to-speech/a%2Fstream-input%3F/multi-stream-input?model_id=m&")
    assert path.replace("/multi-stream-input?", "/stream-input?") == single


class Upstream:
    """Refuses what upstream would: it knows which contexts it has."""

    def __init__(self):
        self.live = {}  # id -> owes audio since its last flush
        self.closing = set()
        self.closed = set()
        self.overdue = set()  # contexts whose close may come without audio

    def take(self, frame):
        message = json.loads(frame)
        if message.get("close_socket"):
            assert set(self.live) <= self.closing
            return
        context = message["context_id"]
        if "voice_settings" in message:
            assert context not in self.live
            assert context not in self.closed
            self.live[context] = False
            assert len(self.live) <= MAX_CONTEXTS
            return
        assert context in self.live, "a message for a context that was not opened, or has ended"
        assert context not in self.closing, "a message behind close_context"
        if message.get("close_context"):
            assert not self.live[context] or context in self.overdue, "the race that silences"
            self.closing.add(context)
        elif any(map(str.isalnum, message.get("text", ""))):
            self.live[context] = True

    def end(self, context):
        del self.live[context]
        self.closing.discard(context)
        self.closed.add(context)


OPS = ("open", "speak", "finish", "drop", "keep", "sound", "end", "late", "tick", "wait", "break", "close")


@settings(max_examples=200)
@given(st.lists(st.tuples(st.sampled_from(OPS), st.integers(0, 9)), max_size=60))
def test_whatever_happens_upstream_is_never_wronged_and_each_context_ends_once(walk):  # noqa: PLR0912, PLR0915  one walk
    socket, upstream, now = MultiStreamInput(voice_settings=VoiceSettings(stability=0.5)), Upstream(), 0.0
    ours, terminal, dropped = [], set(), set()

    def tell(output):
        for frame in output.frames:
            upstream.take(frame)
        for told in output.events:
            assert told.context_id not in terminal | dropped
            if not isinstance(told.event, AudioEvent):
                terminal.add(told.context_id)

    for op, n in walk:
        context = ours[n % len(ours)] if ours else None
        state = socket.state(context) if ours else ContextState.ENDED
        match op:
            case "open" if socket.n_free:
                context, first = socket.open()
                assert context not in ours
                ours.append(context)
                upstream.take(first)
            case "speak" if state is ContextState.OPEN:
                upstream.take(socket.speak(context, ("Hi. ", "… ")[n % 2], flush=n % 3 > 0))
            case "finish" if state is ContextState.OPEN:
                tell(socket.finish(context, now))
            case "drop" if ours:
                upstream.overdue.add(context)
                output = socket.drop(context, now)
                dropped.add(context)
                tell(output)
            case "keep" if ours and (frame := socket.keep_alive(context)):
                upstream.take(frame)
            case "sound" if context in upstream.live:
                upstream.live[context] = False
                tell(socket.receive(audio(context), now))
            case "end" if context in upstream.live:
                upstream.end(context)
                tell(socket.receive(final(context), now))
            case "late" if context in upstream.closed:
                before = socket.late
                assert socket.receive(audio(context), now) == NOTHING
                assert socket.late == before + (not socket.is_over)
            case "tick" if (deadline := socket.next_deadline()) is not None:
                now = max(now, deadline)
                upstream.overdue |= set(upstream.live)
                tell(socket.on_time(now))
                assert socket.next_deadline() is None or socket.next_deadline() > now
            case "wait":
                now += n
            case "break" if n == 0:
                tell(socket.closed(1006))
            case "close" if not socket.is_over and not set(upstream.live) - upstream.closing:
                if socket.n_free or len(upstream.live) == MAX_CONTEXTS:
                    upstream.take(socket.close_socket()) if not socket._closing else None
        assert socket.n_free <= MAX_CONTEXTS - len(upstream.live) or socket.is_over
    tell(socket.closed(1006))
    assert socket.is_over
    assert terminal | dropped == set(ours), "somebody was never told"
