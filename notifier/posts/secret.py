"""The secret that signs webhooks: a setting, or made once and kept in the home folder."""

from __future__ import annotations

import base64
import binascii
import secrets

from imagemill.process.secrets import own_secret
from imagemill.settings import NotifierSettings
from imagemill.settings.environment import SettingsInvalid

_PREFIX = "whsec_"


def webhook_secret(settings: NotifierSettings) -> str:
    """Return the Standard Webhooks secret of this deployment, which receivers verify with.

    Raises:
        SettingsInvalid: it is not `whsec_` and the base64 of 24 to 64 bytes.
        OSError: its file can neither be read nor created.
    """
    given = settings.webhook_secret
    secret = (given and given.get_secret_value()) or own_secret(
        settings, "webhook.secret", "IMAGEMILL_WEBHOOK_SECRET", _make
    )
    try:
        size = len(base64.b64decode(secret.removeprefix(_PREFIX), validate=True))
    except binascii.Error:
        size = 0
    if not secret.startswith(_PREFIX) or not 24 <= size <= 64:
        raise SettingsInvalid(
            "IMAGEMILL_WEBHOOK_SECRET, or webhook.secret in the home when it is unset, must be "
            "whsec_ followed by the base64 of 24 to 64 bytes"
        )
    return secret


def _make() -> str:
    return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()
