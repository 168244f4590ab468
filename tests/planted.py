"""The real daemon with bombs in its actors: a line on stdin names the actor whose next breath raises.

    python planted.py RUNTIME_DIR        then e.g. `connection`, `gateway`, `stream/1-1`, `link/` (a prefix) on stdin

Test-only wiring: it is not in the wheel.  A prefix that ends in `/` hits the first live actor of that kind;
`NAME!` stays armed, so that every incarnation fails.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections import defaultdict
from functools import partial
from pathlib import Path

import trio

from tts_streamd.config import load_config
from tts_streamd.logs import logging_to
from tts_streamd.runtime import RuntimeDir
from tts_streamd.serving import run_daemon


class PlantedError(Exception):
    """The planted bug."""


class Bombs:
    def __init__(self) -> None:
        self.waiting = defaultdict(list)
        self.armed = set()

    def wrap(self, child):
        async def run(ready):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.bomb, child.name)
                await child.run(ready)
                nursery.cancel_scope.cancel()

        return dataclasses.replace(child, run=run)

    async def bomb(self, name):
        fuse = trio.Event()
        self.waiting[name].append(fuse)
        try:
            if name not in self.armed:
                await fuse.wait()
            await trio.sleep(0.02)  # let the incarnation say that it is ready
            raise PlantedError(name)
        finally:
            self.waiting[name].remove(fuse)

    async def read_commands(self):
        async with trio.lowlevel.FdStream(os.dup(0)) as stdin:
            rest = b""
            async for chunk in stdin:
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self.fire(line.decode().strip())

    def fire(self, command):
        name = command.rstrip("!")
        hits = [
            known
            for known, fuses in self.waiting.items()
            if fuses and (known == name or (name.endswith("/") and known.startswith(name)))
        ]
        if command.endswith("!"):
            self.armed.add(name)
        for hit in hits[:1]:
            for fuse in tuple(self.waiting[hit]):
                fuse.set()
        print("fired" if hits else "missed", *hits[:1], flush=True)  # noqa: T201 - the answer to the command


async def main(config, runtime):
    bombs = Bombs()

    async def commands_beside():
        await bombs.read_commands()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(commands_beside)
        status = await run_daemon(config, runtime, wrap=bombs.wrap)
        nursery.cancel_scope.cancel()
        return status
    return 1


if __name__ == "__main__":
    environ = {"PATH": os.environ.get("PATH", ""), "HOME": os.environ.get("HOME", "/")}
    loaded = load_config(
        environ=environ, argv_overrides={"upstream.url": "embedded"}, system_file=Path("/nonexistent")
    )
    with RuntimeDir(Path(sys.argv[1])) as held, logging_to(loaded.log, secret=None, environ=environ):
        sys.exit(trio.run(partial(main, loaded, held)))
