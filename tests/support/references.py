"""Parameters of the API's operations: those that name something of an owner, and all others.

A route with a parameter, or a body with a member, that is in neither list fails
tests/unit/producer_api/access/test_references.py. List it here; if it names something that belongs
to an owner, in REFERENCES: then test_api_owners.py asks for another owner's through it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# Parameters of paths and queries, and members of bodies, by what they name. A name that stands for
# different things is listed with its path.
REFERENCES = {
    "job_id": "job",
    "task_id": "job",
    "id": "job",
    "endpoint_id": "endpoint",
    "delivery_id": "delivery",
    "key_id": "key",
    "upload_id": "upload",
    "template": "template",
    "/v1/templates/{name} name": "template",
    "/files/{key} key": "file",
}
# Those that name nothing of an owner, with a value to ask with.
OTHERS: dict[str, str] = {
    "/processed/{task_id}/{name} name": "photo.png",
    "/console/{name} name": "console.js",
    "/v1/templates name": "a-name",
    "/v1/keys name": "a name",
    "/v1/keys/{key_id} name": "a name",
    "index": "0",
} | dict.fromkeys(
    (
        # Queries.
        "cursor", "expires", "limit", "model", "operation", "signature", "since", "status",
        "until", "wait",
        # Bodies.
        "body", "bytes", "content_type", "description", "disabled", "event", "events",
        "expires_in", "file", "filename", "headers", "image", "image_url", "images", "inputs",
        "is_paid_user", "metadata", "operations", "overlap_s", "params", "priority", "secret",
        "text", "url", "webhook", "webhook_url",
        # Rights of a key.
        "expires_at", "images_per_day", "max_priority", "megapixels_per_day", "own_only", "owner",
        "requests_per_s", "scopes", "urls_allowed", "webhooks_allowed", "weight",
    ),
    "",
)  # fmt: skip
# Members that clients name as they like are not looked into.
_FREE = frozenset({"params", "metadata"})


@dataclass(frozen=True)
class Operation:
    """An operation of the OpenAPI document, and the names that its requests can have."""

    method: str
    path: str
    path_names: tuple[str, ...]
    query_names: tuple[str, ...]
    body_names: tuple[str, ...]

    @property
    def label(self) -> str:
        """The operation as people write it."""
        return f"{self.method} {self.path}"

    def kind_of(self, name: str) -> str | None:
        """Return what of an owner the name stands for; None for nothing."""
        return REFERENCES.get(f"{self.path} {name}", REFERENCES.get(name))

    def value_of(self, name: str) -> str | None:
        """Return a value of a name that stands for nothing of an owner; None if not listed."""
        return OTHERS.get(f"{self.path} {name}", OTHERS.get(name))

    def unlisted(self) -> list[str]:
        """Return the names that are in neither list."""
        names = {*self.path_names, *self.query_names, *self.body_names}
        return sorted(
            name for name in names if self.kind_of(name) is None and self.value_of(name) is None
        )


def operations_of(document: dict[str, Any]) -> Iterator[Operation]:
    """Yield all operations of an OpenAPI document."""
    for path, methods in document["paths"].items():
        for method, described in methods.items():
            given = described["parameters"]
            content = described.get("requestBody", {}).get("content", {})
            names: set[str] = set()
            for media in content.values():
                names |= _members(media["schema"], document["components"]["schemas"])
            yield Operation(
                method.upper(),
                path,
                tuple(each["name"] for each in given if each["in"] == "path"),
                tuple(each["name"] for each in given if each["in"] == "query"),
                tuple(sorted(names)),
            )


def _members(schema: Any, known: dict[str, Any]) -> set[str]:
    """Return the names of all members of a schema, those of inner objects included."""
    if "$ref" in schema:
        return _members(known[schema["$ref"].rpartition("/")[2]], known)
    names = set(schema.get("properties", {}))
    inner = [part for name, part in schema.get("properties", {}).items() if name not in _FREE]
    for key in ("anyOf", "allOf", "prefixItems"):
        inner += schema.get(key, [])
    if isinstance(schema.get("items"), dict):
        inner.append(schema["items"])
    for part in inner:
        names |= _members(part, known)
    return names
