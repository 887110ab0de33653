"""Signed webhooks: Standard Webhooks 1.0, symmetric signatures (W1).

    webhook-id: 5f3c…-1
    webhook-timestamp: 1795671721
    webhook-signature: v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= v1,…

What is signed is ``id.timestamp.payload``. The payload of a POST is its body. A GET has none, so its request target
(path and query, as they stand in the request line) takes its place. Each secret makes one signature.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterable

PREFIX = "whsec_"
LEAST = 24
"""Octets of a key. Standard Webhooks: from 24 to 64."""
MOST = 64
HOW = "make one with: openssl rand -base64 32"


def key_of(secret: str) -> bytes:
    """The key that a secret spells: base64, with or without the prefix. Raises ValueError, which never shows it."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except ValueError:
        raise ValueError(f"is not base64, with or without {PREFIX} before it; {HOW}") from None
    if not LEAST <= len(key) <= MOST:
        raise ValueError(f"must be from {LEAST} to {MOST} octets in base64, not {len(key)}; {HOW}")
    return key


def sign(keys: Iterable[bytes], message_id: str, timestamp: int, payload: bytes) -> dict[str, str]:
    """The headers of a message. `timestamp`: when it is sent, in seconds since the epoch."""
    content = b"%s.%d.%s" % (message_id.encode("ascii"), timestamp, payload)
    signatures = [base64.b64encode(hmac.digest(key, content, "sha256")).decode("ascii") for key in keys]
    return {
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join([f"v1,{signature}" for signature in signatures]),
    }
