"""An endpoint on this machine that hands out an app as Flower Hub does: with signatures over it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import threading
import time
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flwr.cli.build import build_fab_from_disk
from flwr.supercore.primitives.asymmetric_ed25519 import create_message_to_sign

KEY_ID = "fpk_consortium"


class Signer:
    """Who reviews an app, and the file in which SuperNodes trust that."""

    def __init__(self):
        self.key = Ed25519PrivateKey.generate()

    def entities(self, path):
        public = self.key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        path.write_text(f"{KEY_ID}: {public.decode()} consortium\n")
        return path

    def sign(self, bundle):
        """What the Hub's answer says of a bundle."""
        at = int(time.time())
        signature = self.key.sign(create_message_to_sign(hashlib.sha256(bundle).digest(), at))
        text = base64.urlsafe_b64encode(signature).decode()
        return {"public_key_id": KEY_ID, "signature": text, "signed_at": at}


@contextlib.contextmanager
def hub(app, signer):
    """The address for FLWR_SUPERGRID_API_URL, while it serves."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a library, in Flower's own code
        bundle = build_fab_from_disk(app)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            answer = {"fab_url": f"{address}/bundle", "verifications": [signer.sign(bundle)]}
            self._answer(json.dumps(answer).encode())

        def do_GET(self):
            self._answer(bundle)

        def _answer(self, body):
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words): ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield address
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
