"""What all streams share: whether upstream is alive at all, and how much speech waits for clients."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_WAITING_BYTES = 128 * 2**20
"""Speech that waits for all clients together: 45 minutes of it.  Above this, streams that buy far ahead stop."""

TIGHT_BUFFER_MS = 2_000
"""What a stream may then have waiting: enough that a listener never notices."""

LOOK_S = 0.1
"""How often the sum is taken: adding up 500 streams at every piece would cost more than it saves."""


def _nothing() -> int:
    return 0


@dataclass(slots=True, eq=False)
class Commons:
    """``waiting_bytes`` adds up the speech of all streams that waits for its clients."""

    waiting_bytes: Callable[[], int] = _nothing
    heard_s: float = -inf
    """When upstream last brought anything to anybody: slow is not dead."""
    _tight: bool = False
    _looked_s: float = -inf

    def buffer_ms(self, wanted_ms: int, now_s: float) -> int:
        """What a stream that would like to have *wanted_ms* waiting may have."""
        if now_s - self._looked_s >= LOOK_S:
            self._looked_s, self._tight = now_s, self.waiting_bytes() > MAX_WAITING_BYTES
        return min(wanted_ms, TIGHT_BUFFER_MS) if self._tight else wanted_ms
