"""A recorded session of a client, with frames changed, repeated, left out and swapped.

Whatever is sent, the server notes a peer's error and nothing else, no task is left behind, and the
round of the others ends in their exact sum.
"""

import asyncio
import random

import pytest

from fedprivacy.errors import PeerError
from fedprivacy.transport.tls.frames import FRAME_LIMIT, HEAD_BYTES, Kind, body_size
from rounddrive import make_plan
from tlsdrive import Network, Raw, Waits, house

FEW, MANY = 16, 600
LIAR = "c000"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """The frames that a client sends in one round."""
    from fedprivacy.transport.tls.connection import Connection

    frames, write = [], Connection.write

    async def listening(self, data):
        frames.append(data)
        await write(self, data)

    with (
        pytest.MonkeyPatch.context() as patch,
        Network(
            house(1 + 3, plan=make_plan(min_clients=3)), tmp_path_factory.mktemp("recorded")
        ) as network,
    ):
        for name in network.house.names[1:]:
            network.join(name)
        patch.setattr(Connection, "write", listening)
        network.join(LIAR)
        network.house.assert_exact(network.round())
    # The others' and the server's frames are among them: all are frames that somebody sends.
    kinds = {body_size(data[:HEAD_BYTES], limit=FRAME_LIMIT)[0] for data in frames}
    assert kinds >= {Kind.HELLO, Kind.MESSAGE, Kind.ACK}
    return [data for data in frames if data[4] != Kind.WELCOME]


def changed(frames, draw):
    """Some of the session, not as it was."""
    hello = next(data for data in frames if data[4] == Kind.HELLO)
    # Of a session of its own, so that what follows is read.
    session = hello.replace(hello[-17:-1], draw.randbytes(16))
    some = [session, *draw.sample(frames, min(len(frames), 6))]
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(len(some))
        data = bytearray(some[at])
        match draw.randrange(5):
            case 0:
                data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
            case 1:
                some.insert(at, bytes(data))
            case 2 if len(some) > 1:
                del some[at]
                continue
            case 3:
                data = data[: draw.randrange(len(data))]
            case _:
                other = draw.randrange(len(some))
                some[at], some[other] = some[other], some[at]
                continue
        some[at] = bytes(data)
    return some


def fuzz(recorded, network, seeds):
    files = network.certificates.of(LIAR)
    loop = network.hub._thread.loop
    strange = []
    loop.call_soon_threadsafe(loop.set_exception_handler, lambda _, what: strange.append(what))
    for seed in seeds:
        try:
            with Raw(network, files) as peer:
                for data in changed(recorded, random.Random(seed)):
                    peer.send(data)
                peer.socket.settimeout(0.03)
                while True:
                    peer.frame()
        except (OSError, EOFError, ValueError):
            pass  # cut off, or silent
    outcome = network.round(members=network.house.names[1:])
    network.house.assert_exact(outcome)
    assert set(outcome.survivors) == set(network.house.names[1:])
    assert all(isinstance(error, PeerError) for _, error in network.refused)
    assert len({error.reason for _, error in network.refused}) > 2
    assert not strange
    connected = len(network.hub.connected)
    assert tasks(loop) <= 3 * connected + 8
    assert network.hub._held == 0


def tasks(loop):
    async def count():
        await asyncio.sleep(0.3)
        return len(asyncio.all_tasks())

    return asyncio.run_coroutine_threadsafe(count(), loop).result(5.0)


def play(recorded, folder, seeds):
    plan = make_plan(min_clients=3)
    with Network(house(4, plan=plan), folder, waits=Waits(3.0, 3.0, 0.5)) as network:
        network.join(*network.house.names[1:])
        fuzz(recorded, network, seeds)


def test_changed_sessions_end_in_a_peers_error_and_touch_nobody_else(recorded, tmp_path):
    play(recorded, tmp_path, range(FEW))


@pytest.mark.nightly
def test_so_do_many(recorded, tmp_path):
    play(recorded, tmp_path, range(1000, 1000 + MANY))
