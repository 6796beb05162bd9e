"""The console's form of webhook endpoints offers every type of event."""

from __future__ import annotations

import re
from importlib.resources import files

from schemas.jobs import WebhookEvent


def test_the_form_offers_every_type_of_event() -> None:
    script = files("producer_api").joinpath("console/webhooks.js").read_text()
    table = script[script.index("const EVENTS") : script.index("};")]

    assert set(re.findall(r'"([a-z.]+)":', table)) == set(WebhookEvent)
