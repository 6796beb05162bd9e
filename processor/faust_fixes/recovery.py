"""Table recovery that seeks before it resumes, and does not go on when a step timed out."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable
from typing import Any

from faust.tables.manager import TableManager
from faust.tables.recovery import RebalanceAgain, Recovery, ServiceStopped
from faust.types import TP

# Time without a changelog record after which a partition counts as read up. A record that the
# client has read reaches the table within milliseconds.
_IDLE_S = 1.0


class HardenedRecovery(Recovery):
    """Recovery whose last step loses no fetched message."""

    async def _wait(self, coro: Awaitable[Any], timeout: float | None = None) -> None:
        """Wait for a step.

        Stock: takes a timeout for the service's own stop: recovery ends without a log line, and
        the worker serves nothing until it is restarted.

        Needed for: liveness.

        Raises:
            RebalanceAgain: another rebalance began meanwhile.
            ServiceStopped: the worker stops.
            TimeoutError: the step took longer than `timeout` seconds.
        """
        signal = self.signal_recovery_start
        result = await self.wait_first(coro, signal, timeout=timeout)
        if signal in result.done:
            raise RebalanceAgain
        if result.stopped:
            if timeout and not self._stopped.is_set() and not self._crashed.is_set():
                raise TimeoutError(f"a recovery step took more than {timeout} s")
            raise ServiceStopped

    def active_remaining(self) -> Counter[TP]:
        """Count the offsets that are still to be read, by partition.

        Stock (faust-streaming #176, #597): waits for the last offset of the log, also when it has
        no record (a tombstone that compaction has removed, a transaction's marker): recovery never
        ends.

        Needed for: liveness.
        """
        remaining = super().active_remaining()
        for tp, count in remaining.items():
            if count > 0 and self._is_read_up(tp):
                remaining[tp] = 0
        return remaining

    def _is_read_up(self, tp: TP) -> bool:
        """Return whether the position is past the end of the log, and no record comes."""
        position = self.app.consumer.read_position(tp)
        if position is None or position <= self.active_highwaters[tp]:
            return False
        last = self._last_active_event_processed_at or self._recovery_started_at
        idle = last is not None and time.monotonic() - last > _IDLE_S
        return idle and self.tables.changelog_queue.empty()

    async def on_recovery_completed(self, generation_id: int = 0) -> None:
        """Seek, clear the stream queues, then resume.

        Stock (faust-streaming #596): resumes the partitions, then seeks, then clears the queues:
        after a restart with a backlog, messages fetched in between vanish until the next
        rebalance.

        Needed for: liveness.
        """
        app, consumer = self.app, self.app.consumer
        await app.on_rebalance_complete.send()
        self._set_recovery_ended()
        for table in self.tables.values():
            await table.on_recovery_completed(
                self.actives_for_table[table], self.standbys_for_table[table]
            )
        assignment = consumer.assignment()
        if app.consumer_generation_id != generation_id:
            return
        if assignment:
            await self._wait(consumer.perform_seek(), timeout=app.conf.broker_request_timeout)
            if consumer.sought_generation != generation_id:
                raise RebalanceAgain
        self.completed.set()
        app.flow_control.resume()  # clears every stream queue, so before the partitions resume
        consumer.resume_partitions({tp for tp in assignment if not self._is_changelog_tp(tp)})
        consumer.resume_flow()
        await app._fetcher.maybe_start()
        self.tables.on_actives_ready()
        if not app.assignor.assigned_standbys():
            self.tables.on_standbys_ready()
        app.on_rebalance_end()
        self.log.info("Worker ready")


class HardenedTableManager(TableManager):
    """The table manager that makes our recovery."""

    @property
    def recovery(self) -> Recovery:
        """The recovery service, made at first use on the loop that runs."""
        if self._recovery is None:
            self._recovery = HardenedRecovery(
                self.app, self, beacon=self.beacon, loop=asyncio.get_event_loop()
            )
        return self._recovery
