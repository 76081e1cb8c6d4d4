"""A client of a round against a server that may send anything.

Only `PeerError` and `PolicyRefused` come out, after a `Refusal` that says why; then the client is
dead, its secrets gone, and its store as if nothing more had happened.
"""

import functools

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedprivacy.errors import FedPrivacyError, PeerError, PolicyRefused, Reason
from fedprivacy.ledger import ClientStore
from fedprivacy.rounds import Envelope, Invitation, Refusal, RoundClient, RoundPlan
from fedprivacy.secagg import SERVER, Send
from fedprivacy.secagg.masking import ClientPhase
from fedprivacy.vector import Update
from fedprivacy.wire import Transcript, decode, encode
from honest import bodies, messages
from hostile import INF, NAN, fuzz, mutations, noise
from rounddrive import RUN_ID, house_of
from sumdrive import CURIOUS, MALICIOUS, MASKED, PLUS_SEMI

ME = "c001"
ANY = 1 << 30


@functools.cache
def recorded(setting):
    """An honest round: the consortium, and what the server sent to this client and to others."""
    passed = Transcript()
    consortium = house_of(setting)
    with consortium:
        outcome = consortium.drive(transcript=passed).run()
        consortium.assert_exact(outcome)
    sent = [e for e in passed.entries if e.sender == SERVER]
    mine = [e.message for e in sent if e.recipient == ME]
    return consortium, mine, [e.message for e in sent]


class Watched:
    """A client after the first messages of an honest round, with a store of its own."""

    def __init__(self, setting, stage):
        self.consortium, self.asked, _ = recorded(setting)
        self.store = ClientStore(":memory:")
        if self.consortium.directory is not None:
            self.store.pin_authority(AUTHORITY[setting])
        rng = self.consortium.rng.child(f"client/{ME}/1/1")
        policy, identity = self.consortium.policy, self.consortium.identities[ME]
        self.client = RoundClient(policy, identity, self.store, rng=rng)
        for i, message in enumerate(self.asked[:stage]):
            list(self.client.receive(SERVER, message))
            if i == 0:
                list(self.client.contribute(self.consortium.update(ME)))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.store.close()

    def assert_goes_on(self, stage):
        """The rest of the honest round is answered, to its end."""
        for message in self.asked[stage:]:
            assert list(self.client.receive(SERVER, message))
        assert self.client._party.phase is ClientPhase.ENDED

    def assert_dead(self):
        for message in self.asked:
            with pytest.raises(PeerError) as caught:
                list(self.client.receive(SERVER, message))
            assert caught.value.reason is Reason.UNEXPECTED
        party = self.client._party
        if party is not None:
            assert party.phase in {ClientPhase.FAILED, ClientPhase.ENDED}
            assert not any(party._secrets._rand)
            assert not party._secrets.held
            assert party._source is None


def authority_of(setting):
    consortium, _, _ = recorded(setting)
    with house_of(setting) as again:
        assert again.directory == consortium.directory
        return next(iter(again.stores.values())).authority()


AUTHORITY = {setting: authority_of(setting) for setting in MASKED}


def pulled(effects):
    """The effects, and the error after them, if any."""
    got = []
    try:
        for effect in effects:
            got.append(effect)  # noqa: PERF402 - what came before an error counts
    except FedPrivacyError as error:
        return got, error
    return got, None


def refused(watched, sender, message):
    """What the message raised; that a refusal with its reason went out before. Or None.

    Before what is only late, nothing goes out.
    """
    effects, error = pulled(watched.client.receive(sender, message))
    if error is not None:
        assert isinstance(error, PeerError | PolicyRefused)
        assert watched.client.has_left == (error.reason is not Reason.WRONG_ROUND)
        if error.reason is Reason.WRONG_ROUND:
            assert not effects
            return error
        assert isinstance(effects[-1], Send)
        assert effects[-1].recipient == SERVER
        told = decode(Refusal, effects[-1].message, limit=ANY)
        assert Reason(told.reason) is error.reason
    return error


# ---------------------------------------------------------------------- any bytes


@pytest.mark.parametrize("setting", MASKED, ids=str)
def test_any_bytes_are_answered_or_refused_for_good(setting):
    @fuzz(setting)
    @given(data=st.data())
    def tell(data):
        _, asked, sent = recorded(setting)
        stage = data.draw(st.integers(0, len(asked) - 1), label="stage")
        envelopes = [
            m for tag in ("envelope", "refusal", "invitation") for m in messages()[tag][:5]
        ]
        round_id = decode(Invitation, asked[0], limit=ANY).round_plan.round_id
        inner = st.one_of(st.sampled_from(bodies(setting)), noise)
        message = data.draw(
            st.one_of(
                mutations(asked[stage], asked),
                mutations(asked[stage]),
                mutations(asked[stage], sent),
                st.sampled_from([*sent, *envelopes]),
                inner.map(lambda body: encode(Envelope(round_id, body))),
                noise,
            ),
            label="message",
        )
        sender = data.draw(
            st.sampled_from([SERVER, SERVER, SERVER, "c000", ME, ""]), label="sender"
        )
        with Watched(setting, stage) as watched:
            error = refused(watched, sender, message)
            assert sender == SERVER or error.reason is Reason.UNKNOWN_SENDER
            if watched.client.has_left:
                watched.assert_dead()
            elif error is not None:
                watched.assert_goes_on(stage)

    tell()


@pytest.mark.parametrize("setting", MASKED, ids=str)
def test_the_honest_messages_end_well(setting):
    _, asked, _ = recorded(setting)
    assert len(asked) == len(setting.phases)
    with Watched(setting, len(asked)) as watched:
        assert watched.client._party.phase is ClientPhase.ENDED
        with pytest.raises(PeerError) as caught:
            list(watched.client.receive(SERVER, asked[-1]))
        assert caught.value.reason is Reason.ANSWERED


@pytest.mark.parametrize("setting", MASKED, ids=str)
@pytest.mark.parametrize("stage", range(1, 5))
def test_an_envelope_of_another_attempt_changes_nothing(setting, stage):
    _, asked, _ = recorded(setting)
    stage = min(stage, len(asked) - 1)
    with Watched(setting, stage) as watched:
        body = decode(Envelope, asked[stage], limit=ANY).body
        error = refused(watched, SERVER, encode(Envelope(b"x" * 32, body)))
        assert error.reason is Reason.WRONG_ROUND
        assert not error.culprits
        watched.assert_goes_on(stage)


@pytest.mark.parametrize("setting", MASKED, ids=str)
@pytest.mark.parametrize("message", [b"\xc1", b"", None], ids=["noise", "nothing", "honest"])
@pytest.mark.parametrize("stage", [0, 1])
def test_the_sender_is_checked_before_the_bytes(setting, message, stage):
    _, asked, _ = recorded(setting)
    with Watched(setting, stage) as watched:
        told = asked[stage] if message is None else message
        assert refused(watched, "c000", told).reason is Reason.UNKNOWN_SENDER
        watched.assert_dead()


@pytest.mark.parametrize("setting", MASKED, ids=str)
@pytest.mark.parametrize("values", [[NAN], [INF], [1.0] * 9], ids=["nan", "infinity", "too long"])
def test_an_update_that_cannot_be_encoded_ends_the_client(setting, values):
    """It tells the server that it failed, and not why; and forgets its keys."""
    consortium, asked, _ = recorded(setting)
    update = consortium.update(ME).values
    wrong = [*update[: 8 - len(values)], *values][:9]
    with Watched(setting, 0) as watched:
        list(watched.client.receive(SERVER, asked[0]))
        update = Update(np.array(wrong, dtype=np.float64))
        effects, error = pulled(watched.client.contribute(update))
        assert error is not None
        assert decode(Refusal, effects[-1].message, limit=ANY).reason == Reason.FAILED.value
        watched.assert_dead()


# ---------------------------------------------------------------------- absurd plans

NUMBERS = [-(1 << 63), -1, 0, 1, 2, 17, 255, (1 << 20) + 1, (1 << 31) - 1, 1 << 31, (1 << 40) - 1]
NUMBERS += [1 << 40, (1 << 63) - 1, (1 << 64) - 1]
FLOATS = [NAN, -NAN, INF, -INF, -0.0, 0.0, -1.0, 5e-324, 1e-101, 1e-99, 1e99, 1e101, 1e308, 3.1]
TEXTS = ["", "x" * 128, "x" * 129, "x" * 100_000, "secagg\n", "plain", "none", "\x00", "é" * 70]
BYTES = [b"", bytes(15), bytes(16), bytes(31), bytes(32), b"\xff" * 32, bytes(33), bytes(70_000)]
ANYTHING = [*NUMBERS, *FLOATS, *TEXTS, *BYTES, None, True, [], {}]


def invitation_with(setting, path, value):
    """The honest invitation with one field of its plan replaced, whatever the schema says."""
    invitation = decode(Invitation, recorded(setting)[1][0], limit=ANY)
    *inner, last = path
    layers = [invitation.round_plan]
    for name in inner:
        layers.append(getattr(layers[-1], name))
    changed = msgspec.structs.replace(layers[-1], **{last: value})
    for name, layer in zip(reversed(inner), reversed(layers[:-1]), strict=True):
        changed = msgspec.structs.replace(layer, **{name: changed})
    return encode(msgspec.structs.replace(invitation, round_plan=changed))


def field_paths(kind, prefix=()):
    for f in msgspec.structs.fields(kind):
        yield (*prefix, f.name)
        if isinstance(f.type, type) and issubclass(f.type, msgspec.Struct):
            yield from field_paths(f.type, (*prefix, f.name))


PATHS = list(field_paths(RoundPlan))


def test_every_field_of_a_plan_is_tried():
    assert ("clip",) in PATHS
    assert ("plan", "update", "clip") in PATHS
    assert len(PATHS) >= 35


@pytest.mark.parametrize("setting", [MALICIOUS, PLUS_SEMI], ids=str)
@pytest.mark.parametrize("path", PATHS, ids=".".join)
def test_no_value_of_any_field_gets_more_than_a_refusal(path, setting):
    """A plan with one field changed is refused, or is one that an honest server could send."""
    for value in ANYTHING:
        with Watched(setting, 0) as watched:
            message = invitation_with(setting, path, value)
            error = refused(watched, SERVER, message)
            if error is not None:
                watched.assert_dead()
            else:
                plan = watched.client.round_plan
                plan.check()
                assert plan.pipeline.total_length == plan.length + 1


NO_NORMS = [NAN, -NAN, INF, -INF, -0.0, 0.0, -1.0, 5e-324]


@pytest.mark.parametrize("setting", MASKED, ids=str)
@pytest.mark.parametrize(
    ("path", "value"),
    [
        *((("clip",), value) for value in [*NO_NORMS, 3.1, 1e101, 1e308]),  # the plan says 3
        *((("plan", "update", "clip"), value) for value in NO_NORMS),
    ],
    ids=str,
)
def test_a_clip_that_is_no_norm_is_refused(setting, path, value):
    with Watched(setting, 0) as watched:
        error = refused(watched, SERVER, invitation_with(setting, path, value))
        assert isinstance(error, PeerError)
        assert error.reason in {Reason.PLAN, Reason.MALFORMED, Reason.MODULUS}
        watched.assert_dead()


def test_a_nan_cannot_stand_for_another_nan():
    """Canonical or not, no bytes with a NaN in them make a plan."""
    honest = recorded(MALICIOUS)[1][0]
    clip = encode(decode(Invitation, honest, limit=ANY).round_plan)
    for bits in (
        b"\x7f\xf8" + bytes(6),
        b"\xff\xf8" + bytes(5) + b"\x01",
        b"\x7f\xf0" + b"\x01" * 6,
    ):
        changed = honest.replace(b"\xcb\x40\x08" + bytes(6), b"\xcb" + bits)  # 3.0, both clips
        assert changed != honest
        with Watched(MALICIOUS, 0) as watched:
            error = refused(watched, SERVER, changed)
            assert isinstance(error, PeerError)
    assert b"\xcb\x40\x08" in clip


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (("version",), 2, Reason.CODEPOINT),
        (("attempt",), 3, Reason.ATTEMPTS),
        (("threshold",), 2, Reason.QUORUM),
        (("threshold",), 6, Reason.QUORUM),
        (("modulus_bits",), 62, Reason.MODULUS),
        (("length",), (1 << 40) - 1, Reason.PLAN),
        (("cohort_size",), 1 << 20, Reason.QUORUM),
        (("committee_root",), b"\x01" * 32, Reason.PLAN),
        (("ledger_head",), b"\x01" * 32, Reason.PLAN),
        (("broadcast",), b"\x01" * 32, Reason.BROADCAST),
        (("cohort_root",), b"\x01" * 32, Reason.COHORT_PROOF),
        (("directory",), b"\x01" * 32, Reason.DIRECTORY_MISMATCH),
        (("directory_epoch",), 2, Reason.DIRECTORY_MISMATCH),
        (("plan", "aggregation", "protocol"), "plain", Reason.PLAN),
        (("plan", "aggregation", "min_clients"), 2, Reason.POLICY_COHORT),
        (("plan", "aggregation", "corrupt"), 4, Reason.QUORUM),
    ],
    ids=str,
)
def test_reasons_of_refused_plans(path, value, reason):
    with Watched(MALICIOUS, 0) as watched:
        error = refused(watched, SERVER, invitation_with(MALICIOUS, path, value))
        assert error.reason is reason
        watched.assert_dead()


def test_a_curious_plan_with_a_directory_is_refused():
    consortium, asked, _ = recorded(CURIOUS)
    invitation = decode(Invitation, asked[0], limit=ANY)
    for changed in (
        encode(msgspec.structs.replace(invitation, directory=b"something")),
        invitation_with(CURIOUS, ("directory",), b"d" * 32),
        invitation_with(CURIOUS, ("directory_epoch",), 1),
    ):
        with Watched(CURIOUS, 0) as watched:
            assert refused(watched, SERVER, changed).reason is Reason.PLAN
    assert consortium.round_plan().run_id == RUN_ID
