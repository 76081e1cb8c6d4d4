"""A connection that breaks and is made anew in the middle of a round costs its client nothing."""

import dataclasses
import time

import pytest

from fedprivacy.errors import PeerError, Reason
from fedprivacy.transport.tls.frames import Kind, ack, first_piece
from fedprivacy.transport.tls.hub import Arrived, Joined, Left
from fedprivacy.transport.tls.session import Outbox
from tlsdrive import LIMITS, Network, Raw, Waits, house


def breaks_while_it_trains(network, drive, name, seconds):
    """Once all others have sent theirs, its connection breaks; it trains on for so long."""
    participant, _ = network.joined[name]
    train, link = participant.train, participant.link

    def training(client):
        while set(drive.server.waiting_for) != {name}:
            time.sleep(0.02)
        link._thread.soon(link._connection.abort)
        time.sleep(seconds)
        return train(client)

    participant.train = training


def test_who_comes_back_and_goes_on_training_is_waited_for(tmp_path):
    """For as long as training may take, though nobody else has anything to say."""
    waits = Waits(phase=20.0, training=20.0, reconnect=1.5)
    with Network(house(5), tmp_path, waits=waits) as network:
        network.join()
        drive = network.attempt()
        breaks_while_it_trains(network, drive, "c001", 2.5)
        outcome = drive.run(network.house.names)
        network.house.assert_exact(outcome)
        assert "c001" in outcome.survivors
        assert any(error.reason is Reason.CHANNEL_CUT for _, error in network.refused)


def test_of_an_older_connection_nothing_more_is_taken(tmp_path):
    """What lay there unread is sent anew over the next one, and taken from that."""
    one_at_a_time = dataclasses.replace(LIMITS, inbound=1, heartbeat=2.0)
    with Network(house(3), tmp_path, limits=one_at_a_time) as network:
        files = network.certificates.of("c000")
        pieces = [first_piece(place, memoryview(bytes([place]) * 8)) for place in (1, 2)]
        with Raw(network, files) as old, Raw(network, files) as new:
            old.hello(b"1" * 16)
            assert old.frame()[0] is Kind.WELCOME
            old.send(b"".join(pieces))
            assert isinstance(network.hub.next(5.0), Joined)
            first = network.hub.next(5.0)
            new.hello(b"1" * 16)
            assert new.frame()[0] is Kind.WELCOME
            network.hub.done(first)
            # The older connection's reader may go on now: the second message lies before it.
            new.send(pieces[1])
            second = network.hub.next(5.0)
            assert isinstance(second, Arrived), second
            assert second.message == b"\x02" * 8
            network.hub.done(second)
            while new.frame() != (Kind.ACK, ack(2)[5:]):
                pass
            assert network.hub.next(0.2) is None
        assert not [e for _, e in network.refused if e.culprits]


def test_a_first_word_that_comes_late_ends_no_session():
    """It was said before anything came, over a connection that was given up since."""
    outbox = Outbox(window=1 << 10)
    for _ in range(3):
        outbox.put(b"message")
        outbox.piece()
    outbox.rewind(0)
    outbox.piece()
    outbox.rewind(3)
    assert outbox.piece() is None
    assert outbox.kept == 0
    with pytest.raises(PeerError):
        outbox.rewind(4)


def test_a_client_that_is_lost_before_its_welcome_is_waited_for_as_any(tmp_path, monkeypatch):
    from fedprivacy.transport.tls.connection import Connection

    write = Connection.write

    async def failing(self, data):
        if data[4] == Kind.WELCOME:
            raise ConnectionResetError
        await write(self, data)

    with Network(house(3), tmp_path) as network:
        monkeypatch.setattr(Connection, "write", failing)
        with Raw(network, network.certificates.of("c000")) as peer:
            peer.hello(b"1" * 16)
            assert isinstance(network.hub.next(5.0), Joined)
            assert network.hub.next(5.0) == Left("c000", b"1" * 16, may_return=True)
        assert time.monotonic() - network.hub.absent["c000"] < 5.0
