"""The scripted daemon as a program: plays one scene until it is interrupted."""

from __future__ import annotations

import argparse
import time
from contextlib import suppress
from pathlib import Path

from tts_streamd_client.testing import Scene, ScriptedDaemon


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description="A scripted tts-streamd, for the tests of clients.")
    parser.add_argument("--runtime-dir", type=Path, required=True, help="where to put the sockets")
    parser.add_argument("--scene", type=Scene, choices=list(Scene), default=Scene.PLAIN)
    parser.add_argument("--heartbeat-ms", type=int, default=2000)
    chosen = parser.parse_args()
    chosen.runtime_dir.mkdir(parents=True, exist_ok=True)
    with (
        suppress(KeyboardInterrupt),
        ScriptedDaemon(chosen.runtime_dir, chosen.scene, heartbeat_ms=chosen.heartbeat_ms),
    ):
        while True:
            time.sleep(1)


if __name__ == "__main__":
    main()
