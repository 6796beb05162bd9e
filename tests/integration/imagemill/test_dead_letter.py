"""`imagemill dead-letter` on the real broker: what it lists, shows and puts back."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from imagemill.cli import main
from imagemill.kafka.config import producer_config
from imagemill.kafka.topics import admin
from imagemill.settings import ApiSettings
from processor.messages.admission import AdmittedMessage
from processor.messages.dead_letter import letter_of
from schemas import cloudevents, topics
from schemas.times import from_epoch
from schemas.webhooks import WebhookDelivery, WebhookReplay
from tests.conftest import Broker
from tests.support.api import Topics, fresh_settings
from tests.support.messages import FakeMessage

HOUR_S = 3600
# Within every retention: the broker may remove older messages at any moment.
NOON_S = float(int(time.time()) - 6 * HOUR_S)


class Cluster:
    """The topics of a test, and messages that were given up."""

    def __init__(self, settings: ApiSettings, kafka: Topics) -> None:
        self.settings = settings
        self.topics = kafka
        self.admin: AdminClient = admin(settings)
        self._producer = Producer(producer_config(settings))

    def write(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: list[tuple[str, bytes]],
        at_s: float = NOON_S,
        partition: int = 0,
    ) -> int:
        """Append a message as of a time; return its offset."""
        offsets: list[int] = []
        self._producer.produce(
            self.settings.topic(topic), value, key, partition,
            headers=headers, timestamp=int(at_s * 1000),
            on_delivery=lambda error, message: offsets.append(message.offset()),
        )  # fmt: skip
        assert self._producer.flush(30) == 0
        return offsets[0]

    def give_up(
        self, value: bytes, reason: str, source: str = "jobs.normal", at_s: float = NOON_S
    ) -> str:
        """Write a message to partition 1 of a topic, and its dead letter; return the letter's id.

        The letter is the processor's own.
        """
        headers = [("ce_type", b"io.imagemill.job.submitted.v1"), ("traceparent", b"00-1-2-03")]
        name = self.settings.topic(source)
        offset = self.write(source, b"job-1", value, headers, at_s, partition=1)
        message = FakeMessage(name, b"job-1", value, headers, partition_=1, offset_=offset)
        key, letter = letter_of(admitted(message), reason)
        at = self.write("jobs.dead-letter", key, letter.value, letter.headers, at_s)
        return f"jobs.dead-letter-0@{at}"

    def give_up_delivery(self, at_s: float = NOON_S, **fields: Any) -> str:
        """Write a webhook delivery that was given up, as the notifier does; return its id."""
        delivery = WebhookDelivery(
            job_id="job-1", delivery_id="msg_1", url="https://here.test/hook",
            attempts=3, reason="The receiver answered 500.", **({"body": "{}"} | fields),
        )  # fmt: skip
        value, headers = cloudevents.encode(delivery)
        at = self.write("webhooks.dead-letter", b"msg_1", value, headers, at_s)
        return f"webhooks.dead-letter-0@{at}"


def admitted(message: FakeMessage) -> AdmittedMessage:
    """A message as the processor has it when it gives it up."""
    raw = type(
        "Raw",
        (),
        {
            "key": message.key(),
            "value": message.value(),
            "headers": message.headers(),
            "offset": message.offset(),
        },
    )
    tp = type("TP", (), {"topic": message.topic(), "partition": message.partition()})
    return type("Admitted", (), {"message": raw, "tp": tp})  # type: ignore[return-value]


@pytest.fixture
def cluster(broker: Broker, tmp_path: Path, monkeypatch) -> Iterator[Cluster]:
    settings = fresh_settings(broker.bootstrap, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", broker.bootstrap)
    monkeypatch.setenv("IMAGEMILL_TOPIC_PREFIX", settings.topic_prefix)
    kafka = Topics(settings)
    yield Cluster(settings, kafka)
    kafka.close()


@pytest.fixture
def said(capsys) -> Callable[..., Any]:
    """Runs the command; returns what it printed as JSON."""

    def run(*words: str, status: int = 0) -> Any:
        assert main(["dead-letter", *words, "--json"]) == status
        return json.loads(capsys.readouterr().out)

    return run


def test_every_record_is_listed_with_the_reason_why_it_is_there(cluster, said, capsys) -> None:
    delivery = cluster.give_up_delivery(NOON_S + 1)
    broken = cluster.give_up(b"{", "no JSON")
    first, second = said("list")["letters"]
    assert (first["id"], first["reason"], first["source"]) == (broken, "no JSON", "jobs.normal-1@0")
    assert (first["key"], first["at"]) == ("job-1", from_epoch(NOON_S))
    assert (second["id"], second["source"]) == (delivery, None)
    expected = "The receiver answered 500. (https://here.test/hook, after 3 attempts)"
    assert second["reason"] == expected
    assert main(["dead-letter", "list"]) == 0
    printed = capsys.readouterr().out
    assert "no JSON" in printed and expected in printed and "2 dead letters" in printed


def test_a_cluster_without_dead_letters_lists_none(cluster, said) -> None:
    assert said("list") == {"letters": [], "left_out": 0}


def test_the_list_is_of_a_span_of_time_a_topic_and_the_newest(cluster, said) -> None:
    ids = [cluster.give_up(b"{", f"{n}", at_s=NOON_S + n * HOUR_S) for n in range(4)]
    delivery = cluster.give_up_delivery(NOON_S + HOUR_S)

    def listed(*words: str) -> list[str]:
        return [each["id"] for each in said("list", *words)["letters"]]

    since, until = from_epoch(NOON_S + HOUR_S), from_epoch(NOON_S + 4 * HOUR_S)
    elsewhere = until.replace("Z", "+01:00")  # an hour earlier
    assert listed("--since", since, "--until", elsewhere) == [ids[1], delivery, ids[2]]
    assert listed("--topic", "webhooks.dead-letter") == [delivery]
    assert listed("--limit", "2") == ids[2:]
    assert said("list", "--limit", "2")["left_out"] == 3


def test_one_record_is_shown_whole(cluster, said, capsys) -> None:
    broken = cluster.give_up(b"\xff{", "no JSON")
    shown = said("show", broken)
    assert (shown["value"], shown["value_base64"]) == (None, "/3s=")
    assert ["traceparent", "00-1-2-03"] in shown["headers"]
    assert shown["replays_to"] == "jobs.normal-1"
    assert main(["dead-letter", "show", broken]) == 0
    assert "replays to     jobs.normal-1" in capsys.readouterr().out


def test_a_message_goes_back_to_its_partition_as_it_was(cluster, said) -> None:
    broken = cluster.give_up(b"{", "no JSON")
    assert said("replay", broken)["replayed"] == [
        {"id": broken, "to": "jobs.normal-1", "refused": None}
    ]
    original, again = cluster.topics.messages("jobs.normal")
    assert (again.partition(), again.key(), again.value()) == (1, b"job-1", b"{")
    assert again.headers() == [*original.headers(), ("imagemill-replayed-from", broken.encode())]


def test_a_message_that_fails_again_says_what_it_was_put_back_from(cluster, said) -> None:
    broken = cluster.give_up(b"{", "no JSON")
    said("replay", broken)
    again = cluster.topics.messages("jobs.normal")[-1]
    key, letter = letter_of(admitted(again), "still no JSON")
    cluster.write("jobs.dead-letter", key, letter.value, letter.headers, NOON_S + 1)
    last = said("list")["letters"][-1]
    assert (last["reason"], last["replayed_from"]) == ("still no JSON", broken)
    said("replay", last["id"])
    headers = dict(cluster.topics.messages("jobs.normal")[-1].headers())
    assert headers["imagemill-replayed-from"] == last["id"].encode()
    assert "imagemill-error" not in headers


def test_a_message_too_large_to_be_copied_is_read_from_where_it_came(cluster, said) -> None:
    large = b"x" * (topics.MAX_MESSAGE_BYTES - (16 << 10))
    broken = cluster.give_up(large, "too large")
    assert said("show", broken)["value"] == ""
    said("replay", broken)
    _, again = cluster.topics.messages("jobs.normal")
    assert again.value() == large
    headers = dict(again.headers())
    assert headers["traceparent"] == b"00-1-2-03" and "imagemill-omitted" not in headers


def test_a_large_message_that_is_gone_is_not_put_back(cluster, said) -> None:
    broken = cluster.give_up(b"x" * (topics.MAX_MESSAGE_BYTES - (16 << 10)), "too large")
    place = TopicPartition(cluster.settings.topic("jobs.normal"), 1, 1)
    for deleted in cluster.admin.delete_records([place]).values():
        deleted.result(30)
    [outcome] = said("replay", broken, status=1)["replayed"]
    assert outcome["to"] is None
    assert outcome["refused"] == (
        "it was too large to be copied, and is no longer at jobs.normal-1@0"
    )


def test_a_state_is_not_put_back_over_newer_ones(cluster, said) -> None:
    broken = cluster.give_up(b"{", "no JSON", source="jobs.state")
    [outcome] = said("replay", broken, status=1)["replayed"]
    assert outcome["refused"].startswith("jobs.state keeps the last message of each key")
    assert len(cluster.topics.messages("jobs.state")) == 1


@pytest.mark.parametrize("source", ["other.topic", "", "jobs.dead-letters"])
def test_headers_do_not_choose_a_topic_of_others(cluster, said, source: str) -> None:
    name = cluster.settings.topic_prefix + source if source else "other.topic"
    headers = [
        ("imagemill-source-topic", name.encode()),
        ("imagemill-source-partition", b"0"),
        ("imagemill-source-offset", b"0"),
        ("imagemill-error", b"forged"),
    ]
    at = cluster.write("jobs.dead-letter", b"k", b"v", headers)
    [outcome] = said("replay", f"jobs.dead-letter-0@{at}", status=1)["replayed"]
    assert outcome["refused"] == "its headers do not say which of our topics it came from"


def test_all_of_a_span_go_back_and_a_dry_run_writes_nothing(cluster, said) -> None:
    ids = [cluster.give_up(b"{", f"{n}", at_s=NOON_S + n * HOUR_S) for n in range(3)]
    span = ("--since", from_epoch(NOON_S + HOUR_S))
    dry = said("replay", *span, "--dry-run")
    assert [each["id"] for each in dry["replayed"]] == ids[1:]
    assert len(cluster.topics.messages("jobs.normal")) == 3
    assert said("replay", *span)["replayed"] == dry["replayed"]
    assert len(cluster.topics.messages("jobs.normal")) == 5


def test_a_delivery_is_asked_for_once_more_from_the_notifier(cluster, said) -> None:
    given_up = cluster.give_up_delivery()
    assert said("replay", given_up)["replayed"][0]["to"] == "webhooks.commands"
    [message] = cluster.topics.messages("webhooks.commands")
    command = cloudevents.decode_webhook_command(message.headers(), message.value())
    assert isinstance(command, WebhookReplay) and message.key() == b"msg_1"
    assert (command.topic, command.partition, command.offset) == ("webhooks.dead-letter", 0, 0)


def test_a_delivery_without_its_body_is_not_posted(cluster, said) -> None:
    [outcome] = said("replay", cluster.give_up_delivery(body=""), status=1)["replayed"]
    assert outcome["refused"].startswith("its body was too large to be kept")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("show", "jobs.dead-letter-0@7"), "there is no jobs.dead-letter-0@7"),
        (("show", "jobs.dead-letter-9@0"), "there is no jobs.dead-letter-9@0"),
        (("show", "jobs.normal-0@0"), "is no id of a dead letter"),
        (("list", "--since", "2026-03-01T12:00:00"), "is no time with a zone"),
        (("list", "--limit", "0"), "is no number from 1 to 100000"),
        (("list", "--topic", "jobs.normal"), "invalid choice"),
        (("replay",), "give either an id or --since"),
        (("replay", "jobs.dead-letter-0@0", "--since", "2026-03-01T12:00:00Z"), "give either"),
        (("replay", "jobs.dead-letter-0@0", "--topic", "jobs.dead-letter"), "go with --since"),
    ],
)
def test_bad_arguments_end_with_status_2_and_a_sentence(cluster, capsys, words, sentence) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["dead-letter", *words])
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err
