"""Which siblings go down with a child that failed."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tts_streamd_actors.child import Child


class Strategy(enum.Enum):
    """Who is restarted together with a child."""

    ONE = "one"
    REST = "rest"  # the child and every later one: list them in the order of their dependencies
    ALL = "all"


def casualties(strategy: Strategy, children: Sequence[Child], failed: Child) -> Sequence[Child]:
    """Return the children that are stopped, in reverse order, and started again because *failed* did."""
    if strategy is Strategy.ONE:
        return (failed,)
    if strategy is Strategy.ALL:
        return children
    return children[children.index(failed) :]
