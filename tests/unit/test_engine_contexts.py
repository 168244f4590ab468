"""The multi-stream-input socket as a machine: contexts, what they say, and when their place is free."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts_streamd_engine.contexts import MAX_CONTEXTS, Context, Contexts, FinishContext, SpeakIn
from tts_streamd_engine.intake import ProtocolError
from tts_streamd_engine.voices.interface import VoiceSettings

FLUSH = {"text": "", "flush": True}
CLOSE = {"close_context": True}


def send(contexts, context_id, *messages, at_s=0.0):
    orders = []
    for message in messages:
        fields = {"text": message} if isinstance(message, str) else message
        named = {"context_id": context_id} if context_id else {}
        orders += contexts.receive(json.dumps({**fields, **named}), at_s)
    return orders


def said(orders, context_id):
    return "".join(
        o.speak.text for o in orders if isinstance(o, SpeakIn) and o.context.context_id == context_id
    )


def finals(orders):
    return [order.context.context_id for order in orders if isinstance(order, FinishContext)]


steps = st.lists(
    st.tuples(st.sampled_from("abcdefg"), st.sampled_from(["text", "flush", "close", "keep", "sent"])),
    max_size=60,
)


@given(steps)
def test_each_context_says_what_was_flushed_once_and_ends_once_and_five_is_the_most(script):
    contexts, pending, orders, n_closed = Contexts(20.0), {}, [], 0
    expected, live, closing = {}, set(), []
    for n, (name, step) in enumerate(script):
        if step == "sent":
            if closing:
                contexts.finished(closing.pop(0))
            continue
        if name not in live and len(live) + len(closing) == MAX_CONTEXTS:
            with pytest.raises(ProtocolError, match="Maximum simultaneous"):
                send(contexts, name, " ")
            return
        live.add(name)
        match step:
            case "text":
                pending[name] = pending.get(name, "") + f"w{n} "
                new = send(contexts, name, f"w{n} ")
            case "flush":
                expected[name] = expected.get(name, "") + pending.pop(name, "")
                new = send(contexts, name, FLUSH)
            case "keep":
                new = send(contexts, name, "")
            case _:
                pending.pop(name, None)
                live.discard(name)
                new = send(contexts, name, CLOSE)
                closing += [order.context for order in new if isinstance(order, FinishContext)]
                n_closed += 1
        orders += new
        assert contexts.n_occupied == len(live) + len(closing) <= MAX_CONTEXTS
    assert all(said(orders, name) == expected.get(name, "") for name in "abcdefg")
    assert len(finals(orders)) == n_closed
    assert len({order.context for order in orders if isinstance(order, FinishContext)}) == n_closed


def test_what_was_not_flushed_is_dropped_at_the_close():
    contexts = Contexts(20.0)
    orders = send(contexts, "a", " ", {"text": "said. ", "flush": True}, "never said", CLOSE)
    assert (said(orders, "a"), finals(orders)) == ("said. ", ["a"])


def test_in_auto_mode_all_is_said_before_the_close():
    orders = send(Contexts(20.0, auto_mode=True), "a", " ", "One. ", "Two. ", CLOSE)
    assert (said(orders, "a"), finals(orders)) == ("One. Two. ", ["a"])


def test_close_socket_says_what_is_buffered_and_ends_every_context():
    contexts = Contexts(20.0)
    send(contexts, "a", "One")
    send(contexts, "b", "Two")
    orders = contexts.receive('{"close_socket":true}', 0.0)
    assert (said(orders, "a"), said(orders, "b"), finals(orders)) == ("One", "Two", ["a", "b"])
    assert contexts.receive("not even JSON", 0.0) == []
    assert not contexts.is_spent
    for order in orders:
        contexts.finished(order.context)
    assert contexts.is_spent


def test_an_empty_text_is_a_keep_alive_and_never_an_end():
    contexts = Contexts(20.0)
    assert send(contexts, "a", "Hi", "", "", at_s=5.0) == []
    assert contexts.expires_at_s == 25.0
    assert said(send(contexts, "a", {"text": " there.", "flush": True}), "a") == "Hi there."


def test_an_empty_text_without_id_opens_nothing():
    contexts = Contexts(20.0)
    assert send(contexts, None, "") == []
    assert (contexts.n_occupied, contexts.is_opened) == (0, True)


@pytest.mark.parametrize("message", ["", FLUSH, {"flush": True}, CLOSE])
def test_any_message_that_names_an_unknown_context_opens_it(message):
    contexts = Contexts(20.0)
    send(contexts, "phantom", message)
    assert contexts.n_occupied == 1


def test_a_keep_alive_before_the_settings_makes_them_an_error():
    contexts = Contexts(20.0)
    send(contexts, "a", {"text": " ", "voice_settings": {"speed": 1.1}})
    send(contexts, "b", "")
    with pytest.raises(ProtocolError, match="not provided or not change"):
        send(contexts, "b", {"text": " ", "voice_settings": {"speed": 1.1}})


def test_settings_are_inherited_from_the_first_message_of_the_socket_or_are_a_context_s_own():
    contexts = Contexts(20.0)
    send(contexts, "a", {"text": " ", "voice_settings": {"speed": 1.1}})
    (inherited,) = send(contexts, "b", {"text": "x", "flush": True})
    (own,) = send(contexts, "c", {"text": "x", "flush": True, "voice_settings": {"speed": 0.9}})
    assert (inherited.speak.settings, own.speak.settings) == (VoiceSettings(1.1), VoiceSettings(0.9))


def test_a_closing_context_holds_its_place_until_its_final_is_sent():
    contexts = Contexts(20.0)
    for name in "abcde":
        send(contexts, name, " ")
    (end,) = send(contexts, "a", CLOSE)
    with pytest.raises(ProtocolError) as caught:
        send(contexts, "f", " ")
    assert (caught.value.error, caught.value.code) == ("max_active_conversations", 1008)
    contexts.finished(end.context)
    send(contexts, "f", " ")


def test_an_id_may_be_used_again_for_an_unrelated_context():
    contexts = Contexts(20.0)
    first = send(contexts, "a", {"text": " ", "voice_settings": {"speed": 0.8}}, "lost", CLOSE)
    again = send(contexts, "a", {"text": "x", "flush": True, "voice_settings": {"speed": 1.2}})
    assert first[0].context == Context(1, "a")
    assert again[0].context == Context(2, "a")
    assert (again[0].speak.text, again[0].speak.settings) == ("x", VoiceSettings(1.2))
    contexts.finished(first[0].context)
    assert contexts.n_occupied == 1


def test_each_context_has_its_own_clock():
    contexts = Contexts(20.0)
    send(contexts, "a", " ", at_s=0.0)
    send(contexts, "b", " ", at_s=10.0)
    assert contexts.expire(19.9) == []
    assert finals(contexts.expire(20.0)) == ["a"]
    assert contexts.expires_at_s == 30.0


@pytest.mark.parametrize("raw", ["", "[]", '{"context_id":3}', '{"context_id":"a","text":3}'])
def test_what_is_no_message_is_refused(raw):
    with pytest.raises(ProtocolError) as caught:
        Contexts(20.0).receive(raw, 0.0)
    assert caught.value.error == "invalid_input_message"


def test_both_spellings_of_the_id_and_no_id_at_all_are_understood():
    contexts = Contexts(20.0)
    orders = contexts.receive('{"contextId":"a","text":"x","flush":true}', 0.0)
    orders += contexts.receive('{"text":"y","flush":true}', 0.0)
    assert [order.context.context_id for order in orders] == ["a", "default"]
