"""How much later than from the bare engine does the first sound come from the daemon?

Each pair says the same text twice to the same engine process: over a bare, already open trio-websocket (the lower
bound: nothing in Python on Trio can be faster) and through the daemon, from ZeroMQ to ZeroMQ, with the Python client.
The order within a pair alternates.  Two voices: `codepoint` costs nothing, so that the overhead stands alone;
`Sarah` is the real one.

    python bench/first_audio.py            40 pairs a voice; appends to bench/results/first_audio.jsonl
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from datetime import UTC, datetime
from pathlib import Path

import trio
import trio_websocket
from rich.progress import track

from tts_streamd.ctl.private_daemon import private_daemon
from tts_streamd_client import Audio
from tts_streamd_client.blocking import connect
from tts_streamd_protocol.elevenlabs.frames import decode_frame, init_message, text_message
from tts_streamd_protocol.elevenlabs.session import url_path

TEXT = "The quick brown fox jumps over the lazy dog and runs away. "
VOICES = {"codepoint": "codepoint", "Sarah": "EXAVITQu4vr4xnSDxMaL"}
RESULTS = Path(__file__).parent / "results" / "first_audio.jsonl"


async def bare_ms(engine, voice_id):
    """From handing over the text to the first decoded audio frame, on a socket opened ahead."""
    async with trio.open_nursery() as nursery:
        stream = await trio.open_unix_socket(engine)
        path = url_path(voice_id, model="eleven_flash_v2_5")
        socket = await trio_websocket.wrap_client_stream(
            nursery, stream, "localhost", path, receive_buffer_size=65536, max_message_size=2**24
        )
        await socket.send_message(init_message())
        await trio.sleep(0.05)
        began = time.perf_counter()
        await socket.send_message(text_message(TEXT, flush=True))
        while not decode_frame(await socket.get_message()).pcm:
            pass
        took = time.perf_counter() - began
        await socket.aclose()
    return 1000 * took


def daemon_ms(client, voice):
    """From handing over the text to the first audio message, on a stream opened ahead."""
    with client.open(voice=voice, schedule="speed") as stream:
        client.ping()
        time.sleep(0.05)
        began = time.perf_counter()
        stream.send(TEXT)
        while not (isinstance(event := stream.next_event(10), Audio) and event.n):
            pass
        took = time.perf_counter() - began
        stream.cancel()
    return 1000 * took


def run(n_pairs):
    pairs = []
    with private_daemon() as directory, connect(runtime_dir=directory) as client:
        for voice in VOICES:
            client.speak("Warm up.", voice=voice).collect()
        for voice, voice_id in VOICES.items():
            for n in track(range(n_pairs), f"{voice:10}", disable=not os.isatty(1)):
                engine = str(directory / "engine")
                first_bare = trio.run(bare_ms, engine, voice_id) if n % 2 else None
                through = daemon_ms(client, voice)
                bare = trio.run(bare_ms, engine, voice_id) if first_bare is None else first_bare
                pairs.append({"voice": voice, "bare_ms": round(bare, 3), "daemon_ms": round(through, 3)})
    return pairs


def summary(pairs):
    rows = []
    for voice in VOICES:
        mine = [pair for pair in pairs if pair["voice"] == voice]
        bare, through = ([pair[key] for pair in mine] for key in ("bare_ms", "daemon_ms"))
        extra = [pair["daemon_ms"] - pair["bare_ms"] for pair in mine]
        rows.append(
            {
                "voice": voice,
                "pairs": len(mine),
                "bare_p50_ms": round(statistics.median(bare), 2),
                "daemon_p50_ms": round(statistics.median(through), 2),
                "overhead_p50_ms": round(statistics.median(extra), 2),
                "ratio_p50": round(
                    statistics.median(pair["daemon_ms"] / pair["bare_ms"] for pair in mine), 3
                ),
            }
        )
    return rows


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--no-record", action="store_true", help="print only")
    given = parser.parse_args()
    pairs = run(given.pairs)
    for row in summary(pairs):
        print(json.dumps(row))
    if not given.no_record:
        RESULTS.parent.mkdir(exist_ok=True)
        record = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "python": platform.python_version(),
            "cores": os.cpu_count(),
            "pairs": pairs,
        }
        with RESULTS.open("a") as file:
            file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
