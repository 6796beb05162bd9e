"""Compares the configuration of the topics on the cluster with schemas.topics."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource

from imagemill.settings import KafkaSettings
from schemas.topics import TOPICS, Topic

log = logging.getLogger(__name__)


def repairs(topic: Topic, found: Mapping[str, str]) -> dict[str, str]:
    """Return the settings to change on a topic with this configuration; empty if it is right.

    A topic that deletes where it must compact loses the present state of jobs; one that compacts
    where it must delete loses all but a job's last message; a size limit that is too low refuses
    messages.
    """
    wanted = topic.config()
    policy, limit = "cleanup.policy", "max.message.bytes"
    changed = {}
    if {part.strip() for part in found[policy].split(",")} != {wanted[policy]}:
        changed[policy] = wanted[policy]
    if int(found[limit]) < int(wanted[limit]):
        changed[limit] = wanted[limit]
    return changed


def differing(client: AdminClient, settings: KafkaSettings, timeout_s: float) -> list[str]:
    """Return a sentence for each topic that differs, with the command that mends it.

    If the cluster does not let us read configurations that is logged, and the list is empty.

    Raises:
        KafkaException: the cluster did not answer.
    """
    try:
        return list(_sentences(client, settings, timeout_s))
    except KafkaException as error:
        # Negative codes are librdkafka's own: the cluster did not answer.
        if error.args[0].code() < 0:
            raise
        log.warning(
            "the configuration of the topics was not checked, since the cluster refuses it: %s",
            error.args[0].str(),
        )
        return []


def _sentences(client: AdminClient, settings: KafkaSettings, timeout_s: float) -> Iterator[str]:
    topics = {settings.topic(topic.name): topic for topic in TOPICS}
    resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in topics]
    answers = client.describe_configs(resources, request_timeout=timeout_s)
    for resource, answer in answers.items():
        name = resource.name
        found = {key: entry.value for key, entry in answer.result(timeout_s).items()}
        if changed := repairs(topics[name], found):
            has = " and ".join(f"{key}={found[key]}, not {changed[key]}" for key in changed)
            given = ",".join(f"{key}={value}" for key, value in changed.items())
            yield (
                f"{name} has {has}: kafka-configs --bootstrap-server "
                f"{settings.kafka_bootstrap_servers} --alter --entity-type topics "
                f"--entity-name {name} --add-config {given}"
            )
