"""What a client has to send before the next message comes."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

from fedprivacy.errors import FedPrivacyError
from fedprivacy.secagg import Done, Effect, Send

__all__ = ["Outbox"]

_LOG = logging.getLogger("flwr.fedprivacy")


@dataclass(slots=True)
class Outbox:
    """Carries out a client's effects and collects its messages."""

    frames: list[bytes] = field(default_factory=list)
    is_done: bool = False

    def carry_out(self, effects: Iterable[Effect]) -> None:
        """Pull all of them; a refusal is a message like others, its words stay in this log."""
        try:
            for effect in effects:
                match effect:
                    case Send(message=message):
                        self.frames.append(message)
                    case Done():
                        self.is_done = True
                    case _:
                        pass
        except FedPrivacyError as error:
            _LOG.warning("%s", error)
