"""What the scripted daemon answers, without I/O: plain maps in, plain maps out.

One ``Script`` serves one session.  Everything a scene does wrong or late is decided here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

RATE_HZ = 24_000
UNIT_SAMPLES = 2_400
"""Each word lasts 100 ms."""

TONE = b"\x00\x10" * 24 + b"\x00\xf0" * 24
"""One period of a 500 Hz square wave, 16 bits."""

Head: TypeAlias = dict[str, Any]
Message: TypeAlias = tuple[Head, bytes | None]

_UNIT = re.compile(r"\s*\S+")


class Scene(StrEnum):
    """The fixed scenes; each but the first does one thing that a client must survive."""

    PLAIN = "plain"
    GAP = "gap"  # the second audio message of a stream is missing
    UNKNOWN = "unknown"  # an unknown op before each audio, an unknown field in every message
    LATE = "late"  # audio after a cancelled stream's end
    GOODBYE = "goodbye"  # goodbye after the first audio, then silence
    SILENT = "silent"  # nothing at all after ``opened``, ticks neither
    FORGETFUL = "forgetful"  # ``hello_required`` to whatever follows ``opened``, as after a restart
    REBORN = "reborn"  # ticks with another boot_id
    SLOW_ACKS = "slow-acks"  # text is taken at 100 code points a tick only
    FAILING = "failing"  # every stream ends ``failed``
    TAPPED = "tapped"  # two actors' messages follow upon ``tap``, without any stream
    MUTE = "mute"  # no request but ``hello`` is ever answered


@dataclass(slots=True)
class ScriptedStream:
    """One stream: its text, what has been spoken of it, and what may still be sent."""

    request: Head
    text: str = ""
    acked_cp: int = 0
    spoken_cp: int = 0
    closed: bool = False
    seq: int = 0
    at: int = 0
    credit_ms: float | None = None
    n_audio: int = 0

    def next_unit(self) -> str | None:
        """The next word with the blanks before it, once it is known to be whole."""
        found = _UNIT.match(self.text, self.spoken_cp)
        if found is None or (found.end() == len(self.text) and not self.closed):
            return None
        return found.group()


@dataclass(slots=True)
class Script:
    """One session of a daemon; ``limits`` replaces fields of ``welcome.limits``."""

    scene: Scene = Scene.PLAIN
    session: int = 1
    boot_id: str = "scripted-boot"
    heartbeat_ms: int = 2000
    limits: dict[str, int] = field(default_factory=dict[str, int])
    events: str = ""
    greeted: bool = False
    tapping: bool = False
    gone: bool = False
    last_sid: int = -1
    streams: dict[int, ScriptedStream] = field(default_factory=dict[int, ScriptedStream])

    def handle(self, request: Head) -> Iterator[Message]:
        """Everything to send for one request, in order."""
        op, rid = str(request.get("op")), request.get("rid")
        if self.gone or (self.scene is Scene.SILENT and self.last_sid >= 0):
            return
        if op == "hello":
            self.greeted = True
            yield self._welcome(rid)
        elif not self.greeted or (self.scene is Scene.FORGETFUL and self.last_sid >= 0):
            yield self._error("hello_required", request)
        elif self.scene is not Scene.MUTE:
            answer = getattr(self, f"_on_{op}", None)
            yield from [self._error("unknown_op", request)] if answer is None else answer(request)

    def tick(self) -> Iterator[Message]:
        """What happens by itself at each heartbeat."""
        if self.gone or self.scene is Scene.SILENT or not self.streams:
            return
        boot_id = "another-boot" if self.scene is Scene.REBORN else self.boot_id
        yield self._head("tick", session=self.session, boot_id=boot_id), None
        for stream in tuple(self.streams.values()):
            if self.scene is Scene.SLOW_ACKS:
                yield from self._acknowledge(stream, 100)

    # -- about the daemon ----------------------------------------------------------------------------------
    def _head(self, op: str, **fields: object) -> Head:
        strange = {"mood": "sunny"} if self.scene is Scene.UNKNOWN else {}
        return {"op": op, **{name: value for name, value in fields.items() if value is not None}, **strange}

    def _welcome(self, rid: int | None) -> Message:
        limits = {"max_message_bytes": 65536, "text_window": 65536, "max_streams": 64}
        limits |= {"max_credit_ms": 600_000, "stall_ms": 30_000} | self.limits
        head = self._head(
            "welcome", rid=rid, proto=[1, 0], daemon="scripted/1", boot_id=self.boot_id, session=self.session,
            features=["open", "text", "speak", "close", "credit", "cancel", "voice", "tap"], limits=limits,
            formats=["pcm_24000"], rate_hz=RATE_HZ, heartbeat_ms=self.heartbeat_ms, events=self.events,
            upstream="embedded", share_default=True,
        )  # fmt: skip
        return head, None

    def _error(self, code: str, request: Head, **more: object) -> Message:
        fields = {"rid": request.get("rid"), "sid": request.get("sid"), "retryable": False} | more
        return self._head("error", code=code, message=f"{code}, as scripted", **fields), None

    def _on_ping(self, request: Head) -> Iterator[Message]:
        yield self._head("pong", rid=request.get("rid")), None

    def _on_voices(self, request: Head) -> Iterator[Message]:
        voices = [
            {"voice": "ada", "name": "Ada", "description": "a calm tone"},
            {"voice": "bo", "name": "Bo"},
        ]
        yield self._head("voices", rid=request.get("rid"), voices=voices, default="ada"), None

    def _on_status(self, request: Head) -> Iterator[Message]:
        actor = {"name": "gateway", "state": "running", "restarts": 0, "mailbox": 1, "mailbox_capacity": 64}
        head = self._head(
            "status", rid=request.get("rid"), daemon="scripted/1", pid=1, uptime_ms=61_000,
            boot_id=self.boot_id,
            upstream="embedded", sessions=1, streams=len(self.streams), actors=[actor], details={"links": 2},
        )  # fmt: skip
        yield head, None

    def _on_streams(self, request: Head) -> Iterator[Message]:
        infos = [
            {"session": self.session, "sid": sid, "client": "a test", "uid": 0, "voice": "ada", "age_ms": 5,
             "format": "pcm_24000", "phase": "speaking", "chars": len(stream.text), "samples": stream.at,
             "released_cp": stream.spoken_cp, "text": stream.text[-40:]}
            for sid, stream in self.streams.items()
        ]  # fmt: skip
        yield self._head("streams", rid=request.get("rid"), streams=infos), None

    def _on_tap(self, request: Head) -> Iterator[Message]:
        self.tapping = bool(request.get("on", True))
        yield self._head("tapped", rid=request.get("rid"), on=self.tapping), None
        if self.tapping and self.scene is Scene.TAPPED:
            yield self._tapped(0, "one", 0)
            yield self._tapped(3, " two", 100)

    def _tapped(self, cp: int, text: str, t_ms: int) -> Message:
        piece = {"op": "speak_piece", "route": 1, "cp_start": cp, "cp_end": cp + len(text), "text": text}
        return self._head("tapped", actor="link-1", t_ms=t_ms, message=piece, payload_bytes=0), None

    # -- streams -------------------------------------------------------------------------------------------
    def _on_open(self, request: Head) -> Iterator[Message]:
        if request.get("voice", "ada") not in {"ada", "bo"}:
            yield self._error("voice_not_found", request)
        elif request["sid"] <= self.last_sid:
            yield self._error("duplicate_stream", request)
        else:
            self.last_sid = request["sid"]
            start = request.get("start_cp", 0)
            stream = ScriptedStream(request, "\0" * start, start, start, credit_ms=request.get("credit_ms"))
            self.streams[request["sid"]] = stream
            voice, model = request.get("voice", "ada"), "scripted"
            yield self._head(
                "opened", rid=request.get("rid"), sid=request["sid"], voice=voice, model=model,
                format="pcm_24000", rate_hz=RATE_HZ, channels=1,
            ), None  # fmt: skip

    def _on_speak(self, request: Head) -> Iterator[Message]:
        yield from self._on_open(request)
        if (stream := self.streams.get(request["sid"])) is not None:
            stream.text += request["text"]
            stream.acked_cp = len(stream.text)
            stream.closed = True
            yield from self._speak(stream)

    def _on_text(self, request: Head) -> Iterator[Message]:
        stream = self.streams.get(request["sid"])
        if stream is None:
            if request["sid"] > self.last_sid:
                yield self._error("no_such_stream", request)
        elif request.get("cp", len(stream.text)) != len(stream.text):
            yield self._error("text_gap", request, chars=len(stream.text))
        elif len(stream.text) + len(request["text"]) - stream.acked_cp > self.limits.get(
            "text_window", 65536
        ):
            yield self._error("text_overrun", request)
        else:
            stream.text += request["text"]
            if self.scene is not Scene.SLOW_ACKS:
                yield from self._acknowledge(stream, len(stream.text))
            yield from self._speak(stream)

    def _acknowledge(self, stream: ScriptedStream, n_cp: int) -> Iterator[Message]:
        stream.acked_cp = min(len(stream.text), stream.acked_cp + n_cp)
        start = stream.request.get("start_cp", 0)
        yield self._head("ack", sid=stream.request["sid"], chars=stream.acked_cp - start), None

    def _on_voice(self, request: Head) -> Iterator[Message]:
        if request["voice"] in {"ada", "bo"}:
            yield self._head("ok", rid=request.get("rid", 0)), None
        else:
            yield self._error("voice_not_found", request)

    def _on_close(self, request: Head) -> Iterator[Message]:
        if (stream := self.streams.get(request["sid"])) is not None:
            stream.closed = True
            yield from self._speak(stream)

    def _on_credit(self, request: Head) -> Iterator[Message]:
        stream = self.streams.get(request["sid"])
        if stream is not None and stream.credit_ms is not None:
            stream.credit_ms += request["add_ms"]
            yield from self._speak(stream)

    def _on_cancel(self, request: Head) -> Iterator[Message]:
        chosen = [request["sid"]] if "sid" in request else list(self.streams)
        for sid in chosen:
            if (stream := self.streams.get(sid)) is not None:
                yield self._end(stream, "cancelled")
                if self.scene is Scene.LATE:
                    yield self._audio(stream, stream.spoken_cp)
        if request.get("rid") is not None:
            yield self._head("ok", rid=request["rid"]), None

    # -- speech --------------------------------------------------------------------------------------------
    def _speak(self, stream: ScriptedStream) -> Iterator[Message]:
        """Say what is whole and paid for; end the stream when nothing is left."""
        if self.scene is Scene.SILENT or self.gone or stream.request["sid"] not in self.streams:
            return
        if self.scene is Scene.FAILING:
            error = {
                "code": "upstream_unreachable",
                "message": "the line is cut, as scripted",
                "retryable": True,
            }
            yield self._end(stream, "failed", error=error)
            return
        while not self.gone and (unit := stream.next_unit()) is not None:
            if stream.credit_ms is not None and stream.credit_ms <= 0:
                return
            yield from self._say(stream, unit)
        if stream.closed and not self.gone:
            yield from self._finish(stream)

    def _finish(self, stream: ScriptedStream) -> Iterator[Message]:
        start = stream.request.get("start_cp", 0)
        spoken = stream.text[start:]
        if spoken.strip() and not any(character.isalnum() for character in spoken):
            error = {
                "code": "unspeakable_text",
                "message": "no letter or digit, as scripted",
                "retryable": False,
            }
            yield self._end(stream, "failed", error=error)
            return
        if stream.spoken_cp < len(stream.text):  # blanks at the end belong to the last audio
            stream.spoken_cp = len(stream.text)
            if stream.at:
                yield self._report(stream, "audio", at=stream.at, n=0, cp=stream.spoken_cp), b""
        yield self._end(stream, "done")

    def _say(self, stream: ScriptedStream, unit: str) -> Iterator[Message]:
        start_cp = stream.spoken_cp + len(unit) - len(unit.lstrip())
        end_cp = stream.spoken_cp + len(unit)
        start_ms = 1000 * stream.at // RATE_HZ
        if self.tapping:
            yield self._tapped(stream.spoken_cp, unit, start_ms)
        if self.scene is Scene.UNKNOWN:
            yield self._head("weather", sky="blue"), None
        word = [unit.strip(), start_ms, start_ms + 100, start_cp, end_cp]
        yield self._report(stream, "words", words=[word]), None
        if self.scene is Scene.GAP and stream.n_audio == 1:
            self._audio(stream, end_cp)
        yield self._audio(stream, end_cp)
        if self.scene is Scene.GOODBYE:
            self.gone = True
            yield self._head("goodbye", in_ms=100, reason="stopped, as scripted"), None

    def _report(self, stream: ScriptedStream, op: str, **fields: object) -> Head:
        head = self._head(op, session=self.session, sid=stream.request["sid"], seq=stream.seq, **fields)
        stream.seq += 1
        return head

    def _audio(self, stream: ScriptedStream, cp: int) -> Message:
        head = self._report(stream, "audio", at=stream.at, n=UNIT_SAMPLES, cp=cp)
        stream.at += UNIT_SAMPLES
        stream.n_audio += 1
        stream.spoken_cp = cp
        if stream.credit_ms is not None:
            stream.credit_ms -= 1000 * UNIT_SAMPLES / RATE_HZ
        return head, TONE * (UNIT_SAMPLES // (len(TONE) // 2))

    def _end(self, stream: ScriptedStream, reason: str, error: Head | None = None) -> Message:
        del self.streams[stream.request["sid"]]
        start = stream.request.get("start_cp", 0)
        chars, spoken = len(stream.text) - start, stream.spoken_cp - start
        heard = start + len(stream.text[start : stream.spoken_cp].rstrip())
        stamps = {"accepted": 1, "cut": 2, "sent": 2, "first_frame": 3, "delivered": 4}
        live = spoken if stream.at else 0
        source = {"live": live, "cache": 0, "fallback": 0, "silent": spoken - live}
        head = self._report(
            stream, "end", reason=reason, chars=chars, samples=stream.at, heard_cp=heard, skipped=[],
            ttfa_ms=3 if stream.at else None, stamps_ms=stamps, source=source, sent=spoken, error=error,
        )  # fmt: skip
        return head, None
