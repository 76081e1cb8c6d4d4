"""Canonical messages: what goes over the wire, how it is hashed, and the record of it."""

from fedprivacy.wire.hashing import DIGEST_BYTES, digest
from fedprivacy.wire.merkle import MerkleTree, merkle_root, path_lengths, verify_path
from fedprivacy.wire.messages import Message, Record, blob_size, decode, encode
from fedprivacy.wire.transcript import Transcript, TranscriptEntry

__all__ = [
    "DIGEST_BYTES",
    "MerkleTree",
    "Message",
    "Record",
    "Transcript",
    "TranscriptEntry",
    "blob_size",
    "decode",
    "digest",
    "encode",
    "merkle_root",
    "path_lengths",
    "verify_path",
]
