"""Who may speak: by default anybody, with ``--require-key`` whoever shows that key or a single-use token.

Rule: keys are compared in constant time; a token is good once and for 15 minutes; at most 1000 are
remembered.
"""

from __future__ import annotations

import hmac
import re
import secrets
from typing import TYPE_CHECKING

from tts_streamd_engine.errors import invalid_api_key
from tts_streamd_engine.intake import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

TOKEN_LIFE_S = 15 * 60
MAX_TOKENS = 1000
_LOOKS_REAL = re.compile(r"\A(sk_)?[0-9a-f]{24,}\Z")


class Access:
    """The key, if one is required, and the tokens that were given out.  ``now`` is a clock in seconds."""

    def __init__(self, required_key: str | None, now: Callable[[], float]) -> None:
        self._required_key = required_key
        self._now = now
        self._tokens: dict[str, float] = {}

    def mint_token(self) -> str:
        """A new single-use token; beyond 1000 the oldest is forgotten."""
        token = f"sutkn_{secrets.token_urlsafe(24)}"
        self._tokens[token] = self._now() + TOKEN_LIFE_S
        while len(self._tokens) > MAX_TOKENS:
            del self._tokens[next(iter(self._tokens))]
        return token

    def check_http(self, headers: Mapping[str, str]) -> None:
        """Let a request pass.

        Raises:
            RefusalError: it shows no key or a wrong one.
        """
        shown = shown_in(headers)
        if self._required_key is not None and not any(map(self._is_key, shown)):
            raise invalid_api_key(looks_real=any(map(_LOOKS_REAL.match, shown)))

    def check_socket(self, shown: Iterable[str]) -> None:
        """Let a socket pass whose handshake, query and first message showed these; a good token is used up.

        Raises:
            ProtocolError: none is right (``invalid_api_key``), or there is none
            (``authentication_required``).
        """
        candidates = [value.removeprefix("Bearer ") for value in shown]
        tokens = [value for value in candidates if self._tokens.pop(value, 0.0) > self._now()]
        if self._required_key is None or tokens or any(map(self._is_key, candidates)):
            return
        if candidates:
            raise ProtocolError("invalid_api_key", "Invalid API key")
        raise ProtocolError(
            "authentication_required",
            "None of the authentication methods (xi-api-key, authorization header, single-use token) were "
            "found. Please provide one of them.",
        )

    def _is_key(self, shown: str) -> bool:
        required = self._required_key or ""
        return hmac.compare_digest(shown.encode("utf-8", "replace"), required.encode())


def shown_in(headers: Mapping[str, str]) -> list[str]:
    """The credentials in a request's headers, bare."""
    shown = [headers[name] for name in ("xi-api-key", "authorization") if headers.get(name)]
    return [value.removeprefix("Bearer ") for value in shown]
