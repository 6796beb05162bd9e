"""Start one API process: `imagemill serve api`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading

from imagemill.cli import main as command
from imagemill.kafka.errors import KafkaUnavailable, TopicsMissing
from imagemill.kafka.topics import check_topics
from imagemill.process.gc import freeze_gc
from imagemill.process.logs import configure_logging
from imagemill.process.loop import new_event_loop
from imagemill.settings import ApiSettings
from producer_api.app import create_app
from producer_api.serving.ports import ApiServer

log = logging.getLogger("producer_api")


def main() -> None:
    """Serve until SIGTERM, then finish the requests in flight and exit 0.

    Exits 1 when topics are missing or mismatched. While the broker is away, known jobs can be read
    and /readyz answers 503; the topics are checked as soon as it answers.
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
    server = ApiServer(create_app(settings), settings)
    freeze_gc()
    with (
        asyncio.Runner(loop_factory=new_event_loop) as runner,
        contextlib.suppress(KeyboardInterrupt),
    ):
        runner.run(_serve(server, settings))


async def _serve(server: ApiServer, settings: ApiSettings) -> None:
    """Serve until SIGTERM or SIGINT, then answer the requests in flight."""
    stop = asyncio.Event()
    # Windows has no signals for a loop: there Ctrl+C cancels this task.
    if sys.platform != "win32":
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        await server.start()
        log.info("serving on %s://%s:%d", settings.scheme, settings.host, settings.port)
        await stop.wait()
    finally:
        await server.stop()


def _check_when_reached(settings: ApiSettings) -> None:
    """Check the topics once the broker answers; if some are missing, end the process.

    Its next start then exits 1 with the reason.
    """
    while True:
        try:
            return check_topics(settings)
        except KafkaUnavailable:
            continue
        except TopicsMissing as error:
            log.error("%s", error)
            return os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(command(["serve", "api"]))
