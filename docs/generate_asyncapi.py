"""Write docs/asyncapi.yaml, the contract of the topics, from the topics and models in `schemas`.

`python docs/generate_asyncapi.py` rewrites it, `--check` returns 1 if it is out of date.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pages import write_or_check
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

# The checkout need not be installed.
from imagemill import __version__  # noqa: E402
from imagemill.settings import KafkaSettings  # noqa: E402
from schemas import cloudevents, events, topics, webhooks  # noqa: E402
from schemas.access import AccessKey, KeyRevoked, KeyUsed  # noqa: E402
from schemas.audit import AuditRecord  # noqa: E402
from schemas.jobs import Item, JobState, Progress  # noqa: E402
from schemas.templates import Template  # noqa: E402
from schemas.times import DAY_MS  # noqa: E402
from schemas.topics import Topic  # noqa: E402
from schemas.workers import Heartbeat  # noqa: E402

PAGE = ROOT / "docs" / "asyncapi.yaml"
SAMPLES = ROOT / "tests" / "unit" / "schemas" / "samples"
_BINDING = "0.5.0"
_REF = "#/components/schemas/{model}"
_NOTICE = f"# Written by docs/{Path(__file__).name}; change the models in schemas/ instead.\n"
_DESCRIPTION = """\
Every topic of imagemill. Results are on `jobs.results`: one terminal JobFinished a job. Names here
carry the default prefix `imagemill.` (setting IMAGEMILL_TOPIC_PREFIX).

Within a version (`.v1`) fields are only added and none changes its meaning: ignore fields that you
do not know. A field that is null may be left out. Producers must partition as Java's client does.
"""


@dataclass(frozen=True)
class Message:
    """One kind of message: its model, and its CloudEvents type if it is an event."""

    name: str
    model: type[BaseModel] | None
    summary: str
    type: str | None = None


def _event(model: type[BaseModel], kind: str | None = None) -> Message:
    return Message(model.__name__, model, _first_paragraph(model), kind or model.TYPE)


def _document(model: type[BaseModel]) -> Message:
    return Message(model.__name__, model, _first_paragraph(model))


def _first_paragraph(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").split("\n\n")[0].split())


_KINDS = events.EVENTS | webhooks.WEBHOOK_EVENTS | webhooks.WEBHOOK_COMMANDS
_EVENTS = {kind: _event(model) for kind, model in _KINDS.items()}
_OF = {message.name: message for message in _EVENTS.values()}
_STATE = _event(JobState, cloudevents.STATE_TYPE)
_ITEM = _event(Item, cloudevents.ITEM_TYPE)
_DEAD = Message(
    "DeadLetter", None, "A message of another topic as it came, with the reason in its headers."
)
_FACTS = tuple(
    message
    for message in _EVENTS.values()
    if message.model is not None and issubclass(message.model, events.Fact)
)
_QUEUED = (_OF["JobSubmitted"], _OF["ItemQueued"])

MESSAGES: Mapping[Topic, tuple[Message, ...]] = {
    topics.JOBS_HIGH: _QUEUED,
    topics.JOBS_NORMAL: _QUEUED,
    topics.JOBS_LOW: _QUEUED,
    topics.JOBS_CONTROL: (_OF["CancelRequested"], _OF["JobExpired"], _OF["JobClaimed"]),
    topics.JOBS_RETRY: (_OF["ItemQueued"],),
    topics.JOBS_EVENTS: _FACTS,
    topics.JOBS_STATE: (_STATE, _ITEM),
    topics.JOBS_RESULTS: (_OF["JobFinished"],),
    topics.JOBS_DEAD_LETTER: (_DEAD,),
    topics.WEBHOOKS_ENDPOINTS: (_document(webhooks.WebhookEndpoint),),
    topics.WEBHOOKS_ENDPOINT_STATUS: (_document(webhooks.EndpointStatus),),
    topics.WEBHOOKS_COMMANDS: (_OF["WebhookReplay"], _OF["WebhookTest"]),
    topics.WEBHOOKS_RETRY: (_OF["WebhookDelivery"],),
    **dict.fromkeys(topics.WEBHOOKS_DELAYS.values(), (_OF["WebhookDelivery"],)),
    topics.WEBHOOKS_DEAD_LETTER: (_OF["WebhookDelivery"],),
    topics.WEBHOOKS_ATTEMPTS: (_OF["WebhookAttempt"],),
    topics.WORKERS_HEARTBEATS: (_document(Heartbeat),),
    topics.TEMPLATES: (_document(Template),),
    topics.ACCESS_KEYS: (_document(AccessKey), _document(KeyRevoked)),
    topics.ACCESS_USED: (_document(KeyUsed),),
    topics.AUDIT: (_document(AuditRecord),),
}
# The events that a client may write itself, see docs/events.md; imagemill alone writes the rest.
_OPEN = {
    topics.JOBS_HIGH: "JobSubmitted",
    topics.JOBS_NORMAL: "JobSubmitted",
    topics.JOBS_LOW: "JobSubmitted",
    topics.JOBS_CONTROL: "CancelRequested",
}


def main(arguments: list[str]) -> int:
    """Rewrite the document, or compare it; return the exit status."""
    return write_or_check(PAGE, render(), arguments)


def render() -> str:
    """Return the document's text."""
    return _NOTICE + yaml.dump(
        document(), Dumper=_Plain, sort_keys=False, allow_unicode=True, width=100
    )


class _Plain(yaml.SafeDumper):
    """Writes line breaks as such, and an object that occurs twice in full: no YAML anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        style = "|" if "\n" in data else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style)


_Plain.add_representer(str, _Plain.represent_str)


def document() -> dict[str, Any]:
    """Return the AsyncAPI 3.0 document."""
    used = {message.name: message for several in MESSAGES.values() for message in several}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "imagemill",
            "version": __version__,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "local": {
                "host": _default("kafka_bootstrap_servers"),
                "protocol": "kafka",
                "description": "The broker of `make up`.",
            }
        },
        "channels": {topic.name: _channel(topic, MESSAGES[topic]) for topic in topics.TOPICS},
        "operations": _operations(),
        "components": {
            "messages": {name: _message(message) for name, message in used.items()},
            "schemas": {
                "CloudEventHeaders": _envelope(),
                "DeadLetterHeaders": _reasons(),
            }
            | _schemas([m.model for m in used.values() if m.model is not None]),
        },
    }


def _default(field: str) -> Any:
    return KafkaSettings.model_fields[field].default


def _channel(topic: Topic, messages: tuple[Message, ...]) -> dict[str, Any]:
    config = topic.config()
    configuration = {
        "cleanup.policy": [config["cleanup.policy"]],
        **{name: int(config[name]) for name in ("retention.ms",) if name in config},
        "max.message.bytes": int(config["max.message.bytes"]),
    }
    days = (topic.retention_ms or 0) // DAY_MS
    kept = f"for {days} day{'s' if days > 1 else ''}"
    if topic.retention_ms is None:
        kept = "the last message of each key; a null value removes the key"
    return {
        "address": _default("topic_prefix") + topic.name,
        "title": f"{topic.name} (public)" if topic.public else topic.name,
        "description": f"Holds {topic.holds}. Key: {topic.key}. Kept: {kept}.",
        "messages": {
            message.name: {"$ref": f"#/components/messages/{message.name}"} for message in messages
        },
        "bindings": {
            "kafka": {
                "partitions": topic.partition_count(_default("topic_partitions")),
                "replicas": _default("topic_replication_factor"),
                "topicConfiguration": configuration,
                "bindingVersion": _BINDING,
            }
        },
    }


def _operations() -> dict[str, Any]:
    """Describe each topic from imagemill's side: it sends to all, and receives from those open."""
    found: dict[str, Any] = {}
    for topic in topics.TOPICS:
        channel = {"$ref": f"#/channels/{topic.name}"}
        found[f"read.{topic.name}"] = {
            "action": "send",
            "channel": channel,
            "summary": f"imagemill writes {topic.holds}.",
        }
        if topic in _OPEN:
            found[f"write.{topic.name}"] = {
                "action": "receive",
                "channel": channel,
                "summary": f"A client may write a {_OPEN[topic]} itself.",
                "messages": [{"$ref": f"#/channels/{topic.name}/messages/{_OPEN[topic]}"}],
            }
    return found


def _message(message: Message) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "name": message.type or message.name,
        "title": message.name,
        "summary": message.summary,
        "contentType": "application/json",
    }
    if message.type is not None:
        envelope = {"$ref": "#/components/schemas/CloudEventHeaders"}
        fixed = {"type": "object", "properties": {"ce_type": {"const": message.type}}}
        facts["headers"] = {"allOf": [envelope, fixed]}
    elif message is _DEAD:
        facts["headers"] = {"$ref": "#/components/schemas/DeadLetterHeaders"}
    # An undecodable message may hold anything.
    facts["payload"] = {} if message.model is None else {"$ref": _REF.format(model=message.name)}
    facts["bindings"] = {"kafka": {"key": {"type": "string"}, "bindingVersion": _BINDING}}
    example = _example(message)
    return facts | ({"examples": [example]} if example else {})


def _example(message: Message) -> dict[str, Any] | None:
    """Return the golden sample of this type; tests keep it readable for ever."""
    if message.type is None:
        return None
    sample = json.loads((SAMPLES / f"{message.type.split('.', 2)[2]}.json").read_text())
    return {"headers": sample["headers"], "payload": sample["value"]}


def _envelope() -> dict[str, Any]:
    described = {
        "ce_specversion": {"const": "1.0"},
        "ce_id": {"description": "id of the event: a repeat of it has the same"},
        "ce_type": {"description": "type and version of the event"},
        "ce_source": {"description": "the service that wrote it", "format": "uri-reference"},
        "ce_time": {"description": "time at which it was written, UTC", "format": "date-time"},
        "ce_subject": {"description": "job id"},
        "content-type": {"const": "application/json"},
        "ce_owner": {"description": "account of a queued job or item; common to all if missing"},
        "ce_weight": {"description": "weight of that account, 1 to 100; 1 if missing"},
        "traceparent": {"description": "W3C trace context of the request that began the job"},
    }
    optional = ("ce_owner", "ce_weight", "traceparent")
    return {
        "type": "object",
        "description": "CloudEvents 1.0 in Kafka's binary content mode.",
        "properties": {name: {"type": "string"} | facts for name, facts in described.items()},
        "required": [name for name in described if name not in optional],
    }


def _reasons() -> dict[str, Any]:
    described = {
        "imagemill-source-topic": "topic that the message was read from",
        "imagemill-source-partition": "partition of that topic, a decimal number",
        "imagemill-source-offset": "offset in that partition, a decimal number",
        "imagemill-error": "reason why it could not be used, a sentence",
    }
    return {
        "type": "object",
        "description": "The headers the message had, and these.",
        "properties": {
            name: {"type": "string", "description": text} for name, text in described.items()
        },
        "required": list(described),
    }


class _Untitled(GenerateJsonSchema):
    """Leaves out titles, which only repeat the names of the fields."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _schemas(models: list[type[BaseModel]]) -> dict[str, Any]:
    """Return JSON Schemas for readers: a field with a default may be missing."""
    wanted = dict.fromkeys([*models, Progress])
    _, found = models_json_schema(
        [(model, "validation") for model in wanted],
        ref_template=_REF,
        schema_generator=_Untitled,
    )
    schemas = dict(sorted(found["$defs"].items()))
    # cloudevents.encode_state adds it, for readers that do not count the letters of `outcomes`.
    schemas["JobState"]["properties"]["progress"] = {"$ref": _REF.format(model="Progress")}
    schemas["JobState"]["required"].append("progress")
    return schemas


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
