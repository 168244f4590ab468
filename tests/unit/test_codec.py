import math
from contextlib import suppress

import msgpack
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts_streamd_protocol import messages as m
from tts_streamd_protocol.codec import (
    BadReplyError,
    Refusal,
    check_hello,
    decode_reply,
    decode_request,
    decode_tolerantly,
    encode,
    encode_request,
)
from tts_streamd_protocol.errors import TtsStreamdError

LIMIT = 65_536


LOCATOR_WITHOUT_ID = {"op": "open", "sid": 1, "upstream": {"pronunciation_dictionary_locators": [{}]}}


def decode(*frames):
    return decode_request(frames, max_message_bytes=LIMIT)


def pack(**message):
    return msgpack.packb(message)


def refused(*frames):
    with pytest.raises(Refusal) as caught:
        decode(*frames)
    return caught.value


def attempt(*frames):
    """The request, or the refusal: nothing else may come of any bytes."""
    try:
        return decode(*frames)
    except Refusal as refusal:
        return refusal


def optional(strategy):
    return st.none() | strategy


u32 = st.integers(0, 2**32 - 1)
names = st.text(min_size=1, max_size=20)
ratios = st.floats(0, 1)
voice_settings = st.builds(
    m.VoiceSettings,
    stability=optional(ratios),
    similarity_boost=optional(ratios),
    style=optional(ratios),
    speed=optional(st.floats(0.7, 1.2)),
    use_speaker_boost=optional(st.booleans()),
)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
upstream = st.fixed_dictionaries(
    {},
    optional={
        "seed": u32,
        "apply_text_normalization": st.sampled_from(["auto", "on", "off"]),
        "enable_logging": st.booleans(),
        "optimize_streaming_latency": st.integers(0, 4),
        "pronunciation_dictionary_locators": st.just(
            [{"pronunciation_dictionary_id": "d", "version_id": "1"}]
        ),
        "something_new": json_values.filter(lambda value: value is not None),
    },
)
stream_options = {
    "rid": optional(u32),
    "sid": u32,
    "voice": optional(names),
    "settings": optional(voice_settings),
    "upstream": optional(upstream),
    "schedule": optional(
        st.sampled_from(["speed", "adaptive"]) | st.lists(st.integers(50, 500), min_size=1, max_size=16)
    ),
    "pace": st.sampled_from(["realtime", "eager"]),
    "credit_ms": optional(u32),
    "cache": st.booleans(),
    "label": optional(st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True)),
    "share": optional(st.booleans()),
    "before": optional(st.text(max_size=30)),
}
requests = st.one_of(
    st.builds(m.Open, **stream_options),
    st.builds(m.Speak, text=st.text(), **stream_options),
    st.builds(m.Text, rid=optional(u32), sid=u32, text=st.text(), cp=optional(u32), flush=st.booleans()),
    st.builds(m.Voice, sid=u32, voice=names, settings=optional(voice_settings)),
    st.builds(m.Close, rid=optional(u32), sid=u32),
    st.builds(m.Credit, sid=u32, add_ms=u32),
    st.builds(m.Cancel, sid=u32, scope=st.none(), at=optional(u32)),
    st.builds(m.Cancel, scope=st.sampled_from(["mine", "all"])),
    st.builds(m.Hello, proto=st.just([1, 0]), client=names, lang=optional(names)),
    st.builds(m.Tap, actor=optional(names), on=st.booleans()),
    st.sampled_from([m.Ping(rid=1), m.Status(rid=2), m.Voices(), m.Streams()]),
)


def habit(value, draw):  # noqa: PLR0911  one return for each type
    """The same data as some library would pack it."""
    match value:
        case bool():
            return draw(st.sampled_from([value, int(value), float(value)]))
        case int() if abs(value) < 2**53:
            return draw(st.sampled_from([value, float(value)]))
        case str():
            return draw(st.sampled_from([value, value.encode()]))
        case list():
            return [habit(item, draw) for item in value]
        case dict() if not value:
            return draw(st.sampled_from([{}, []]))
        case dict():
            order = draw(st.permutations(list(value)))
            return {draw(st.sampled_from([key, key.encode()])): habit(value[key], draw) for key in order}
    return value


@given(requests)
def test_a_request_comes_back_as_it_was_sent(request):
    assert decode(encode_request(request)) == request


@given(requests, st.dictionaries(st.text(min_size=4).map(lambda name: f"x{name}"), json_values, max_size=2))
def test_both_paths_agree_on_whatever_the_strict_one_accepts(request, unknown):
    head = msgpack.packb({**unknown, **msgspec.to_builtins(request)})
    assert decode(head) == decode_tolerantly([head]) == request


@given(st.data(), requests)
def test_no_habit_of_a_library_changes_what_is_meant(data, request):
    plain = msgspec.to_builtins(request)
    free = plain.pop("upstream", None)
    sent = habit(plain, data.draw)
    if free is not None:  # of unknown names only the value itself tells the type
        sent["upstream"] = free
    sent["language"] = data.draw(st.sampled_from([None, msgpack.ExtType(0, b"\0")]))
    assert decode(msgpack.packb(sent)) == request


@given(st.lists(st.binary(max_size=60), max_size=3))
def test_arbitrary_bytes_give_a_refusal_or_a_request(frames):
    taken = attempt(*frames)
    assert not isinstance(taken, Refusal) or decode_reply(encode(taken.reply())).message


@settings(max_examples=300)
@given(requests, st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=5))
def test_a_damaged_request_gives_a_refusal_or_a_request(request, damage):
    head = bytearray(encode_request(request))
    for at, byte in damage:
        head[at % len(head)] = byte
    taken = attempt(bytes(head))
    if isinstance(taken, Refusal):
        assert len(taken.message) < 400
        assert decode_reply(encode(taken.reply())).code == taken.code
    else:
        assert decode(encode_request(taken)) == taken


@given(requests)
def test_a_request_cut_short_is_no_message(request):
    assert refused(encode_request(request)[:-1]).code == "bad_message"


@pytest.mark.parametrize("depth", [500, 900, 1_010, 1_030, 5_000, 60_000])
@pytest.mark.parametrize(
    "around", [b"", b"\x82\xa2op\xa4ping\xa1z", b"\x83\xa2op\xa4open\xa3sid\x01\xa8upstream\x81\xa1z"]
)
def test_deep_nesting_is_refused_or_ignored_and_never_a_crash(depth, around):
    taken = attempt(around + b"\x91" * depth + b"\xc0")
    if isinstance(taken, Refusal):
        assert taken.code == "bad_message" or (taken.code == "bad_value" and b"upstream" in around)
    else:
        assert taken == m.Ping()
        assert depth < 1_030


def test_a_nesting_bomb_is_no_message():
    assert refused(b"\x82\xa2op\xa4ping\xa1z" + b"\x91" * 60_000 + b"\xc0").code == "bad_message"


def test_lengths_that_are_not_there_take_no_memory():
    for bomb in (b"\xdd\x7f\xff\xff\xff", b"\xdf\x7f\xff\xff\xff", b"\xdb\x7f\xff\xff\xff"):
        assert refused(b"\x83\xa2op\xa4open\xa3sid\x01\xa8upstream\x81\xa1z" + bomb).code == "bad_message"


def test_of_a_repeated_key_the_last_counts_in_both_paths():
    head = b"\x84\xa2op\xa5close\xa3sid\x01\xa3sid\x02\xa3rid\x03"
    assert decode(head) == decode_tolerantly([head]) == m.Close(sid=2, rid=3)
    assert decode(b"\x83\xa2op\xa5close\xc4\x03sid\x01\xa3sid\x02") == m.Close(sid=2)


def test_too_large_is_said_before_anything_is_read():
    refusal = refused(pack(op="text", rid=1, sid=9, text="x" * LIMIT))
    assert (refusal.code, refusal.rid, refusal.sid) == ("too_large", None, None)
    assert str(LIMIT) in refusal.message
    fits = pack(op="text", sid=9, text="x" * 65_500)
    assert decode_request([fits], max_message_bytes=len(fits)) == m.Text(sid=9, text="x" * 65_500)


def test_no_frame_at_all_is_no_message():
    assert refused().code == "bad_message"


@pytest.mark.parametrize("rid", [-1, 2**32, 1.5, "1", True, None, [1], math.nan])
def test_a_rid_that_is_no_u32_is_not_echoed(rid):
    refusal = refused(pack(op="sing", rid=rid, sid=3))
    assert (refusal.rid, refusal.sid) == (None, 3)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none_are_refused_wherever_they_stand(number):
    for fields in ({"credit_ms": number}, {"settings": {"style": number}}, {"upstream": {"x": [number]}}):
        assert refused(pack(op="open", sid=1, **fields)).code == "bad_value"


@pytest.mark.parametrize("value", [b"\xff", [b"\xff"], {b"\xff": 1}, {"a": {"b": b"\xff"}}])
def test_what_is_passed_on_must_be_utf_8(value):
    assert refused(pack(op="open", sid=1, upstream={"x": value})).code == "bad_encoding"


def test_what_nobody_reads_need_not_be_utf_8():
    assert decode(msgpack.packb({"op": b"ping", "z": b"\xff", b"\xff": 1})) == m.Ping()
    assert decode(b"\x82\xa2op\xa4ping\xa1z\xa2\xff\xfe") == m.Ping()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"op": "text", "text": "x"}, ["`sid` is missing", "an integer 0..4294967295"]),
        ({"op": "open", "sid": -1}, ["`sid`", "an integer 0..4294967295", "-1"]),
        ({"op": "open", "sid": 1, "schedule": [120, 1]}, ["`schedule[1]`", "an integer 50..500"]),
        ({"op": "open", "sid": 1, "schedule": []}, ["`schedule`", "list of 1..16", "a list of 0"]),
        ({"op": "open", "sid": 1, "schedule": "fast"}, ["`schedule`", "speed", "1..16", "'fast'"]),
        ({"op": "open", "sid": 1, "pace": "fast"}, ["`pace`", "eager, realtime", "'fast'"]),
        ({"op": "open", "sid": 1, "label": "a/b"}, ["`label`", "[A-Za-z0-9._-]{1,64}", "'a/b'"]),
        ({"op": "open", "sid": 1, "cache": 2}, ["`cache`", "true or false", "2"]),
        ({"op": "open", "sid": 1, "voice": ""}, ["`voice`", "1..256 characters", "''"]),
        ({"op": "open", "sid": 1, "before": "x" * 1_001}, ["`before`", "0..1000 characters"]),
        ({"op": "open", "sid": 1, "settings": {"speed": 2}}, ["`settings.speed`", "0.7..1.2", "2"]),
        ({"op": "open", "sid": 1, "settings": "loud"}, ["`settings`", "a map", "'loud'"]),
        ({"op": "open", "sid": 1, "upstream": {"seed": -1}}, ["`upstream.seed`", "0..4294967295", "-1"]),
        ({"op": "open", "sid": 1, "upstream": {"model_id": "x"}}, ["`upstream.model_id`", "use `model`"]),
        ({"op": "open", "sid": 1, "upstream": {"a b": 1}}, ["'a b'", "A-Z a-z 0-9"]),
        ({"op": "open", "sid": 1, "upstream": {str(n): n for n in range(33)}}, ["32", "33"]),
        (LOCATOR_WITHOUT_ID, ["dictionary_id`", "missing"]),
        ({"op": "open", "sid": 1, "play": True}, ["`play`", "yet"]),
        ({"op": "open", "sid": 1, "deliver": False}, ["`deliver`", "nobody"]),
        ({"op": "cancel"}, ["`sid`", "`scope`"]),
        ({"op": "sing"}, ["'sing'", "features"]),
        ({"op": "hello", "client": "x", "proto": [1]}, ["`proto`", "2"]),
    ],
)  # fmt: skip
def test_a_refusal_names_the_field_and_what_is_allowed(fields, words):
    message = refused(msgpack.packb(fields)).message
    assert all(word in message for word in words), message


@pytest.mark.parametrize("field", ["voice", "pace", "schedule", "label", "priority"])
def test_a_refusal_echoes_little_of_what_was_sent(field):
    for value in ("ä" * 5_000 + "\n", ["x"] * 5_000, {"x" * 5_000: 1}):
        assert len(refused(pack(op="open", sid=1, **{field: value})).message) < 300
    assert len(refused(pack(op="x" * 5_000)).message) < 200
    assert len(refused(pack(op="open", sid=1, upstream={"x" * 5_000: 1})).message) < 200


def test_single_precision_at_a_bound_is_the_bound():
    for speed in (0.7, 1.2):
        head = msgpack.packb({"op": "open", "sid": 1, "settings": {"speed": speed}}, use_single_float=True)
        assert decode(head).settings.speed == speed
    assert refused(pack(op="open", sid=1, settings={"speed": 1.21})).code == "bad_value"


def test_known_options_are_read_as_tolerantly_as_fields():
    sent = {b"seed": 7.0, b"enable_logging": 0, b"language_code": b"de", "gone": None, "deep": {b"a": [b"b"]}}
    assert decode(pack(op="open", sid=1, upstream=sent)).upstream == {
        "seed": 7,
        "enable_logging": False,
        "language_code": "de",
        "deep": {"a": ["b"]},
    }


def test_hello_comes_first():
    with pytest.raises(Refusal) as caught:
        check_hello(m.Close(rid=1, sid=2), has_session=False)
    assert (caught.value.code, caught.value.rid, caught.value.sid) == ("hello_required", 1, 2)
    check_hello(m.Close(rid=1, sid=2), has_session=True)


@pytest.mark.parametrize("has_session", [True, False])
def test_any_minor_version_is_taken_and_another_major_is_not(has_session):
    check_hello(m.Hello(proto=[1, 7], client="x"), has_session=has_session)
    with pytest.raises(Refusal) as caught:
        check_hello(m.Hello(rid=1, proto=[2, 0], client="x"), has_session=has_session)
    assert caught.value.code == "unsupported_version"
    assert caught.value.reply().supported == [[1, 0]]


@pytest.mark.parametrize(
    ("fields", "hole"),
    [
        ({"op": "text", "text": 5}, True),
        ({"op": "text", "cp": None}, True),
        ({"op": "text", "cp": 0}, False),
        ({"op": "open"}, False),
    ],
)
def test_refused_text_without_its_place_leaves_a_hole(fields, hole):
    assert refused(pack(sid=1.5, **fields)).leaves_hole is hole
    assert (
        refused(msgpack.packb({name.encode(): value for name, value in fields.items()})).leaves_hole is hole
    )


def test_a_gap_tells_how_far_the_text_came():
    assert Refusal("text_gap", "send from 13 on", sid=1, chars=13).reply().chars == 13


def test_a_refusal_becomes_the_error_message():
    reply = Refusal("unknown_op", "no", rid=1, sid=2).reply()
    assert reply == m.Error(rid=1, sid=2, code="unknown_op", message="no", retryable=False)
    assert issubclass(Refusal, TtsStreamdError)


def test_a_client_ignores_what_it_does_not_know():
    assert decode_reply(pack(op="sing", rid=1)) is None
    assert decode_reply(pack(op="pong", rid=1, colour="red")) == m.Pong(rid=1)


def test_a_client_reads_newer_values_as_their_nearest_known():
    error = decode_reply(pack(op="error", rid=1, code="tired", message="later", retryable=True))
    assert error == m.Error(rid=1, code="internal", message="tired: later", retryable=True)
    state = decode_reply(pack(op="state", session=1, sid=1, seq=0, state="humming", at=5))
    assert state == m.State(session=1, sid=1, seq=0, state="degraded", at=5)
    end = m.End(
        session=1, sid=1, seq=1, reason="failed", chars=0, samples=0, heard_cp=0, skipped=[], sent=0,
        stamps_ms=m.Stamps(), source=m.Source(),
        error=m.StreamError(code="internal", message="tired: x", retryable=True),
    )  # fmt: skip
    newer = msgpack.unpackb(encode(end)) | {
        "reason": "bored",
        "error": {"code": "tired", "message": "x", "retryable": True},
    }
    assert decode_reply(msgpack.packb(newer)) == end


BAD_REPLIES = [
    b"",
    b"\xc1",
    b"\x93\x01\x02\x03",
    pack(rid=1),
    pack(op=1),
    pack(op="ok"),
    b"\x81\xa2op\xa2\xff\xfe",
]


@pytest.mark.parametrize("head", BAD_REPLIES)
def test_a_client_says_so_when_it_is_no_reply(head):
    with pytest.raises(BadReplyError):
        decode_reply(head)


@given(st.binary(max_size=60))
def test_arbitrary_bytes_from_a_daemon_are_a_reply_or_a_bad_one(head):
    with suppress(BadReplyError):
        reply = decode_reply(head)
        assert reply is None or encode(reply)
