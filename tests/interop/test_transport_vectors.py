"""The vectors of protocols/transport, read by the package and by the reference."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from fedprivacy.errors import PeerError, Reason
from fedprivacy.transport.tls.frames import (
    FRAME_LIMIT,
    HEAD_BYTES,
    HELLO_LIMIT,
    Close,
    Frame,
    Hello,
    Kind,
    Welcome,
    body_size,
    place_of,
)
from fedprivacy.transport.tls.session import Inbox
from fedprivacy.wire import decode

FOLDER = Path(__file__).parents[2] / "protocols/transport"
VECTORS = [json.loads(path.read_text("utf-8")) for path in sorted(FOLDER.glob("vectors/*.json"))]


@pytest.fixture(scope="module")
def reference():
    spec = importlib.util.spec_from_file_location("transport_reference", FOLDER / "reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def by_package(vector):
    inbox, read = Inbox(limit=vector["limit"]), []
    messages = {Kind.HELLO: Hello, Kind.WELCOME: Welcome, Kind.CLOSE: Close}
    for text in vector["frames"]:
        data = bytes.fromhex(text)
        kind, _ = body_size(data[:HEAD_BYTES], limit=FRAME_LIMIT)
        body = data[HEAD_BYTES:]
        match kind:
            case Kind.MESSAGE | Kind.PIECE:
                if whole := inbox.take(Frame(kind, body)):
                    read.append(whole[1])
            case Kind.ACK:
                read.append(place_of(body))
            case Kind.PING:
                if body:
                    raise PeerError(Reason.MALFORMED, "a ping with a body")
            case _:
                found = decode(messages[kind], body, limit=HELLO_LIMIT)
                read.append(tuple(getattr(found, name) for name in found.__struct_fields__))
    return read


def by_reference(reference, vector):
    inbox, read = reference.Inbox(vector["limit"]), []
    for text in vector["frames"]:
        data = bytes.fromhex(text)
        kind, _ = reference.head(data[:5], reference.LARGE)
        body = data[5:]
        if kind in (reference.MESSAGE, reference.PIECE):
            whole = inbox.take(reference.Frame(kind, body))
            if whole is not None:
                read.append(whole)
        elif kind == reference.ACK:
            reference.require(len(body) == 8, "MALFORMED")
            read.append(int.from_bytes(body, "big"))
        elif kind == reference.PING:
            reference.require(not body, "MALFORMED")
        elif kind == reference.CLOSE:
            read.append((reference.read_close(body),))
        else:
            reader = reference.read_hello if kind == reference.HELLO else reference.read_welcome
            read.append(tuple(reader(body)))
    return read


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_both_read_a_vector_alike(vector, reference):
    if vector["refused"] is None:
        assert vector["name"].startswith("ok_")
        assert by_package(vector) == by_reference(reference, vector)
        return
    with pytest.raises(PeerError) as raised:
        by_package(vector)
    assert raised.value.reason.name == vector["refused"]
    with pytest.raises(reference.Refused) as refused:
        by_reference(reference, vector)
    assert refused.value.reason == vector["refused"]
    assert reference.REASONS[vector["refused"]] == raised.value.reason.value


def test_the_vectors_are_what_the_generator_writes(tmp_path):
    copy = tmp_path / "protocols" / "transport"
    copy.mkdir(parents=True)
    for name in ("generate.py", "reference.py"):
        (copy / name).write_text((FOLDER / name).read_text("utf-8"), "utf-8")
    for other in ("round", "secagg", "oneshot"):
        (copy.parent / other).symlink_to(FOLDER.parent / other)
    subprocess.run([sys.executable, str(copy / "generate.py")], check=True)
    made = {path.name: path.read_text("utf-8") for path in copy.glob("vectors/*.json")}
    kept = {path.name: path.read_text("utf-8") for path in FOLDER.glob("vectors/*.json")}
    assert made == kept


def test_the_reasons_in_the_spec_are_the_packages(project):
    text = (FOLDER / "SPEC.md").read_text("utf-8")
    for reason in Reason:
        if reason.name.startswith("CHANNEL_"):
            assert f"| {reason.value} | `{reason.name}` |" in text
