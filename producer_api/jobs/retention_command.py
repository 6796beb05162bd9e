"""`imagemill retention`: one sweep by hand, or the list of what it would remove."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from imagemill.kafka.config import producer_config
from imagemill.kafka.producer import AsyncProducer
from imagemill.settings import ApiSettings
from imagemill.storage import open_store
from producer_api.jobs.retention import Retention, Sweep
from producer_api.read_model.read_model import ReadModel


def main(*, dry_run: bool) -> Sweep:
    """Sweep once; with `dry_run` only tell.

    The read side is built from the topics for this run, so that any machine will do.

    Raises:
        KafkaUnavailable: the broker cannot be reached.
        StoreError: the store cannot.
    """
    with tempfile.TemporaryDirectory(prefix="imagemill-") as folder:
        settings = ApiSettings().model_copy(
            update={"projection_path": Path(folder) / "projection.db"}
        )
        return asyncio.run(_sweep(settings, dry_run))


async def _sweep(settings: ApiSettings, dry_run: bool) -> Sweep:
    producer = AsyncProducer(producer_config(settings))
    projection = ReadModel(settings)
    await projection.start()
    try:
        await projection.wait_ready()
        retention = Retention(settings, open_store(settings), producer, projection)
        return await retention.sweep(dry_run=dry_run)
    finally:
        await producer.close()
        await projection.stop()
