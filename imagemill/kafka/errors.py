"""Errors of Kafka clients, each with a sentence that an operator can act on."""

from __future__ import annotations


class KafkaUnavailable(Exception):
    """The cluster did not answer in time, or refuses us; a later attempt may succeed."""


class TopicsMissing(Exception):
    """Topics are missing on the cluster, or have other partition counts; the text names them."""


class TopicsDiffer(TopicsMissing):
    """Topics are configured so that messages would be lost; the text has the command to mend it."""
