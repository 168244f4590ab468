"""Keeps the list of upstream's voices fresh, so that a voice can be named and refused before anything is sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import structlog
import trio

from tts_streamd_protocol.messages import VoiceInfo

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    import httpx

    from tts_streamd_actors.voicebook import VoiceBook

log = structlog.get_logger("tts_streamd.catalogue")

REFRESH_S = 3600.0
"""Voices change when somebody edits the account."""

RETRY_S = 30.0
TIMEOUT_S = 10.0
MAX_BYTES = 8 * 2**20
"""An account's list is below 1 MiB; more than this is no list of voices."""


class _Listed(msgspec.Struct):
    voice_id: str
    name: str
    category: str | None = None
    description: str | None = None


class _Answer(msgspec.Struct):
    voices: list[_Listed]


class CatalogueError(Exception):
    """Upstream's list could not be read."""


@dataclass(slots=True, eq=False)
class Catalogue:
    """The actor; fills ``book`` from ``GET {http_base}/v1/voices``."""

    book: VoiceBook
    http_base: str
    headers: Callable[[], dict[str, str]]
    tls: Callable[[], ssl.SSLContext]

    async def run(self, ready: Callable[[], None]) -> None:
        """Fetch now and every hour; trouble is logged and tried again."""
        ready()
        while True:
            wait_s = REFRESH_S
            try:
                self.book.replace(await self.fetch())
                log.info("voices listed", n=len(self.book.voices))
            except CatalogueError as error:
                log.warning("upstream's voices could not be listed", reason=str(error), again_in_s=RETRY_S)
                wait_s = RETRY_S
            await trio.sleep(wait_s)

    async def fetch(self) -> list[VoiceInfo]:
        """Upstream's voices; raises ``CatalogueError``."""
        import httpx  # noqa: PLC0415 - 60 ms that a daemon with the embedded engine never pays

        try:
            with trio.fail_after(TIMEOUT_S):  # all of it: httpx's own time begins anew with each byte
                async with httpx.AsyncClient(verify=self.tls(), timeout=TIMEOUT_S) as client:
                    answer = msgspec.json.decode(await self._read(client), type=_Answer)
        except trio.TooSlowError as error:
            raise CatalogueError(f"no whole answer within {TIMEOUT_S:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL, msgspec.MsgspecError) as error:
            raise CatalogueError(f"{type(error).__name__}: {error}") from error
        return [
            VoiceInfo(
                voice=v.voice_id, name=v.name, category=v.category or "premade", description=v.description
            )
            for v in answer.voices
        ]

    async def _read(self, client: httpx.AsyncClient) -> bytes:
        url = f"{self.http_base}/v1/voices"
        async with client.stream("GET", url, headers=self.headers()) as response:
            response.raise_for_status()
            if int(response.headers.get("content-length", 0)) > MAX_BYTES:
                raise CatalogueError(f"its list is larger than {MAX_BYTES} bytes")
            return await response.aread()
