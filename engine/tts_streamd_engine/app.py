"""The routes: which path leads where, and the one place where a refusal becomes a response."""

from __future__ import annotations

import secrets
from functools import partial
from typing import TYPE_CHECKING

import trio
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute

from tts_streamd_engine import accounts
from tts_streamd_engine.access import Access
from tts_streamd_engine.errors import RefusalError, invalid_parameter, voice_not_found, with_request_id
from tts_streamd_engine.speech_http import SpeechOverHttp
from tts_streamd_engine.stream_input import StreamInput
from tts_streamd_protocol.elevenlabs.premade import PREMADE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from tts_streamd_engine.catalogue import Catalogue
    from tts_streamd_engine.studio import Studio

_MAX_PAGE = 100


def make_app(catalogue: Catalogue, studio: Studio, *, required_key: str | None = None) -> Starlette:
    """The ASGI application.  It must run on Trio."""
    access = Access(required_key, trio.current_time)
    speech, socket = SpeechOverHttp(catalogue, studio, access), StreamInput(catalogue, studio, access)
    one_voice = "/v1/text-to-speech/{voice_id}"
    return Starlette(
        routes=[
            WebSocketRoute(f"{one_voice}/stream-input", socket.serve),
            Route(one_voice, _answering(speech.convert), methods=["POST"]),
            Route(f"{one_voice}/stream", _answering(speech.stream), methods=["POST"]),
            Route(f"{one_voice}/with-timestamps", _answering(speech.convert_timed), methods=["POST"]),
            Route(f"{one_voice}/stream/with-timestamps", _answering(speech.stream_timed), methods=["POST"]),
            *_account_routes(access),
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
            return JSONResponse(body, refusal.status, _trace())

    return answer


def _trace() -> dict[str, str]:
    return {"x-trace-id": secrets.token_hex(16), "x-region": "local"}
