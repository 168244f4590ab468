"""``/fault-control``: faults put in force and counted while the server runs.  Off unless asked for.

``GET`` tells the rules with their counts, ``POST`` adds those of its JSON body (the shape of the faults file),
``DELETE`` takes all out of force.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec
from starlette.responses import JSONResponse
from starlette.routing import Route

from tts_streamd_engine.faults import FaultsError, to_script

if TYPE_CHECKING:
    from starlette.requests import Request

    from tts_streamd_engine.faults import FaultBook

PATH = "/fault-control"


def control_routes(book: FaultBook) -> list[Route]:
    """The endpoint for this book."""

    async def control(request: Request) -> JSONResponse:
        if request.method == "DELETE":
            book.clear()
        elif request.method == "POST":
            try:
                script = to_script(json.loads(await request.body()))
            except (FaultsError, ValueError) as error:
                return JSONResponse({"detail": str(error)}, 422)
            book.add(*script.fault, *script.transport)
        return JSONResponse(msgspec.to_builtins(book.counted))

    return [Route(PATH, control, methods=["GET", "POST", "DELETE"])]
