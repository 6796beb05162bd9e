"""`imagemill retention`: sweep once, or list what a sweep would remove."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from imagemill.kafka.config import producer_config
from imagemill.kafka.errors import KafkaUnavailable
from imagemill.kafka.producer import AsyncProducer
from imagemill.settings import ApiSettings
from imagemill.storage import open_store
from producer_api.jobs.retention import Retention, Sweep
from producer_api.read_model.errors import ReadModelBehind
from producer_api.read_model.read_model import ReadModel


def main(*, dry_run: bool) -> Sweep:
    """Sweep once and return what was removed; with `dry_run`, what would be.

    A read model is built from the topics for this run, so it works on any machine.

    Raises:
        KafkaUnavailable: the broker cannot be reached, or the topics not be read to their ends.
        StoreError: the store cannot be reached.
    """
    with tempfile.TemporaryDirectory(prefix="imagemill-") as folder:
        settings = ApiSettings().model_copy(
            update={"projection_path": Path(folder) / "projection.db"}
        )
        return asyncio.run(_sweep(settings, dry_run))


async def _sweep(settings: ApiSettings, dry_run: bool) -> Sweep:
    producer = AsyncProducer(producer_config(settings))
    read_model = ReadModel(settings)
    await read_model.start()
    try:
        await read_model.wait_ready()
        retention = Retention(settings, open_store(settings), producer, read_model)
        return await retention.sweep(dry_run=dry_run)
    except ReadModelBehind as error:
        raise KafkaUnavailable("the topics could not be read to their ends in time") from error
    finally:
        await producer.close()
        await read_model.stop()
