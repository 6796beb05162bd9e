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

# What the client has read reaches the table within milliseconds.
_QUIET_S = 1.0


class HardenedRecovery(Recovery):
    """Recovery whose last step loses no fetched message."""

    async def _wait(self, coro: Awaitable[Any], timeout: float | None = None) -> None:
        """Wait for a step.

        Stock: takes the end of the time for the service's own stop: recovery ends without a word,
        and the worker serves nothing until it is restarted.

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
        """Offsets that are still to be read, by partition.

        Stock: waits for the very last offset of the log, also when there is no record at it (a
        tombstone that compaction has removed, a transaction's marker): recovery never ends.
        """
        remaining = super().active_remaining()
        for tp, count in remaining.items():
            if count > 0 and self._is_read_up(tp):
                remaining[tp] = 0
        return remaining

    def _is_read_up(self, tp: TP) -> bool:
        """Whether all there is was read: the position is past the end, and nothing comes."""
        position = self.app.consumer.read_position(tp)
        if position is None or position <= self.active_highwaters[tp]:
            return False
        last = self._last_active_event_processed_at or self._recovery_started_at
        quiet = last is not None and time.monotonic() - last > _QUIET_S
        return quiet and self.tables.changelog_queue.empty()

    async def on_recovery_completed(self, generation_id: int = 0) -> None:
        """Seek, clear the stream queues, then resume.

        Stock: resumes the partitions, then seeks, then clears the queues: after a restart with a
        backlog, messages fetched in between vanish until the next rebalance.
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
