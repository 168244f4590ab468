class Config:
    bind: list[str]
    loglevel: str
    keep_alive_timeout: float
    graceful_timeout: float
    alpn_protocols: list[str]
    backlog: int
    certfile: str | None
    keyfile: str | None
