import os
import random
import time

import pytest
import trio
import trio.testing
import zmq

from tts_streamd_sockets.trio_zmq import Peer, PeerGoneError, TrioSocket, peer

BIG = bytes(100_000)  # more than the kernel's buffers of a Unix socket hold of a few


@pytest.fixture
def context():
    with zmq.Context() as context:
        yield context


@pytest.fixture
def address(tmp_path):
    return f"ipc://{tmp_path}/bus"


@pytest.fixture
async def open_socket(context):
    opened = []

    def open_socket(kind, *, bind=None, connect=None, **options):
        socket = context.socket(kind)
        for name, value in options.items():
            socket.setsockopt(getattr(zmq, name), value)
        if bind:
            socket.bind(bind)
        if connect:
            socket.connect(connect)
        wrapped = TrioSocket(socket)
        opened.append(wrapped)
        return wrapped

    yield open_socket
    for socket in opened:
        socket.close()


@pytest.fixture
async def pair(open_socket, address):
    return open_socket(zmq.PAIR, bind=address), open_socket(zmq.PAIR, connect=address)


async def until(condition):
    while not condition():  # noqa: ASYNC110 - the conditions are about what crossed the kernel
        await trio.sleep(0.001)


async def fill(router, identity):
    """Send until the peer is full and stays full; return how many messages it took."""
    n_sent = 0
    n_full = 0
    while n_full < 5:
        if router.send_nowait([identity, BIG]):
            n_sent += 1
            n_full = 0
        else:
            n_full += 1
            await trio.sleep(0.02)
    return n_sent


async def test_a_message_goes_there_and_back(pair):
    left, right = pair
    with trio.fail_after(10):
        await left.send([b"a", b"", b"b"])
        assert await right.recv() == [b"a", b"", b"b"]
        assert right.send_nowait([b"c"])
        assert await left.recv() == [b"c"]
    assert (left.statistics().sent, left.statistics().received) == (1, 1)


async def test_a_batch_is_what_is_there_up_to_the_limit(pair):
    left, right = pair
    with trio.fail_after(10):
        for n in range(100):
            await left.send([str(n).encode()])
        got = []
        while len(got) < 100:
            batch = await right.recv_batch(30)
            assert 1 <= len(batch) <= 30
            got += batch
    assert got == [[str(n).encode()] for n in range(100)]


@pytest.mark.parametrize("limit", [1, 64])
async def test_a_thousand_cancelled_receives_lose_nothing(pair, limit):
    left, right = pair
    rng = random.Random(limit)
    got = []
    n_cancelled = 0

    async def send_all():
        for n in range(1500):
            await left.send([n.to_bytes(4, "big")])
            if n % 3 == 0:
                await trio.sleep(rng.random() * 0.0005)

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_all)
            while n_cancelled < 1000 or len(got) < 1500:
                with trio.move_on_after(rng.random() * 0.0004) as scope:
                    got += await right.recv_batch(limit)
                n_cancelled += scope.cancelled_caught
    assert [int.from_bytes(message, "big") for (message,) in got] == list(range(1500))


async def test_a_cancelled_send_has_sent_nothing_and_any_other_has_sent(open_socket, address):
    left = open_socket(zmq.PAIR, bind=address, SNDHWM=1, SNDBUF=4096)
    right = open_socket(zmq.PAIR, connect=address, RCVHWM=1, RCVBUF=4096)
    rng = random.Random(1)
    sent, got = [], []
    n_cancelled = 0

    async def receive_slowly():
        while True:
            got.append(int.from_bytes((await right.recv())[0][:4], "big"))
            await trio.sleep(rng.random() * 0.001)

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive_slowly)
            n = 0
            while n_cancelled < 300:
                n += 1
                with trio.move_on_after(rng.random() * 0.0005) as scope:
                    await left.send([n.to_bytes(4, "big") + bytes(8000)])
                    sent.append(n)
                n_cancelled += scope.cancelled_caught
            await until(lambda: len(got) >= len(sent))
            await trio.sleep(0.05)
            nursery.cancel_scope.cancel()
    assert got == sent


async def test_a_sender_does_not_take_the_readers_wake_up(open_socket, address):
    router = open_socket(zmq.ROUTER, bind=address, ROUTER_MANDATORY=1)
    client = open_socket(zmq.DEALER, connect=address, ROUTING_ID=b"client")
    n_heard = 0

    async def read_router():
        nonlocal n_heard
        while True:
            n_heard += len(await router.recv_batch())

    with trio.fail_after(30):
        await client.send([b"hello"])
        await router.recv()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_router)
            for n in range(1, 201):
                await trio.testing.wait_all_tasks_blocked()
                assert client.send_nowait([b"ping"])
                if n % 2:
                    time.sleep(0.001)  # noqa: ASYNC251 - the message must lie there when the other call is made
                router.send_nowait([b"client", b"unasked"])
                with trio.fail_after(2):
                    await until(lambda n=n: n_heard >= n)
                await client.recv()
            nursery.cancel_scope.cancel()


async def test_many_senders_and_readers_share_one_socket(pair):
    left, right = pair
    got = {left: 0, right: 0}

    async def send(socket):
        for _ in range(50):
            await socket.send([b"x"])
            await trio.lowlevel.checkpoint()

    async def read(socket):
        while True:
            await socket.recv()
            got[socket] += 1

    with trio.fail_after(30):
        async with trio.open_nursery() as readers:
            async with trio.open_nursery() as senders:
                for socket in pair:
                    for _ in range(4):
                        readers.start_soon(read, socket)
                        senders.start_soon(send, socket)
            await until(lambda: got == {left: 200, right: 200})
            readers.cancel_scope.cancel()


async def test_a_full_peer_parks_only_its_sender_and_works_again(open_socket, address):
    small = {"RCVHWM": 1, "RCVBUF": 4096}
    router = open_socket(zmq.ROUTER, bind=address, ROUTER_MANDATORY=1, SNDHWM=1, SNDBUF=4096)
    full = open_socket(zmq.DEALER, connect=address, ROUTING_ID=b"full", **small)
    other = open_socket(zmq.DEALER, connect=address, ROUTING_ID=b"other", **small)
    with trio.fail_after(30):
        for client in (full, other):
            await client.send([b"hello"])
            await router.recv()
        n_taken = await fill(router, b"full")
        assert n_taken >= 1
        assert not router.send_nowait([b"full", b"refused"])
        done = trio.Event()

        async def send_late():
            await router.send([b"full", b"late"])
            done.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_late)
            for _ in range(20):
                await router.send([b"other", b"unharmed"])
                assert await other.recv() == [b"unharmed"]
                await other.send([b"heard"])
                assert (await router.recv())[1] == b"heard"
            assert not done.is_set()
            for _ in range(n_taken):
                assert await full.recv() == [BIG]
            assert await full.recv() == [b"late"]
            await done.wait()
    assert router.statistics().refused >= 1


async def test_a_blocked_sender_beside_a_blocked_reader_neither_stalls_nor_spins(open_socket, address):
    router = open_socket(zmq.ROUTER, bind=address, ROUTER_MANDATORY=1, SNDHWM=1, SNDBUF=4096)
    full = open_socket(zmq.DEALER, connect=address, ROUTING_ID=b"full", RCVHWM=1, RCVBUF=4096)
    with trio.fail_after(30):
        await full.send([b"hello"])
        await router.recv()
        n_taken = await fill(router, b"full")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(router.send, [b"full", b"late"])
            nursery.start_soon(router.recv)
            await trio.testing.wait_all_tasks_blocked()
            before = router.statistics()
            await trio.sleep(0.4)
            after = router.statistics()
            assert after.waits - before.waits <= 2 * 0.4 / 0.02 + 4
            for _ in range(n_taken):
                await full.recv()
            assert await full.recv() == [b"late"]
            await full.send([b"heard"])
    assert (router.statistics().readers_waiting, router.statistics().senders_waiting) == (0, 0)


async def test_a_vanished_peer_is_reported(open_socket, address):
    router = open_socket(zmq.ROUTER, bind=address, ROUTER_MANDATORY=1)
    client = open_socket(zmq.DEALER, connect=address, ROUTING_ID=b"client")
    with trio.fail_after(10):
        await client.send([b"hello"])
        await router.recv()
        assert router.send_nowait([b"client", b"here"])
        client.close()
        with pytest.raises(PeerGoneError):
            await until(lambda: not router.send_nowait([b"client", b"gone?"]))
        with pytest.raises(PeerGoneError):
            await router.send([b"client", b"gone"])


async def test_a_peer_that_vanishes_while_its_sender_waits_is_reported(open_socket, address):
    router = open_socket(zmq.ROUTER, bind=address, ROUTER_MANDATORY=1, SNDHWM=1, SNDBUF=4096)
    client = open_socket(zmq.DEALER, connect=address, ROUTING_ID=b"client", RCVHWM=1, RCVBUF=4096)
    with trio.fail_after(10):
        await client.send([b"hello"])
        await router.recv()
        await fill(router, b"client")
        with pytest.RaisesGroup(PeerGoneError):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(router.send, [b"client", b"late"])
                await trio.testing.wait_all_tasks_blocked()
                client.close()


async def test_the_kernel_says_who_sent_a_frame(open_socket, address):
    router = open_socket(zmq.ROUTER, bind=address)
    client = open_socket(zmq.DEALER, connect=address)
    with trio.fail_after(10):
        await client.send([b"hello"])
        ((_identity, frame),) = await router.recv_batch(copy=False)
        assert peer(frame) == Peer(os.getuid(), os.getgid(), os.getpid())
        await client.send([b"again"])
        assert [part.bytes for part in await router.recv(copy=False)][1] == b"again"


async def test_there_is_no_peer_over_tcp(open_socket, context):
    listening = context.socket(zmq.PAIR)
    port = listening.bind_to_random_port("tcp://127.0.0.1")
    client = open_socket(zmq.PAIR, connect=f"tcp://127.0.0.1:{port}")
    right = TrioSocket(listening)
    with trio.fail_after(10):
        await client.send([b"hello"])
        assert peer((await right.recv(copy=False))[0]) is None
    right.close()
    assert peer(zmq.Frame(b"never sent")) is None


async def test_closing_wakes_whoever_waits(pair):
    left, _right = pair
    n_closed = 0

    async def read():
        nonlocal n_closed
        with pytest.raises(trio.ClosedResourceError):
            await left.recv()
        n_closed += 1

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            left.close()
            left.close()
    assert n_closed == 3
    assert left.closed
    with pytest.raises(trio.ClosedResourceError):
        left.send_nowait([b"late"])
    with pytest.raises(trio.ClosedResourceError):
        await left.send([b"late"])


async def test_receiving_and_sending_are_checkpoints(pair):
    left, right = pair
    with trio.fail_after(10):
        await left.send([b"a"])
        while not right.statistics().received:
            await right.recv()
        for call in (lambda: left.send([b"b"]), right.recv):
            with trio.testing.assert_checkpoints():
                await call()
    with trio.CancelScope() as scope:
        scope.cancel()
        await left.send([b"never"])
    assert scope.cancelled_caught
    assert left.statistics().sent == 2
