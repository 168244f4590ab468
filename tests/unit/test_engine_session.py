"""The stream-input session as a machine: what becomes a segment, and when."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts_streamd_engine.intake import MAX_SEGMENT, ProtocolError, Speak, split_long
from tts_streamd_engine.session import Finish, Session
from tts_streamd_engine.voices.interface import VoiceSettings


def send(session, *messages):
    """The orders for messages: a string is text, a dictionary goes as it is."""
    orders = []
    for message in messages:
        orders += session.receive(json.dumps({"text": message} if isinstance(message, str) else message))
    return orders


def texts(orders):
    return [order.text for order in orders if isinstance(order, Speak)]


words = st.text(alphabet="ab. é日🙂\n", min_size=1, max_size=80).filter(str.strip)
controls = st.fixed_dictionaries(
    {}, optional={"flush": st.booleans(), "try_trigger_generation": st.booleans()}
)


@given(st.lists(st.tuples(words, controls), max_size=30), st.booleans())
def test_every_character_is_in_exactly_one_segment_in_order(messages, auto_mode):
    session = Session(auto_mode=auto_mode)
    orders = send(session, " ", *({"text": text, **more} for text, more in messages), "")
    assert "".join(texts(orders)).rstrip() == "".join(text for text, _ in messages).rstrip()
    assert orders[-1] == Finish()
    assert orders.count(Finish()) == 1
    assert all(text.strip() for text in texts(orders))


@given(st.lists(st.one_of(words, st.sampled_from([" ", "  ", "\n"])), max_size=30))
def test_keep_alives_add_at_most_one_blank_between_words(messages):
    orders = send(Session(), " ", *messages, {"text": "", "flush": True})
    assert "".join("".join(texts(orders)).split()) == "".join("".join(messages).split())


@given(st.text(max_size=300), st.integers(1, 50))
def test_long_text_is_cut_without_loss(text, limit):
    parts = split_long(text, limit)
    assert "".join(parts) == text
    assert all(len(part) <= limit for part in parts)


def test_long_text_is_cut_behind_sentences_first():
    assert split_long("One two. Three four", 15) == ["One two. ", "Three four"]
    assert split_long("One two three four", 15) == ["One two three ", "four"]
    assert split_long("x" * 20, 15) == ["x" * 15, "x" * 5]


def test_nothing_is_spoken_before_the_schedule_is_reached():
    session = Session()
    assert send(session, " ", "a" * 119) == []
    assert texts(send(session, "b ")) == ["a" * 119 + "b "]


def test_the_schedule_goes_on_and_its_last_value_repeats():
    orders = send(Session(), " ", *("x" * (120 + 160 + 250 + 290 + 290)))
    assert [len(text) for text in texts(orders)] == [120, 160, 250, 290, 290]


def test_a_schedule_reached_in_mid_word_keeps_the_torn_word_back():
    session = Session()
    text = "word " * 24 + "half"
    assert texts(send(session, text)) == ["word " * 24]
    assert texts(send(session, "-word", "")) == ["half-word"]


def test_a_client_s_own_schedule_counts():
    session = Session()
    assert send(session, {"text": " ", "generation_config": {"chunk_length_schedule": [50.5, 60]}}) == []
    assert texts(send(session, "a" * 50)) == []
    assert texts(send(session, "a")) == ["a" * 51]
    assert texts(send(session, {"text": "b" * 70, "generator_config": {"chunk_length_schedule": [80]}})) == []


@pytest.mark.parametrize("schedule", [[], [49], [501], ["120"], "120", [120, None]])
def test_a_bad_schedule_is_refused(schedule):
    with pytest.raises(ProtocolError, match="chunk_length_schedule"):
        send(Session(), {"text": " ", "generation_config": {"chunk_length_schedule": schedule}})


def test_configurations_may_be_null():
    config = {"generation_config": {"chunk_length_schedule": None}, "voice_settings": None}
    assert send(Session(), {"text": " ", **config, "generator_config": None}) == []


def test_flush_speaks_what_is_buffered_even_with_empty_text():
    session = Session()
    assert texts(send(session, " ", "Hi", {"text": "", "flush": True})) == ["Hi"]
    assert texts(send(session, {"text": " there. ", "flush": True})) == [" there. "]
    assert send(session, {"text": "", "flush": True}, {"text": " ", "flush": True}) == []
    assert texts(send(session, "x", {"text": None, "flush": True}, {"flush": True})) == ["x"]


def test_a_blank_message_is_a_keep_alive_and_leaves_one_blank():
    assert texts(send(Session(), " ", "Hi", " ", " there.", "")) == ["Hi there."]
    assert texts(send(Session(), " ", "Hi", " ", " ", "there.", "")) == ["Hi there."]
    assert texts(send(Session(), " ", "Hi ", " ", "there.", "")) == ["Hi there."]
    assert texts(send(Session(), " ", {"text": "Hi", "flush": True}, " ", "there.", "")) == ["Hi", "there."]


def test_tokens_are_joined_verbatim():
    assert texts(send(Session(), " ", "Hel", "lo", " world", ".", "")) == ["Hello world."]


def test_the_first_message_may_hold_real_text():
    assert texts(send(Session(), "Hello ", "you.", "")) == ["Hello you."]


def test_end_of_stream_ends_once_and_later_messages_are_ignored():
    session = Session()
    assert send(session, " ", "") == [Finish()]
    assert session.is_finished
    assert session.receive("not even JSON") == []


def test_auto_mode_speaks_each_message():
    assert texts(send(Session(auto_mode=True), " ", "Hel", "lo ", " ")) == ["Hel", "lo "]


def test_try_trigger_needs_fifty_characters():
    session = Session()
    assert send(session, {"text": "a" * 49, "try_trigger_generation": True}) == []
    assert texts(send(session, {"text": "a", "try_trigger_generation": True})) == ["a" * 50]


def test_settings_may_be_repeated_but_not_changed():
    first, session = {"speed": 1.1, "stability": 0.5}, Session()
    send(session, {"text": " ", "voice_settings": first})
    orders = send(session, {"text": "x", "voice_settings": {"stability": 0.5, "speed": 1.1}, "flush": True})
    assert orders == [Speak("x", VoiceSettings(1.1))]
    send(session, {"text": "x", "voice_settings": {}}, {"text": "x", "voice_settings": None})
    with pytest.raises(ProtocolError, match="not provided or not change") as caught:
        send(session, {"text": "x", "voice_settings": {"speed": 1.0}})
    assert (caught.value.error, caught.value.code) == ("invalid_voice_settings", 1008)


def test_settings_after_a_first_message_without_any_are_refused():
    session = Session()
    send(session, " ")
    with pytest.raises(ProtocolError):
        send(session, {"text": "x", "voice_settings": {"speed": 1.0}})


@pytest.mark.parametrize(
    "settings", [{"speed": 0.69}, {"speed": 1.21}, {"speed": "1"}, {"speed": True}, [1], "x"]
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ProtocolError):
        send(Session(), {"text": " ", "voice_settings": settings})


@pytest.mark.parametrize("raw", ["", "x", "[]", "3", '{"text": 3}', "[" * 100_000])
def test_what_is_no_message_is_refused(raw):
    with pytest.raises(ProtocolError) as caught:
        Session().receive(raw)
    assert caught.value.error == "invalid_input_message"


def test_text_may_be_missing_only_at_first_or_with_a_flush():
    session = Session()
    assert send(session, {"xi_api_key": "k"}) == []
    with pytest.raises(ProtocolError):
        send(session, {"voice_settings": None})


def test_credentials_are_taken_in_any_spelling_and_from_the_first_message_only():
    session = Session()
    send(
        session, {"text": " ", "xi_api_key": "a", "xi-api-key": "b", "authorization": "Bearer c", "other": 1}
    )
    send(session, {"text": " ", "xi_api_key": "z"})
    assert session.credentials == ["a", "b", "Bearer c"]


def test_the_server_s_blank_is_added_only_where_there_is_none():
    assert [Speak(text, VoiceSettings()).appended for text in ("a", "a ", "a\n")] == [" ", "", " "]


def test_a_very_long_message_becomes_several_segments():
    orders = send(Session(), {"text": "Word. " * 1000, "flush": True})
    assert len(orders) == 3
    assert "".join(texts(orders)) == "Word. " * 1000
    assert max(map(len, texts(orders))) <= MAX_SEGMENT


def test_blanks_alone_reach_no_voice_even_when_they_reach_the_schedule():
    assert send(Session(), " ", " " * 400, " " * 400, "") == [Finish()]
