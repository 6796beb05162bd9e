"""Receive webhooks of imagemill: verify each, handle it once, answer at once.

    WEBHOOK_SECRET=whsec_... python receiver.py

Runs on the standard library. WEBHOOK_SECRET is the endpoint's secret (`whsec_...`), or its public
key (`whpk_...`), which needs the package `cryptography`. It listens on 127.0.0.1:PORT, by default
port 8000, and prints a line for each event.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import sys
import time
from collections import OrderedDict
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import Any

# Older or newer posts are refused, so that nobody can send a recorded one again later.
TOLERANCE_S = 300
MAX_BODY_BYTES = 8 * 1024 * 1024
MAX_KNOWN_IDS = 10_000


class NotVerified(Exception):
    """The post does not come from the holder of the secret, or it is too old."""


def verify(secret: str, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """Return the event in a post.

    Raises:
        NotVerified: a header is missing, the time is off, or no signature fits.
    """
    message_id = headers.get("webhook-id", "")
    timestamp = headers.get("webhook-timestamp", "")
    if not message_id or not timestamp.isdecimal():
        raise NotVerified("webhook-id or webhook-timestamp is missing")
    if abs(time.time() - int(timestamp)) > TOLERANCE_S:
        raise NotVerified(f"webhook-timestamp is more than {TOLERANCE_S} s off")
    signed = f"{message_id}.{timestamp}.".encode() + body
    # Several signatures are separated by spaces: while a secret is rotated, the old one signs too.
    for signature in headers.get("webhook-signature", "").split(" "):
        version, _, value = signature.partition(",")
        if _fits(secret, version, value, signed):
            event = json.loads(body)
            if isinstance(event, dict):
                return event
            raise NotVerified("the body is no JSON object")
    raise NotVerified("no signature fits the secret")


def _fits(secret: str, version: str, value: str, signed: bytes) -> bool:
    prefix, _, key = secret.partition("_")
    if (prefix, version) == ("whsec", "v1"):
        digest = hmac.digest(base64.b64decode(key), signed, hashlib.sha256)
        # In constant time, so that the time of the answer says nothing about the right signature.
        return hmac.compare_digest(base64.b64encode(digest), value.encode())
    if (prefix, version) == ("whpk", "v1a"):
        return _fits_public_key(base64.b64decode(key), value, signed)
    return False


def _fits_public_key(key: bytes, value: str, signed: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(key).verify(base64.b64decode(value), signed)
    except (InvalidSignature, ValueError):
        return False
    return True


class KnownIds:
    """The ids of the events that were handled: a repeat has the id of the first post.

    In memory here. Keep them where your results are, in the same transaction, for three days.
    """

    def __init__(self) -> None:
        self._ids: OrderedDict[str, None] = OrderedDict()
        self._lock = Lock()

    def __contains__(self, message_id: str) -> bool:
        with self._lock:
            return message_id in self._ids

    def add(self, message_id: str) -> None:
        """Remember an id, once its event was handled."""
        with self._lock:
            self._ids[message_id] = None
            if len(self._ids) > MAX_KNOWN_IDS:
                self._ids.popitem(last=False)


def handle(message_id: str, event: dict[str, Any]) -> None:
    """Use an event. Put it in a queue if that takes long: the sender waits for 15 s only."""
    data = event["data"]
    print(event["type"], message_id, data.get("job_id", data.get("endpoint_id")), flush=True)


class Receiver(BaseHTTPRequestHandler):
    """Answers 204 to an event, 400 to a post that is not verified."""

    secret = ""
    known = KnownIds()

    def do_POST(self) -> None:
        length = self.headers.get("content-length", "")
        if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
            self._answer(413)
            return
        body = self.rfile.read(int(length))
        try:
            event = verify(self.secret, self.headers, body)
        except (NotVerified, ValueError) as error:
            print(f"refused: {error}", file=sys.stderr, flush=True)
            self._answer(400)
            return
        message_id = self.headers["webhook-id"]
        if message_id in self.known:
            print("repeated", message_id, flush=True)
        else:
            handle(message_id, event)
            self.known.add(message_id)
        self._answer(204)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing: `handle` prints what matters."""


def main() -> None:
    secret = os.environ.get("WEBHOOK_SECRET", "")
    if not secret.startswith(("whsec_", "whpk_")):
        sys.exit("Set WEBHOOK_SECRET to the endpoint's secret, whsec_... or whpk_....")
    Receiver.secret = secret
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8000"))), Receiver)
    print("listening on port", server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
