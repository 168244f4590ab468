"""Around the HTTP endpoints of speech: the account's limit and the scripted faults.

Rule: a request holds its place until the last byte of its answer is out or the client is gone.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import trio
from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse

from tts_streamd_engine.account import BusyError
from tts_streamd_engine.errors import (
    RefusalError,
    invalid_api_key,
    quota_exceeded,
    scripted_refusal,
    too_busy,
    with_request_id,
)
from tts_streamd_engine.faults import find

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from tts_streamd_engine.account import Account
    from tts_streamd_engine.faults import Fault, FaultBook


class Metered:
    """ASGI middleware of one route."""

    def __init__(self, app: ASGIApp, account: Account, faults: FaultBook) -> None:
        self._app = app
        self._account = account
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request or let it through."""
        plan = self._faults.plan("http")
        try:
            _meet_refusals(plan)
            async with self._account.place():
                await self._app(scope, receive, self._sender(send, plan))
        except BusyError as error:
            await _refused(too_busy(str(error), self._account.headers), scope, receive, send)
        except RefusalError as refusal:
            await _refused(refusal, scope, receive, send)

    def _sender(self, send: Send, plan: list[Fault]) -> Send:
        slow = find(plan, "slow_first_audio")
        delays_s = [slow.delay_s] if slow else []

        async def passing(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(raw=message["headers"]).update(self._account.headers)
            elif delays_s:
                await trio.sleep(delays_s.pop())
            await send(message)

        return passing


def _meet_refusals(plan: list[Fault]) -> None:
    if find(plan, "bad_key"):
        raise invalid_api_key(looks_real=False)
    if find(plan, "quota") or find(plan, "quota_silent"):
        raise quota_exceeded()
    if fault := find(plan, "refuse"):
        raise scripted_refusal(fault)


async def _refused(refusal: RefusalError, scope: Scope, receive: Receive, send: Send) -> None:
    headers = {"x-trace-id": secrets.token_hex(16), "x-region": "local", **refusal.headers}
    body = with_request_id(refusal, secrets.token_urlsafe(15))
    await JSONResponse(body, refusal.status, headers)(scope, receive, send)
