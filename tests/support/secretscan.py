"""Looks for secrets in what a program leaves behind, however they may have been written down."""

import base64

import numpy as np

from fedprivacy.randomness import SystemRng

_WINDOW = 8


def written(secret):
    """The ways in which a secret may stand in a file, a log or a traceback, by name."""
    forms = {
        "raw": secret,
        "hex": secret.hex().encode(),
        "HEX": secret.hex().upper().encode(),
        "hex with colons": secret.hex(":").encode(),
        "escaped": repr(secret)[2:-1].encode(),
        "numbers": ", ".join(str(byte) for byte in secret).encode(),
    }
    for skew in range(3):  # inside a longer string, at any of the three alignments
        head, tail = bytes(skew), bytes(-(skew + len(secret)) % 3)
        start, end = (0, 2, 3)[skew], -(0, 2, 3)[len(tail)] or None
        text = base64.b64encode(head + secret + tail)[start:end]
        forms[f"base64 at {skew}"] = text
        forms[f"url-safe base64 at {skew}"] = text.translate(bytes.maketrans(b"+/", b"-_"))
    return forms


class Scanner:
    """Finds any of many secrets, in any of their forms, in long strings of bytes.

    The first eight bytes of every form are looked up at every offset at once; what matches is
    compared in full.
    """

    def __init__(self, secrets):
        self._needles = {}
        for name, secret in secrets.items():
            if len(secret) < 12:
                raise ValueError(f"{name} is too short to be told from chance")
            for form, needle in written(secret).items():
                first = int.from_bytes(needle[:_WINDOW], "little")
                self._needles.setdefault(first, []).append((name, form, needle))
        self._firsts = np.array(sorted(self._needles), dtype="<u8")

    def find(self, data):
        """(name, form, offset) of each secret in `data`, bytes or text."""
        if isinstance(data, str):
            data = data.encode("utf-8", "surrogateescape")
        found = []
        for shift in range(min(_WINDOW, max(len(data) - _WINDOW + 1, 0))):
            count = (len(data) - shift) // _WINDOW
            words = np.frombuffer(data, dtype="<u8", count=count, offset=shift)
            nearest = np.searchsorted(self._firsts, words).clip(max=len(self._firsts) - 1)
            for at in np.flatnonzero(self._firsts[nearest] == words):
                offset = shift + _WINDOW * int(at)
                found += [
                    (name, form, offset)
                    for name, form, needle in self._needles[int(words[at])]
                    if data[offset : offset + len(needle)] == needle
                ]
        return found


class RecordingRng:
    """The system's generator, remembering what it gave, by purpose."""

    def __init__(self, purpose="", given=None):
        self.purpose = purpose
        self.given = {} if given is None else given
        self._source = SystemRng()

    def bytes(self, count):
        out = self._source.bytes(count)
        self.given.setdefault(self.purpose, []).append(out)
        return out

    def child(self, purpose):
        return RecordingRng(f"{self.purpose}/{purpose}", self.given)


def overhear(patch):
    """Every seed, opened share and recovered secret that this process derives from now on.

    By their kind and a number. `patch` is pytest's, or sets what it is told.
    """
    import fedprivacy.secagg.masking.client as client_module
    import fedprivacy.secagg.masking.recovery as recovery_module
    import fedprivacy.secagg.masking.server as server_module

    secrets = {}
    for module in (client_module, recovery_module):
        _listen(patch, secrets, module, "self_seed", lambda seed: [seed])
        _listen(patch, secrets, module, "pairwise_seed", lambda seed: [seed])
    _listen(patch, secrets, client_module, "open_box", lambda held: held.shares)
    _listen(patch, secrets, server_module, "recover_secrets", lambda found: found.values())
    return secrets


def overhear_boxes(patch, secrets):
    """The keys of sealed boxes as well."""
    import fedprivacy.secagg.masking.shares as shares_module

    _listen(patch, secrets, shares_module, "box_key", lambda key: [key])


def _listen(patch, secrets, module, name, parts):
    original = getattr(module, name)

    def listened(*args, **named):
        result = original(*args, **named)
        for part in parts(result):
            secrets[f"{name} {len(secrets)}"] = part
        return result

    patch.setattr(module, name, listened)


def drawn(rng, *public):
    """The secrets among what a `RecordingRng` gave: randomness of 32 bytes, field by field.

    What was drawn for a purpose that begins with one of `public` is for others to see.
    """
    return {
        f"{purpose} {i} {at}": piece[at : at + 32]
        for purpose, pieces in rng.given.items()
        if not purpose.startswith(public)
        for i, piece in enumerate(pieces)
        for at in range(0, len(piece), 32)
    }


def vector_texts(vector):
    """The ways in which numbers may stand in a text: whole and in floats, lists and arrays."""
    whole = vector.astype(np.int64)
    listed = [str(v.tolist()) for v in (vector, whole)]
    spaced = [" ".join(map(repr, v.tolist())) for v in (vector, whole)]
    arrays = [str(v) for v in (vector, whole)] + [repr(v) for v in (vector, whole)]
    return [*listed, *(text.replace(" ", "") for text in listed), *spaced, *arrays]


class _Read:
    """A source that is read slice by slice, and what was read of it."""

    def __init__(self, source, parts):
        self.source, self.parts = source, parts

    def __len__(self):
        return len(self.source)

    def __getitem__(self, part):
        found = self.source[part]
        self.parts.append(np.array(found))
        return found


def overhear_vectors(patch):
    """Every update that this process contributes, and the integers that it is summed as."""
    from fedprivacy.rounds.client import RoundClient
    from fedprivacy.secagg.masking.client import MaskingClient

    vectors = []
    contribute, mask = RoundClient.contribute, MaskingClient.contribute

    def contributed(self, update):
        if isinstance(update.values, np.ndarray):
            vectors.append(update.values.copy())
        return contribute(self, update)

    def masked(self, source):
        return mask(self, _Read(source, vectors))

    patch.setattr(RoundClient, "contribute", contributed)
    patch.setattr(MaskingClient, "contribute", masked)
    return vectors


def vector_secrets(vectors):
    """Every 32 bytes of these vectors in a row, each number as eight bytes; zeros tell nothing."""
    found = {}
    for i, vector in enumerate(vectors):
        data = vector.tobytes()
        for at in range(0, len(data) - 31, 32):
            if len(set(data[at : at + 32])) > 2:
                found[f"vector {i} {at}"] = data[at : at + 32]
    return found
