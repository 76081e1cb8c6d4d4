"""Who trains for long is waited for; who is gone, or deals with nothing, holds up nobody."""

import dataclasses
import errno
import threading
import time

import pytest

from fedprivacy.errors import ConfigurationError, Reason
from fedprivacy.transport.tls.frames import Kind, ack, frame
from fedprivacy.transport.tls.hub import Broke
from tlsdrive import LIMITS, LINK, Network, Raw, Waits, house, wait_until

LONG = 60.0
"""Seconds that nobody here waits for: a send that does is one that is held up."""
TIGHT = dataclasses.replace(LIMITS, outbound=1000, heartbeat=5.0)


# ---------------------------------------------------------------------- training


def training_with(network, before):
    """Have each client call this before it trains."""
    for participant, _ in network.joined.values():

        def trains(client, train=participant.train):
            before()
            return train(client)

        participant.train = trains


def test_keys_and_shares_are_agreed_on_while_clients_train(tmp_path):
    with Network(house(4), tmp_path, waits=Waits(20.0, 20.0, 5.0)) as network:
        network.join()
        shared, waited = threading.Event(), []
        training_with(network, lambda: waited.append(shared.wait(15.0)))

        def heard(meter):
            if meter.phase == "shares":
                shared.set()

        network.house.assert_exact(network.round(observe=heard))
        assert waited == [True] * 4


def test_no_invitation_waits_for_the_training_of_others(tmp_path):
    """Not even where more is on its way than may be: whoever trains has dealt with its own."""
    with Network(house(4), tmp_path, limits=TIGHT, waits=Waits(20.0, 20.0, 5.0)) as network:
        network.join()
        together = threading.Barrier(4)
        training_with(network, lambda: together.wait(15.0))
        network.house.assert_exact(network.round())
        assert not together.broken


def test_a_later_attempt_has_a_training_of_its_own(tmp_path):
    with Network(house(4), tmp_path, waits=Waits(20.0, 20.0, 5.0)) as network:
        network.join()
        rounds, ended = [], threading.Event()
        slow, _ = network.joined["c000"]

        def trains(client, train=slow.train):
            rounds.append(client.round_plan.round)
            if client.round_plan.round == 1:
                assert ended.wait(30.0)
            return train(client)

        slow.train = trains
        network.waits = Waits(20.0, 0.5, 5.0)
        first = network.round()
        network.house.assert_exact(first)
        assert "c000" not in first.survivors
        network.waits = Waits(20.0, 20.0, 5.0)
        second = []
        running = threading.Thread(target=lambda: second.append(network.round(2)))
        running.start()
        ended.set()
        running.join(40.0)
        network.house.assert_exact(second[0])
        assert "c000" in second[0].survivors
        assert rounds == [1, 2]


# ---------------------------------------------------------------------- what is kept for others


def greeted(network, name, session):
    peer = Raw(network, network.certificates.of(name))
    peer.hello(session)
    assert peer.frame()[0] is Kind.WELCOME
    return peer


def test_what_the_gone_did_not_take_holds_up_nobody(tmp_path):
    with Network(house(3), tmp_path, limits=TIGHT) as network:
        gone, here = greeted(network, "c000", b"1" * 16), greeted(network, "c001", b"2" * 16)
        network.hub.send("c000", bytes(5000), timeout=LONG)
        gone.socket.close()
        wait_until(lambda: "c000" not in network.hub.connected)
        began = time.monotonic()
        network.hub.send("c001", b"to one who is there", timeout=LONG)
        assert time.monotonic() - began < LONG / 2
        here.socket.close()


def test_who_deals_with_nothing_holds_up_others_once_and_then_no_more(tmp_path):
    with Network(house(3), tmp_path, limits=TIGHT) as network:
        deaf, here = greeted(network, "c000", b"1" * 16), greeted(network, "c001", b"2" * 16)
        network.hub.send("c000", bytes(5000), timeout=LONG)
        time.sleep(0.3)
        began = time.monotonic()
        for _ in range(240):  # a minute, would each of them wait
            network.hub.send("c001", bytes(4), timeout=0.25)
        assert time.monotonic() - began < LONG / 2
        assert network.hub._outgoing(0.25) < 5000 <= network.hub._outgoing(LONG)
        for peer in (deaf, here):
            peer.socket.close()


def test_the_session_of_who_deals_with_nothing_ends(tmp_path):
    with Network(house(3), tmp_path) as network:
        deaf, here = greeted(network, "c000", b"1" * 16), greeted(network, "c001", b"2" * 16)
        for name in ("c000", "c001"):
            network.hub.send(name, b"a message", timeout=LONG)
        here.frame()
        here.send(ack(1))
        wait_until(lambda: network.hub._peers["c001"].outbox.kept == 0)
        network.hub.let_go(unheard=0.0, absent=LONG)
        assert network.hub._peers["c000"].outbox.kept == 0
        wait_until(lambda: "c000" not in network.hub.connected)
        assert network.hub.connected == {"c001"}
        network.hub.send("c000", b"kept for nobody", timeout=LONG)
        assert network.hub._peers["c000"].outbox.kept == 0
        with Raw(network, network.certificates.of("c000")) as again:
            again.hello(b"1" * 16)
            assert again.closed() is Reason.DUPLICATE
        greeted(network, "c000", b"3" * 16).socket.close()
        for peer in (deaf, here):
            peer.socket.close()


def test_a_client_that_was_away_for_long_comes_back_for_the_next_round(tmp_path):
    with Network(house(4), tmp_path, waits=Waits(20.0, 20.0, 0.0)) as network:
        network.join()
        away, _ = network.joined["c000"]
        port, away.link._port = away.link._port, 1  # where nobody listens
        network.hub._thread.soon(network.hub._peers["c000"].connection.abort)
        wait_until(lambda: "c000" not in network.hub.connected)
        first = network.round()
        network.house.assert_exact(first)
        assert "c000" not in first.survivors
        assert network.hub._peers["c000"].outbox.kept == 0
        away.link._port = port
        network.wait_for({"c000"})
        second = network.round(2)
        network.house.assert_exact(second)
        assert set(second.survivors) == set(network.house.names)


def test_a_session_that_broke_is_not_taken_up_while_its_connection_closes(tmp_path):
    """The peer sends what no honest one sends, and has another connection go on at once."""
    with Network(house(3), tmp_path) as network:
        liar, more = (
            greeted(network, "c000", b"1" * 16),
            Raw(network, network.certificates.of("c000")),
        )
        liar.send(frame(Kind.WELCOME, b""))
        wait_until(lambda: network.refused)
        with more:
            more.hello(b"1" * 16)
            assert more.closed() is Reason.DUPLICATE
        liar.socket.close()
        wait_until(lambda: not network.hub.connected)
        assert not network.hub._peers
        events = [event for _ in range(4) if (event := network.hub.next(0.1))]
        assert sum(isinstance(event, Broke) for event in events) == 1


# ---------------------------------------------------------------------- a machine's own faults


def test_a_client_outlasts_files_that_are_being_replaced(tmp_path):
    with Network(house(3), tmp_path) as network:
        network.join("c000")
        files = network.certificates.of("c000")
        good = files.certificate.read_bytes()
        files.certificate.write_bytes(network.certificates.of("c001").certificate.read_bytes())
        network.hub._thread.soon(network.hub._peers["c000"].connection.abort)
        wait_until(lambda: "c000" not in network.hub.connected)
        time.sleep(0.3)
        files.certificate.write_bytes(good)
        network.wait_for({"c000"})


def test_it_ends_with_what_is_wrong_with_them_once_its_patience_does(tmp_path):
    impatient = dataclasses.replace(LINK, patience=0.3)
    with Network(house(3), tmp_path, link_limits=impatient) as network:
        link = network.link("c000")
        link.start()
        assert link.connect()
        network.certificates.of("c000").key.write_bytes(b"no key\n")
        network.hub._thread.soon(network.hub._peers["c000"].connection.abort)
        ended = link.next(20.0)
        assert isinstance(ended.error, ConfigurationError)
        link.close()


def test_a_server_says_that_its_own_files_will_not_do(tmp_path):
    with Network(house(3), tmp_path) as network:
        files = network.certificates.of("server")
        good = files.certificate.read_bytes()
        files.certificate.write_bytes(b"no certificate\n")
        with pytest.raises(OSError):  # noqa: PT011 - whichever way the handshake ends
            Raw(network, network.certificates.of("c000"))
        wait_until(lambda: network.refused)
        assert "this side's own files" in network.refused[-1][1].detail
        files.certificate.write_bytes(good)
        greeted(network, "c000", b"1" * 16).socket.close()


@pytest.mark.parametrize("code", [errno.EPROTO, errno.ENOBUFS, errno.EMFILE])
def test_a_connection_that_cannot_be_taken_ends_no_others(code, tmp_path, monkeypatch):
    with Network(house(4), tmp_path) as network:
        loop, left = network.hub._thread.loop, [code, code]
        accept = loop.sock_accept

        async def failing(listener):
            if left:
                taken, _ = await accept(listener)
                taken.close()
                raise OSError(left.pop(), "as the machine says")
            return await accept(listener)

        monkeypatch.setattr(loop, "sock_accept", failing)
        network.join()
        assert not left
        network.house.assert_exact(network.round())
