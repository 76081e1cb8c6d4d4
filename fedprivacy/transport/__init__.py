"""Bytes from one party to another, and word that a deadline has passed."""

from fedprivacy.transport.inprocess import Channel, Delivery, InProcess, Outcome, PhaseMeter, Role

__all__ = ["Channel", "Delivery", "InProcess", "Outcome", "PhaseMeter", "Role"]
