"""The demonstration's timeline, drawn in the terminal: one row a kind of event, all on one axis."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from tts_streamd.ctl.show import QuietConsole

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from rich.console import Console

    from tts_streamd.ctl.demo import Record

LABEL_COLUMNS = 16
MIN_COLUMNS = 40
MAX_COLUMNS = 140
UNPLAYED = 1.5
"""How far beyond the last message the axis goes if nothing was played."""

DENSITY = " ▁▂▃▄▅▆▇█"


class Axis:
    """Seconds to columns."""

    def __init__(self, length_s: float, columns: int) -> None:
        self.length_s = length_s
        self.columns = columns

    def column(self, at_s: float) -> int:
        """Where ``at_s`` lies."""
        return min(self.columns - 1, max(0, int(at_s / self.length_s * self.columns)))

    def density(self, events: Iterable[tuple[float, float]]) -> str:
        """How much happened in each column, relative to the fullest."""
        sums = [0.0] * self.columns
        for at_s, weight in events:
            sums[self.column(at_s)] += weight
        most = max(sums, default=0.0) or 1.0
        return "".join(DENSITY[min(8, int(8 * value / most + 0.999))] for value in sums)

    def marks(self, times_s: Iterable[float], mark: str) -> str:
        """One mark for each column in which something happened."""
        row = [" "] * self.columns
        for at_s in times_s:
            row[self.column(at_s)] = mark
        return "".join(row)

    def span(self, start_s: float, end_s: float) -> str:
        """A bar from one time to another."""
        first, last = self.column(start_s), self.column(end_s)
        return " " * first + "█" * (last - first + 1)

    def labels(self, items: Iterable[tuple[float, str]]) -> str:
        """Texts at their times, those left out that would run into the one before."""
        row = ""
        for at_s, text in items:
            column = self.column(at_s)
            if at_s >= self.length_s:
                break
            if (column >= len(row) + 1 or not row) and column + len(text) <= self.columns:
                row = row.ljust(column) + text
        return row

    def ruler(self) -> str:
        """The seconds."""
        step_s = next((step for step in (0.5, 1, 2, 5, 10) if self.length_s / step <= self.columns / 8), 20)
        return self.labels((n * step_s, f"{n * step_s:g} s") for n in range(int(self.length_s / step_s) + 1))


def draw(record: Record, out: Path) -> None:
    """Print the timeline and the figures."""
    console = QuietConsole(highlight=False)
    assert record.end is not None
    assert record.first_audio_s is not None
    speech_s = record.end.samples / record.rate_hz
    length_s = max(record.first_audio_s + speech_s, record.end_s, record.texts[-1][0]) * 1.02
    if not record.played:  # nobody listened: what matters is how text and sound came in
        length_s = min(length_s, UNPLAYED * max(record.end_s, record.texts[-1][0]))
    axis = Axis(length_s, max(MIN_COLUMNS, min(MAX_COLUMNS, console.width - LABEL_COLUMNS)))
    console.print()
    for label, row, style in _rows(record, axis, speech_s):
        console.print(
            Text.assemble((label.ljust(LABEL_COLUMNS), "bold"), (row.rstrip(), style)), soft_wrap=True
        )
    console.print()
    _figures(record, out, speech_s, console)


def _rows(record: Record, axis: Axis, speech_s: float) -> list[tuple[str, str, str]]:
    first_s = record.first_audio_s or 0.0
    piece_times_s = [at_s for at_s, _ in record.pieces] or [record.first_piece_s or 0.0]
    heard = [(first_s + word.start_ms / 1000, word.text) for word in record.words]
    return [
        ("", axis.ruler(), "dim"),
        ("text in", axis.density((at_s, len(text)) for at_s, text in record.texts), "cyan"),
        ("pieces sent", axis.marks(piece_times_s, "▼"), "yellow"),
        ("first audio", axis.marks([first_s], "●"), "bold green"),
        ("audio in", axis.density((at_s, n) for at_s, n in record.audio), "green"),
        ("heard" if record.played else "to be heard", axis.span(first_s, first_s + speech_s), "magenta"),
        ("words", axis.labels(heard), "magenta"),
        ("end", axis.marks([record.end_s], "■"), "bold"),
    ]


def _figures(record: Record, out: Path, speech_s: float, console: Console) -> None:
    end, first_s = record.end, record.first_audio_s
    assert end is not None
    assert first_s is not None
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("first audio after the first word", Text(f"{1000 * first_s:.0f} ms", "bold green"))
    if (written_s := record.first_piece_written_s) is not None:
        table.add_row(
            "... after its piece was written", Text(f"{1000 * (first_s - written_s):.0f} ms", "bold green")
        )
    if (sent_s := record.first_piece_s) is not None:
        table.add_row("... after its piece was sent upstream", f"{1000 * (first_s - sent_s):.0f} ms")
    n_sent = f"{len(record.texts)} words in {record.texts[-1][0]:.1f} s"
    pieces = f", {len(record.pieces)} pieces" if record.pieces else ""
    table.add_row("text", n_sent + pieces)
    table.add_row("speech", f"{speech_s:.1f} s, all of it here after {record.end_s:.1f} s")
    table.add_row("sound before the text was finished", f"{_early_s(record):.1f} s")
    table.add_row("written to", Text(str(out)))
    if not record.tapped:
        table.add_row(
            "", Text("(this daemon's actors may not be watched: piece times are its own stamps)", "dim")
        )
    console.print(table)


def _early_s(record: Record) -> float:
    """Seconds of sound that were here before the last word was written."""
    written_s = record.texts[-1][0]
    totals = accumulate(n for at_s, n in record.audio if at_s < written_s)
    return max(totals, default=0) / record.rate_hz
