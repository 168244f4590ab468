"""The engine as an emulator of ElevenLabs in other people's tests: on a free port, with scripted faults.

    with emulator(Fault(kind="close", frame=2)) as service:      # in a thread
        client = MyClient(base_url=service.url)

    async with open_emulator() as service:                       # on the caller's Trio loop
        service.faults.add(Fault(kind="refuse", status=429, retry_after_s=1))

Rule: when the block ends, the server and every connection to it have ended.
"""

from __future__ import annotations

import threading
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from tts_streamd_engine import server
from tts_streamd_engine.catalogue import Catalogue, load_hibari
from tts_streamd_engine.faults import Fault, FaultBook, Transport
from tts_streamd_engine.voices.codepoint import decode

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator
    from contextlib import AbstractAsyncContextManager

__all__ = ["CODEPOINT", "Emulator", "Fault", "Transport", "decode", "emulator", "open_emulator"]

CODEPOINT: Final = "codepoint"
"""The id of the test voice whose audio ``decode`` turns back into its text."""
START_DEADLINE_S = 30.0
STOP_DEADLINE_S = 10.0


@dataclass(frozen=True, slots=True)
class Emulator:
    """A running emulator; ``address`` is ``127.0.0.1:PORT``.  ``faults`` may be changed from any thread."""

    address: str
    is_tls: bool
    faults: FaultBook

    @property
    def url(self) -> str:
        """For ``base_url``."""
        return f"{'https' if self.is_tls else 'http'}://{self.address}"

    @property
    def ws_url(self) -> str:
        """The same for WebSockets."""
        return f"{'wss' if self.is_tls else 'ws'}://{self.address}"


@asynccontextmanager
async def open_emulator(
    *faults: Fault | Transport,
    real_voices: bool = False,
    required_key: str | None = None,
    account_limit: int | None = None,
    tls: server.Tls | None = None,
) -> AsyncGenerator[Emulator]:
    """An emulator on the caller's Trio loop.

    ``real_voices`` loads the English voice model, else only ``codepoint`` can speak.  Loopback, a free port.
    """
    book = FaultBook()
    book.add(*faults)
    options = server.Options(
        tls, required_key=required_key, account_limit=account_limit, faults=book, fault_control=True
    )
    catalogue = Catalogue(load_hibari if real_voices else dict)
    lines_in, lines_out = trio.open_memory_channel[str](1)
    listener = server.listen("127.0.0.1", 0)
    serving = partial(server.serve, listener, options, catalogue=catalogue, stop=trio.Event())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(serving, tell=lines_in.send_nowait, warn=lambda _: None))
        with trio.fail_after(START_DEADLINE_S):
            line = await lines_out.receive()
        yield Emulator(line.rpartition("://")[2], tls is not None, book)
        nursery.cancel_scope.cancel()


@contextmanager
def emulator(
    *faults: Fault | Transport,
    real_voices: bool = False,
    required_key: str | None = None,
    account_limit: int | None = None,
    tls: server.Tls | None = None,
) -> Generator[Emulator]:
    """An emulator in a thread of its own, for tests without Trio; else like ``open_emulator``.

    Raises:
        RuntimeError: it did not start or did not end in time.
    """
    opening = partial(
        open_emulator,
        *faults,
        real_voices=real_voices,
        required_key=required_key,
        account_limit=account_limit,
        tls=tls,
    )
    host = _Host(opening)
    host.start()
    try:
        yield host.service()
    finally:
        host.stop()


class _Host(threading.Thread):
    """The thread, its loop, and the way to end both."""

    def __init__(self, opening: Callable[[], AbstractAsyncContextManager[Emulator]]) -> None:
        super().__init__(name="emulator", daemon=True)
        self._opening = opening
        self._ready = threading.Event()
        self._service: Emulator | None = None
        self._ending: trio.Event | None = None
        self._token: trio.lowlevel.TrioToken | None = None

    def run(self) -> None:
        trio.run(self._serve)

    async def _serve(self) -> None:
        self._ending, self._token = trio.Event(), trio.lowlevel.current_trio_token()
        async with self._opening() as self._service:
            self._ready.set()
            await self._ending.wait()

    def service(self) -> Emulator:
        """The emulator, as soon as it listens."""
        if not self._ready.wait(START_DEADLINE_S) or self._service is None:
            raise RuntimeError("the emulator did not start")
        return self._service

    def stop(self) -> None:
        """End it and wait for its end."""
        if self._token is not None and self._ending is not None:
            self._token.run_sync_soon(self._ending.set)
        self.join(STOP_DEADLINE_S)
        if self.is_alive():
            raise RuntimeError("the emulator did not end")
