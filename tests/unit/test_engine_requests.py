"""Queries, keys, tables and options: everything that is decided before a word is spoken."""

import subprocess
import sys

import pytest
import trio

from tts_streamd_engine import accounts, cli
from tts_streamd_engine.access import MAX_TOKENS, TOKEN_LIFE_S, Access, shown_in
from tts_streamd_engine.catalogue import LOAD_DEADLINE_S, Catalogue, load_hibari
from tts_streamd_engine.errors import RefusalError, invalid_body, with_request_id
from tts_streamd_engine.intake import ProtocolError
from tts_streamd_engine.query import parse_convert_format, parse_output_format, parse_stream_query
from tts_streamd_engine.voices.codepoint import CodepointVoice
from tts_streamd_engine.voices.interface import VoiceUnavailableError
from tts_streamd_engine.voices.timbres import TIMBRES
from tts_streamd_protocol.elevenlabs.premade import PREMADE


def refusal(call, *args, **kwargs):
    with pytest.raises(RefusalError) as caught:
        call(*args, **kwargs)
    return caught.value


def test_defaults_of_a_socket_are_the_service_s():
    query = parse_stream_query({"unknown": "x"})
    assert (query.fmt.name, query.inactivity_s, query.sync_alignment, query.auto_mode, query.credentials) == (
        "mp3_44100_128", 20.0, False, False, (),
    )  # fmt: skip


def test_a_socket_s_parameters_are_read():
    asked = {
        "sync_alignment": "true",
        "auto_mode": "TRUE",
        "inactivity_timeout": "180",
        "output_format": "ulaw_8000",
    }
    query = parse_stream_query(
        {**asked, "single_use_token": "t", "authorization": "a", "model_id": "eleven_flash_v2"}
    )
    assert query.sync_alignment
    assert query.auto_mode
    assert (query.inactivity_s, query.fmt.name, query.credentials) == (180.0, "ulaw_8000", ("a", "t"))


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"model_id": "eleven_v3"}, "unsupported_model"),
        ({"model_id": "eleven_v4_turbo"}, "unsupported_model"),
        ({"output_format": "flac_9"}, "unsupported_output_format"),
        ({"output_format": "wav_24000"}, "unsupported_output_format"),
        ({"inactivity_timeout": "0"}, "invalid_parameters"),
        ({"inactivity_timeout": "181"}, "invalid_parameters"),
        ({"inactivity_timeout": "nan"}, "invalid_parameters"),
        ({"inactivity_timeout": "soon"}, "invalid_parameters"),
        ({"sync_alignment": "maybe"}, "invalid_parameters"),
    ],
)
def test_a_wrong_parameter_refuses_the_upgrade(query, code):
    refused = refusal(parse_stream_query, query)
    assert (refused.status, refused.body["detail"]["code"]) == (400, code)


def test_opus_without_its_package_names_the_extra(monkeypatch):
    monkeypatch.setattr("tts_streamd_engine.query.available_formats", lambda: ("pcm_24000",))
    assert "tts-streamd[opus]" in refusal(parse_output_format, "opus_48000_64").body["detail"]["message"]


def test_wav_is_pcm_behind_a_header():
    fmt, rate_hz = parse_convert_format("wav_44100")
    assert (fmt.name, rate_hz) == ("pcm_44100", 44_100)
    assert parse_convert_format("mp3_44100")[1] is None
    assert refusal(parse_convert_format, "wav_1").status == 400


def test_request_ids_go_where_there_is_room_for_one():
    refused = refusal(parse_output_format, "x")
    assert with_request_id(refused, "r1")["detail"]["request_id"] == "r1"
    listed = invalid_body(["body"], "no")
    assert with_request_id(listed, "r1") is listed.body


def test_without_a_required_key_anybody_may_speak():
    access = Access(None, lambda: 0.0)
    access.check_http({})
    access.check_socket([])
    access.check_socket(["anything"])


def test_a_required_key_is_asked_for_in_any_place():
    access = Access("secret", lambda: 0.0)
    for headers in ({"xi-api-key": "secret"}, {"authorization": "Bearer secret"}):
        access.check_http(headers)
    access.check_socket(["wrong", "Bearer secret"])
    assert shown_in({"xi-api-key": "a", "authorization": "Bearer b"}) == ["a", "b"]
    assert refusal(access.check_http, {"xi-api-key": "wrong"}).status == 401
    assert refusal(access.check_http, {}).status == 401
    assert refusal(access.check_http, {"xi-api-key": "sk_" + "0af9" * 8}).status == 400
    for shown, error in ((["wrong"], "invalid_api_key"), ([], "authentication_required")):
        with pytest.raises(ProtocolError) as caught:
            access.check_socket(shown)
        assert (caught.value.error, caught.value.code) == (error, 1008)


def test_a_token_is_good_once_and_for_a_quarter_of_an_hour():
    now = [0.0]
    access = Access("secret", lambda: now[0])
    token, late = access.mint_token(), access.mint_token()
    access.check_socket([token])
    with pytest.raises(ProtocolError):
        access.check_socket([token])
    now[0] = TOKEN_LIFE_S + 1.0
    with pytest.raises(ProtocolError):
        access.check_socket([late])


def test_tokens_beyond_the_bound_push_out_the_oldest():
    access = Access("secret", lambda: 0.0)
    oldest, *_, newest = [access.mint_token() for _ in range(MAX_TOKENS + 1)]
    access.check_socket([newest])
    with pytest.raises(ProtocolError):
        access.check_socket([oldest])


def test_the_table_of_voices_is_unambiguous_and_all_of_them_speak():
    assert len({v.voice_id for v in PREMADE}) == len({v.name.casefold() for v in PREMADE}) == len(PREMADE)
    assert {v.voice_id: v.category for v in PREMADE}["codepoint"] == "generated"
    assert {v.name: v.voice_id for v in PREMADE}["Rachel"] == "21m00Tcm4TlvDq8ikWAM"
    assert set(TIMBRES) == {v.voice_id for v in PREMADE} - {"codepoint"}
    assert len(set(TIMBRES.values())) >= 8


def test_voices_are_found_and_paged():
    page = accounts.found_voices("AMERICAN woman", 5, "")
    assert len(page["voices"]) == 5
    assert page["has_more"]
    rest = accounts.found_voices("american woman", 100, page["next_page_token"])
    assert len(rest["voices"]) == page["total_count"] - 5
    assert not rest["has_more"]
    assert accounts.found_voices("", 1, "junk")["voices"][0]["name"] == "Sarah"


async def test_codepoint_never_waits_and_others_wait_for_the_model():
    catalogue = Catalogue(lambda: {"EXAVITQu4vr4xnSDxMaL": CodepointVoice()})
    assert isinstance(await catalogue.voice("codepoint"), CodepointVoice)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(catalogue.voice, "EXAVITQu4vr4xnSDxMaL")
        await trio.testing.wait_all_tasks_blocked()
        assert not catalogue.is_loaded
        await catalogue.load()
    assert catalogue.is_loaded
    assert catalogue.failure is None
    with pytest.raises(KeyError):
        await catalogue.voice("nobody")


async def test_a_model_that_never_loads_is_waited_for_with_a_deadline(autojump_clock):
    catalogue = Catalogue(dict)
    with pytest.raises(VoiceUnavailableError, match="still loading"):
        await catalogue.voice("EXAVITQu4vr4xnSDxMaL")
    assert trio.current_time() == pytest.approx(LOAD_DEADLINE_S)


async def test_a_model_that_fails_to_load_says_why():
    def broken():
        raise VoiceUnavailableError("no such file")

    catalogue = Catalogue(broken)
    await catalogue.load()
    with pytest.raises(VoiceUnavailableError, match="no such file"):
        await catalogue.voice("EXAVITQu4vr4xnSDxMaL")


def test_a_missing_model_is_an_unavailable_voice(monkeypatch):
    monkeypatch.setattr("hibari.voices.VOICES", {"heart": {"file": "gone.onnx", "bundled": True}})
    with pytest.raises(VoiceUnavailableError, match=r"gone\.onnx"):
        load_hibari()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--port", "x"], "a port is a number"),
        (["--port", "65536"], "a port is a number"),
        (["--fd", "x"], "file descriptor"),
        (["--voice-threads", "0"], "at least 1"),
        (["--tls"], "--cert FILE and --key FILE"),
        (["--cert", "/nowhere.pem"], "--cert FILE and --key FILE"),
        (["--cert", "/nowhere.pem", "--key", "/nowhere.pem"], "cannot use certificate"),
        (["--sing"], "--sing"),
    ],
)
def test_a_wrong_option_is_one_line_and_status_2(capsys, arguments, says):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    out, err = capsys.readouterr()
    assert caught.value.code == 2
    assert says in err
    assert err.count("\n") == 1
    assert out == ""


def test_help_shows_how_to_use_it(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"])
    assert caught.value.code == 0
    told = capsys.readouterr().out
    assert all(word in told for word in ("curl", "--fd", "SSL_CERT_FILE", "codepoint"))


def test_importing_the_engine_loads_nothing_heavy():
    code = (
        "import sys, tts_streamd_engine.cli, tts_streamd_engine.app, tts_streamd_engine.catalogue;"
        "print([m for m in ('numpy', 'onnxruntime', 'hibari', 'soxr', 'av', 'lameenc') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
