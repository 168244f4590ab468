import socket
import ssl
from functools import partial

import pytest
import trio
import trio.testing

from tts_streamd_actors import dialling as module
from tts_streamd_actors.dialling import Dialled, UpgradeError, carry, dial_unix


async def opened(base, **options):
    async with trio.open_nursery() as nursery:
        plain = {"unix_path": None, "tls": None} | options
        await nursery.start(partial(carry, base, "/path", {}, **plain))
        nursery.cancel_scope.cancel()


async def test_a_server_that_speaks_no_tls_is_told_at_once(nursery):
    async def handler(stream):
        await stream.receive_some(100)
        await stream.send_all(b"220 mail.example.org\r\n")
        await trio.sleep_forever()

    listeners = await nursery.start(trio.serve_tcp, handler, 0)
    port = listeners[0].socket.getsockname()[1]
    told = pytest.RaisesExc(UpgradeError, match=r"the connection broke: .*SSL")
    with trio.fail_after(5), pytest.RaisesGroup(told):
        await opened(f"wss://localhost:{port}", tls=ssl.create_default_context())
    nursery.cancel_scope.cancel()


async def test_an_end_is_an_error_until_the_socket_is_open():
    ours, theirs = trio.testing.memory_stream_pair()
    stream = Dialled(ours)
    await theirs.send_all(b"a")
    assert await stream.receive_some(10) == b"a"
    await theirs.aclose()
    with pytest.raises(UpgradeError):
        await stream.receive_some(10)
    with pytest.raises(UpgradeError):
        await stream.send_all(b"x")
    stream.open = True
    assert await stream.receive_some(10) == b""
    with pytest.raises(trio.BrokenResourceError):
        await stream.send_all(b"x")
    await stream.wait_send_all_might_not_block()
    await stream.aclose()


async def test_closing_before_it_is_open_says_that_nobody_answered():
    ours, _ = trio.testing.memory_stream_pair()
    with pytest.raises(UpgradeError):
        await Dialled(ours).aclose()


async def test_a_full_backlog_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BACKLOG_RETRY_S", 0.01)
    path = str(tmp_path / "engine")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        async with await dial_unix(path):
            with trio.move_on_after(0.1) as scope:
                await dial_unix(path)
            assert scope.cancelled_caught
            listener.accept()[0].close()
            with trio.fail_after(5):
                await (await dial_unix(path)).aclose()


async def test_a_path_where_nobody_listens_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        await dial_unix(str(tmp_path / "nobody"))
