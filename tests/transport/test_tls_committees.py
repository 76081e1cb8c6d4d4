"""Rounds over TLS that a committee opens: who speaks as what, who is lost, who is turned away."""

import json
import threading
import time
from contextlib import closing, contextmanager

import pytest

from ceremonies import ceremony, worker
from fedprivacy.errors import ConfigurationError, Reason
from fedprivacy.randomness import InsecureTestRng
from fedprivacy.rounds import RoundServer
from fedprivacy.rounds.run_folder import RunFolder
from fedprivacy.secagg import Adversary
from fedprivacy.transport.tls.attempt import TlsAttempt
from fedprivacy.transport.tls.frames import Role
from fedprivacy.transport.tls.journal import Journal, Step
from fedprivacy.transport.tls.run import NetworkedRun
from rounddrive import RUN_ID, make_plan, make_policy
from tls_server import Silent, Toy
from tlsdrive import Network, Raw, Waits, house

NAMED = 'members = ["m-one", "m-two", "m-three", "m-four"]\ncorrupt = 1'
DRAWN = "size = 4\ncorrupt = 1"
PHASES = ("keys", "input", "opening", "consistency", "unmasking")
LOST_AFTER = [None, "keys", "consistency"]
LOST_AFTER += [pytest.param(phase, marks=pytest.mark.nightly) for phase in ("input", "opening")]


def network(folder, committee=NAMED, clients=4, stores=None):
    plan = make_plan(protocol="oneshot", min_clients=3, committee=committee)
    return Network(house(clients, stores, plan=plan), folder)


def leave(party):
    participant, thread = party
    participant.link.close(flush=0.0)
    thread.join(5.0)


def leaving(net, *gone):
    """What to hear phases with: each of these goes when its phase is over."""
    left = dict(gone)

    def heard(meter):
        if (name := left.get(meter.phase)) is not None:
            leave(net.joined[name])

    return heard


# ---------------------------------------------------------------------- who speaks as what


def test_members_with_processes_of_their_own_open_the_sum(tmp_path):
    with network(tmp_path) as net:
        net.join()
        committee = net.house.committee().members
        for number in (1, 2):
            outcome = net.round(number)
            net.house.assert_exact(outcome)
            assert outcome.survivors == net.house.names
        met = {meter.phase: meter for meter in outcome.phases}
        assert tuple(met) == PHASES
        for phase, meter in met.items():
            assert set(meter.up) == (set(net.house.names) if phase == "input" else set())
            # That a share opens may be said late: in the phase after that of the inputs.
            assert phase == "input" or set(meter.committee_up) == set(committee)
        assert {net.joined[name][0].answered for name in net.house.identities} == {2}
        assert net.hub.members == set(committee)


def test_clients_that_are_drawn_are_members_over_the_same_connection(tmp_path):
    with network(tmp_path, DRAWN, clients=5) as net:
        net.join()
        outcome = net.round()
        net.house.assert_exact(outcome)
        drawn = set(net.house.committee().members)
        assert not net.hub.members
        for name in net.house.names:
            assert net.joined[name][0].answered == 1 + (name in drawn)
        assert set(outcome.phases[0].committee_up) == drawn


def test_a_named_member_may_be_a_client_too(tmp_path):
    committee = 'members = ["c000", "m-two", "m-three", "m-four"]\ncorrupt = 1'
    with network(tmp_path, committee) as net:
        net.join()
        outcome = net.round()
        net.house.assert_exact(outcome)
        assert outcome.survivors == net.house.names
        assert net.joined["c000"][0].answered == 2


@pytest.mark.parametrize("protocol", ["bfv", pytest.param("ckks", marks=pytest.mark.nightly)])
def test_clients_that_share_a_key_decrypt_the_sum(protocol, tmp_path):
    pytest.importorskip("tenseal")
    plan = make_plan(adversary=Adversary.HONEST_BUT_CURIOUS, protocol=protocol, corrupt=0)
    key = ceremony(protocol)
    with Network(house(4, plan=plan), tmp_path, group_key=key) as net:
        net.join()
        parties = net.house
        server = RoundServer(
            parties.round_plan(),
            parties.cohort(),
            None,
            parties.broadcast,
            rng=InsecureTestRng(b"server"),
            pool=worker(),
            admission=key.server_part,
        )
        outcome = TlsAttempt(net.hub, server, net.waits).run(parties.names)
        parties.assert_exact(outcome)
        assert [meter.phase for meter in outcome.phases] == ["input", "decryption"]


# ---------------------------------------------------------------------- who is lost


@pytest.mark.parametrize("phase", LOST_AFTER)
def test_one_member_may_be_lost_after_any_phase_or_never_come(phase, tmp_path):
    with network(tmp_path) as net:
        net.join(*(n for n in net.house.identities if phase or n != "m-two"))
        outcome = net.round(observe=leaving(net, (phase, "m-two")))
        net.house.assert_exact(outcome)
        assert outcome.survivors == net.house.names
        at = 0 if phase is None else PHASES.index(phase) + 1
        # In the phase of the clients nobody waits for a member.
        at += PHASES[at] == "input"
        assert [m.phase for m in outcome.phases if "m-two" in m.lost] == [PHASES[at]]


@pytest.mark.parametrize("phase", LOST_AFTER)
def test_without_enough_members_the_round_ends_with_the_reason(phase, tmp_path):
    with network(tmp_path) as net:
        gone = ("m-two", "m-four")
        net.join(*(n for n in net.house.identities if phase or n not in gone))

        def heard(meter):
            if meter.phase == phase:
                for name in gone:
                    leave(net.joined[name])

        outcome = net.round(observe=heard)
        assert outcome.aggregate is None
        assert outcome.error.reason is Reason.TOO_FEW
        assert "2 answered phase" in outcome.error.detail
        assert "3 are needed" in outcome.error.detail
        # Once a member was shown the survivors it does so no more; before that nothing was told.
        assert outcome.answers_requested is (phase in ("opening", "consistency"))
        assert outcome.unmasking_requested is (phase == "consistency")
        # They come back, and the next round is as any other.
        net.join(*gone, seed=1)
        net.house.assert_exact(net.round(2))


def test_a_member_that_was_started_anew_answers_in_the_next_round(tmp_path):
    with network(tmp_path, stores=tmp_path) as net:
        net.join()

        def heard(meter):
            if meter.phase == "opening":
                leave(net.joined["m-two"])
                net.join("m-two", seed=1)

        outcome = net.round(observe=heard)
        net.house.assert_exact(outcome)
        assert "m-two" in outcome.phases[3].lost
        # The server may ask it again, in this round: its store knows.
        again = net.round(1)
        assert again.aggregate is None
        assert set(again.refused.values()) == {Reason.ROUND_SEEN}
        assert set(net.house.committee().members) <= set(again.refused)
        net.house.assert_exact(net.round(2))


def test_a_member_whose_policy_names_others_declines_and_three_are_enough(tmp_path):
    with network(tmp_path) as net:
        others = '[require.aggregation.committee]\nmembers = ["m-two", "somebody"]'
        net.join(*(n for n in net.house.identities if n != "m-two"))
        net.join("m-two", policy=make_policy(protocol="oneshot", more=others))
        outcome = net.round()
        net.house.assert_exact(outcome)
        assert outcome.refused == {"m-two": Reason.POLICY_COMMITTEE}


def test_nothing_is_kept_for_who_is_lost(tmp_path):
    with network(tmp_path) as net:
        net.waits = Waits(6.0, 6.0, 0.1)
        net.join(*(n for n in net.house.identities if n != "m-two"))
        with Raw(net, net.certificates.of("m-two")) as raw:
            raw.hello(role="member")
            raw.frame()
        while "m-two" in net.hub.connected:
            time.sleep(0.01)
        time.sleep(0.1)
        outcome = net.round()
        net.house.assert_exact(outcome)
        assert "m-two" in outcome.phases[0].lost
        assert net.hub._peers["m-two"].outbox.kept == 0


# ---------------------------------------------------------------------- who is turned away


def test_only_who_is_named_connects_as_a_member(tmp_path):
    with network(tmp_path) as net:
        net.join("m-one")  # the honest twin
        link = net.link("c000", role=Role.MEMBER)
        link.start()
        assert link.next(5.0).error.reason is Reason.UNEXPECTED
        link.close()
        assert "c000 connects as a member" in net.refused[-1][1].detail


def test_a_session_keeps_its_role(tmp_path):
    with network(tmp_path) as net:
        files = net.certificates.of("m-one")
        with Raw(net, files) as raw:
            raw.hello(role="member")
            raw.frame()
        with Raw(net, files) as raw:
            raw.hello(role="client")
            assert raw.closed() is Reason.UNEXPECTED
        assert net.hub.members == {"m-one"}


# ---------------------------------------------------------------------- before the first round


def test_a_run_waits_for_its_committee_and_says_who_is_missing(tmp_path):
    with network(tmp_path) as net, run_over(net, tmp_path) as run:
        net.join(*net.house.names, "m-two", "m-four")
        with pytest.raises(ConfigurationError) as caught:
            run.gather(4, 0.2)
        assert str(caught.value) == (
            "m-one, m-three of the committee's 4 members are not connected after 0.2 seconds, and "
            "3 open a sum: start them, or raise server.times.gather"
        )
        # A member counts as no client.
        assert run.journal.past.clients == net.house.names
        threading.Timer(0.3, lambda: net.join("m-one", wait=False)).start()
        run.gather(4, 2.0)
        record = run.run()
        assert record.rounds[0].outcome == "sum"
        assert '"m-three"' not in run.journal.path.read_text("utf-8")


def test_a_sample_is_drawn_of_those_who_are_there(tmp_path):
    with network(tmp_path, DRAWN, clients=5) as net, run_over(net, tmp_path) as run:
        net.join()
        run.gather(5, 5.0)
        leave(net.joined["c002"])
        while "c002" in net.hub.connected:
            time.sleep(0.01)
        (attempt,) = run.run().rounds[0].attempts
        assert attempt.survivors == ("c000", "c001", "c003", "c004")
        steps = map(json.loads, run.journal.path.read_text("utf-8").splitlines())
        (seated,) = (step["clients"] for step in steps if step.get("phase") == "keys")
        assert set(seated) == {"c000", "c001", "c003", "c004"}


@contextmanager
def run_over(net, folder):
    """A run of one round over a network's hub."""
    parties = net.house
    with closing(Journal.open(folder)) as journal:
        journal.write(Step("run", run=RUN_ID.hex()))
        known = parties.plan, Toy(), parties.directory, net.hub, journal, RunFolder(folder)
        run = NetworkedRun(*known, net.waits, 1, InsecureTestRng(b"run"), Silent())
        run.recover()
        yield run
