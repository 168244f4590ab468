from collections.abc import Awaitable, Callable
from typing import Literal

import trio
from hypercorn.config import Config

async def serve(
    app: Callable[..., Awaitable[None]],
    config: Config,
    *,
    shutdown_trigger: Callable[..., Awaitable[None]] | None = None,
    task_status: trio.TaskStatus[list[str]] = ...,
    mode: Literal["asgi", "wsgi"] | None = None,
) -> None: ...
