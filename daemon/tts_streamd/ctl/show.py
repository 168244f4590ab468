"""What the daemon says of itself, as tables for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tts_streamd_protocol import messages as m


class QuietConsole(Console):
    """A console whose reader may go away."""

    def on_broken_pipe(self) -> NoReturn:
        """Rich would end the program here; that is for the command to decide."""
        raise BrokenPipeError


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, justify="right" if heading.startswith("#") else "left", overflow="fold")
    return table


def show_voices(voices: m.VoicesReply, console: Console) -> None:
    """One line a voice, the default marked."""
    table = _table("voice", "name", "category", "description")
    for voice in voices.voices:
        mark = " (default)" if voices.default in {voice.voice, voice.name} else ""
        table.add_row(
            Text(voice.voice + mark), Text(voice.name), Text(voice.category), Text(voice.description or "")
        )
    console.print(table)


def show_streams(streams: Iterable[m.StreamInfo], console: Console) -> None:
    """One line a stream, or a sentence if there is none."""
    table = _table("stream", "phase", "voice", "# chars", "# spoken", "# age s", "client", "label", "text")
    for stream in streams:
        table.add_row(
            f"{stream.session}-{stream.sid}", stream.phase, Text(stream.voice), str(stream.chars),
            str(stream.released_cp), f"{stream.age_ms / 1000:.1f}", Text(stream.client), Text(stream.label or
            "-"), Text(stream.text or ""),
        )  # fmt: skip
    if table.row_count:
        console.print(table)
    else:
        console.print("No stream is open.")


def show_status(status: m.StatusReply, console: Console) -> None:
    """The daemon, its actors, and whatever else it tells."""
    hours, rest_s = divmod(status.uptime_ms // 1000, 3600)
    console.print(
        Text(f"{status.daemon}, pid {status.pid}, up {hours} h {rest_s // 60} min {rest_s % 60} s, ")
        + Text(f"upstream {status.upstream}, {status.sessions} sessions, {status.streams} streams")
    )
    table = _table("actor", "state", "# restarts", "# mailbox")
    for actor in status.actors:
        style = "green" if actor.state == "running" else "yellow"
        room = f"{actor.mailbox}/{actor.mailbox_capacity}" if actor.mailbox_capacity else ""
        table.add_row(Text(actor.name), Text(actor.state, style), str(actor.restarts), room)
    console.print(table)
    for name, value in status.details.items():
        console.print(
            Text(f"{name}: {value if isinstance(value, str) else msgspec.json.encode(value).decode()}")
        )


def tapped_line(tapped: m.Tapped) -> Text:
    """One message between actors, on one line: when, to whom, what."""
    message = dict(tapped.message or {})
    op = str(message.pop("op", "?"))
    fields = " ".join(f"{name}={_brief(value)}" for name, value in message.items())
    sound = f" +{tapped.payload_bytes} bytes" if tapped.payload_bytes else ""
    time = "" if tapped.t_ms is None else f"{tapped.t_ms / 1000:10.3f} "
    return Text.assemble(time, (f"{tapped.actor or '?':<20} ", "cyan"), (op, "bold"), f" {fields}{sound}")


MAX_VALUE = 60
"""Characters of a field's value that are shown; alignments are long."""


def _brief(value: object) -> str:
    text = repr(value)
    return text if len(text) <= MAX_VALUE else text[: MAX_VALUE - 1] + "…"
