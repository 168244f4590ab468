"""The command ``tts-streamctl``: reads the command line, hands it to what does the work.

Everything else is imported when it is needed, so that a word is spoken as soon as it is asked for.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from tts_streamd.ctl.failures import USAGE, CommandError, told

if TYPE_CHECKING:
    from tts_streamd_client.options import Options

HELP: Final = """Speak through tts-streamd, and look after it.

\b
Examples:
  tts-streamctl say 'Hello there.'                    play it, if there is a sound device
  tts-streamctl say --out hello.wav 'Hello there.'    write it
  my-llm | tts-streamctl say                          speak while it is still being written
  tts-streamctl say --file book.txt --voice NAME --speed 1.1
  tts-streamctl say --out - 'Hello.' | aplay          a WAV stream
  tts-streamctl say --words 'One, two, three.'        each word as it is spoken, with its times
  tts-streamctl demo                                  the whole path in half a minute, with a timeline
  tts-streamctl status                                and: voices, streams, tap, cancel

\b
Exit status: 0 done; 1 the stream or the daemon failed; 2 usage; 130 interrupted."""

app = typer.Typer(help=HELP, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)

RuntimeDir = Annotated[
    "Path | None",
    typer.Option(metavar="DIR", help="Where the daemon's sockets lie, if not in the usual places."),
]
Json = Annotated[bool, typer.Option("--json", help="Answer in JSON.")]


def _chosen(context: typer.Context, runtime_dir: Path | None) -> Path | None:
    """The command's own ``--runtime-dir``, else the one given before the command."""
    chosen: Path | None = runtime_dir if runtime_dir is not None else context.obj
    return chosen


def _show_version(value: bool) -> None:  # noqa: FBT001 - typer calls it so
    if value:
        from importlib.metadata import version  # noqa: PLC0415 - rarely asked for

        typer.echo(f"tts-streamctl {version('tts-streamd')}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    *,
    runtime_dir: RuntimeDir = None,
    version: Annotated[  # noqa: ARG001 - its callback has done it
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version, and stop."),
    ] = False,
) -> None:
    """Keep what holds for all commands."""
    context.obj = runtime_dir


@app.command()
def say(  # noqa: PLR0913 - each is an option
    context: typer.Context,
    text: Annotated[
        list[str] | None, typer.Argument(metavar="TEXT|-", help="What to say; - reads standard input.")
    ] = None,
    *,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", metavar="FILE", help="Say what FILE holds.")
    ] = None,
    voice: Annotated[str | None, typer.Option("--voice", "-v", metavar="NAME", help="See `voices`.")] = None,
    model: Annotated[str | None, typer.Option(metavar="MODEL", help="Upstream's model.")] = None,
    language: Annotated[str | None, typer.Option(metavar="CODE", help="Such as en or de.")] = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            "--schedule",
            "-s",
            metavar="NAME|N,N...",
            help="How soon text is spoken: aggressive, speed, balanced, quality, adaptive; or 50 to 500.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Write the sound; - is standard output."),
    ] = None,
    play: Annotated[
        bool | None,
        typer.Option("--play/--no-play", help="Play it; by default if there is a sound device and no --out."),
    ] = None,
    words: Annotated[
        bool, typer.Option("--words", "-w", help="Print each word as it is spoken: start and end in seconds.")
    ] = False,
    format_: Annotated[
        str, typer.Option("--format", metavar="NAME", help="pcm_24000 (written as WAV), mp3_44100_128, ...")
    ] = "pcm_24000",
    speed: Annotated[float | None, typer.Option(min=0.7, max=1.2, help="1 is the voice's own.")] = None,
    as_json: Json = False,
    runtime_dir: RuntimeDir = None,
) -> None:
    """Say TEXT, a file, or standard input as it comes.

    \b
    Examples:
      tts-streamctl say Good morning.
      tts-streamctl say --out morning.wav --words Good morning.
      echo 'Good morning.' | tts-streamctl say -
      tts-streamctl say --format mp3_44100_128 --out book.mp3 --file book.txt

    Text from standard input is spoken while it is still coming. Where there is no sound device, use --out.
    """  # noqa: D301 - \b tells click to leave the lines alone
    with told():
        if str(out) == "-" and as_json:
            raise CommandError("--out - and --json both want standard output", USAGE)
        from tts_streamd.ctl.say import SayOptions  # noqa: PLC0415 - `--help` needs none of it
        from tts_streamd.ctl.say import say as speak  # noqa: PLC0415
        from tts_streamd.ctl.text_source import choose_source  # noqa: PLC0415
        from tts_streamd_client import VoiceSettings  # noqa: PLC0415

        source = choose_source(text or [], file)
        stream: Options = {"voice": voice, "model": model, "language": language, "format": format_}
        stream["schedule"] = _schedule(schedule)
        stream["settings"] = None if speed is None else VoiceSettings(speed=speed)
        speak(
            source,
            SayOptions(
                stream, _chosen(context, runtime_dir), out=out, play=play, words=words, as_json=as_json
            ),
        )


def _schedule(text: str | None) -> Any:  # noqa: ANN401 - the daemon says which values there are
    if text is None or not text[:1].isdigit():
        return text
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise CommandError(f"--schedule {text}: a name, or numbers as in 50,120,250", USAGE) from None


@app.command()
def status(context: typer.Context, *, as_json: Json = False, runtime_dir: RuntimeDir = None) -> None:
    """Show how the daemon is: its actors, restarts, mailboxes and upstream."""
    with told():
        from tts_streamd.ctl import inquiries  # noqa: PLC0415 - `--help` needs none of it

        inquiries.status(_chosen(context, runtime_dir), as_json=as_json)


@app.command()
def voices(context: typer.Context, *, as_json: Json = False, runtime_dir: RuntimeDir = None) -> None:
    """List the voices that --voice takes, by id or by name."""
    with told():
        from tts_streamd.ctl import inquiries  # noqa: PLC0415 - `--help` needs none of it

        inquiries.voices(_chosen(context, runtime_dir), as_json=as_json)


@app.command()
def streams(context: typer.Context, *, as_json: Json = False, runtime_dir: RuntimeDir = None) -> None:
    """List the streams that are open, and how far each has got."""
    with told():
        from tts_streamd.ctl import inquiries  # noqa: PLC0415 - `--help` needs none of it

        inquiries.streams(_chosen(context, runtime_dir), as_json=as_json)


@app.command()
def cancel(
    context: typer.Context,
    stream: Annotated[
        str | None, typer.Argument(metavar="[SESSION-SID]", help="One stream, as `streams` names it.")
    ] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Every stream that you may stop.")] = False,
    as_json: Json = False,
    runtime_dir: RuntimeDir = None,
) -> None:
    """Silence streams that are open: your own ones, or as root anybody's.

    \b
    Examples:
      tts-streamctl cancel 3-1
      tts-streamctl cancel --all
    """  # noqa: D301 - \b tells click to leave the lines alone
    with told():
        if everything == (stream is not None):
            raise CommandError(
                "say which: one stream as 3-1, or --all for every one that you may stop", USAGE
            )
        from tts_streamd.ctl import inquiries  # noqa: PLC0415 - `--help` needs none of it

        if stream is not None:
            inquiries.cancel_one(_chosen(context, runtime_dir), stream)
        else:
            inquiries.cancel_everything(_chosen(context, runtime_dir), as_json=as_json)


@app.command()
def tap(
    context: typer.Context,
    actor: Annotated[
        str | None, typer.Argument(help="Only actors whose name begins so, such as link.")
    ] = None,
    *,
    count: Annotated[int | None, typer.Option("--count", "-n", min=1, help="Stop after so many.")] = None,
    as_json: Json = False,
    runtime_dir: RuntimeDir = None,
) -> None:
    """Watch the messages between the daemon's actors (the daemon's user and root only); Ctrl-C stops.

    \b
    Examples:
      tts-streamctl tap
      tts-streamctl tap stream --json | jq .message
    """  # noqa: D301 - \b tells click to leave the lines alone
    with told():
        from tts_streamd.ctl import inquiries  # noqa: PLC0415 - `--help` needs none of it

        inquiries.tap(_chosen(context, runtime_dir), actor, count=count, as_json=as_json)


@app.command()
def demo(
    context: typer.Context,
    *,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="Where to write the speech.")
    ] = Path("demo.wav"),
    play: Annotated[
        bool, typer.Option("--play/--no-play", help="Play it, if there is a sound device.")
    ] = True,
    as_json: Json = False,
    runtime_dir: RuntimeDir = None,
) -> None:
    """Speak a paragraph as a language model would write it, and draw what happened when.

    Starts a daemon of its own unless --runtime-dir names one. Writes demo.wav; fails if no speech came.
    """
    with told():
        from tts_streamd.ctl.demo import DemoOptions, run_demo  # noqa: PLC0415 - `--help` needs none of it

        run_demo(DemoOptions(_chosen(context, runtime_dir), out=out, play=play, as_json=as_json))


def main() -> None:
    """Run the command; every way out is a status and at most one line."""
    app(prog_name="tts-streamctl")
