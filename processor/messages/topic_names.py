"""The full names of the processor's topics, prefix included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from imagemill.settings import KafkaSettings
from schemas import topics
from schemas.jobs import Priority


@dataclass(frozen=True)
class TopicNames:
    """One field for each topic that the processor reads or writes; priorities by priority."""

    priorities: Mapping[Priority, str]
    control: str
    retry: str
    events: str
    state: str
    results: str
    dead_letter: str
    heartbeats: str

    @classmethod
    def of(cls, settings: KafkaSettings) -> Self:
        """Name the topics with the prefix of the settings."""
        return cls(
            priorities={p: settings.topic(each.name) for p, each in topics.PRIORITY_TOPICS.items()},
            control=settings.topic(topics.JOBS_CONTROL.name),
            retry=settings.topic(topics.JOBS_RETRY.name),
            events=settings.topic(topics.JOBS_EVENTS.name),
            state=settings.topic(topics.JOBS_STATE.name),
            results=settings.topic(topics.JOBS_RESULTS.name),
            dead_letter=settings.topic(topics.JOBS_DEAD_LETTER.name),
            heartbeats=settings.topic(topics.WORKERS_HEARTBEATS.name),
        )
