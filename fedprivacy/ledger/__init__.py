"""What must outlive a process: the client's record of what it has done."""

from fedprivacy.ledger.client_store import ClientStore

__all__ = ["ClientStore"]
