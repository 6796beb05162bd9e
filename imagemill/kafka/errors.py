"""Errors of Kafka clients, each with a sentence that an operator can act on."""

from __future__ import annotations


class KafkaUnavailable(Exception):
    """The cluster did not answer in time, or refuses us; trying again may help."""


class TopicsMissing(Exception):
    """The cluster lacks topics, or has them otherwise than they must be; the text says which."""


class TopicsDiffer(TopicsMissing):
    """The cluster keeps topics so that messages would be lost; the text has the remedy."""
