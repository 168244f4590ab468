"""msgpack in both directions, and every refusal that needs no state (contract sections 2 and 3).

Rule: a request is decoded strictly first, and only what fails is read tolerantly; where both succeed they
agree.  Whatever bytes come in, nothing but ``Refusal`` goes out, and of several reasons the first of the
contract's order: ``too_large``, ``bad_message``, ``unknown_op``, ``bad_encoding``, ``bad_value``.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, get_args

import msgspec
from msgspec.inspect import StructType, type_info

from tts_streamd_protocol.errors import CODES, Code, TtsStreamdError
from tts_streamd_protocol.explain import explain, shorten
from tts_streamd_protocol.messages import (
    PROTO,
    AnyReply,
    AnyRequest,
    Cancel,
    Error,
    Hello,
    Open,
    Phase,
    Reason,
    Speak,
)
from tts_streamd_protocol.tolerant import (
    NotAMapError,
    NotUtf8Error,
    PackedMap,
    fields,
    read_map,
    read_text,
    read_u32,
    shape,
)
from tts_streamd_protocol.upstream_options import check_options

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SUPPORTED: Final = ((1, 0),)
"""Protocol versions that this package speaks."""

_ENCODER: Final = msgspec.msgpack.Encoder()
_REQUEST: Final = msgspec.msgpack.Decoder(AnyRequest)
_REPLY: Final = msgspec.msgpack.Decoder(AnyReply)


def _by_op(union: object) -> Mapping[str, StructType]:
    kinds = [type_info(each) for each in get_args(union)]
    return MappingProxyType({str(kind.tag): kind for kind in kinds if isinstance(kind, StructType)})


_REQUESTS: Final = _by_op(AnyRequest)
_REPLIES: Final = _by_op(AnyReply)


class Refusal(TtsStreamdError):  # noqa: N818  it is an answer before it is an error
    """A request that is answered by ``error`` and changes nothing.

    ``rid`` and ``sid`` stand here wherever the message had them in readable form; ``supported`` only beside
    ``unsupported_version``, ``chars`` beside ``text_gap``.  ``leaves_hole``: it was text without ``cp``:
    sent again or not, the stream would have a hole, so it has to end (contract 5.3).
    """

    def __init__(  # noqa: PLR0913  the fields that the contract gives an `error`
        self,
        code: Code,
        message: str,
        *,
        rid: int | None = None,
        sid: int | None = None,
        supported: Sequence[tuple[int, int]] | None = None,
        retry_ms: int | None = None,
        chars: int | None = None,
        leaves_hole: bool = False,
    ) -> None:
        super().__init__(code, message, retry_ms=retry_ms)
        self.chars = chars
        self.leaves_hole = leaves_hole
        self.rid = rid
        self.sid = sid
        self.supported = supported

    def reply(self) -> Error:
        """The ``error`` to be sent."""
        supported = None if self.supported is None else [list(each) for each in self.supported]
        error = error_reply(self, rid=self.rid, sid=self.sid)
        return msgspec.structs.replace(error, supported=supported, chars=self.chars)


class BadReplyError(ValueError):
    """The daemon sent what no version of this protocol allows."""


def error_reply(error: TtsStreamdError, *, rid: int | None = None, sid: int | None = None) -> Error:
    """The ``error`` message for any typed error, one of section 8."""
    return Error(
        rid=rid,
        sid=sid,
        code=error.code,
        message=error.message,
        retryable=error.retryable,
        retry_ms=error.retry_ms,
    )


def encode(reply: AnyReply) -> bytes:
    """Daemon to client: str keys, UTF-8, None left out, no ext, no bin; callers keep integers below 2**32."""
    return _ENCODER.encode(reply)


def encode_request(request: AnyRequest) -> bytes:
    """Client to daemon, in the same form.  Defaults are left out."""
    return _ENCODER.encode(request)


def decode_request(frames: Sequence[bytes], *, max_message_bytes: int) -> AnyRequest:
    """One control message from a client; *frames* without the routing id.

    A field that is nil is as if absent, unknown ones are ignored; ``upstream`` comes back as plain JSON data.

    Raises:
        Refusal: and nothing else, whatever the bytes are.
    """
    if frames and len(frames[0]) > max_message_bytes:
        size = f"{len(frames[0])} bytes, the limit is {max_message_bytes}"
        raise Refusal("too_large", f"the message has {size}: send long text in several `text` messages")
    if len(frames) == 1:
        try:
            request = _REQUEST.decode(frames[0])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
        else:
            if not (isinstance(request, Open | Speak) and request.upstream is not None):
                return _checked(request)
    return decode_tolerantly(frames)


def decode_tolerantly(frames: Sequence[bytes]) -> AnyRequest:
    """As ``decode_request`` without the strict attempt: for what that could not read.

    Raises:
        Refusal: and nothing else.
    """
    try:
        head = read_map(frames[0] if frames else b"")
    except NotAMapError as error:
        raise _refusal("bad_message", f"not exactly one msgpack map: {error}", error.head) from error
    if len(frames) != 1:
        message = f"{len(frames)} frames instead of one: send the bare map, from a DEALER socket"
        raise _refusal("bad_message", message, head)
    try:
        return _checked(_convert(head))
    except Refusal:
        raise
    except TtsStreamdError as error:
        raise _refusal(error.code, error.message, head) from error


def check_hello(request: AnyRequest, *, has_session: bool) -> None:
    """Whether this may be the next message: ``hello`` first, in a major version that we speak.

    A second ``hello`` on the same connection passes: it is to be answered by the same ``welcome``.

    Raises:
        Refusal: ``hello_required`` or ``unsupported_version`` (with ``supported``).
    """
    if not isinstance(request, Hello):
        if not has_session:
            message = "no session on this connection: send `hello` first (after every reconnect, too)"
            raise Refusal("hello_required", message, rid=request.rid, sid=_sid(request))
    elif request.proto[0] != PROTO[0]:
        version = ".".join(map(str, request.proto))
        message = f"protocol {version} is not spoken here: use one of `supported`"
        raise Refusal("unsupported_version", message, rid=request.rid, supported=SUPPORTED)


def decode_reply(head: bytes) -> AnyReply | None:
    """Daemon to client, read as a client must: an unknown op gives None, unknown fields are ignored.

    Values that a later minor version may add are read as their nearest known: an error code as ``internal``
    (its name is put before the message), a state as ``degraded``, an end's reason as ``failed``.

    Raises:
        BadReplyError: it is no message of this protocol.
    """
    try:
        reply: AnyReply = _REPLY.decode(head)
    except msgspec.ValidationError:
        return _decode_newer(head)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadReplyError(f"not msgpack: {error}") from error
    return reply


def _convert(head: PackedMap) -> AnyRequest:
    given = fields(head)
    op = given.get("op")
    if not isinstance(op, bytes):
        raise TtsStreamdError("bad_message", "the map has no text under `op`")
    kind = _REQUESTS.get(read_text(op) or "")
    if kind is None:
        name = shorten(op.decode(errors="backslashreplace"))
        raise TtsStreamdError(
            "unknown_op", f"{name} is not built here: `features` of `welcome` tells what is"
        )
    try:
        plain = shape(head, kind, "")
    except NotUtf8Error as error:
        raise TtsStreamdError("bad_encoding", f"`{error}` is not UTF-8") from error
    try:
        return _as_request(plain, kind)
    except msgspec.ValidationError as error:
        raise TtsStreamdError("bad_value", explain(error, kind, plain)) from error


def _as_request(plain: dict[str, Any], kind: StructType) -> AnyRequest:
    request: AnyRequest = msgspec.convert({**plain, "op": kind.tag}, AnyRequest)
    return request


def _checked(request: AnyRequest) -> AnyRequest:
    """What one field's type cannot say."""
    try:
        match request:
            case Cancel():
                _check_cancel(request)
            case Open() | Speak():
                _check_stream(request)
            case _:
                pass
    except TtsStreamdError as error:
        raise Refusal(error.code, error.message, rid=request.rid, sid=_sid(request)) from error
    return request


def _check_cancel(request: Cancel) -> None:
    if (request.sid is None) == (request.scope is None):
        raise TtsStreamdError(
            "bad_value", "`cancel` needs either `sid` or `scope` (mine or all), and not both"
        )
    if request.session is not None and request.sid is None:
        raise TtsStreamdError("bad_value", "`session` says whose `sid` it is: give both")


def _check_stream(request: Open | Speak) -> None:
    if request.play:
        raise TtsStreamdError("bad_value", "`play` must be false: this daemon does not play sound itself yet")
    if not request.deliver:
        raise TtsStreamdError("bad_value", "`play` and `deliver` are both false: nobody would hear it")
    if request.upstream is not None:
        check_options(request.upstream)


def _sid(request: AnyRequest) -> int | None:
    sid: int | None = getattr(request, "sid", None)
    return sid


def _refusal(code: Code, message: str, head: PackedMap | None) -> Refusal:
    given = fields(head) if head else {}
    hole = given.get("op") == b"text" and given.get("cp") is None
    return Refusal(
        code, message, rid=read_u32(given.get("rid")), sid=read_u32(given.get("sid")), leaves_hole=hole
    )


_NEWER: Final[Mapping[str, tuple[tuple[str, ...], str]]] = MappingProxyType(
    {
        "code": (CODES, "internal"),
        "state": (get_args(Phase), "degraded"),
        "reason": (get_args(Reason), "failed"),
    }
)


def _decode_newer(head: bytes) -> AnyReply | None:
    try:
        plain = msgspec.msgpack.decode(head, type=dict[str, Any])
        op = plain.get("op")
        if isinstance(op, str) and op not in _REPLIES:
            return None
        reply: AnyReply = msgspec.convert(_softened(plain), AnyReply)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadReplyError(str(error)) from error
    return reply


def _softened(plain: dict[str, Any]) -> dict[str, Any]:
    soft = dict(plain)
    for name, (known, nearest) in _NEWER.items():
        value = soft.get(name)
        if isinstance(value, str) and value not in known and not (name == "reason" and plain["op"] != "end"):
            soft[name] = nearest
            if name == "code":
                soft["message"] = f"{value}: {soft.get('message')}"
    if isinstance(soft.get("error"), dict):
        soft["error"] = _softened({**soft["error"]})
    return soft
