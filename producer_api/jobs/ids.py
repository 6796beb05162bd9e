"""Ids of jobs: made by time, taken from the client, or derived from an idempotency key."""

from __future__ import annotations

import re
import secrets
import time
import uuid
from collections.abc import Callable

from imagemill.kafka.load import LoadMeter
from imagemill.kafka.partitions import into_partition

JOB_ID_PATTERN = r"^[A-Za-z0-9_-]{8,64}$"
_JOB_ID = re.compile(JOB_ID_PATTERN)
_KEY_NAMESPACE = uuid.UUID("6f1d3c1e-7c0e-5b7a-9f51-0d6b1f3a2c44")
# From this many jobs a second on, those of one moment share a partition. Fewer may be long jobs,
# which the workers share better when each goes to any partition.
_HIGH_PER_S = 200
_TURN_S = 0.04
# Of topics with more partitions several take a turn together: finding an id is not for nothing.
_MAX_TURNS = 64


def new_id() -> str:
    """A UUIDv7: ids made later sort later, so that indexes grow at their end."""
    milliseconds = time.time_ns() // 1_000_000
    digits = f"{milliseconds:012x}7{secrets.token_hex(10)}"
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{variant}{digits[17:20]}-{digits[20:32]}"


class JobIds:
    """Makes ids of jobs, whose partitions take turns while many are made.

    A job's messages go to the partition that its id tells. A request of librdkafka's producer
    carries those of one partition, and a worker deals with a partition's messages together: ids at
    random cost each job requests of its own at every hop: half of a broker's and a fifth of a
    worker's time at 600 jobs a second. Turns are too short for a worker to run dry before its next
    one.
    """

    def __init__(self, partitions: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._partitions = partitions
        self._turns = min(partitions, _MAX_TURNS)
        # Several APIs should not favour the same workers in the same moment.
        self._turn = secrets.randbelow(self._turns)
        self._turn_end = 0.0
        self._clock = clock
        self._pace = LoadMeter(_HIGH_PER_S, clock)

    def new(self) -> str:
        """A UUIDv7; see new_id."""
        made = new_id()
        if not self._pace.count(1):
            return made
        now = self._clock()
        if now >= self._turn_end:
            self._turn_end = now + _TURN_S
            self._turn = (self._turn + 1) % self._turns
        share = self._partitions / self._turns
        wanted = range(int(self._turn * share), int((self._turn + 1) * share))
        return into_partition(made, wanted, self._partitions)


def is_job_id(text: str) -> bool:
    """Whether a client may name a job so: a UUID, or 8 to 64 letters, digits, `_` and `-`."""
    return _JOB_ID.fullmatch(text) is not None


def id_of_key(key: str) -> str:
    """The job id that an Idempotency-Key stands for, the same at every API process."""
    return str(uuid.uuid5(_KEY_NAMESPACE, key))
