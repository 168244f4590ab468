import json
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts_streamd_protocol.elevenlabs.session import (
    TRANSITIONS,
    AudioEvent,
    FaultEvent,
    FinalEvent,
    Input,
    LocalProtocolError,
    State,
    StreamInput,
    init_options,
    query_options,
    url_path,
)
from tts_streamd_protocol.messages import VoiceSettings

AUDIO = (
    '{"audio":"QUI=","isFinal":null,"alignment":{"chars":["H"],"charStartTimesMs":[0],"charDurationsMs":[1]}}'
)
PLAIN = '{"audio":"QUI=","isFinal":null,"normalizedAlignment":null,"alignment":null}'
FINAL = '{"audio":null,"isFinal":true,"normalizedAlignment":null,"alignment":null}'
BOTH = '{"audio":"QUI=","isFinal":true}'
ERROR = '{"message":"Invalid API key","error":"invalid_api_key","code":1008}'
TERMINAL = (FinalEvent, FaultEvent)


def opened():
    session = StreamInput()
    session.start()
    return session


def finishing(text="Hi. "):
    session = opened()
    session.speak(text)
    session.finish()
    return session


def fault(events):
    (event,) = events
    assert isinstance(event, FaultEvent)
    return event.fault


def test_one_utterance_from_start_to_close():
    session = StreamInput(voice_settings=VoiceSettings(stability=0.5))
    assert session.state is State.IDLE
    assert json.loads(session.start()) == {"text": " ", "voice_settings": {"stability": 0.5}}
    assert json.loads(session.speak("Hi. ")) == {"text": "Hi. "}
    assert json.loads(session.speak("there", flush=True)) == {"text": "there", "flush": True}
    assert json.loads(session.keep_alive()) == {"text": " "}
    (event,) = session.receive(AUDIO)
    assert event.pcm == b"AB"
    assert event.alignment.chars == ["H"]
    assert json.loads(session.finish()) == {"text": ""}
    assert session.receive(PLAIN) == (AudioEvent(b"AB"),)
    assert not session.is_over
    assert session.receive(FINAL) == (FinalEvent(),)
    assert session.is_over
    assert session.closed(1000) == ()
    assert session.state is State.CLOSED


def test_audio_and_final_in_one_frame_are_both_told():
    assert finishing().receive(BOTH) == (AudioEvent(b"AB"), FinalEvent())


def test_alignment_without_audio_is_told():
    (event,) = opened().receive(AUDIO.replace('"QUI="', "null"))
    assert event.pcm == b""
    assert event.alignment is not None


@pytest.mark.parametrize(
    ("text", "silent"), [("Hi. ", True), ("… ", False), (" ", False), ("42", True), ("好", True)]
)
def test_a_final_without_sound_is_marked_if_there_was_something_to_say(text, silent):
    assert finishing(text).receive(FINAL) == (FinalEvent(without_audio=silent),)


def test_a_final_before_the_end_of_text_is_a_fault():
    session = opened()
    assert fault(session.receive(FINAL)).code == "upstream_protocol"
    assert session.state is State.FAILED


@pytest.mark.parametrize("make", [StreamInput, opened, finishing])
def test_a_close_before_the_final_is_a_fault_even_if_it_is_a_friendly_one(make):
    session = make()
    told = fault(session.closed(1000))
    assert (told.code, told.retryable) == ("upstream_protocol", True)
    assert session.closed(1006) == ()


@pytest.mark.parametrize("make", [opened, finishing])
def test_an_error_frame_and_the_close_behind_it_are_one_fault(make):
    session = make()
    told = fault(session.receive(ERROR))
    assert (told.code, told.retryable) == ("auth_failed", False)
    assert session.closed(1008, "Invalid API key") == ()
    assert session.state is State.FAILED


def test_a_close_alone_tells_the_fault_by_its_reason():
    assert fault(opened().closed(1008, "Invalid API key")).code == "auth_failed"
    assert fault(opened().closed(1006)).code == "upstream_unreachable"


def test_frames_after_the_end_are_ignored():
    session = finishing()
    session.receive(FINAL)
    for late in (PLAIN, FINAL, ERROR, "rubbish"):
        assert session.receive(late) == ()
    assert session.closed(1011) == ()
    assert session.state is State.CLOSED
    failed = opened()
    failed.receive(ERROR)
    assert failed.receive(PLAIN) == ()


@pytest.mark.parametrize("frame", ["rubbish", '{"audio":"?"}', "[]", b"\xff"])
def test_a_frame_that_is_none_is_a_fault(frame):
    told = fault(opened().receive(frame))
    assert (told.code, told.retryable) == ("upstream_protocol", True)


def test_audio_before_the_first_message_is_a_fault():
    session = StreamInput()
    assert fault(session.receive(BOTH)).code == "upstream_protocol"


def test_a_key_is_never_told():
    session = StreamInput(key="topsecretkey")
    session.start()
    told = fault(session.receive('{"message":"bad key topsecretkey","error":"invalid_api_key","code":1008}'))
    assert "topsecret" not in told.message


@pytest.mark.parametrize("call", ["start", "speak", "keep_alive", "finish"])
@pytest.mark.parametrize("state", list(State))
def test_a_call_out_of_turn_is_our_bug(state, call):
    session = {
        State.IDLE: StreamInput,
        State.OPEN: opened,
        State.FINISHING: finishing,
        State.FINAL: finishing,
        State.CLOSED: finishing,
        State.FAILED: opened,
    }[state]()
    if state in (State.FINAL, State.CLOSED):
        session.receive(FINAL)
    if state is State.CLOSED:
        session.closed(1000)
    if state is State.FAILED:
        session.closed(1006)
    assert session.state is state
    given = Input.SPEAK if call == "keep_alive" else Input(call)
    arguments = ("x",) if call == "speak" else ()
    if given in TRANSITIONS[state]:
        assert getattr(session, call)(*arguments)
    else:
        with pytest.raises(LocalProtocolError):
            getattr(session, call)(*arguments)
        assert session.state is state


def test_empty_text_is_not_sent_by_accident():
    session = opened()
    with pytest.raises(LocalProtocolError):
        session.speak("")
    assert session.state is State.OPEN


frames = st.sampled_from([AUDIO, PLAIN, FINAL, BOTH, ERROR, "{}", "rubbish", '{"isFinal":false}']).map(
    lambda text: lambda session: session.receive(text)
)
closes = st.sampled_from([1000, 1006, 1008, 1011]).map(lambda code: lambda session: session.closed(code))
calls = st.sampled_from(["start", "speak", "keep_alive", "finish"])


def call(name):
    def act(session):
        try:
            getattr(session, name)(*(("word ",) if name == "speak" else ()))
        except LocalProtocolError:
            return ()
        return ()

    return act


@given(st.lists(frames | closes | calls.map(call), max_size=30))
def test_any_interleaving_gives_at_most_one_terminal_event_and_nothing_after_it(steps):
    session = StreamInput()
    events = []
    for step in steps:
        over = session.is_over
        told = step(session)
        assert not (over and told)
        events += told
    terminal = [n for n, event in enumerate(events) if isinstance(event, TERMINAL)]
    assert terminal in ([], [len(events) - 1])
    assert session.is_over == bool(terminal)


@given(st.lists(frames | calls.map(call), max_size=10))
def test_a_closed_socket_has_always_ended(steps):
    session = StreamInput()
    events = [event for step in steps for event in step(session)]
    events += session.closed(1006)
    assert sum(isinstance(event, TERMINAL) for event in events) == 1


@given(
    st.text(min_size=1),
    st.text(min_size=1),
    st.dictionaries(st.from_regex("x[a-z_]{1,8}", fullmatch=True), st.text(min_size=1)),
)
def test_nothing_in_the_url_can_break_out_of_its_place(voice, model, options):
    path = url_path(voice, model=model, options=options)
    assert path.isascii()
    assert " " not in path
    parts = urlsplit(f"http://host{path}")
    assert parts.path.count("/") == 4
    query = parse_qs(parts.query, keep_blank_values=True)
    assert query["model_id"] == [model]
    assert {name: query[name] for name in options} == {name: [value] for name, value in options.items()}


def test_the_url_says_what_the_daemon_relies_on():
    assert url_path("EXAVITQu4vr4xnSDxMaL", model="eleven_flash_v2_5") == (
        "/v1/text-to-speech/EXAVITQu4vr4xnSDxMaL/stream-input?model_id=eleven_flash_v2_5&output_format=pcm_24000"
        "&inactivity_timeout=180&sync_alignment=false"
    )
    other = url_path(
        "v", model="m", language="de", auto_mode=True, options={"seed": 7, "enable_logging": False}
    )
    assert other.endswith("&auto_mode=true&language_code=de&seed=7&enable_logging=false")


def test_options_go_where_upstream_reads_them():
    options = {"seed": 7, "pronunciation_dictionary_locators": [{}], "new": {"a": 1}}
    assert query_options(options) == {"seed": 7}
    assert init_options(options) == {"pronunciation_dictionary_locators": [{}], "new": {"a": 1}}
    assert query_options(None) == init_options(None) == {}
