"""SIGHUP: read the configuration again and say in the log what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from tts_streamd.config import Config, ConfigError, reload
from tts_streamd.logs import set_level

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger("tts_streamd")


def reloaded(current: Config, load: Callable[[], Config]) -> Config:
    """Return the configuration to go on with: a broken one is refused as a whole, and named in the log.

    The log's level is set here; whoever opens streams takes the rest from what is returned.
    """
    try:
        fresh = load()
    except ConfigError as error:
        log.error("configuration not reloaded", problem=str(error))  # noqa: TRY400 - a user's slip, not a bug
        return current
    outcome = reload(current, fresh)
    set_level(outcome.config.log.level)
    log.info("configuration reloaded", applied=list(outcome.applied))
    if outcome.needs_restart:
        log.warning("these settings change only with a restart", keys=list(outcome.needs_restart))
    return outcome.config
