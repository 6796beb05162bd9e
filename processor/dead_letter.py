"""What cannot be processed goes to the dead-letter topic, with the reason in its headers."""

from __future__ import annotations

import logging

from processor.admission import Entry
from processor.outbox import Delivery, Outbox
from schemas.codec import Encoded

log = logging.getLogger(__name__)


async def dead_letter(outbox: Outbox, topic: str, entry: Entry, reason: str) -> Delivery:
    """Send the entry's message, unchanged, to the dead-letter topic.

    Headers added: imagemill-source-topic, -partition, -offset and -error.
    """
    message = entry.message
    log.error("%s-%d@%d: %s", entry.tp.topic, entry.tp.partition, message.offset, reason)
    headers = [
        *(message.headers or ()),
        ("imagemill-source-topic", entry.tp.topic.encode()),
        ("imagemill-source-partition", str(entry.tp.partition).encode()),
        ("imagemill-source-offset", str(message.offset).encode()),
        ("imagemill-error", reason.encode()),
    ]
    # The client refuses a message with neither key nor value.
    nothing = message.key is None and message.value is None
    value = b"" if nothing else message.value
    return await outbox.send(topic, message.key, Encoded(value, headers), None)
