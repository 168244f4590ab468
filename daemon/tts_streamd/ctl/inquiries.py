"""The commands that ask the daemon about itself, or tell it to be quiet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tts_streamd.ctl.failures import USAGE, CommandError
from tts_streamd.ctl.say import print_json
from tts_streamd_client.blocking import connect

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

NAME = "tts-streamctl"


def _console() -> Console:
    from tts_streamd.ctl.show import QuietConsole  # noqa: PLC0415 - with --json nothing is drawn

    return QuietConsole(highlight=False)


def status(runtime_dir: Path | None, *, as_json: bool) -> None:
    """How the daemon is."""
    with connect(runtime_dir, name=NAME) as client:
        reply = client.status()
    if as_json:
        print_json(reply)
        return
    from tts_streamd.ctl.show import show_status  # noqa: PLC0415 - with --json nothing is drawn

    show_status(reply, _console())


def voices(runtime_dir: Path | None, *, as_json: bool) -> None:
    """Which voices there are."""
    with connect(runtime_dir, name=NAME) as client:
        reply = client.voices()
    if as_json:
        print_json(reply)
        return
    from tts_streamd.ctl.show import show_voices  # noqa: PLC0415 - with --json nothing is drawn

    show_voices(reply, _console())


def streams(runtime_dir: Path | None, *, as_json: bool) -> None:
    """Which streams are open."""
    with connect(runtime_dir, name=NAME) as client:
        infos = client.streams()
    if as_json:
        print_json({"streams": infos})
        return
    from tts_streamd.ctl.show import show_streams  # noqa: PLC0415 - with --json nothing is drawn

    show_streams(infos, _console())


def cancel_one(runtime_dir: Path | None, name: str) -> None:
    """Cancel the stream SESSION-SID, as ``streams`` names it."""
    session, _, sid = name.partition("-")
    if not (session.isdecimal() and sid.isdecimal()):
        raise CommandError(
            f"{name!r} is no stream: `tts-streamctl streams` lists them, as 3-1 for example", USAGE
        )
    with connect(runtime_dir, name=NAME) as client:
        client.cancel_stream(int(session), int(sid))


def cancel_everything(runtime_dir: Path | None, *, as_json: bool) -> None:
    """Cancel every stream that this user may stop, and say how many there were."""
    with connect(runtime_dir, name=NAME) as client:
        before = len(client.streams())
        client.cancel_all(everyone=True)
        left = len(client.streams())
    if as_json:
        print_json({"before": before, "left": left})
        return
    others = "; the others are not yours" if left else ""
    print(f"{before - left} of {before} streams cancelled{others}")  # noqa: T201 - the answer


def tap(runtime_dir: Path | None, actor: str | None, *, count: int | None, as_json: bool) -> None:
    """Print the messages between actors as they are sent: ``count`` of them, or until interrupted."""
    console = None if as_json else _console()
    left = count
    with connect(runtime_dir, name=NAME) as client, client.tap(actor) as messages:
        while left is None or left > 0:
            message = next(iter(messages))
            left = None if left is None else left - 1
            if console is None:
                print_json(message)
            else:
                from tts_streamd.ctl.show import tapped_line  # noqa: PLC0415 - with --json nothing is drawn

                console.print(tapped_line(message), soft_wrap=True)
