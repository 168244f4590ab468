"""Scripted faults: what is to go wrong, on which connection, how often.  Pure: ``mangling`` and the shells obey.

A rule counts the connections that match its ``on`` and hits from the ``connection``-th one for ``times`` in a row.
Rule: nothing goes wrong that was not asked for; the same script and the same client meet the same faults.
"""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

if TYPE_CHECKING:
    from pathlib import Path

Route: TypeAlias = Literal["stream-input", "multi-stream-input", "http"]
Kind: TypeAlias = Literal[
    "bad_key",
    "quota",
    "quota_silent",
    "refuse",
    "close",
    "silence",
    "slow_first_audio",
    "late_close",
    "split_samples",
    "close_context_race",
    "oversize",
    "snake_case",
    "chars_durations_ms",
    "no_alignment",
    "bad_json",
    "bad_base64",
    "unknown_frame",
    "foreign_context",
    "early_final",
    "late_audio",
]
TransportKind: TypeAlias = Literal["reset", "eof", "silence", "half_open"]


class FaultsError(Exception):
    """The script of faults cannot be read; the message says what is wrong where."""


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A protocol fault, made by the server itself.

    ``frame`` is the audio frame, counted from 1 over the connection, that a fault of one frame hits (``close`` and
    ``silence``: in its place; ``close`` with 0: upon the first message).  ``times`` 0 is for ever.
    """

    kind: Kind
    on: Route | Literal["any"] = "any"
    connection: int = msgspec.field(default=1)
    times: int = 1
    frame: int = 1
    code: int = 1011
    message: str = "We are sorry, something went wrong. You are not charged for this request."
    status: int = 429
    retry_after_s: float | None = None
    delay_s: float = 1.0
    size: int = 1_200_000


class Transport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fault of the line, made by the proxy in front of the server.

    It falls in the place of the ``frame``-th message to the client (from 1; not seen through TLS), behind ``byte``
    bytes to the client, or when nothing passed for ``idle_s``; with none of the three as soon as the client has
    sent something.
    """

    kind: TransportKind
    on: Route | Literal["any"] = "any"
    connection: int = 1
    times: int = 1
    frame: int | None = None
    byte: int | None = None
    idle_s: float | None = None


class Script(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a faults file or a request to the control endpoint holds."""

    fault: list[Fault] = msgspec.field(default_factory=list[Fault])
    transport: list[Transport] = msgspec.field(default_factory=list[Transport])


class Counted(msgspec.Struct):
    """A rule, the connections that matched it, and how many of them it hit."""

    rule: Fault | Transport
    seen: int = 0
    hits: int = 0

    def falls_on(self, route: Route | None) -> bool:
        """Count one connection; whether the rule hits it."""
        if self.rule.on not in ("any", route):
            return False
        self.seen += 1
        late = self.seen - self.rule.connection
        falls = late >= 0 and (self.rule.times == 0 or late < self.rule.times)
        self.hits += falls
        return falls


class FaultBook:
    """The rules in force.  Rules may be added from any thread; a connection is judged once, when it begins."""

    def __init__(self, script: Script | None = None) -> None:
        self._rules: list[Counted] = []
        if script is not None:
            self.add(*script.fault, *script.transport)

    def add(self, *rules: Fault | Transport) -> None:
        """Put rules in force; each counts from now on."""
        self._rules = [*self._rules, *map(Counted, rules)]

    def clear(self) -> None:
        """Take all rules out of force; connections that were hit stay so."""
        self._rules = []

    @property
    def counted(self) -> list[Counted]:
        """The rules in force with their counts."""
        return self._rules

    def plan(self, route: Route) -> list[Fault]:
        """The protocol faults of a connection that begins now."""
        mine = [(counted, counted.rule) for counted in self._rules]
        return [rule for counted, rule in mine if isinstance(rule, Fault) and counted.falls_on(route)]

    def line(self, route: Route | None) -> Transport | None:
        """The first fault of the line for a connection whose first bytes have come; None: its path is unknown."""
        mine = [(counted, counted.rule) for counted in self._rules]
        hit = [rule for counted, rule in mine if isinstance(rule, Transport) and counted.falls_on(route)]
        return hit[0] if hit else None


def find(plan: list[Fault], kind: Kind) -> Fault | None:
    """The connection's fault of this kind."""
    return next((fault for fault in plan if fault.kind == kind), None)


def read_script(path: Path) -> Script:
    """The faults of a TOML file.

    Raises:
        FaultsError: it cannot be read, is no TOML, or holds something unknown.
    """
    try:
        return to_script(tomllib.loads(path.read_text("utf-8")))
    except (OSError, ValueError) as error:
        raise FaultsError(f"cannot use the faults of {path}: {error}") from error


def to_script(raw: object) -> Script:
    """The faults of decoded TOML or JSON.

    Raises:
        FaultsError: something in it is unknown or of the wrong type.
    """
    try:
        return msgspec.convert(raw, Script)
    except msgspec.ValidationError as error:
        raise FaultsError(str(error)) from error
