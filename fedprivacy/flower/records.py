"""What strategy and mod say to each other inside Flower's messages.

A message of ours has a `ConfigRecord` under `fedprivacy` with a version and, unless it is long, the
body; a long body is the bytes of an array, which Flower moves in chunks. Ordinary records may stand
beside it: what a client trains on.
"""

from __future__ import annotations

from types import UnionType
from typing import Annotated, Any, TypeVar, overload

import msgspec
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flwr.app.user_config import UserConfig
from msgspec import Meta

from fedprivacy.crypto import SIGNATURE_BYTES
from fedprivacy.crypto.directory import MAX_BYTES as MAX_DIRECTORY
from fedprivacy.errors import ConfigurationError, PeerError, Reason
from fedprivacy.rounds import Plan
from fedprivacy.rounds.messages import INVITATION_LIMIT
from fedprivacy.secagg.cohort import ClientId, Digest
from fedprivacy.wire import Message, decode, digest, encode

__all__ = [
    "HELLO_LABEL",
    "METRICS",
    "RECORD",
    "VECTOR",
    "VERSION",
    "WITHHELD",
    "Answer",
    "Broadcast",
    "Exchange",
    "Hello",
    "Present",
    "is_ours",
    "others",
    "pack",
    "record_digest",
    "run_config_digest",
    "unpack",
]

VERSION = 1
RECORD, VECTOR = "fedprivacy", "fedprivacy.vector"
WITHHELD = "fedprivacy.withheld"
"""Names the one, empty record of a reply without metrics."""
METRICS = "fedprivacy.metrics"
"""Names the record of what is summed of an evaluation: each metric with its bound."""
HELLO_LABEL = "flower-hello"
_BODY = "body"
_LONG = 1 << 20  # bytes of a body that goes into an array
_LIMIT = INVITATION_LIMIT + (1 << 20)
_Bytes16 = Annotated[bytes, Meta(min_length=16, max_length=16)]
_Signature = Annotated[bytes, Meta(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)]
_Text = Annotated[str, Meta(max_length=1 << 10)]
_Frames = Annotated[tuple[bytes, ...], Meta(max_length=1 << 24)]

M = TypeVar("M", bound=Message)


class Hello(Message, frozen=True, tag="flower-hello"):
    """Strategy to node, once a run: who are you, and would you take part by this plan?

    The plan, with the directory if it needs one, is there where a client's first answer in a round
    is its input; elsewhere both are empty, and a client declines in time when it is invited.
    """

    run: _Bytes16
    plan: Plan | None
    directory: Annotated[bytes, Meta(max_length=MAX_DIRECTORY)]


class Present(Message, frozen=True, tag="flower-present"):
    """Node to strategy: the client that lives there.

    `signature` is by its identity, over the run, the node's id and `run_config`, the hash of the
    configuration that Flower gave this node for its run.
    """

    client_id: ClientId
    run_config: Digest
    signature: _Signature


class Exchange(Message, frozen=True, tag="flower-exchange"):
    """Strategy to node: messages of a round for its client, or for its member, in order.

    `begins` is 1 where the first of them is an invitation, or a summons. `broadcast` is the encoded
    `Broadcast` where the client is to train on the records beside this one, and empty otherwise.
    """

    begins: Annotated[int, Meta(ge=0, le=1)]
    frames: _Frames
    broadcast: Annotated[bytes, Meta(max_length=1 << 30)]


class Answer(Message, frozen=True, tag="flower-answer"):
    """Node to strategy: its client's messages of the round, or its member's, in order."""

    frames: _Frames


class Broadcast(Message, frozen=True, tag="flower-broadcast"):
    """What is sent to clients for them to train on; its hash stands in the plan.

    Not in it, though an app sees them: a message's id, its time and its time to live, which Flower
    gives each message anew. Nor what an app itself keeps in `context.state`: one that keeps its
    model there is moved by attempts, too, whose sum is never opened. An app that trains from what
    the message brings, and from nothing else, is not moved by either.

    `summed` names the arrays of which the update is made, ascending; `records` has the name and the
    hash of each record, ascending by name.
    """

    message_type: _Text
    group_id: _Text
    run_config: Digest
    weighted_by: _Text
    summed: Annotated[tuple[str, ...], Meta(max_length=1 << 20)]
    records: Annotated[tuple[tuple[_Text, Digest], ...], Meta(max_length=1 << 10)]


def is_ours(content: RecordDict) -> bool:
    """Whether strategy or mod made this content."""
    return RECORD in content


def others(content: RecordDict) -> RecordDict:
    """The ordinary records, in the order of their names."""
    names = sorted(name for name in content if name not in (RECORD, VECTOR))
    return RecordDict({name: content[name] for name in names})


def pack(message: Message, beside: RecordDict | None = None) -> RecordDict:
    """The content of a message of ours, with ordinary records beside it."""
    body, head = encode(message), ConfigRecord({"version": VERSION})
    content = RecordDict() if beside is None else RecordDict(dict(beside.items()))
    content[RECORD] = head
    if len(body) > _LONG:
        content[VECTOR] = ArrayRecord({_BODY: Array("uint8", (len(body),), RECORD, body)})
    else:
        head[_BODY] = body
    return content


@overload
def unpack(content: RecordDict, kind: type[M]) -> M: ...
@overload
def unpack(content: RecordDict, kind: UnionType) -> Any: ...
def unpack(content: RecordDict, kind: type[M] | UnionType) -> M | Any:
    """The message of this type, or union of types; raises `PeerError` and nothing else."""
    head = content.get(RECORD)
    if not isinstance(head, ConfigRecord):
        raise PeerError(Reason.MALFORMED, f"no ConfigRecord named {RECORD}: no privacy_mod there")
    version = head.get("version")
    if version != VERSION:
        detail = f"version {version!r:.40} where {VERSION} is spoken: install one release on both"
        raise PeerError(Reason.CODEPOINT, detail)
    body = head.get(_BODY, _long_body(content))
    if not isinstance(body, bytes):
        raise PeerError(Reason.MALFORMED, "a record without a body")
    return decode(kind, body, limit=_LIMIT)


def _long_body(content: RecordDict) -> bytes | None:
    record = content.get(VECTOR)
    if not isinstance(record, ArrayRecord) or _BODY not in record:
        return None
    return record[_BODY].data


def record_digest(record: ArrayRecord | ConfigRecord | MetricRecord) -> bytes:
    """The hash of a record: every name, type, shape and value, in the order that it has."""
    if isinstance(record, ArrayRecord):
        parts: list[bytes] = []
        for name, array in record.items():
            head = (name, array.dtype, tuple(array.shape), array.stype)
            parts += [msgspec.msgpack.encode(head), array.data]
        return digest("flower-arrays", *parts)
    label = "flower-config" if isinstance(record, ConfigRecord) else "flower-metrics"
    return digest(label, *(_item(name, value) for name, value in record.items()))


def run_config_digest(config: UserConfig) -> bytes:
    """The hash of a run's configuration, in whatever order it came."""
    return digest("flower-run-config", *(_item(name, config[name]) for name in sorted(config)))


def _item(name: str, value: object) -> bytes:
    plain = [_plain(v) for v in value] if isinstance(value, list) else _plain(value)
    return msgspec.msgpack.encode((name, plain))


def _plain(value: object) -> object:
    """The value as Flower delivers it: a subclass, numpy's float64 say, becomes its base."""
    match value:
        case bool() | str() | bytes():
            return value
        case int():
            return int(value)
        case float():
            return float(value)
    raise ConfigurationError(f"a record has a {type(value).__name__}, which Flower does not send")
