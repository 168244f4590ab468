"""What the golden vectors are made of: each kind of reply, each habit of a client, each code of a refusal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import msgpack
import msgspec

from tts_streamd_protocol.codec import decode_request, encode
from tts_streamd_protocol.messages import (
    Ack,
    ActorInfo,
    Audio,
    End,
    Error,
    Goodbye,
    Limits,
    Ok,
    Opened,
    Pong,
    Source,
    Stamps,
    State,
    StatusReply,
    StreamError,
    StreamInfo,
    StreamsReply,
    Subscribed,
    Tapped,
    Tick,
    VoiceInfo,
    VoicesReply,
    Welcome,
    Words,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tts_streamd_protocol.explain import Plain
    from tts_streamd_protocol.messages import AnyReply

MAX_MESSAGE_BYTES: Final = 65_536

_WHOLE: Final = End(
    session=3,
    sid=7,
    seq=4,
    reason="done",
    chars=13,
    samples=18_720,
    heard_cp=12,
    skipped=[],
    ttfa_ms=141,
    stamps_ms=Stamps(accepted=0, cut=1, sent=1, first_frame=140, delivered=141),
    source=Source(live=13),
    sent=13,
)


def _replies() -> dict[str, AnyReply]:
    return {
        "welcome": Welcome(
            rid=1,
            proto=(1, 0),
            daemon="tts-streamd/0.1.0",
            boot_id="5f2c1a",
            session=3,
            features=["speak", "text"],
            limits=Limits(),
            formats=["pcm_24000"],
            rate_hz=24_000,
            heartbeat_ms=2_000,
            events="ipc:///run/tts-streamd/events",
            upstream="elevenlabs",
            share_default=False,
        ),
        "opened": Opened(
            rid=2,
            sid=7,
            voice="Sarah",
            model="eleven_flash_v2_5",
            format="pcm_24000",
            rate_hz=24_000,
            channels=1,
        ),
        "ok": Ok(rid=4_294_967_295),
        "ack": Ack(sid=7, chars=13),
        "pong": Pong(rid=5),
        "error": Error(rid=6, sid=8, code="no_such_stream", message="open it first", retryable=False),
        "error_retry": Error(code="rate_limited", message="wait", retryable=True, retry_ms=1_500),
        "error_gap": Error(sid=7, code="text_gap", message="send from 13 on", retryable=False, chars=13),
        "error_version": Error(
            rid=1, code="unsupported_version", message="use 1.0", retryable=False, supported=[[1, 0]]
        ),
        "voices": VoicesReply(
            rid=9, voices=[VoiceInfo(voice="EXAVITQu4vr4xnSDxMaL", name="Sarah")], default="Sarah"
        ),
        "streams": StreamsReply(
            rid=10,
            streams=[
                StreamInfo(
                    session=3,
                    sid=7,
                    client="example/1",
                    uid=1_000,
                    voice="Sarah",
                    format="pcm_24000",
                    phase="speaking",
                    chars=13,
                    released_cp=7,
                    samples=9_600,
                    age_ms=412,
                    label="kitchen",
                    text="Hello, wörld.",
                )
            ],
        ),
        "status": StatusReply(
            rid=11,
            daemon="tts-streamd/0.1.0",
            pid=412,
            uptime_ms=60_000,
            boot_id="5f2c1a",
            upstream="elevenlabs",
            sessions=1,
            streams=1,
            actors=[ActorInfo(name="gateway", state="running", restarts=0, mailbox=2, mailbox_capacity=64)],
        ),
        "tapped": Tapped(
            actor="gateway", t_ms=5, message={"op": "text_accepted", "cp": 13}, payload_bytes=9_600
        ),
        "goodbye": Goodbye(in_ms=3_000, reason="stopping"),
        "tick": Tick(session=3, boot_id="5f2c1a"),
        "subscribed": Subscribed(),
        "state": State(session=3, sid=7, seq=0, state="speaking", at=0),
        "words": Words(
            session=3, sid=7, seq=1, words=[("Hello,", 0, 341, 0, 6), ("wörld.", 390, 775, 7, 13)]
        ),
        "audio": Audio(session=3, sid=7, seq=2, at=0, n=9_600, cp=7),
        "state_recovered": State(session=3, sid=7, seq=3, state="speaking", at=9_600, detail="recovered"),
        "end": _WHOLE,
        "end_failed": msgspec.structs.replace(
            _WHOLE,
            reason="failed",
            skipped=[(9, 13)],
            error=StreamError(code="upstream_unreachable", message="1006", retryable=True),
        ),
    }


_SPEAK: Final[Mapping[str, Any]] = {
    "op": "speak",
    "rid": 9,
    "sid": 11,
    "text": "Größe zählt, said the fox.",
    "share": False,
    "schedule": [120, 160],
    "settings": {"stability": 0.5, "use_speaker_boost": True},
    "upstream": {"seed": 7, "enable_logging": False, "other": "yes"},
}
_SID: Final = b"\xa3sid"


def _bin(value: Plain) -> object:
    """As Perl packs it: keys and text as bin."""
    match value:
        case str():
            return value.encode()
        case list():
            return [_bin(item) for item in value]
        case dict():
            return {key.encode(): _bin(item) for key, item in value.items()}
        case _:
            return value


def _floats(value: Plain) -> object:
    """As Ruby, PHP and Lua may have it: every number a float, booleans 1 and 0."""
    match value:
        case bool():
            return int(value)
        case int():
            return float(value)
        case list():
            return [_floats(item) for item in value]
        case dict():
            return {key: _floats(item) for key, item in value.items()}
        case _:
            return value


def _map16(message: Mapping[str, object]) -> bytes:
    return b"\xde" + len(message).to_bytes(2, "big") + msgpack.packb(message)[1:]


def _accepted() -> dict[str, bytes]:
    pack = msgpack.packb
    undefined = msgpack.ExtType(0, b"\0")
    unknown: dict[Any, Any] = {**_SPEAK, "colour": "red", "deep": {"er": [1, [2]]}, 5: b"\xff"}
    return {
        "as the contract writes it": pack(_SPEAK),
        "Perl: bin for text and keys": pack(_bin(dict(_SPEAK))),
        "Perl, Lua: keys in any order": pack(dict(sorted(_SPEAK.items(), reverse=True))),
        "Ruby, PHP, Lua: floats for integers, 0 and 1 for booleans": pack(_floats(dict(_SPEAK))),
        "msgpackr: map16 for a small map": _map16(_SPEAK),
        "msgpackr: undefined as ext 0": pack({**_SPEAK, "voice": undefined, "credit_ms": undefined}),
        "nil for absent": pack({**_SPEAK, "voice": None, "format": None, "cache": None}),
        "unknown fields": pack(unknown),
        "uint64 for a small integer": pack(_SPEAK).replace(
            _SID + b"\x0b", _SID + b"\xcf" + bytes(7) + b"\x0b"
        ),
        "PHP, Lua: an empty array for an empty map": pack({**_SPEAK, "settings": [], "upstream": []}),
        "the map that the empty array stands for": pack({**_SPEAK, "settings": {}, "upstream": {}}),
        "C, Lua: 32-bit floats": pack(
            {"op": "open", "sid": 1, "settings": {"speed": 1.2, "stability": 0.5}}, use_single_float=True
        ),
        "hello": pack({"op": "hello", "rid": 1, "proto": [1, 0], "client": "example/1", "lang": "de"}),
        "open": pack(
            {"op": "open", "rid": 2, "sid": 1, "schedule": "speed", "credit_ms": 0, "label": "a.b-c_1"}
        ),
        "text": pack({"op": "text", "sid": 1, "text": "Hello, 🦊 ", "cp": 0, "flush": True}),
        "voice": pack({"op": "voice", "sid": 1, "voice": "Sarah", "settings": {"style": 0}}),
        "close": pack({"op": "close", "sid": 1}),
        "credit": pack({"op": "credit", "sid": 1, "add_ms": 500}),
        "cancel by sid": pack({"op": "cancel", "sid": 1, "at": 24_000}),
        "cancel by scope": pack({"op": "cancel", "rid": 3, "scope": "mine"}),
        "ping": pack({"op": "ping", "rid": 4}),
        "status": pack({"op": "status", "rid": 5}),
        "voices": pack({"op": "voices", "rid": 6}),
        "streams": pack({"op": "streams", "rid": 7}),
        "tap": pack({"op": "tap", "rid": 8, "actor": "gateway", "on": False}),
    }


def _refused() -> list[dict[str, Any]]:
    pack = msgpack.packb

    def row(name: str, code: str, *frames: bytes, **more: object) -> dict[str, Any]:
        return {"name": name, "frames": [frame.hex() for frame in frames], "code": code, **more}

    def opening(name: str, **fields: object) -> dict[str, Any]:
        return row(name, "bad_value", pack({"op": "open", "rid": 4, "sid": 5, **fields}), rid=4, sid=5)

    ping = pack({"op": "ping", "rid": 5})
    return [
        row("one byte too long", "too_large", ping, max_message_bytes=len(ping) - 1),
        row("no bytes", "bad_message", b""),
        row("no msgpack", "bad_message", b"\xc1"),
        row("an array", "bad_message", b"\x93\x01\x02\x03"),
        row("HTTP", "bad_message", b"GET / HTTP/1.1\r\n\r\n"),
        row("half a map", "bad_message", ping[:-1]),
        row("two maps", "bad_message", ping + ping, rid=5),
        row("two frames", "bad_message", ping, b"x", rid=5),
        row("the empty frame of a REQ socket", "bad_message", b"", ping),
        row("nested 1100 deep", "bad_message", b"\x91" * 1_100 + b"\xc0"),
        row("no op", "bad_message", pack({"rid": 1}), rid=1),
        row("op is no text", "bad_message", pack({"op": 5, "rid": 1}), rid=1),
        row(
            "an op that is not built", "unknown_op", pack({"op": "sing", "rid": 3, "sid": 4.0}), rid=3, sid=4
        ),
        row("str is not UTF-8", "bad_encoding", b"\x83\xa2op\xa4text\xa3sid\x08\xa4text\xa2\xff\xfe", sid=8),
        row(
            "bin is not UTF-8",
            "bad_encoding",
            b"\x83\xa2op\xa4text\xa3sid\x08\xa4text\xc4\x02\xff\xfe",
            sid=8,
        ),
        row(
            "encoding before value",
            "bad_encoding",
            b"\x83\xa2op\xa4text\xa3sid\xff\xa4text\xa2\xff\xfe",
        ),
        row("sid below 0", "bad_value", pack({"op": "open", "rid": 4, "sid": -1}), rid=4),
        row("sid above u32", "bad_value", pack({"op": "close", "rid": 4, "sid": 2**32}), rid=4),
        row("sid with a fraction", "bad_value", pack({"op": "close", "rid": 4, "sid": 1.5}), rid=4),
        row("sid is a boolean", "bad_value", pack({"op": "close", "rid": 4, "sid": True}), rid=4),
        row("sid is missing", "bad_value", pack({"op": "text", "rid": 4, "text": "x"}), rid=4),
        row("rid is text", "bad_value", pack({"op": "close", "rid": "4", "sid": 5}), sid=5),
        row("text is a number", "bad_value", pack({"op": "text", "sid": 5, "text": 5}), sid=5),
        opening("schedule below 50", schedule=[1]),
        opening("schedule of an unknown name", schedule="hurry"),
        opening("schedule of 17 numbers", schedule=[50] * 17),
        opening("label with a slash", label="no/slash"),
        opening("a boolean that is 2", cache=2),
        opening("stability above 1", settings={"stability": 1.5}),
        opening("stability is not a number", settings={"stability": float("nan")}),
        opening("settings is a full array", settings=[1]),
        opening("before of 1001 code points", before="x" * 1_001),
        opening("nobody would hear it", play=False, deliver=False),
        opening("upstream: a known name with a wrong value", upstream={"seed": -1}),
        opening("upstream: a name of the daemon's own", upstream={"output_format": "mp3_44100"}),
        opening("upstream: no JSON", upstream={"x": msgpack.ExtType(9, b"?")}),
        row("cancel of nothing", "bad_value", pack({"op": "cancel", "rid": 4}), rid=4),
        row("cancel of both", "bad_value", pack({"op": "cancel", "sid": 5, "scope": "all"}), sid=5),
        row("no hello yet", "hello_required", pack({"op": "ping", "rid": 1}), rid=1, before_hello=True),
        row(
            "another major version",
            "unsupported_version",
            pack({"op": "hello", "rid": 2, "proto": [9, 0], "client": "x"}),
            rid=2,
            before_hello=True,
        ),
    ]


def _reply_row(name: str, reply: AnyReply) -> dict[str, Any]:
    head = encode(reply)
    return {"name": name, "hex": head.hex(), "decoded": msgpack.unpackb(head)}


def _accepted_row(habit: str, head: bytes) -> dict[str, Any]:
    request = decode_request([head], max_message_bytes=MAX_MESSAGE_BYTES)
    return {"habit": habit, "hex": head.hex(), "decoded": msgspec.to_builtins(request)}


def documents() -> dict[str, str]:
    """File name -> JSON text."""
    tables = {
        "replies.json": [_reply_row(name, reply) for name, reply in _replies().items()],
        "accepted.json": [_accepted_row(habit, head) for habit, head in _accepted().items()],
        "refused.json": _refused(),
    }
    return {name: json.dumps(table, ensure_ascii=False, indent=1) + "\n" for name, table in tables.items()}
