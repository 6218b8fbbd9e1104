"""Signatures by the Standard Webhooks specification, with secrets that are kept nowhere.

A signing secret is derived from the server's own secret and a random seed that the endpoint's row
holds: a copy of the database alone signs nothing (docs/decisions/0041).

Source: the specification at standardwebhooks.com, 1.0; protocol notes §14.
"""

import base64
import contextlib
import hmac
import os
from datetime import datetime

from overnight.access.secret import ServerSecret
from overnight.model import EventId, Webhook, WebhookId

_SALT_BYTES = 24
_MARK_BYTES = 8
_PREFIX = "whsec_"


class SecretLost(Exception):
    """The server's secret is another one than that with which the seed was made"""


def new_seed(server: ServerSecret, webhook_id: WebhookId) -> bytes:
    """Make what a new signing secret is derived from."""
    salt = os.urandom(_SALT_BYTES)
    return salt + _mark(_derived(server, webhook_id, salt))


def signing_secret(server: ServerSecret, webhook_id: WebhookId, seed: bytes) -> str:
    """Give a signing secret as its owner stores it: `whsec_…`. Raises: SecretLost."""
    return _PREFIX + base64.b64encode(_key(server, webhook_id, seed)).decode("ascii")


def headers(
    server: ServerSecret, webhook: Webhook, event_id: EventId, body: bytes, *, now: datetime
) -> dict[str, str]:
    """Sign one attempt by the current secret, and by the one before while it is valid.

    Raises: SecretLost.
    """
    keys = [_key(server, webhook.id, webhook.seed)]
    if webhook.previous_seed and webhook.previous_until and now < webhook.previous_until:
        # One that was lost is no reason to send nothing by the one that replaced it.
        with contextlib.suppress(SecretLost):
            keys.append(_key(server, webhook.id, webhook.previous_seed))
    timestamp = str(int(now.timestamp()))
    signed = b"%b.%b.%b" % (event_id.encode(), timestamp.encode(), body)
    digests = [hmac.digest(key, signed, "sha256") for key in keys]
    return {
        "webhook-id": event_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{base64.b64encode(d).decode('ascii')}" for d in digests),
    }


def _key(server: ServerSecret, webhook_id: WebhookId, seed: bytes) -> bytes:
    salt, mark = seed[:_SALT_BYTES], seed[_SALT_BYTES:]
    key = _derived(server, webhook_id, salt)
    if not hmac.compare_digest(mark, _mark(key)):
        raise SecretLost
    return key


def _derived(server: ServerSecret, webhook_id: WebhookId, salt: bytes) -> bytes:
    return server.derive("webhook signing", webhook_id.encode(), salt)


def _mark(key: bytes) -> bytes:
    """Give what tells whether a key is the right one, and nothing about it."""
    return hmac.digest(key, b"mark", "sha256")[:_MARK_BYTES]
