"""`privacy_mod`: a node's side of a private round, around the app's own training.

What leaves a node in the clear does not depend on its data, but for one thing: where the plan adds
no noise, a node whose training fails says so. A round's messages are answered by the mod; the app
trains when the mod says so. Everything else is answered in the clear only where the client's own
policy says that it may be.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from flwr.app import Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp.typing import ClientAppCallable
from flwr.common.constant import APP_DIR, ErrorCode
from flwr.supercore.utils import get_flwr_home

from fedprivacy.errors import BudgetExhausted, FedPrivacyError, PeerError, PolicyRefused, Reason
from fedprivacy.flower.client_folder import ClientFolder, own_folder
from fedprivacy.flower.outbox import Outbox
from fedprivacy.flower.records import (
    HELLO_LABEL,
    WITHHELD,
    Answer,
    Exchange,
    Hello,
    Present,
    is_ours,
    pack,
    run_config_digest,
    unpack,
)
from fedprivacy.flower.state import forget, resume, resume_member, suspend
from fedprivacy.flower.training import (
    TrainingFailed,
    read_broadcast,
    trained_update,
    unmoved_by_app,
)
from fedprivacy.ledger import Role
from fedprivacy.randomness import SystemRng
from fedprivacy.rounds import Refusal, RoundClient, RoundMember
from fedprivacy.rounds.admission import check_willing
from fedprivacy.rounds.messages import MemberRefusal, is_of_committee
from fedprivacy.secagg import SERVER, SHARED_KEYS
from fedprivacy.wire import DIGEST_BYTES, encode

__all__ = ["privacy_mod"]

_LOG = logging.getLogger("flwr.fedprivacy")


def privacy_mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Answer a message of a private round, or see that nothing else leaves in the clear.

    List it first: `ClientApp(mods=[privacy_mod])`. Flower runs an app's `@app.lifespan()` outside
    of all mods, and sends the text of what is raised there, or by a mod before this one, to the
    server: an app whose training is private has no lifespan function. Which client this node is,
    with which policy, key and store, its own configuration says
    (`fedprivacy.flower.client_folder`).
    """
    if message.has_content() and is_ours(message.content):
        return Message(pack(_answered(message, context, call_next)), reply_to=message)
    return _in_the_clear(message, context, call_next)


def _own(context: Context) -> ClientFolder:
    bundles = (Path(get_flwr_home()) / APP_DIR,)
    return ClientFolder.open(own_folder(context.node_config, os.environ, bundles))


def _in_the_clear(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    category = message.metadata.message_type.partition(".")[0]
    if category == "train":
        # Whatever the app would send back, its parameters or their number, is a function of data.
        reason = "privacy_mod trains in private rounds only: wrap the strategy in PrivateStrategy"
        return Message(Error(ErrorCode.MOD_FAILED_PRECONDITION, reason), reply_to=message)
    try:
        with _own(context) as own:
            allowed = own.policy.clear
    except FedPrivacyError as error:
        _LOG.error("%s", error)
        allowed = ()
    if category in {kind.value for kind in allowed}:
        return call_next(message, context)
    return Message(RecordDict({WITHHELD: MetricRecord()}), reply_to=message)


def _answered(message: Message, context: Context, call_next: ClientAppCallable) -> Present | Answer:
    """The reply's body; whatever goes wrong is told with a registered code, and logged here."""
    role = Role.CLIENT
    try:
        order: Hello | Exchange = unpack(message.content, Hello | Exchange)
        with _own(context) as own:
            if isinstance(order, Hello):
                return _introduce(order, context, own)
            if order.frames and is_of_committee(order.frames[0]):
                role = Role.MEMBER
                return _sit(order, context, own)
            return _exchange(order, message, context, call_next, own)
    except FedPrivacyError as error:
        _LOG.error("%s", error)
        return _refusal(_reason(error), role=role)
    except Exception as error:  # noqa: BLE001 - Flower sends the text of what is raised here
        _LOG.error("a bug of fedprivacy on this node", exc_info=error)
        return _refusal(Reason.FAILED, role=role)


def _refusal(
    reason: Reason, round_id: bytes = bytes(DIGEST_BYTES), *, role: Role = Role.CLIENT
) -> Answer:
    kind = Refusal if role is Role.CLIENT else MemberRefusal
    return Answer((encode(kind(round_id, reason.value)),))


def _reason(error: FedPrivacyError) -> Reason:
    if isinstance(error, PeerError | PolicyRefused):
        return error.reason
    return Reason.BUDGET if isinstance(error, BudgetExhausted) else Reason.FAILED


def _introduce(hello: Hello, context: Context, own: ClientFolder) -> Present:
    if hello.plan is not None:
        check_willing(hello.plan, hello.directory, own.policy, own.identity, own.store)
        if (shared := SHARED_KEYS.get(hello.plan.aggregation.protocol)) is not None:
            shared.check_key(own.group_key)
    name, config = own.identity.client_id, run_config_digest(context.run_config)
    node = context.node_id.to_bytes(8, "big")
    signature = own.identity.key.sign(HELLO_LABEL, hello.run, node, name.encode(), config)
    return Present(name, config, signature)


def _exchange(
    order: Exchange,
    message: Message,
    context: Context,
    call_next: ClientAppCallable,
    own: ClientFolder,
) -> Answer:
    rng, outbox = SystemRng(), Outbox()
    # What a message leaves in the store is committed once; a reply leaves after that.
    with own.store.together():
        if order.begins:
            forget(context, Role.CLIENT)
            policy, identity, store = own.policy, own.identity, own.store
            client = RoundClient(policy, identity, store, rng=rng, group_key=own.group_key)
        else:
            client = resume(context, own, rng=rng)
        for frame in order.frames:
            if not client.has_left:
                outbox.carry_out(client.receive(SERVER, frame))
        plan = client.round_plan
        trains = bool(order.broadcast) and plan is not None and not client.has_left
        if not trains:
            _sleep(client, outbox, context)
    if trains and plan is not None:
        try:
            broadcast = read_broadcast(order.broadcast, plan, message, context)
            update = trained_update(plan, broadcast, message, lambda m: call_next(m, context))
        except (PeerError, TrainingFailed) as error:
            _LOG.error("%s", error)
            return _refusal(_reason(error), plan.round_id)
        with unmoved_by_app():
            outbox.carry_out(client.contribute(update))  # long: no commit waits for it
        _sleep(client, outbox, context)
    return Answer(tuple(outbox.frames))


def _sleep(party: RoundClient | RoundMember, outbox: Outbox, context: Context) -> None:
    """Keep the party for the next message, if there is one for it."""
    if not party.has_left and not outbox.is_done:
        suspend(context, party)


def _sit(order: Exchange, context: Context, own: ClientFolder) -> Answer:
    """As a member of the committee, which opens sums and trains nothing."""
    rng, outbox = SystemRng(), Outbox()
    with own.store.together():
        if order.begins:
            forget(context, Role.MEMBER)
            member = RoundMember(own.policy, own.identity, own.store, rng=rng)
        else:
            member = resume_member(context, own, rng=rng)
        for frame in order.frames:
            if not member.has_left:
                outbox.carry_out(member.receive(SERVER, frame))
        _sleep(member, outbox, context)
    return Answer(tuple(outbox.frames))
