"""A batch of a strategy's messages as one: in a private round all train on the same."""

from __future__ import annotations

from collections.abc import Sequence

from flwr.app import Message, RecordDict

from fedprivacy.errors import ConfigurationError
from fedprivacy.flower.records import is_ours, record_digest

__all__ = ["common_message", "content_digests"]


def common_message(messages: Sequence[Message]) -> Message:
    """A message that stands for all; raises `ConfigurationError` where they are not alike."""
    first = messages[0]
    if is_ours(first.content):
        raise ConfigurationError("the strategy sends a record named `fedprivacy`: rename it")
    if len(first.content.array_records) != 1:
        raise ConfigurationError(
            f"a message has {len(first.content.array_records)} ArrayRecords where one is trained on"
        )
    for message in messages[1:]:
        if _sent(message) != _sent(first) or not _same(message.content, first.content):
            raise ConfigurationError(
                f"node {message.metadata.dst_node_id} is sent other content than node "
                f"{first.metadata.dst_node_id}: in a private round all train on the same"
            )
    return first


def _sent(message: Message) -> tuple[str, str]:
    return message.metadata.message_type, message.metadata.group_id


def _same(one: RecordDict, other: RecordDict) -> bool:
    return one is other or content_digests(one) == content_digests(other)


def content_digests(content: RecordDict) -> tuple[tuple[str, bytes], ...]:
    """Each record's name and hash, ascending by name."""
    return tuple((name, record_digest(content[name])) for name in sorted(content))
