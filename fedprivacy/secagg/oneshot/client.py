"""A client of one-shot aggregation: it is shown the committee, sends one input, and is gone.

It trusts nobody: the committee is checked before anything is computed for it, the input is spent
in the client's store before bytes leave, and whatever raises ends the client and erases its
secrets.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta

from fedprivacy.crypto import Directory, Identity, KeyPair
from fedprivacy.errors import ConfigurationError, PeerError, Reason
from fedprivacy.randomness import Keystream
from fedprivacy.secagg.cohort import Membership
from fedprivacy.secagg.contract import (
    SERVER,
    Done,
    Effect,
    Mark,
    Persist,
    Send,
    SendChunk,
    Source,
    SumPlan,
)
from fedprivacy.secagg.fatal import FatalTo
from fedprivacy.secagg.oneshot.cipher import Encryption, values_per_chunk
from fedprivacy.secagg.oneshot.keys import (
    INPUT_LABEL,
    CiphertextDigest,
    check_roster,
    polynomial_seed,
    session_id,
    signed_input,
)
from fedprivacy.secagg.oneshot.messages import (
    FLOOR_BYTES,
    CommitteeEntry,
    CommitteeRoster,
    SealedInput,
    server_limit,
)
from fedprivacy.secagg.oneshot.parameters import (
    MAX_COMMITTEE,
    OneShotParameters,
    committee_of,
    parameters_of,
)
from fedprivacy.secagg.oneshot.shares import deal_key
from fedprivacy.secagg.uploads import PackedUpload
from fedprivacy.wire import Message, decode, encode

__all__ = ["RAND_BYTES", "OneShotClient", "OneShotPhase", "OneShotState", "as_upload"]

_FIELDS = ("secret", "errors", "coefficients", "agreement_private")
RAND_BYTES = 32 * len(_FIELDS)


class OneShotState(Message, frozen=True, tag="oneshot-state"):
    """What a client still needs between two messages: one to itself, that nobody else may read."""

    rand: Annotated[bytes, Meta(min_length=RAND_BYTES, max_length=RAND_BYTES)]
    committee: Annotated[tuple[CommitteeEntry, ...], Meta(max_length=MAX_COMMITTEE)]
    """Empty before it is shown; it was checked when it came."""

    def __repr__(self) -> str:
        return "OneShotState()"


class OneShotPhase(enum.Enum):
    """What the client has done."""

    WAITING = "waiting"
    """For the committee, or for its own vector."""
    SENDING = "input"
    ENDED = "ended"
    FAILED = "failed"


def as_upload(plan: SumPlan, parameters: OneShotParameters) -> SumPlan:
    """The plan of an upload of ciphertext coefficients instead of values."""
    return dataclasses.replace(plan, length=parameters.coefficients, modulus_bits=parameters.bits)


class OneShotClient:
    """One client's side.

    `rand` are `RAND_BYTES` uniform bytes, used for nothing else; `floor` is the client's own least
    number of clients in a sum that holds its vector, which each member gets sealed with its share.
    """

    def __init__(
        self,
        plan: SumPlan,
        membership: Membership,
        *,
        identity: Identity,
        directory: Directory | None,
        floor: int,
        rand: bytes,
    ) -> None:
        if directory is None:
            raise ConfigurationError("one-shot aggregation needs a directory: pin one")
        if len(rand) != RAND_BYTES:
            raise ConfigurationError(f"rand has {len(rand)} bytes, not {RAND_BYTES}")
        self._plan = plan
        self._parameters = parameters_of(plan)
        self._me = membership
        self._identity = identity
        self._directory = directory
        # What the plan promises holds beside the client's own floor.
        self._floor = min(max(plan.floor, floor), (1 << 8 * FLOOR_BYTES) - 1)
        self._rand = bytearray(rand)
        self._phase = OneShotPhase.WAITING
        self._source: Source | None = None
        self._committee: tuple[CommitteeEntry, ...] = ()

    @property
    def phase(self) -> OneShotPhase:
        return self._phase

    def start(self) -> Iterator[Effect]:
        """Nothing to say before the committee is known."""
        return iter(())

    def receive(self, sender: str, message: bytes) -> Iterator[Effect]:
        """Take the committee's roster; raises `PeerError` and nothing else because of it."""
        with FatalTo(self):
            if sender != SERVER:
                raise PeerError(Reason.UNKNOWN_SENDER, "only the server speaks to a client")
            if self._phase is OneShotPhase.ENDED:
                raise PeerError(Reason.SPENT, "this client has sent its input and says no more")
            if self._phase is not OneShotPhase.WAITING or self._committee:
                raise PeerError(Reason.UNEXPECTED, f"no message is due: {self._phase.value}")
            limit = server_limit(self._plan, self._parameters)
            entries = decode(CommitteeRoster, message, limit=limit).entries
            check_roster(self._plan, entries, self._directory)
            self._committee = entries
            if self._source is not None:
                yield from self._send_input()

    def show(self, committee: tuple[CommitteeEntry, ...]) -> None:
        """Go on with the committee that an earlier object was shown, and has checked."""
        self._committee = committee

    def suspend(self) -> bytes:
        """Before the input: the randomness, and the committee if it is known. Nothing after it."""
        if self._phase is not OneShotPhase.WAITING or self._source is not None:
            raise ConfigurationError(
                "this client has sent its input, or a vector waits: there is nothing to suspend"
            )
        state = encode(OneShotState(bytes(self._rand), self._committee))
        self.fail()
        return state

    def contribute(self, source: Source) -> Iterator[Effect]:
        """The vector is ready; it leaves once the committee is known, in either order."""
        with FatalTo(self):
            if self._source is not None or self._phase is not OneShotPhase.WAITING:
                raise ConfigurationError("this client takes no vector any more: make a new one")
            if len(source) != self._plan.length:
                raise ConfigurationError(
                    f"vector has {len(source)} values, the plan {self._plan.length}"
                )
            self._source = source
            if self._committee:
                yield from self._send_input()

    def _send_input(self) -> Iterator[Effect]:
        self._phase = OneShotPhase.SENDING
        yield Persist(Mark.SPENT, "input")
        session = session_id(self._plan, self._committee)
        encryption = Encryption(
            self._parameters,
            polynomial_seed(session),
            secret=self._secret("secret"),
            errors=self._secret("errors"),
        )
        try:
            upload = PackedUpload(
                as_upload(self._plan, self._parameters), self._me.index, CiphertextDigest
            )
            yield from self._send_ciphertext(encryption, upload)
            closing = self._close(session, encryption, upload.checksum())
        finally:
            encryption.erase()
        self._phase = OneShotPhase.ENDED
        self._erase()
        yield Send(SERVER, encode(closing))
        yield Done()

    def _send_ciphertext(self, encryption: Encryption, upload: PackedUpload) -> Iterator[Effect]:
        source, step = self._source, values_per_chunk(self._parameters)
        if source is None:
            raise ConfigurationError("there is no vector to send: contribute one first")
        for start in range(0, self._plan.length, step):
            values = source[start : min(start + step, self._plan.length)]
            try:
                ciphertext = encryption.next(values)
            except ValueError:
                # Neither the value nor its place.
                raise ConfigurationError(
                    f"the vector exceeds plan.client_bound = {self._plan.client_bound}: clip it"
                ) from None
            yield SendChunk(SERVER, upload.chunk(ciphertext))

    def _close(self, session: bytes, encryption: Encryption, ciphertext: bytes) -> SealedInput:
        me, pair = self._me.index, KeyPair(self._secret("agreement_private"))
        elements = encryption.key_elements()
        try:
            boxes = deal_key(
                elements,
                self._committee,
                session=session,
                client=me,
                pair=pair,
                ciphertext=ciphertext,
                floor=self._floor,
                threshold=committee_of(self._plan).threshold,
                coefficients=Keystream(self._secret("coefficients")),
            )
        finally:
            elements[:] = 0
        statement = signed_input(session, me, pair.public, ciphertext)
        signature = self._identity.key.sign(INPUT_LABEL, *statement)
        return SealedInput(ciphertext, pair.public, signature, boxes)

    def _secret(self, name: str) -> bytes:
        start = 32 * _FIELDS.index(name)
        return bytes(self._rand[start : start + 32])

    def fail(self) -> None:
        """End without (further) messages and erase what is secret."""
        if self._phase is not OneShotPhase.ENDED:
            self._phase = OneShotPhase.FAILED
        self._erase()

    def _erase(self) -> None:
        self._source = None
        self._rand[:] = bytes(len(self._rand))

    def __repr__(self) -> str:
        return f"OneShotClient({self._me.client_id}, {self._phase.value})"
