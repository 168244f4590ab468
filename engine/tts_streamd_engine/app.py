"""The routes: which path leads where, and the one place where a refusal becomes a response."""

from __future__ import annotations

import secrets
from functools import partial
from typing import TYPE_CHECKING

import trio
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute

from tts_streamd_engine import accounts
from tts_streamd_engine.access import Access
from tts_streamd_engine.account import Account
from tts_streamd_engine.control import control_routes
from tts_streamd_engine.conversation import House, upgrade
from tts_streamd_engine.errors import RefusalError, invalid_parameter, voice_not_found, with_request_id
from tts_streamd_engine.faults import FaultBook
from tts_streamd_engine.metering import Metered
from tts_streamd_engine.multi_stream_input import MultiConversation
from tts_streamd_engine.speech_http import SpeechOverHttp
from tts_streamd_engine.stream_input import SingleConversation
from tts_streamd_protocol.elevenlabs.premade import PREMADE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from tts_streamd_engine.catalogue import Catalogue
    from tts_streamd_engine.studio import Studio

_MAX_PAGE = 100


def make_app(  # noqa: PLR0913 -- each is an option of the command
    catalogue: Catalogue,
    studio: Studio,
    *,
    required_key: str | None = None,
    account_limit: int | None = None,
    faults: FaultBook | None = None,
    fault_control: bool = False,
) -> Starlette:
    """The ASGI application.  It must run on Trio."""
    access, account = Access(required_key, trio.current_time), Account(account_limit)
    house = House(catalogue, studio, access, account, faults or FaultBook())
    speech = SpeechOverHttp(catalogue, studio, access)
    metered = Middleware(Metered, account=account, faults=house.faults)

    def post(path: str, endpoint: Callable[[Request], Awaitable[Response]]) -> Route:
        return Route(path, _answering(endpoint), methods=["POST"], middleware=[metered])

    one_voice = "/v1/text-to-speech/{voice_id}"
    return Starlette(
        routes=[
            WebSocketRoute(
                f"{one_voice}/stream-input", partial(upgrade, house, "stream-input", SingleConversation)
            ),
            WebSocketRoute(
                f"{one_voice}/multi-stream-input",
                partial(upgrade, house, "multi-stream-input", MultiConversation),
            ),
            post(one_voice, speech.convert),
            post(f"{one_voice}/stream", speech.stream),
            post(f"{one_voice}/with-timestamps", speech.convert_timed),
            post(f"{one_voice}/stream/with-timestamps", speech.stream_timed),
            *_account_routes(access),
            *(control_routes(house.faults) if fault_control else []),
        ]
    )


def _account_routes(access: Access) -> list[Route]:
    def of(endpoint: Callable[[Request], object]) -> Callable[[Request], Awaitable[Response]]:
        return _answering(partial(_told, access, endpoint))

    return [
        Route("/v1/voices", of(lambda _: accounts.voices())),
        Route("/v1/voices/{voice_id}", of(_one_voice)),
        Route("/v2/voices", of(_search)),
        Route("/v1/models", of(lambda _: accounts.models())),
        Route("/v1/user/subscription", of(lambda _: accounts.subscription())),
        Route(
            "/v1/single-use-token/tts_websocket",
            of(lambda _: {"token": access.mint_token()}),
            methods=["POST"],
        ),
    ]


async def _told(access: Access, endpoint: Callable[[Request], object], request: Request) -> Response:
    access.check_http(request.headers)
    return JSONResponse(endpoint(request), headers=_trace())


def _one_voice(request: Request) -> object:
    voice_id: str = request.path_params["voice_id"]
    row = next((voice for voice in PREMADE if voice.voice_id == voice_id), None)
    if row is None:
        raise voice_not_found(voice_id)
    return accounts.voice(row)


def _search(request: Request) -> object:
    query = request.query_params
    page_size = query.get("page_size", "10")
    if not page_size.isdecimal() or not 1 <= int(page_size) <= _MAX_PAGE:
        raise invalid_parameter("page_size", f"page_size must be within 1 and {_MAX_PAGE}.")
    return accounts.found_voices(query.get("search", ""), int(page_size), query.get("next_page_token", ""))


def _answering(
    endpoint: Callable[[Request], Awaitable[Response]],
) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint, its refusals turned into responses (a route takes only plain functions for endpoints)."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except RefusalError as refusal:
            body = with_request_id(refusal, secrets.token_urlsafe(15))
            return JSONResponse(body, refusal.status, {**_trace(), **refusal.headers})

    return answer


def _trace() -> dict[str, str]:
    return {"x-trace-id": secrets.token_hex(16), "x-region": "local"}
