"""Connecting to the engine's socket."""

from __future__ import annotations

import socket

import pytest
import trio

from tts_streamd_actors.dialling import dial_unix


async def test_a_full_backlog_is_waited_for(tmp_path):
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener, trio.fail_after(10):
        listener.bind(path)
        listener.listen(0)
        first = await dial_unix(path)
        with trio.move_on_after(0.1) as waited:
            await dial_unix(path)
        assert waited.cancelled_caught
        served, _ = listener.accept()
        second = await dial_unix(path)
        await second.send_all(b"x")
        served.close()
        await first.aclose()
        await second.aclose()


async def test_a_missing_socket_says_so_at_once(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        await dial_unix(str(tmp_path / "nothing"))
