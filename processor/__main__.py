"""Start one processor worker: `imagemill serve processor`."""

from __future__ import annotations

import logging
import shutil
import sys

from imagemill.cli import main as command
from imagemill.kafka.errors import KafkaUnavailable, TopicsMissing
from imagemill.kafka.topics import check_topics
from imagemill.process.logs import configure_logging
from imagemill.settings import ProcessorSettings

log = logging.getLogger("processor")


def main() -> None:
    """Run until SIGTERM: then finish what runs, hand the rest back, and exit 0.

    Exits 1 when the broker is away or topics are missing; the supervisor starts it again.
    """
    settings = ProcessorSettings()
    configure_logging(settings)
    try:
        check_topics(settings)
    except (KafkaUnavailable, TopicsMissing) as error:
        log.error("%s", error)
        sys.exit(1)
    # Not at the top: the inference processes import this module again, and need none of it.
    import mode.loop

    mode.loop.use("uvloop")  # before Faust is imported; CPU a job 0.36 -> 0.14 ms
    import faust
    from faust.exceptions import ConsistencyError

    from processor.worker import Processor

    processor = Processor(settings)
    processor.app.finalize()
    processor.app.worker_init()
    worker = faust.Worker(
        processor.app, override_logging=False, redirect_stdouts=False, loglevel=settings.log_level
    )
    log.info("worker %s with %d processes", settings.worker_id, settings.processes)
    try:
        worker.execute_from_commandline()
    except ConsistencyError:
        # The topics were made anew. The table is only an index of them: the restart rebuilds it.
        log.error("the table in %s is of older topics: deleted", settings.table_dir)
        shutil.rmtree(settings.table_dir)
        sys.exit(1)


if __name__ == "__main__":
    sys.exit(command(["serve", "processor"]))
