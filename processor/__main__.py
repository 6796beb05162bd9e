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
    """Run until SIGTERM; then let running items end, give partitions back, and exit 0.

    Exits 1 when no broker answers or topics are missing; the supervisor starts it again.
    """
    settings = ProcessorSettings()
    configure_logging(settings)
    try:
        check_topics(settings)
    except (KafkaUnavailable, TopicsMissing) as error:
        log.error("%s", error)
        sys.exit(1)
    # Not at the top: the inference processes import this module again, and need none of this.
    import mode.loop

    mode.loop.use("uvloop")  # before Faust is imported; CPU per job 0.36 -> 0.14 ms
    import faust
    from faust.exceptions import ConsistencyError

    from processor.worker import Processor

    processor = Processor(settings)
    processor.finalize()
    processor.worker_init()
    worker = faust.Worker(
        processor, override_logging=False, redirect_stdouts=False, loglevel=settings.log_level
    )
    log.info("worker %s with %d processes", settings.worker_id, settings.processes)
    try:
        worker.execute_from_commandline()
    except ConsistencyError:
        # The topics were created again. The table is only an index of them, which the restart
        # rebuilds.
        log.error("the table in %s indexes older topics: deleted", settings.table_dir)
        shutil.rmtree(settings.table_dir)
        sys.exit(1)


if __name__ == "__main__":
    sys.exit(command(["serve", "processor"]))
