"""The transport: makes our consumer and our producer."""

from __future__ import annotations

from typing import Any

from faust.transport.drivers import aiokafka as driver

from imagemill.kafka.load import LoadMeter
from processor.faust_fixes.consumer import HardenedConsumer
from processor.faust_fixes.speed import ShortSend


class HardenedProducer(ShortSend):
    """An idempotent producer.

    Stock: turns idempotence on for exactly_once only; without it a retry of the client may write a
    message twice, or behind a later one.

    Needed for: safety, of guarantee 4.
    """

    def _settings_extra(self) -> dict[str, Any]:
        return {"acks": "all", "enable_idempotence": True}


class HardenedTransport(driver.Transport):
    """The transport of a worker, with what its consumer and producer share."""

    Consumer = HardenedConsumer
    Producer = HardenedProducer

    def __init__(self, *args: Any, leave_on_stop: bool = True, **kwargs: Any) -> None:
        """
        Args:
            leave_on_stop: a clean stop leaves the group; off for a rolling restart.
        """
        super().__init__(*args, **kwargs)
        self.leave_on_stop = leave_on_stop
        # Of what is fetched: the sends follow it.
        self.load = LoadMeter()
