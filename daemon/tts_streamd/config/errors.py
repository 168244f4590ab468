"""``ConfigError``: one line that names the place, the key, what is wrong and what to do."""

from __future__ import annotations


class ConfigError(Exception):
    """The configuration cannot be used.

    ``source`` is the file, environment variable or flag; ``key`` the dotted key where there is one; ``line``
    that of a TOML syntax error.  ``str()`` is one line for a person and never holds the API key.
    """

    def __init__(
        self, source: str, problem: str, remedy: str, *, key: str = "", line: int | None = None
    ) -> None:
        place = f"{source}:{line}" if line is not None else source
        super().__init__(f"{place}: {key}: {problem}; {remedy}" if key else f"{place}: {problem}; {remedy}")
        self.source = source
        self.key = key
        self.problem = problem
        self.remedy = remedy
        self.line = line
