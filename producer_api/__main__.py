"""Start one API process: `imagemill serve api`."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading

from aiohttp import web

from imagemill.cli import main as command
from imagemill.kafka.errors import KafkaUnavailable, TopicsMissing
from imagemill.kafka.topics import check_topics
from imagemill.process.gc import freeze_gc
from imagemill.process.logs import configure_logging
from imagemill.settings import ApiSettings
from producer_api.app import create_app

log = logging.getLogger("producer_api")


def main() -> None:
    """Serve until SIGTERM: then finish the requests under way and exit 0.

    Exits 1 when topics are missing or mismatched. A broker that is away is waited for: reads of
    what is known go on, and /readyz tells. Its topics are checked once it is there.
    """
    settings = ApiSettings()
    configure_logging(settings)
    try:
        check_topics(settings, timeout_s=settings.delivery_timeout_s)
    except KafkaUnavailable as error:
        log.warning("%s; waiting for it", error)
        threading.Thread(target=_check_when_reached, args=(settings,), daemon=True).start()
    except TopicsMissing as error:
        log.error("%s", error)
        sys.exit(1)
    log.info("serving on %s:%d", settings.host, settings.port)
    app = create_app(settings)
    freeze_gc()
    web.run_app(
        app,
        host=settings.host,
        port=settings.port,
        access_log=None,
        print=None,
        loop=_new_loop(),
    )


def _check_when_reached(settings: ApiSettings) -> None:
    """End the process if the broker, once it answers, lacks topics: the next start says so."""
    while True:
        try:
            return check_topics(settings)
        except KafkaUnavailable:
            continue
        except TopicsMissing as error:
            log.error("%s", error)
            return os.kill(os.getpid(), signal.SIGTERM)


def _new_loop() -> asyncio.AbstractEventLoop:
    if sys.platform == "win32":
        return asyncio.new_event_loop()
    import uvloop

    return uvloop.new_event_loop()


if __name__ == "__main__":
    sys.exit(command(["serve", "api"]))
