"""The authority's working copy of the directory before it is signed: requests go in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from fedprivacy.crypto.directory import Directory, EntryText
from fedprivacy.crypto.identity import Enrolment
from fedprivacy.crypto.signing import SigningKey
from fedprivacy.errors import ConfigurationError

__all__ = ["DirectoryDraft"]


class _DraftText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    schema: Literal["fedprivacy/directory-draft/1"]
    entries: list[EntryText]


@dataclass(frozen=True, slots=True)
class DirectoryDraft:
    """Who is to be enrolled, with which key; `(client_id, public_key)` by ascending id.

    Nothing vouches for a draft but the authority's own machine: only `add` sees the proofs.
    """

    entries: tuple[tuple[str, bytes], ...] = ()

    def add(self, enrolment: Enrolment) -> DirectoryDraft:
        """The draft with this client; the same one twice is no change.

        Raises `ConfigurationError` where the id has another key, or the key another id.
        """
        entry = (enrolment.client_id, enrolment.public_key)
        if entry in self.entries:
            return self
        for client_id, key in self.entries:
            if client_id == enrolment.client_id:
                raise ConfigurationError(
                    f"{client_id} stands in the draft with the key {key.hex()}: to give it "
                    "another, take that entry out first"
                )
            if key == enrolment.public_key:
                raise ConfigurationError(
                    f"the key of {enrolment.client_id} is that of {client_id} already: "
                    "each client makes its own with `fedprivacy keys new`"
                )
        return DirectoryDraft(tuple(sorted([*self.entries, entry])))

    def sign(self, epoch: int, authority: SigningKey) -> Directory:
        """The directory of this draft; raises `ConfigurationError` for one that cannot be."""
        if not self.entries:
            raise ConfigurationError(
                "the draft is empty: add clients with `fedprivacy keys enroll`"
            )
        return Directory.sign(epoch, self.entries, authority)

    def to_json(self) -> str:
        """The text for a file, sorted by id, keys in hex."""
        rows = [EntryText(client_id, key.hex()) for client_id, key in self.entries]
        text = _DraftText("fedprivacy/directory-draft/1", rows)
        return msgspec.json.format(msgspec.json.encode(text), indent=2).decode() + "\n"

    @staticmethod
    def from_json(text: str) -> DirectoryDraft:
        """The draft in a text; raises `ConfigurationError` naming the place that is wrong."""
        try:
            raw = msgspec.json.decode(text, type=_DraftText)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise ConfigurationError(f"draft: {error}") from None
        rows = sorted((row.id, bytes.fromhex(row.public_key)) for row in raw.entries)
        return DirectoryDraft(tuple(rows))
