"""The bus: every mailbox by the name of its actor, and the tap that observes them all.

A name is taken from ``create`` to ``remove``.  While nobody taps, tapping costs a mailbox one comparison.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, overload

from tts_streamd_actors.mailbox import Mailbox, MailboxStatistics

if TYPE_CHECKING:
    from tts_streamd_actors.mailbox import Tap

M = TypeVar("M")


@dataclass(frozen=True, slots=True)
class BusStatistics:
    """A snapshot: the mailboxes in the order they were made, and whether someone taps."""

    mailboxes: tuple[MailboxStatistics, ...]
    tapped: bool


class Bus:
    """The registry of the mailboxes; it owns them, the actors come and go."""

    def __init__(self) -> None:
        self._mailboxes: dict[str, Mailbox[Any]] = {}
        self._tap: Tap | None = None
        self._prefix = ""

    @overload
    def create(
        self,
        name: str,
        kind: type[M],
        capacity: int,
        *,
        urgent_capacity: int | None = None,
        max_payload_bytes: int | None = None,
    ) -> Mailbox[M]: ...
    @overload
    def create(
        self,
        name: str,
        kind: object,
        capacity: int,
        *,
        urgent_capacity: int | None = None,
        max_payload_bytes: int | None = None,
    ) -> Mailbox[Any]: ...
    def create(
        self,
        name: str,
        kind: object,
        capacity: int,
        *,
        urgent_capacity: int | None = None,
        max_payload_bytes: int | None = None,
    ) -> Mailbox[Any]:
        """Make the mailbox of the actor *name*; for the bounds see ``Mailbox``.

        Raises:
            ValueError: the name is taken.
        """
        if name in self._mailboxes:
            raise ValueError(f"there is a mailbox {name!r} already")
        mailbox: Mailbox[Any] = Mailbox(
            name,
            kind,
            capacity,
            tap=self._tap_of(name),
            urgent_capacity=urgent_capacity,
            max_payload_bytes=max_payload_bytes,
        )
        self._mailboxes[name] = mailbox
        return mailbox

    def remove(self, name: str) -> None:
        """Close the mailbox and free its name; its reader may still take what is queued.  Unknown is fine."""
        mailbox = self._mailboxes.pop(name, None)
        if mailbox is not None:
            mailbox.close()

    def get(self, name: str) -> Mailbox[Any] | None:
        """Return the mailbox of the actor *name*, or None."""
        return self._mailboxes.get(name)

    def tap(self, tap: Tap | None, *, prefix: str = "") -> None:
        """Show *tap* all messages to actors whose name begins with *prefix*, from now on; None ends it.

        There is one tap: a second call replaces the first.  It is called while the message is queued, in the
        sender's task, so it must be quick and must not raise.
        """
        self._tap, self._prefix = tap, prefix
        for name, mailbox in self._mailboxes.items():
            mailbox.tap = self._tap_of(name)

    def statistics(self) -> BusStatistics:
        """Return the statistics of every mailbox."""
        return BusStatistics(
            tuple(mailbox.statistics() for mailbox in self._mailboxes.values()), self._tap is not None
        )

    def _tap_of(self, name: str) -> Tap | None:
        return self._tap if name.startswith(self._prefix) else None
