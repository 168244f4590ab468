"""The command ``tts-streamd-engine``: options in, one line out, an exit status.

Exit status: 0 ended by a signal or by the daemon's death, 1 cannot listen, 2 wrong options.
"""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Sequence

NAME = "tts-streamd-engine"
DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8765
_MAX_PORT = 65_535

_EPILOG = """\
It speaks ElevenLabs' protocol, so any ElevenLabs client speaks with it; no key is needed:

  %(prog)s --port 8765
  curl -s http://127.0.0.1:8765/v1/text-to-speech/EXAVITQu4vr4xnSDxMaL?output_format=wav_24000 \\
       -H 'content-type: application/json' -d '{"text": "Good morning."}' > morning.wav

  WebSocket: ws://127.0.0.1:8765/v1/text-to-speech/VOICE/stream-input?output_format=pcm_24000
  voices:    curl http://127.0.0.1:8765/v1/voices   ('codepoint' is a test voice: samples = code points)

The official Python SDK insists on TLS for its WebSocket; make a certificate for the address and trust it:

  openssl req -x509 -newkey rsa:2048 -nodes -days 365 -subj /CN=127.0.0.1 \\
       -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem
  %(prog)s --cert cert.pem --key key.pem
  SSL_CERT_FILE=cert.pem python -c 'from elevenlabs import ElevenLabs; \\
       ElevenLabs(base_url="https://127.0.0.1:8765", api_key="any") ...'

The default voice is English; text it has no sounds for (other scripts, emoji) becomes a short silence.
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (try --help)\n")


def make_parser() -> argparse.ArgumentParser:
    """The options, with a help text that shows how the engine is used."""
    parser = _Parser(
        prog=NAME,
        description="A speech server on this machine with ElevenLabs' API: WebSocket and HTTP.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default=DEFAULT_HOST, help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=_port, default=DEFAULT_PORT, help="port, 0 for any free one (default: %(default)s)"
    )
    parser.add_argument(
        "--fd",
        type=_fd,
        metavar="N",
        help="serve on the listening socket (TCP or Unix) that is open as descriptor N; the process then "
        "ends as soon as its standard input does",
    )
    parser.add_argument("--tls", action="store_true", help="serve TLS; needs --cert and --key")
    parser.add_argument("--cert", type=Path, metavar="FILE", help="PEM certificate chain (implies --tls)")
    parser.add_argument("--key", type=Path, metavar="FILE", help="PEM private key (implies --tls)")
    parser.add_argument(
        "--require-key",
        metavar="KEY",
        help="refuse clients that do not show this key (default: anybody may speak)",
    )
    parser.add_argument(
        "--voice-threads",
        type=_count,
        metavar="N",
        help="segments that are synthesised at the same time (default: one per processor)",
    )
    _add_emulation(parser)
    return parser


def _add_emulation(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("to test clients with (docs/emulator.md)")
    group.add_argument(
        "--faults",
        type=Path,
        metavar="FILE",
        help="TOML file that scripts what goes wrong, where and how often",
    )
    group.add_argument(
        "--fault-control", action="store_true", help="let anybody script faults over HTTP at /fault-control"
    )
    group.add_argument(
        "--account-limit",
        type=_count,
        metavar="N",
        help="requests at the same time; more wait 50 ms and get 429 (default: no limit)",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server; returns the exit status."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    if (options.tls or options.cert or options.key) and not (options.cert and options.key):
        parser.error("TLS needs both --cert FILE and --key FILE")
    return _run(parser, options)


def _run(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    import trio  # noqa: PLC0415 -- not for --help

    from tts_streamd_engine import faults, server  # noqa: PLC0415 -- as above

    tls = server.Tls(options.cert, options.key) if options.cert else None
    try:
        if tls is not None:
            tls.check()
        script = faults.read_script(options.faults) if options.faults else None
        if options.fd is None:
            listener = server.listen(options.host, options.port)
        else:
            listener = server.adopt(options.fd)
            server.end_with_stdin()
    except (server.CertificateError, faults.FaultsError) as error:
        parser.error(str(error))
    except server.ListenError as error:
        _warn(str(error))
        return 1
    serving = server.Options(
        tls,
        options.voice_threads,
        options.require_key,
        options.account_limit,
        faults.FaultBook(script) if script or options.fault_control else None,
        options.fault_control,
    )
    trio.run(partial(server.serve, listener, serving, tell=partial(print, flush=True), warn=_warn))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(
        0
    )  # all is in order; but a thread that still loads the model would abort the interpreter's own end


def _warn(line: str) -> None:
    sys.stderr.write(f"{NAME}: {line}\n")


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > _MAX_PORT:
        raise argparse.ArgumentTypeError(f"a port is a number from 0 to {_MAX_PORT}, not {text!r}")
    return int(text)


def _fd(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"a file descriptor is a whole number, not {text!r}")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"at least 1 is needed, not {text!r}")
    return int(text)
