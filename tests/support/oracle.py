"""What must come of a sum: the rule, and none of the code.

On the complete graph clients are counted, and no more. On a ring each neighbourhood is judged; who
is around whom is read from what clients were shown, never from the server.
"""

from dataclasses import dataclass

from fedprivacy.errors import Reason
from fedprivacy.secagg.masking.messages import Neighbourhood
from fedprivacy.wire import decode

__all__ = ["Prediction", "came", "neighbourhoods", "predict", "predict_on_a_ring", "wanted"]


@dataclass(frozen=True)
class Prediction:
    """The survivors and their exact sum, or the phase in which too few were able."""

    survivors: tuple[str, ...] = ()
    total: tuple[int, ...] = ()
    aborted_in: str = ""
    reason: Reason | None = None


def came(outcome):
    """How a run ended, in the oracle's terms."""
    if outcome.done is None:
        return Prediction(aborted_in=outcome.phase, reason=outcome.error.reason)
    return Prediction(outcome.done.survivors, tuple(outcome.done.total[:].tolist()))


def wanted(case, sent, outcome):
    """What a sum comes to when each client sends its first so many messages and no more.

    `outcome` is asked for nothing but what clients were shown.
    """
    phases, plan = case.setting.phases, case.plan
    sent = {name: sent.get(name, 99) for name in case.names}
    if not case.setting.sparse:
        limits = {"threshold": plan.threshold, "min_clients": plan.min_clients}
        return predict(phases, sent, case.vectors, **limits)
    return predict_on_a_ring(
        phases,
        sent,
        case.vectors,
        threshold=plan.threshold,
        floor=max(plan.threshold, plan.min_clients, len(case.names) - plan.dropped),
        around=neighbourhoods(outcome),
    )


def predict(phases, sent, vectors, *, threshold, min_clients=0):
    """The complete graph.

    A phase closes with those who sent its message among those with whom the one before closed. Up
    to the input, with which the survivors are fixed, it takes max(t, min_clients) of them;
    afterwards t. The sum is over the survivors.
    """
    able, survivors, needed = set(sent), set(), max(threshold, min_clients)
    for owed, phase in enumerate(phases, 1):
        able = {client for client in able if sent[client] >= owed}
        if len(able) < needed:
            return Prediction(aborted_in=phase, reason=Reason.TOO_FEW)
        if phase == "input":
            survivors, needed = set(able), threshold
    return _over(survivors, vectors)


def _over(survivors, vectors):
    columns = zip(*(vectors[client] for client in survivors), strict=True)
    total = tuple(sum(int(value) for value in column) for column in columns)
    return Prediction(tuple(sorted(survivors)), total)


def neighbourhoods(outcome):
    """Whom each client was shown, itself not counted."""
    around = {}
    for name, asked in outcome.asked.items():
        shown = decode(Neighbourhood, asked[0], limit=1 << 24)
        names = {placed.entry.membership.client_id for placed in shown.entries}
        around[name] = names - {name}
    return around


def predict_on_a_ring(phases, sent, vectors, *, threshold, floor, around):
    """The sparse graph.

    Up to the input it takes `floor` members, afterwards t; and a client goes on only with t others
    of those who go on around it. Whoever deals must have them once all have dealt, which may leave
    others with too few; whoever answers must have them among the survivors, and, where all sign,
    among those who sign. Wherever survivors are around, the dealer's secret takes t shares, of it
    and those around it that still answer.
    """

    def others(client, group):
        return len(around[client] & group)

    able = set(sent)
    dealers = survivors = frozenset()
    for owed, phase in enumerate(phases, 1):
        able = {client for client in able if sent[client] >= owed}
        if len(able) < (threshold if survivors else floor):
            return Prediction(aborted_in=phase, reason=Reason.TOO_FEW)
        if phase == "shares":
            able = _peeled(able, lambda client, group: others(client, group) >= threshold)
            if len(able) < floor:
                return Prediction(aborted_in=phase, reason=Reason.TOO_FEW)
            dealers = frozenset(able)
        if phase == "input":
            survivors = frozenset(able)
        if phase in {"input", "consistency"}:
            able = {client for client in able if others(client, able) >= threshold}
        if survivors:
            holders = {d: len((around[d] | {d}) & able) for d in dealers}
            asked = [d for d in dealers if (around[d] | {d}) & survivors]
            if any(holders[d] < threshold for d in asked):
                return Prediction(aborted_in=phase, reason=Reason.SHARE_UNOPENED)
    return _over(survivors, vectors)


def _peeled(members, stays):
    """Without those who cannot stay, one after the other, until all who are left can."""
    left = set(members)
    while leaving := [client for client in left if not stays(client, left)]:
        left.discard(leaving[0])
    return left
