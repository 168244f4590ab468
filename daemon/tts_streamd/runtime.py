"""The runtime directory: where the sockets lie, held by one daemon at a time.

The rule: nobody touches a socket path without holding the lock: a second bind steals a live path silently.
"""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from types import TracebackType

SYSTEM_DIR: Final = Path("/run/tts-streamd")
SOCKETS: Final = ("control", "events", "engine")
MAX_SOCKET_PATH_BYTES: Final = 107
"""sockaddr_un holds 108 bytes with the final NUL; libzmq cuts a longer ipc path without a word."""
_LOCK: Final = "lock"
_TRIES: Final = 5


class RuntimeDirError(Exception):
    """The directory cannot be used; ``str()`` is one line with the remedy."""


class RuntimeDirTakenError(RuntimeDirError):
    """Another daemon holds the directory.  ``pid`` is its process, 0 if it has not said so yet."""

    def __init__(self, path: Path, pid: int) -> None:
        who = f"process {pid}" if pid else "another process"
        remedy = f"stop it (kill {pid})" if pid else "stop it"
        super().__init__(f"{path}: {who} already serves here; {remedy}, or choose another with --runtime-dir")
        self.path = path
        self.pid = pid


def choose_runtime_dir(configured: str | None, environ: Mapping[str, str]) -> Path:
    """Return where to serve: configured, else under ``$XDG_RUNTIME_DIR``, else ``/run/tts-streamd``.

    The order is the one in which clients look.

    Raises:
        RuntimeDirError: none of them can be had.
    """
    if configured is not None:
        return Path(configured).absolute()
    if xdg := environ.get("XDG_RUNTIME_DIR"):
        return Path(xdg).absolute() / "tts-streamd"
    if os.geteuid() == 0 or os.access(SYSTEM_DIR, os.W_OK):
        return SYSTEM_DIR
    raise RuntimeDirError(
        f"no runtime directory: XDG_RUNTIME_DIR is not set, {SYSTEM_DIR} not yours; give --runtime-dir"
    )


class RuntimeDir:
    """Holds the directory from ``with`` to its end: made with mode 0700, locked, stale sockets gone.

    At the end the sockets, the lock and, if it was made here, the directory itself are removed.

    Raises (on entry):
        RuntimeDirTakenError: another daemon holds it.
        RuntimeDirError: not ours, open to other users, not a directory, or a path too long for a socket.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stack = ExitStack()

    @property
    def control(self) -> Path:
        """Where clients connect (ROUTER)."""
        return self.path / "control"

    @property
    def events(self) -> Path:
        """Where observers connect (XPUB)."""
        return self.path / "events"

    @property
    def engine(self) -> Path:
        """Where the embedded engine listens (stream socket)."""
        return self.path / "engine"

    def __enter__(self) -> Self:
        _check_length(self.path)
        with ExitStack() as stack:
            stack.enter_context(_made(self.path))
            _check_ours(self.path)
            stack.enter_context(_locked(self.path))
            stack.enter_context(_sockets_removed(self.path))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


def _check_length(path: Path) -> None:
    longest = max(len(os.fsencode(path / name)) for name in SOCKETS)
    if longest > MAX_SOCKET_PATH_BYTES:
        excess = longest - MAX_SOCKET_PATH_BYTES
        raise RuntimeDirError(f"{path}: {excess} bytes too long for a socket; choose a shorter --runtime-dir")


@contextmanager
def _made(path: Path) -> Generator[None]:
    made_here = _make(path)
    try:
        yield
    finally:
        if made_here:
            with suppress(OSError):  # somebody put a file there, or systemd was faster
                path.rmdir()


def _make(path: Path) -> bool:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700)
    except OSError as error:
        if os.path.lexists(path):
            return False
        remedy = "make it yourself, or choose another with --runtime-dir"
        raise RuntimeDirError(f"{path}: cannot be made ({error.strerror}); {remedy}") from None
    return True


def _check_ours(path: Path) -> None:
    """A directory in which others may write lets them put their own socket in the place of ours."""
    facts = path.lstat()
    if not stat.S_ISDIR(facts.st_mode):
        raise RuntimeDirError(f"{path}: not a directory of its own; choose another with --runtime-dir")
    if facts.st_uid != os.geteuid():
        problem = f"belongs to user {facts.st_uid}, not to you ({os.geteuid()})"
        raise RuntimeDirError(f"{path}: {problem}; choose another with --runtime-dir")
    if facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise RuntimeDirError(f"{path}: other users may write there; run: chmod go-w {path}")


@contextmanager
def _locked(path: Path) -> Generator[None]:
    lock = path / _LOCK
    descriptor = _take(lock, path)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def _take(lock: Path, path: Path) -> int:
    """Open and lock the file; again, if its holder removed it between our opening and our locking."""
    for _ in range(_TRIES):
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise RuntimeDirError(f"{lock}: cannot be opened ({error.strerror}); remove it") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).strip()
            os.close(descriptor)
            raise RuntimeDirTakenError(path, int(holder) if holder.isdigit() else 0) from None
        if _is_still(lock, descriptor):
            return descriptor
        os.close(descriptor)
    raise RuntimeDirTakenError(path, 0)


def _is_still(lock: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(lock.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


@contextmanager
def _sockets_removed(path: Path) -> Generator[None]:
    """Remove what a killed daemon left, now, and what this one leaves, at the end."""
    entries = [path / name for name in SOCKETS]
    for entry in entries:
        if os.path.lexists(entry) and not _is_socket(entry):
            raise RuntimeDirError(f"{entry}: something else stands where a socket belongs; remove it")
    _remove_sockets(entries)
    try:
        yield
    finally:
        _remove_sockets(entries)


def _remove_sockets(entries: list[Path]) -> None:
    for entry in entries:
        if _is_socket(entry):
            entry.unlink(missing_ok=True)


def _is_socket(entry: Path) -> bool:
    try:
        return stat.S_ISSOCK(entry.lstat().st_mode)
    except FileNotFoundError:
        return False
