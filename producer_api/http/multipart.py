"""Reads a form request as it streams in: files into the store's writers, fields into memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

import multipart
from aiohttp import hdrs, web

from producer_api.http.forms import unknown_fields
from producer_api.http.problems import Problem, field_problem
from producer_api.jobs.staging import Staging

# Room for part headers and boundaries beside the files and fields themselves.
_PART_OVERHEAD = 4096
_MAX_FIELDS = 64
# The most that all fields of a form hold together: as many of the largest size.
_FULL_FIELDS = 4


@dataclass(frozen=True)
class FormSpec:
    """What a form may hold: file parts, fields, and which of the fields name an image each.

    `strict` forms refuse fields of other names; the others pass over them.
    """

    files: frozenset[str]
    fields: frozenset[str]
    url_fields: frozenset[str] = frozenset()
    strict: bool = True


@dataclass(frozen=True)
class FormLimits:
    """Items of one job, and bytes of one field and of one image."""

    max_items: int
    max_field_bytes: int
    max_image_bytes: int

    @property
    def parts(self) -> int:
        """Parts of a form, even of empty ones."""
        return self.max_items + _MAX_FIELDS

    @property
    def text(self) -> int:
        """Bytes of all fields that are no images."""
        return _FULL_FIELDS * self.max_field_bytes

    @property
    def body(self) -> int:
        """Bytes that the largest acceptable request has."""
        return self.max_items * self.max_image_bytes + self.parts * _PART_OVERHEAD + self.text


@dataclass
class Form:
    """The fields of a form, by name in order; its files are in the staging."""

    fields: dict[str, list[str]] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    items: int = 0
    count: int = 0

    def text(self, name: str) -> str:
        """The first value of a field; empty without it."""
        values = self.fields.get(name)
        return values[0] if values else ""


async def read_form(
    request: web.Request, spec: FormSpec, limits: FormLimits, staging: Staging
) -> Form:
    """The whole form of a request, multipart or URL-encoded.

    Raises:
        Problem: 400 for a broken body, 413 for anything over a limit, 415 for another kind of
            body, 422 for fields that `spec` does not list.
        ImageRejected: a file is no image we take.
        StoreUnavailable: a file could not be kept.
    """
    if (request.content_length or 0) > limits.body:
        raise _body_too_large(limits)
    if request.content_type == "multipart/form-data":
        form = await _read_multipart(request, limits, _Parts(spec, limits, staging))
    elif request.content_type == "application/x-www-form-urlencoded":
        form = await _read_urlencoded(request, spec, limits)
    else:
        raise Problem(415, "content_type_unsupported", "Send the request as multipart/form-data.")
    if form.unknown and spec.strict:
        raise unknown_fields(form.unknown)
    return form


async def read_body(request: web.Request, limit: int) -> bytes:
    """The body of a request that holds no image; a 413 Problem when it is over `limit` bytes."""
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > limit:
            raise Problem(413, "body_too_large", f"The body is over the limit of {limit} bytes.")
    return bytes(body)


def _body_too_large(limits: FormLimits) -> Problem:
    return Problem(413, "body_too_large", f"The body is over {limits.body / 1e6:.0f} MB.")


async def _read_multipart(request: web.Request, limits: FormLimits, parts: _Parts) -> Form:
    _, options = multipart.parse_options_header(request.headers.get(hdrs.CONTENT_TYPE, ""))
    left = limits.body
    try:
        parser = multipart.PushMultipartParser(
            options.get("boundary", ""), max_segment_count=limits.parts
        )
        async for chunk in request.content.iter_any():
            left -= len(chunk)
            if left < 0:
                raise _body_too_large(limits)
            for event in parser.parse(chunk):
                parts.take(event)
        parser.close()
    except multipart.ParserLimitReached as error:
        raise Problem(
            413, "body_too_large", f"The form has over {limits.parts} parts, or too long headers."
        ) from error
    except multipart.MultipartError as error:
        raise Problem(
            400, "body_invalid", f"The multipart body is broken: {error}. Send it again whole."
        ) from error
    return parts.form


async def _read_urlencoded(request: web.Request, spec: FormSpec, limits: FormLimits) -> Form:
    raw = await read_body(request, limits.max_field_bytes)
    form = Form()
    try:
        pairs = parse_qsl(raw.decode(), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError as error:
        raise Problem(400, "body_invalid", "The form is not UTF-8 text.") from error
    for name, value in pairs:
        if name in spec.files:
            raise field_problem(
                name,
                "must be a file; send the form as multipart/form-data",
                code="fields_invalid",
            )
        _count(form, name, spec, limits)
        if name in spec.fields:
            form.fields.setdefault(name, []).append(value)
        elif name not in form.unknown:
            form.unknown.append(name)
    return form


def _count(form: Form, name: str, spec: FormSpec, limits: FormLimits) -> None:
    """Count a part that begins; a Problem when there are too many."""
    if name in spec.files or name in spec.url_fields:
        form.items += 1
        if form.items > limits.max_items:
            raise too_many_items(limits.max_items)
        return
    form.count += 1
    if form.count > _MAX_FIELDS:
        raise Problem(413, "body_too_large", f"The form has more than {_MAX_FIELDS} fields.")


def too_many_items(limit: int) -> Problem:
    """The answer to a job of more images than the limit."""
    return Problem(
        413, "too_many_images", f"A job may have {limit} images at most; send several jobs."
    )


class _Parts:
    """Sorts the events of the parser into files and fields."""

    def __init__(self, spec: FormSpec, limits: FormLimits, staging: Staging) -> None:
        self.form = Form()
        self._spec = spec
        self._limits = limits
        self._staging = staging
        self._text = 0
        self._write: Callable[[bytes], None] = _discard
        self._end: Callable[[], None] = _nothing

    def take(self, event: multipart.MultipartSegment | bytes | bytearray | None) -> None:
        """One event: a part's head, some of its bytes, or its end."""
        if event is None:
            # Let go of what ends the part, which holds this object: a cycle each job with all its
            # pieces, and the collector would stop the API for a tenth of a second now and then.
            end, self._write, self._end = self._end, _discard, _nothing
            end()
        elif isinstance(event, multipart.MultipartSegment):
            self._begin(event)
        else:
            self._write(event)

    def _begin(self, part: multipart.MultipartSegment) -> None:
        name = part.name or ""
        _count(self.form, name, self._spec, self._limits)
        if name in self._spec.files:
            self._begin_file(part)
        elif name in self._spec.fields:
            self._begin_field(name)
        else:
            if name not in self.form.unknown:
                self.form.unknown.append(name)
            self._write, self._end = _discard, _nothing

    def _begin_file(self, part: multipart.MultipartSegment) -> None:
        incoming = self._staging.begin(self.form.items - 1, part.filename)

        def end() -> None:
            # Browsers send a file input that was left empty as a part without name and bytes.
            if part.filename == "" and not incoming.bytes:
                self.form.items -= 1
            else:
                self._staging.end(incoming)

        self._write, self._end = incoming.write, end

    def _begin_field(self, name: str) -> None:
        limit, all_limit = self._limits.max_field_bytes, self._limits.text
        value = bytearray()

        def write(chunk: bytes) -> None:
            if len(value) + len(chunk) > limit:
                raise Problem(413, "body_too_large", f"{name} is over the limit of {limit} bytes.")
            self._text += len(chunk)
            if self._text > all_limit:
                raise Problem(
                    413, "body_too_large", f"All fields together are over {all_limit} bytes."
                )
            value.extend(chunk)

        def end() -> None:
            try:
                text = value.decode()
            except UnicodeDecodeError as error:
                raise field_problem(name, "not UTF-8 text", code="fields_invalid") from error
            self.form.fields.setdefault(name, []).append(text)

        self._write, self._end = write, end


def _discard(chunk: bytes) -> None:
    """What becomes of the bytes of a part that the form has no field for."""


def _nothing() -> None:
    """How such a part ends."""
