"""What must outlive a process: the client's record of what it has done."""

from fedprivacy.ledger.client_store import ClientStore, Once

__all__ = ["ClientStore", "Once"]
