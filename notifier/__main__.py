"""Start the notifier: `imagemill serve notifier`."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

from confluent_kafka import KafkaException

from imagemill.cli import main as command
from imagemill.kafka.errors import KafkaUnavailable, TopicsMissing
from imagemill.kafka.topics import check_topics
from imagemill.process.gc import freeze_gc
from imagemill.process.logs import configure_logging
from imagemill.process.loop import new_event_loop
from imagemill.settings import NotifierSettings
from notifier.service import Notifier

log = logging.getLogger("notifier")


def main() -> None:
    """Run until SIGTERM: then finish the attempts under way and exit 0.

    Exits 1 when a setting is wrong, the broker is away or topics are missing; the supervisor
    starts it again.
    """
    settings = NotifierSettings()
    configure_logging(settings)
    try:
        check_topics(settings)
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(_serve(settings))
    except (KafkaUnavailable, TopicsMissing, ValueError, OSError) as error:
        log.error("%s", error)
        sys.exit(1)
    except KafkaException as error:
        log.error("the Kafka consumer cannot go on: %s", error.args[0].str())
        sys.exit(1)


async def _serve(settings: NotifierSettings) -> None:
    notifier = Notifier(settings)
    freeze_gc()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, notifier.stop)
    log.info("webhooks are delivered, at most %d at once", settings.webhook_concurrency)
    await notifier.run()


if __name__ == "__main__":
    sys.exit(command(["serve", "notifier"]))
