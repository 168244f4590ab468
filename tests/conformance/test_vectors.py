"""The pinned vectors, checked with the codec and, independently of it, with plain msgpack."""

import json
from pathlib import Path

import msgpack
import msgspec
import pytest

from tts_streamd_protocol import vectors
from tts_streamd_protocol.codec import Refusal, check_hello, decode_reply, decode_request, encode
from tts_streamd_protocol.errors import CODES
from tts_streamd_protocol.messages import AnyReply, AnyRequest
from tts_streamd_protocol.vectors.tables import documents

FOLDER = Path(vectors.__file__).parent


def load(name):
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


REPLIES, ACCEPTED, REFUSED = load("replies.json"), load("accepted.json"), load("refused.json")


def leaves(value):
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(key)
            yield from leaves(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from leaves(item)
    else:
        yield value


def simple(value):
    """What contract section 2 says of forms, without knowing any field: text for bin, no nil, no ext."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, dict):
        return {
            simple(k): simple(v)
            for k, v in value.items()
            if not (v is None or isinstance(v, msgpack.ExtType))
        }
    if isinstance(value, list):
        return [simple(item) for item in value]
    return value


def says(sent, meant):
    """Whether what was sent can stand for what is meant; more may have been sent."""
    if isinstance(meant, dict):
        return (sent == [] and not meant) or all(
            name in sent and says(sent[name], meant[name]) for name in meant
        )
    if isinstance(meant, list):
        return len(sent) == len(meant) and all(map(says, sent, meant))
    return sent == pytest.approx(meant) if isinstance(meant, float) else sent == meant


def test_the_pinned_files_are_what_the_tables_make():
    for name, document in documents().items():
        assert (FOLDER / name).read_text(encoding="utf-8") == document, name


@pytest.mark.parametrize("row", REPLIES, ids=lambda row: row["name"])
def test_a_reply_is_these_bytes_and_no_others(row):
    head = bytes.fromhex(row["hex"])
    reply = msgspec.convert(row["decoded"], AnyReply)
    assert encode(reply) == head
    assert decode_reply(head) == reply


@pytest.mark.parametrize("row", REPLIES, ids=lambda row: row["name"])
def test_plain_msgpack_reads_a_reply_without_surprises(row):
    decoded = msgpack.unpackb(bytes.fromhex(row["hex"]))
    assert decoded == row["decoded"]
    for leaf in leaves(decoded):
        assert isinstance(leaf, str | int | float | bool), leaf  # neither nil nor bin nor ext
        assert not isinstance(leaf, int) or 0 <= leaf < 2**32, leaf


def test_every_kind_of_reply_and_of_request_has_a_vector():
    def ops(union):
        return {msgspec.inspect.type_info(kind).tag for kind in union.__args__}

    assert {row["decoded"]["op"] for row in REPLIES} == ops(AnyReply)
    assert {row["decoded"]["op"] for row in ACCEPTED} == ops(AnyRequest)


@pytest.mark.parametrize("row", ACCEPTED, ids=lambda row: row["habit"])
def test_an_accepted_form_means_what_it_says(row):
    request = decode_request([bytes.fromhex(row["hex"])], max_message_bytes=65_536)
    assert msgspec.to_builtins(request) == row["decoded"]


@pytest.mark.parametrize("row", ACCEPTED, ids=lambda row: row["habit"])
def test_plain_msgpack_agrees_on_an_accepted_form(row):
    sent = simple(msgpack.unpackb(bytes.fromhex(row["hex"]), strict_map_key=False))
    assert says(sent, row["decoded"])
    again = decode_request([msgpack.packb(row["decoded"])], max_message_bytes=65_536)
    assert msgspec.to_builtins(again) == row["decoded"]


def test_every_habit_of_a_library_means_the_same_as_the_plain_form():
    first = ACCEPTED[0]["decoded"]
    assert [row["decoded"] for row in ACCEPTED[:9]] == [first] * 9


def take(frames, row):
    request = decode_request(frames, max_message_bytes=row.get("max_message_bytes", 65_536))
    check_hello(request, has_session=not row.get("before_hello"))


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row["name"])
def test_a_refusal_has_this_code_and_echoes_what_could_be_read(row):
    frames = [bytes.fromhex(frame) for frame in row["frames"]]
    with pytest.raises(Refusal) as caught:
        take(frames, row)
    refusal = caught.value
    assert (refusal.code, refusal.rid, refusal.sid) == (row["code"], row.get("rid"), row.get("sid"))
    told = msgpack.unpackb(encode(refusal.reply()))
    assert told["op"] == "error"
    assert told["code"] in CODES
    assert told["message"]
    assert told.get("supported") == ([[1, 0]] if row["code"] == "unsupported_version" else None)
