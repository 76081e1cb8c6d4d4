"""A round's client may leave memory between any two messages; each sealed state is good once."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fedprivacy.secagg.masking.client as client_module
from fedprivacy.crypto import Identity
from fedprivacy.errors import BudgetExhausted, ConfigurationError, PeerError, PolicyRefused, Reason
from fedprivacy.ledger import ClientStore
from fedprivacy.ledger import suspended as suspended_module
from fedprivacy.randomness import InsecureTestRng, SystemRng
from fedprivacy.rounds import Refusal, RoundClient
from fedprivacy.secagg import SERVER
from fedprivacy.secagg.masking import ClientPhase
from fedprivacy.wire import Transcript, decode
from hostile import mutations, noise
from rounddrive import (
    house_of,
    make_budget,
    make_noise,
    make_policy,
    noisy_house,
)
from secretscan import RecordingRng, Scanner
from sleepers import HOLDING, Sleeper, moments, resumed
from sumdrive import CURIOUS, MALICIOUS, MASKED, PLUS_CURIOUS, SETTINGS

EXAMPLES = settings.default.max_examples
ME = "c001"


def run(house, naps, attempt=1, **hooks):
    """What came of an attempt in which each client sleeps at `naps(name)`; its clients."""
    clients = {n: Sleeper(house, n, 1, attempt, naps(n)) for n in house.names}
    return house.drive(1, attempt, clients, **hooks).run(), clients


def losing(name, setting, count):
    """A channel on which this client is gone after so many phases."""
    gone = setting.phases[count:]
    return lambda d: () if (d.client == name and d.phase in gone) else (d,)


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_everybody_sleeps_between_any_two_messages_and_says_the_same(setting, lost):
    said = []
    for naps in (moments(setting), ()):
        passed = Transcript()
        hooks = {"channel": losing("c003", setting, len(setting.phases) - 1)} if lost else {}
        with house_of(setting, min_clients=3) as house:
            outcome, clients = run(house, lambda _, naps=naps: naps, transcript=passed, **hooks)
            house.assert_exact(outcome)
            assert not outcome.failed
            assert not outcome.excluded
            assert set(clients[ME].blobs) == set(naps)
        said.append([(e.sender, e.recipient, e.phase, e.message) for e in passed.entries])
    assert said[0] == said[1]


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
@given(data=st.data())
@settings(max_examples=EXAMPLES // 20)
def test_any_of_them_sleep_at_any_moments(setting, data):
    some = st.sets(st.sampled_from(moments(setting)))
    with house_of(setting, seed=data.draw(st.integers(0, 1000), label="seed")) as house:
        naps = {name: data.draw(some, label=name) for name in house.names}
        outcome, clients = run(house, naps.get)
        house.assert_exact(outcome)
        assert outcome.survivors == house.names
        assert {name: set(c.blobs) for name, c in clients.items()} == naps


@pytest.mark.parametrize("trust", ["distributed", "client"])
def test_noise_is_drawn_by_the_process_that_is_awake(trust):
    with noisy_house(noise=make_noise(trust=trust)) as house:
        outcome, _ = run(house, lambda _: moments(MALICIOUS))
        assert outcome.survivors == house.names
        assert outcome.aggregate.sum.tolist() != house.exact(house.names).tolist()


# ---------------------------------------------------------------------- each state once


class Lost(Exception):
    """The process died."""


def asleep(house, moment="sent", attempt=1):
    """A round that is under way, and the sealed state of one of its clients, asleep."""
    kept = Sleeper(house, ME, 1, attempt, naps=(moment,))
    clients = {n: house.client(n, 1, attempt) for n in house.names} | {ME: kept}

    def lose(found):
        raise Lost

    kept.on_wake = lose
    kept.wake = lambda: (_ for _ in ()).throw(Lost) if kept._asleep else None
    with pytest.raises(Lost):
        house.drive(1, attempt, clients).run()
    return kept.blobs[moment]


def refused(call, *arguments, **named):
    with pytest.raises(PeerError) as caught:
        call(*arguments, **named)
    assert caught.value.reason is Reason.SEALED_STATE
    assert not caught.value.culprits
    return str(caught.value)


def where(client):
    return client._party.phase.value


@pytest.mark.parametrize("moment", moments(MALICIOUS))
def test_a_state_is_resumed_once(moment):
    with house_of(MALICIOUS) as house:
        sealed = asleep(house, moment)
        assert where(resumed(house, ME, sealed)) == moment
        for _ in range(2):
            assert "it was resumed, or is not from here" in refused(resumed, house, ME, sealed)


def test_an_older_state_is_not_resumed():
    with house_of(MALICIOUS) as house:
        first = asleep(house)
        client = resumed(house, ME, first)
        client._rng = SystemRng()
        second = client.suspend()
        refused(resumed, house, ME, first)
        assert where(resumed(house, ME, second)) == "sent"
        refused(resumed, house, ME, first)


def test_equal_states_are_sealed_apart_even_by_the_same_randomness():
    """A state that is not the same has another key; one that is the same may look the same."""
    with house_of(MALICIOUS) as house:
        sealed = asleep(house)
        again = resumed(house, ME, sealed).suspend()
        assert again == sealed
        client = resumed(house, ME, again)
        client._rng = SystemRng()
        assert client.suspend() != sealed
    with house_of(MALICIOUS) as house, house_of(MALICIOUS, seed=2) as other:
        rng, keys = InsecureTestRng(1), []
        for each in (house, other):
            client = resumed(each, ME, asleep(each))
            client._rng = rng
            client.suspend()
            with each.stores[ME]._file.reading() as connection:
                keys += connection.exec_driver_sql("SELECT key FROM suspended").scalars()
        assert keys[0] != keys[1]


@pytest.mark.parametrize("moment", ["keys", "consistency"])
def test_a_state_of_another_store_or_client_is_refused_and_stays_good(moment):
    with house_of(MALICIOUS) as house, ClientStore(":memory:") as empty:
        sealed = asleep(house, moment)
        refused(resumed, house, ME, sealed, store=empty)
        for other in ("c000", "c002"):
            refused(resumed, house, other, sealed)
            said = refused(resumed, house, other, sealed, store=house.stores[ME])
            assert said.endswith(f"it is not a state of {other} and its key")
        mine = house.identities[ME]
        try:
            house.identities[ME] = Identity.new(ME, rng=house.rng)
            refused(resumed, house, ME, sealed)
        finally:
            house.identities[ME] = mine
        assert where(resumed(house, ME, sealed)) == moment


def test_a_state_that_was_changed_is_refused_and_the_true_one_stays_good():
    with house_of(CURIOUS) as house:
        sealed = asleep(house)
        changed = [b"", b"\x90", sealed + b"\0", sealed[1:], sealed * 2, bytes(len(sealed))]
        changed += [sealed[:end] for end in range(0, len(sealed), 97)]
        for at in range(0, len(sealed), 31):
            changed.append(sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :])
        for bad in changed:
            refused(resumed, house, ME, bad)
        assert where(resumed(house, ME, sealed)) == "sent"


@given(data=st.data())
@settings.get_profile("fuzz")
def test_whatever_comes_in_its_place_raises_peer_error_alone(data):
    house, sealed = _kept_asleep()
    bad = data.draw(st.one_of(mutations(sealed), noise))
    if bad != sealed:
        refused(resumed, house, ME, bad)


def _kept_asleep(found=[]):  # noqa: B006 - one house for all examples: nothing in it changes
    if not found:
        house = house_of(MALICIOUS)
        found += [house, asleep(house)]
    return found


def test_a_state_of_another_version_is_refused(monkeypatch):
    with house_of(CURIOUS) as house:
        with monkeypatch.context() as patch:
            patch.setattr(suspended_module, "_VERSION", 2)
            sealed = asleep(house)
        assert "of version 2 where 1 is resumed" in refused(resumed, house, ME, sealed)
        # Nor does it pass for one of this version.
        forged = msgspec.msgpack.decode(sealed)
        forged[1] = 1
        refused(resumed, house, ME, msgspec.msgpack.encode(forged))


@pytest.mark.parametrize(("number", "attempt"), [(1, 2), (2, 1)])
def test_whoever_slept_through_a_later_attempt_is_out(number, attempt):
    with house_of(MALICIOUS) as house:
        sealed = asleep(house)
        begin(house, number, attempt)
        refused(resumed, house, ME, sealed)


@pytest.mark.parametrize(("number", "attempt"), [(1, 2), (2, 1)])
def test_nor_does_one_go_on_who_fell_asleep_after_a_later_attempt_was_begun(number, attempt):
    with house_of(MALICIOUS) as house:
        client = resumed(house, ME, asleep(house))
        begin(house, number, attempt)
        sealed = client.suspend()
        assert "later attempt was begun since" in refused(resumed, house, ME, sealed)


def begin(house, number, attempt):
    plan = house.round_plan(number, attempt)
    begun = plan.run_id, plan.round, plan.attempt, plan.round_id, plan.broadcast
    house.stores[ME].begin(*begun, terms=plan.terms)


@pytest.mark.parametrize("setting", MASKED, ids=str)
@pytest.mark.parametrize("at", [0, -1])
def test_a_process_that_dies_awake_is_a_client_lost(setting, at):
    """Its state is used up; the round goes on without it, or with its input, as with any loss."""
    moment = moments(setting)[at]
    with house_of(setting, min_clients=3) as house:
        clients = {n: Sleeper(house, n, naps=moments(setting)) for n in house.names}
        dead = clients[ME]

        def die(found):
            if found == moment:
                raise ConfigurationError("the process died")

        dead.on_wake = die
        outcome = house.drive(clients=clients).run()
        assert (ME in outcome.survivors) == (moment not in {"keys", "shares", HOLDING})
        house.assert_exact(outcome)
        refused(resumed, house, ME, dead.blobs[moment])


def test_a_store_that_was_put_back_resumes_nothing(tmp_path):
    (tmp_path / "client").mkdir()
    place = tmp_path / "client" / "store.sqlite", tmp_path / "anchor" / "me.json"

    def store_at(name):
        return ClientStore(*place[:1], anchor=place[1]) if name == ME else ClientStore(":memory:")

    with house_of(MALICIOUS, store_at=store_at) as house:
        sealed = asleep(house)
        before = place[0].read_bytes()
        resumed(house, ME, sealed)
        house.stores[ME].close()
        place[0].write_bytes(before)
        with pytest.raises(PolicyRefused) as caught:
            resumed(house, ME, sealed)
        assert caught.value.reason is Reason.STORE_ROLLED_BACK


# ---------------------------------------------------------------------- when it may sleep


def unable(client, said):
    before = client.has_left
    with pytest.raises(ConfigurationError, match=said):
        client.suspend()
    assert client.has_left is before


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_nobody_sleeps_before_an_invitation_or_after_the_end(setting):
    with house_of(setting) as house:
        drive = house.drive()
        client = drive._clients[ME]
        unable(client, "nothing to suspend yet: accept a plan first")
        assert drive.run().survivors == house.names
        unable(client, "has ended|in phase ended")


@pytest.mark.parametrize("setting", MASKED, ids=str)
def test_nobody_sleeps_on_a_vector_and_asking_costs_nothing(setting):
    asked = []

    def ask(delivery):
        client = house_clients[ME]
        waits = client.round_plan is not None and client._party._source is not None
        if delivery.recipient == ME and waits and not client.has_left:
            unable(client, "a contributed vector waits for its time")
            asked.append(delivery.phase)
        return (delivery,)

    with house_of(setting) as house:
        drive = house.drive(channel=ask)
        house_clients = drive._clients
        outcome = drive.run()
        assert asked
        house.assert_exact(outcome)
        assert outcome.survivors == house.names


def test_nobody_sleeps_with_a_message_half_taken():
    with house_of(MALICIOUS) as house:
        message = []
        drive = house.drive(channel=lambda d: message.append(d) or (d,))
        drive.run()
        invitation = next(d.message for d in message if d.recipient == ME)
    with house_of(MALICIOUS) as house:
        client = house.client(ME)
        effects = client.receive(SERVER, invitation)
        next(effects)
        unable(client, "a message is still being taken")
        list(effects)
        assert where(resumed(house, ME, client.suspend())) == "keys"


def test_whoever_left_or_sleeps_is_dead():
    with house_of(MALICIOUS) as house:
        client = house.client(ME)
        with pytest.raises(PeerError):
            list(client.receive(SERVER, b"\x90"))
        unable(client, "has left")
        client = resumed(house, ME, asleep(house))
        client.suspend()
        assert client.has_left
        assert client._party.phase is ClientPhase.FAILED
        assert not any(client._party._secrets._rand)
        unable(client, "has left")
        with pytest.raises(PeerError) as caught:
            list(client.receive(SERVER, b"\x90"))
        assert caught.value.reason is Reason.UNEXPECTED


def test_a_client_sleeps_with_the_store_that_it_took_part_with():
    with house_of(MALICIOUS) as house, ClientStore(":memory:") as other:
        client = resumed(house, ME, asleep(house))
        client._store = other
        with pytest.raises(ConfigurationError, match=r"^round 1, attempt 1 was not begun in this"):
            client.suspend()
        assert client.has_left


# ---------------------------------------------------------------------- what is in it


def test_the_broadcast_and_the_directory_are_not_in_the_state():
    sizes = []
    for broadcast in (b"weights", bytes(range(256)) * 4096):
        with house_of(MALICIOUS) as house:
            house.broadcast = broadcast
            _, clients = run(house, lambda _: moments(MALICIOUS))
            sizes.append({m: len(blob) for m, blob in clients[ME].blobs.items()})
            assert clients[ME].client.broadcast == b""
    assert sizes[0] == sizes[1]
    assert max(sizes[0].values()) < 2500


@pytest.mark.parametrize("setting", [MALICIOUS, PLUS_CURIOUS], ids=str)
def test_a_sealed_state_grows_with_the_neighbours_alone(setting):
    sizes = []
    for clients in (16, 20, 28):
        rules = {"corrupt": 0, "min_clients": 3} | ({"degree": 8} if setting.sparse else {})
        with house_of(setting, clients=clients, **rules) as house:
            naps = {ME: moments(setting)}
            _, found = run(house, lambda n, naps=naps: naps.get(n, ()))
            sizes.append({m: len(blob) for m, blob in found[ME].blobs.items()})
    few, more, most = sizes
    assert few.keys() == most.keys() == set(moments(setting))
    for moment in few:
        steps = more[moment] - few[moment], most[moment] - more[moment]
        # The plan inside has the cohort's size, the place a proof of it.
        assert abs(steps[1] - 2 * steps[0]) <= 2 * 34 + 2
        assert steps[0] <= (40 if setting.sparse or moment == "keys" else 4 * 165 + 40)


@pytest.fixture
def derived(monkeypatch):
    """Every seed of a mask, channel and share, as they come into being."""
    secrets = {}

    def listen(name, parts):
        original = getattr(client_module, name)

        def listened(*args, **named):
            result = original(*args, **named)
            for part in parts(result, args):
                secrets[f"{name} {len(secrets)}"] = part
            return result

        monkeypatch.setattr(client_module, name, listened)

    listen("self_seed", lambda seed, _: [seed])
    listen("pairwise_seed", lambda seed, _: [seed])
    listen("open_box", lambda held, args: [*held.shares, *held.salts, args[2]])
    return secrets


class Watched(Sleeper):
    """Notes all that lies about while it sleeps, and the key that it sleeps under."""

    def sleep(self):
        super().sleep()
        if self._asleep:
            with self.house.stores[self.name]._file.reading() as connection:
                (key,) = connection.exec_driver_sql("SELECT key FROM suspended").scalars()
            files = [path.read_bytes() for path in self.files()]
            assert sum(key in data for data in files) == 1
            assert key not in self.blobs[self._asleep]
            self.keys[f"key {self._asleep}"] = key
            self.seen += [self.blobs[self._asleep], *files]


@pytest.mark.parametrize("setting", MASKED, ids=str)
def test_no_secret_stands_in_a_sealed_state_or_in_the_store(setting, derived, tmp_path):
    """But the key of the state that sleeps, in the store alone, and there until it is resumed."""
    (tmp_path / "stores").mkdir()
    given = RecordingRng()

    def store_at(name):
        if name != ME:
            return ClientStore(":memory:")
        return ClientStore(tmp_path / "stores" / name, anchor=tmp_path / "anchors" / name)

    with house_of(setting, store_at=store_at) as house:
        house.rng = Mixed(house.rng, given)
        clients = {n: Sleeper(house, n, naps=moments(setting)) for n in house.names}
        watched = clients[ME] = Watched(house, ME, naps=moments(setting))
        watched.files = lambda: [path for path in tmp_path.rglob("*") if path.is_file()]
        watched.keys, watched.seen = {}, []
        outcome = house.drive(clients=clients).run()
        house.assert_exact(outcome)
        left = [path.read_bytes() for path in watched.files()]
    secrets = {**derived, "identity": house.identities[ME].key._key.private_bytes_raw()}
    for purpose, pieces in given.given.items():
        drawn = b"".join(pieces)
        secrets |= {f"{purpose} {at}": drawn[at : at + 32] for at in range(0, len(drawn), 32)}
    assert len(given.given) >= 2 * len(house.names)
    assert len(derived) > 3 * len(house.names)
    scanner = Scanner(secrets)
    assert all(scanner.find(data) == [] for data in watched.seen)
    # Of all keys none is left.
    assert len(watched.keys) == len(moments(setting))
    assert all(Scanner(watched.keys).find(data) == [] for data in left)


class Mixed:
    """A house's source, whose clients draw from one that remembers."""

    def __init__(self, own, given):
        self.own, self.given = own, given

    def bytes(self, count):
        return self.own.bytes(count)

    def child(self, purpose):
        return (self.given if purpose.startswith("client/") else self.own).child(purpose)


# ---------------------------------------------------------------------- what has changed meanwhile


def budgeted(epsilon):
    return make_policy(more=make_budget(epsilon))


def test_the_budget_is_asked_when_the_input_leaves_whatever_was_held_before_sleep():
    """Other rounds of this client's data were charged while it slept: the input stays here."""
    for others in (0, 3):
        with noisy_house(policy=budgeted(1.8)) as house:
            sealed = asleep(house, HOLDING)
            client = resumed(house, ME, sealed)
            charge = client._charge(client.round_plan)
            for i in range(others):
                key = bytes([i]) * 16, 1, 1
                try:
                    house.stores[ME].mark_spent(*key, charge=charge)
                except BudgetExhausted:
                    break
            client = resumed(house, ME, client.suspend())
            effects = client.contribute(house.update(ME))
            if not others:
                assert len(list(effects)) == 2
                continue
            sent = []
            with pytest.raises(BudgetExhausted):
                sent.extend(effects)
            (left,) = sent
            assert decode(Refusal, left.message, limit=100).reason == Reason.BUDGET.value
            assert client.has_left


def test_a_budget_that_was_lowered_while_it_slept_is_the_one_that_counts():
    with noisy_house(policy=budgeted(5.0)) as house:
        sealed = asleep(house, HOLDING)
        house.policy = budgeted(0.01)
        client = resumed(house, ME, sealed)
        with pytest.raises(BudgetExhausted):
            list(client.contribute(house.update(ME)))


def test_a_floor_that_was_raised_while_it_slept_is_the_one_that_counts():
    with house_of(MALICIOUS) as house:
        client = Sleeper(house, ME, naps=("sent",))
        clients = {n: house.client(n) for n in house.names} | {ME: client}

        def lose(delivery):
            gone = delivery.client == "c004" and delivery.phase == "input"
            return () if gone else (delivery,)

        def raise_floor(name):
            house.policy = make_policy(floor=5)

        original = client.sleep

        def sleep():
            original()
            if client._asleep:
                raise_floor(ME)

        client.sleep = sleep
        outcome = house.drive(clients=clients, channel=lose).run()
        assert outcome.failed[ME].reason is Reason.SURVIVORS_FEW


def test_an_encoding_draws_from_the_process_that_is_awake():
    with house_of(MALICIOUS) as house:
        sealed = asleep(house, HOLDING)
        given = RecordingRng()
        client = RoundClient.resume(
            sealed, house.policy, house.identities[ME], house.stores[ME], rng=given
        )
        list(client.contribute(house.update(ME)))
        assert set(given.given) == {"/encoding"}
