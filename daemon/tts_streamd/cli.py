"""The command ``tts-streamd``: read the configuration, take the runtime directory, run until told to stop.

Exit status: 0 an ordered stop, 1 the runtime directory cannot be had or the daemon failed, 2 usage or
configuration.  What goes wrong before the log is up is one line on standard error.
"""

from __future__ import annotations

import functools
import os
import sys
from importlib.metadata import version
from pathlib import Path  # noqa: TC003 - typer reads the annotations at run time
from typing import TYPE_CHECKING, Annotated, Final

import trio
import typer

from tts_streamd.config import Config, ConfigError, explain, load_config
from tts_streamd.logs import logging_to
from tts_streamd.reloading import reloaded
from tts_streamd.runtime import RuntimeDir, RuntimeDirError, choose_runtime_dir

if TYPE_CHECKING:
    from collections.abc import Callable

FAILED: Final = 1
MISCONFIGURED: Final = 2
INTERRUPTED: Final = 130

HELP: Final = """A speech daemon: local programs send text over ZeroMQ while it is still being written,
and hear speech while it is still being made.

It runs in the foreground until SIGTERM or SIGINT; SIGHUP reads the configuration again.

Without an API key the embedded engine speaks; with one, ElevenLabs does. Settings come from
/etc/tts-streamd/config.toml, then ~/.config/tts-streamd/config.toml, --config, TTS_STREAMD_SECTION_KEY in the
environment, and these flags; the later wins.

\b
Examples:
  tts-streamd                                     speak with what is there
  tts-streamd --check-config                      show every setting and where it comes from
  tts-streamd --upstream embedded                 never call out, even with a key
  ELEVENLABS_API_KEY=... tts-streamd              speak through ElevenLabs
  TTS_STREAMD_STREAMS_SCHEDULE=balanced tts-streamd
  tts-streamd --runtime-dir /tmp/mine --log-level debug
  tts-streamctl say 'Hello there.'                then, from anywhere

\b
Exit status: 0 stopped in order; 1 runtime directory taken, or the daemon failed; 2 usage or configuration."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command(help=HELP)
def run(  # noqa: PLR0913 - each is a flag
    *,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A configuration file on top of the standard ones.")
    ] = None,
    runtime_dir: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Where the sockets lie."),
    ] = None,
    upstream: Annotated[
        str | None,
        typer.Option(metavar="embedded|URL", help="Who makes the sound."),
    ] = None,
    log_level: Annotated[
        str | None, typer.Option(metavar="LEVEL", help="debug, info, warning or error.")
    ] = None,
    check_config: Annotated[
        bool, typer.Option("--check-config", help="Print every setting with its origin, and stop.")
    ] = False,
    show_version: Annotated[bool, typer.Option("--version", help="Print the version, and stop.")] = False,
) -> None:
    """Serve, or show the version or the configuration."""
    if show_version:
        typer.echo(f"tts-streamd {version('tts-streamd')}")
        return
    flags = {"runtime_dir": runtime_dir, "upstream.url": upstream, "log.level": log_level}
    overrides = {key: value for key, value in flags.items() if value is not None}
    load = functools.partial(load_config, environ=os.environ, argv_overrides=overrides, config_file=config)
    try:
        effective = load()
        directory = choose_runtime_dir(effective.runtime_dir, os.environ)
    except ConfigError as error:
        raise _said(error, MISCONFIGURED) from None
    except RuntimeDirError as error:
        raise _said(error, FAILED) from None
    if check_config:
        typer.echo(f"{explain(effective)}\n# serves in: {directory}")
        return
    raise typer.Exit(_serve(effective, directory, load))


def _said(error: Exception, status: int) -> typer.Exit:
    typer.echo(f"tts-streamd: {error}", err=True)
    return typer.Exit(status)


def _serve(config: Config, directory: Path, load: Callable[[], Config]) -> int:
    log = logging_to(config.log, secret=config.api_key, environ=os.environ)
    try:
        with RuntimeDir(directory) as runtime, log:
            from tts_streamd.serving import run_daemon  # noqa: PLC0415 - a refusal need not wait for the actors

            reload = functools.partial(reloaded, load=load)
            return trio.run(functools.partial(run_daemon, config, runtime, reload=reload))
    except RuntimeDirError as error:
        raise _said(error, FAILED) from None


def main() -> None:
    """Run the command."""
    try:
        status = app()
    except KeyboardInterrupt:  # before the daemon could catch signals: there is nothing to stop in order yet
        status = INTERRUPTED
    sys.exit(status)
