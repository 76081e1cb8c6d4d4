"""Whose apps a SuperNode runs: the file of its `--trusted-entities`."""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from fedprivacy.errors import ConfigurationError, MissingExtra

__all__ = ["examine_entities"]

_ANY = (
    "whatever is submitted: a server can send one without privacy_mod, and nothing here holds "
    "against it; start the SuperNode with --trusted-entities FILE.yaml, and name it here"
)


def examine_entities(path: Path | None) -> str:
    """A finding about this file, or about its absence.

    Raises `ConfigurationError` for a file with which a SuperNode would not start, and for an empty
    one, with which it restricts nothing.
    """
    if path is None:
        return _ANY
    try:
        import yaml
    except ModuleNotFoundError:
        raise MissingExtra("flower", "--trusted-entities") from None
    try:
        found: object = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{path} cannot be read as YAML: {error}") from None
    if not isinstance(found, dict) or not found:
        raise ConfigurationError(f"{path} names nobody: map each key's id to its ssh-ed25519 key")
    for name, key in found.items():
        if not isinstance(key, str) or not _is_ed25519(key):
            raise ConfigurationError(f"{path}: {name!r} is no ssh-ed25519 public key")
    signers = " or ".join(sorted(map(str, found)))
    return (
        f"only those that {signers} signed, by {path}; whoever signs sees that privacy_mod is the "
        "first mod and that there is no @app.lifespan(), which runs outside of it"
    )


def _is_ed25519(key: str) -> bool:
    try:
        return isinstance(load_ssh_public_key(key.encode()), Ed25519PublicKey)
    except (ValueError, UnsupportedAlgorithm):
        return False
