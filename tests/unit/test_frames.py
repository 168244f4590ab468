import base64
import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts_streamd_protocol.elevenlabs.faults import (
    UpstreamFault,
    classify_close,
    classify_frame,
    classify_http,
    redact,
)
from tts_streamd_protocol.elevenlabs.frames import (
    END_OF_TEXT,
    KEEP_ALIVE,
    Frame,
    FrameError,
    UpstreamError,
    decode_frame,
    init_message,
    text_message,
)
from tts_streamd_protocol.errors import CODES
from tts_streamd_protocol.messages import VoiceSettings
from tts_streamd_protocol.take import Alignment

RECORDED = """{"audio":"AAECAw==","isFinal":null,
 "normalizedAlignment":{"chars":[" ","H","i"," "],
  "charStartTimesMs":[0,35,81,139],"charDurationsMs":[35,46,58,35]},
 "alignment":{"chars":["H","i"," "],"charStartTimesMs":[0,81,139],"charDurationsMs":[81,58,35]}}"""
KEY = "sk_0123456789abcdef0123456789abcdef"


def frame(**fields):
    return decode_frame(json.dumps(fields))


def test_a_recorded_frame_is_read():
    assert decode_frame(RECORDED) == Frame(
        pcm=b"\0\1\2\3",
        alignment=Alignment(["H", "i", " "], [0, 81, 139], [81, 58, 35]),
        normalized=Alignment([" ", "H", "i", " "], [0, 35, 81, 139], [35, 46, 58, 35]),
    )
    assert (
        decode_frame('{"audio":"QUI=","isFinal":null,"normalizedAlignment":null,"alignment":null}').pcm
        == b"AB"
    )
    final = decode_frame('{"audio":null,"isFinal":true,"normalizedAlignment":null,"alignment":null}')
    assert final == Frame(is_final=True)


@given(st.binary(min_size=1))
def test_audio_comes_out_as_it_was_encoded(pcm):
    assert frame(audio=base64.b64encode(pcm).decode()).pcm == pcm


@pytest.mark.parametrize("starts", ["charStartTimesMs", "charsStartTimesMs", "char_start_times_ms"])
@pytest.mark.parametrize("durations", ["charDurationsMs", "charsDurationsMs", "char_durations_ms"])
@pytest.mark.parametrize("normalized", ["normalizedAlignment", "normalized_alignment"])
def test_every_spelling_of_alignment_is_read(starts, durations, normalized):
    times = {"chars": ["a", "b"], starts: [0, 5.5], durations: [5.5, 4]}
    read = frame(**{"alignment": times, normalized: times})
    assert read.alignment == read.normalized == Alignment(["a", "b"], [0, 5.5], [5.5, 4])
    assert read.alignment.sound


@pytest.mark.parametrize(("final", "context"), [("isFinal", "contextId"), ("is_final", "context_id")])
def test_both_spellings_of_final_and_context_are_read(final, context):
    assert frame(**{final: True, context: "c1"}) == Frame(is_final=True, context_id="c1")
    assert frame(**{final: False, context: None}) == Frame()
    assert frame(isFinal=None, is_final=True, contextId=None, context_id="c") == Frame(
        is_final=True, context_id="c"
    )


@pytest.mark.parametrize(
    "times",
    [
        {"chars": ["a"], "charStartTimesMs": [0]},
        {"chars": ["a"]},
        {"chars": ["a"], "charStartTimesMs": [None], "charDurationsMs": [1]},
        {"chars": ["a", "b"], "charStartTimesMs": [0], "charDurationsMs": [1]},
        {"chars": 5},
        [],
        "soon",
    ],
)
def test_alignment_that_makes_no_sense_costs_itself_only(times):
    read = frame(audio="QUI=", alignment=times)
    assert read.pcm == b"AB"
    assert read.alignment is not None
    assert not read.alignment.sound


def test_halves_of_an_emoji_cost_themselves_only():
    chars = r'"a","\ud83e","\udd8a","\ud83e\udd8a","b"'
    times = '"charStartTimesMs":[0,1,2,3,4],"charDurationsMs":[1,1,1,1,1]'
    read = decode_frame(f'{{"audio":"QUI=","alignment":{{"chars":[{chars}],{times}}}}}')
    assert read.pcm == b"AB"
    assert read.alignment.chars == ["a", "\ufffd", "\ufffd", "🦊", "b"]
    assert read.alignment.sound


def test_empty_alignment_says_nothing_and_is_sound():
    assert frame(alignment={"chars": [], "charStartTimesMs": [], "charDurationsMs": []}).alignment.sound
    assert frame(alignment={}).alignment.sound


def test_unknown_keys_and_kinds_are_ignored():
    assert frame(type="flush_done", done=True, status_code=206) == Frame()
    assert frame(audio="", alignment=None, more={"deep": [1]}) == Frame()
    assert frame(message="by the way") == Frame()


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"message": "no", "error": "invalid_api_key", "code": 1008}, ("no", "invalid_api_key", 1008)),
        ({"message": "no", "error": "x", "code": None}, ("no", "x", None)),
        ({"message": "gone", "code": 1011.0}, ("gone", None, 1011)),
        ({"error": "x"}, ("x", "x", None)),
        ({"message": {"a": 1}, "error": "x"}, ('{"a":1}', "x", None)),
        ({"detail": {"code": "y"}}, ('{"code":"y"}', None, None)),
        ({"error": {"code": "y"}}, ('{"code":"y"}', None, None)),
        ({"message": None, "error": "x", "code": "1008"}, ("x", "x", None)),
    ],
)  # fmt: skip
def test_an_error_frame_is_told_apart(fields, error):
    assert frame(**fields).error == UpstreamError(*error)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "5",
        "{",
        '{"audio":5}',
        '{"audio":"QUI"}',
        '{"audio":"QU I="}',
        '{"audio":"ä==="}',
        '{"isFinal":"true"}',
        '{"contextId":5}',
        "[" * 100_000,
        '{"alignment":' + "[" * 100_000,
        "\ud83d",
        b"\xff",
    ],
)
def test_what_is_no_frame_is_a_frame_error(text):
    with pytest.raises(FrameError):
        decode_frame(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
keys = st.sampled_from(
    [
        "audio",
        "alignment",
        "normalizedAlignment",
        "isFinal",
        "contextId",
        "message",
        "error",
        "code",
        "detail",
    ]
)


@given(st.dictionaries(keys, json_values).map(json.dumps) | st.text() | st.binary())
def test_any_frame_is_read_or_a_frame_error(text):
    with suppress(FrameError):
        read = decode_frame(text)
        if read.error is not None:
            assert classify_frame(read.error).code in CODES
        if read.alignment is not None:
            assert read.alignment.sound in (True, False)


def test_the_first_message_holds_what_was_given_and_nothing_else():
    assert json.loads(init_message()) == {"text": " "}
    assert json.loads(init_message(VoiceSettings())) == {"text": " "}
    settings = VoiceSettings(stability=0.5, use_speaker_boost=False)
    extra = {"pronunciation_dictionary_locators": [{"pronunciation_dictionary_id": "d"}], "text": "never"}
    assert json.loads(init_message(settings, [50, 120], extra)) == {
        "text": " ",
        "voice_settings": {"stability": 0.5, "use_speaker_boost": False},
        "generation_config": {"chunk_length_schedule": [50, 120]},
        "pronunciation_dictionary_locators": [{"pronunciation_dictionary_id": "d"}],
    }


@given(st.text(), st.booleans())
def test_text_is_sent_verbatim(text, flush):
    sent = json.loads(text_message(text, flush=flush))
    assert sent == ({"text": text, "flush": True} if flush else {"text": text})


def test_the_fixed_messages_are_what_upstream_documents():
    assert json.loads(KEEP_ALIVE) == {"text": " "}
    assert json.loads(END_OF_TEXT) == {"text": ""}


@pytest.mark.parametrize(
    ("name", "message", "code", "retryable"),
    [
        ("invalid_api_key", "Invalid API key", "auth_failed", False),
        ("authentication_required", "None of the authentication methods were found.", "auth_failed", False),
        ("voice_id_does_not_exist", "A voice with voice_id X does not exist.", "voice_not_found", False),
        ("input_timeout_exceeded", "Have not received a new text input within", "timeout", True),
        ("invalid_input_message", "Could not parse input message", "upstream_protocol", False),
        ("max_active_conversations", "Maximum simultaneous contexts", "rate_limited", True),
        ("detected_unusual_activity", "Unusual activity detected.", "auth_failed", False),
        ("quota_exceeded", "This request exceeds your quota of 10000.", "quota_exceeded", False),
        ("unsupported_model", "Model 'eleven_v3' is not supported", "model_not_supported", False),
        (None, "voice_settings field must be provided in the first message", "upstream_protocol", False),
        (None, "We are sorry, something went wrong.", "upstream_unreachable", True),
        ("never_seen_before", "Never seen before", "upstream_protocol", True),
    ],
)
def test_error_frames_mean_what_the_reference_says(name, message, code, retryable):
    fault = classify_frame(UpstreamError(message, name, 1008))
    assert (fault.code, fault.retryable) == (code, retryable)
    assert message in fault.message


@pytest.mark.parametrize(
    ("code", "reason", "meaning", "retryable"),
    [
        (1000, "", "upstream_protocol", True),
        (1001, "", "upstream_unreachable", True),
        (1006, "", "upstream_unreachable", True),
        (1009, "", "upstream_protocol", False),
        (1011, "", "upstream_unreachable", True),
        (1012, "", "upstream_unreachable", True),
        (1013, "", "upstream_unreachable", True),
        (1014, "", "upstream_unreachable", True),
        (1008, "Invalid API key", "auth_failed", False),
        (1008, "Have not received a new text input within the timeout of 20 secon", "timeout", True),
        (1008, "A voice with voice_id X does not exist.", "voice_not_found", False),
        (1008, "something new", "upstream_protocol", True),
        (4321, "", "upstream_protocol", True),
    ],
)
def test_a_close_means_what_the_reference_says(code, reason, meaning, retryable):
    fault = classify_close(code, reason)
    assert (fault.code, fault.retryable) == (meaning, retryable)
    assert str(code) in fault.message
    assert reason in fault.message


def detail(**fields):
    return json.dumps({"detail": fields})


@pytest.mark.parametrize(
    ("status", "body", "code", "retryable"),
    [
        (400, detail(code="invalid_api_key", message="API key is invalid."), "auth_failed", False),
        (400, detail(code="unsupported_model", message="Model 'eleven_v3'"), "model_not_supported", False),
        (400, detail(status="text_too_long", message="too long"), "bad_value", False),
        (400, detail(code="voice_does_not_exist", message="no"), "voice_not_found", False),
        (401, detail(code="unauthorized", status="invalid_api_key", message="x"), "auth_failed", False),
        (401, detail(message="This request exceeds your quota"), "quota_exceeded", False),
        (401, detail(code="unauthorized", status="quota_exceeded", message="x"), "quota_exceeded", False),
        (401, "", "auth_failed", False),
        (402, detail(code="insufficient_credits", message="x"), "quota_exceeded", False),
        (402, detail(code="paid_plan_required", message="library voices"), "voice_not_found", False),
        (402, "", "quota_exceeded", False),
        (403, detail(code="subscription_required", message="x"), "bad_value", False),
        (403, b"", "voice_not_found", False),
        (403, "Forbidden", "auth_failed", False),
        (404, detail(code="voice_not_found", message="x"), "voice_not_found", False),
        (404, "<html>", "voice_not_found", False),
        (408, "", "upstream_unreachable", True),
        (405, "", "upstream_protocol", False),
        (422, '{"detail":[{"loc":["body","text"],"msg":"Field required"}]}', "bad_value", False),
        (429, detail(status="too_many_concurrent_requests", message="Too many"), "rate_limited", True),
        (429, "", "rate_limited", True),
        (500, detail(code="invalid_api_key", message="by accident"), "upstream_unreachable", True),
        (503, b"\xff\xfe", "upstream_unreachable", True),
        (302, "", "upstream_protocol", True),
        (200, "", "upstream_protocol", True),
    ],
)  # fmt: skip
def test_http_refusals_mean_what_the_reference_says(status, body, code, retryable):
    fault = classify_http(status, body)
    assert (fault.code, fault.retryable) == (code, retryable)
    assert fault.message.startswith(f"HTTP {status}: ")


def test_their_own_words_are_kept():
    body = '{"detail":[{"loc":["body","text"],"msg":"Field required"},{"odd":1}]}'
    assert "body.text: Field required" in classify_http(422, body).message
    assert "Invalid API key" in classify_http(401, detail(message="Invalid API key")).message
    assert classify_frame(UpstreamError("No more.", "quota_exceeded")).message == "quota_exceeded: No more."
    assert len(classify_http(500, "x" * 10_000).message) == 500


@pytest.mark.parametrize(
    ("header", "retry_ms"),
    [("2", 2_000), ("0.5", 500), ("0", 0), ("-1", None), ("nan", None), (None, None), ("inf", 3_600_000)],
)  # fmt: skip
def test_only_a_wait_in_seconds_is_believed(header, retry_ms):
    assert classify_http(429, "", header).retry_ms == retry_ms
    assert classify_http(401, "", header).retry_ms is None


@given(st.integers(8, len(KEY)), st.text(alphabet=st.characters(blacklist_categories=["Cs"]), max_size=20))
def test_no_message_holds_a_key_or_the_beginning_of_one(length, around):
    words = f"{around} {KEY[:length]} {around}"
    faults = [
        classify_close(1008, words, key=KEY),
        classify_frame(UpstreamError(words, words), key=KEY),
        classify_http(401, words, key=KEY),
        classify_http(401, json.dumps({"detail": {"message": words}}), key=KEY),
    ]
    assert all(KEY[:8] not in fault.message for fault in faults)


def test_what_looks_like_a_key_is_taken_out_even_if_it_is_not_ours():
    assert redact(f"key {KEY}, {'ab' * 16}.") == "key [key], [key]."
    assert redact("voice EXAVITQu4vr4xnSDxMaL") == "voice EXAVITQu4vr4xnSDxMaL"


@given(st.integers(0, 5_000), st.binary() | json_values.map(json.dumps), st.none() | st.text())
def test_any_refusal_becomes_a_fault(number, body, header):
    for fault in (classify_http(number, body, header), classify_close(number, str(body))):
        assert isinstance(fault, UpstreamFault)
        assert fault.code in CODES
        assert 0 < len(fault.message) <= 500
