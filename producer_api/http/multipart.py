"""Reads a form request as it streams in: files into a sink, fields into memory."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import parse_qsl, unquote_to_bytes

import multipart
from aiohttp import hdrs, web

from producer_api.http.body import body_chunks, read_body
from producer_api.http.forms import unknown_fields
from producer_api.http.problems import Problem, field_problem

# Bytes for the headers and the boundary of a part, beside its file or field.
_PART_OVERHEAD = 4096
# Bytes of one header of a part; its file name is the only long thing in it.
_MAX_HEADER_BYTES = 16 * 1024
_MAX_FIELDS = 64
# All fields of a form together hold at most this many times the largest one.
_FULL_FIELDS = 4
_QUOTED = re.compile(r'"(?:\\.|[^"\\])*"')
# RFC 8187: charset'language'percent-encoded bytes.
_EXTENDED_NAME = re.compile(r";\s*filename\*\s*=\s*([\w.:-]+)'[^']*'([^\s;]*)", re.IGNORECASE)
_BARE_NAME = re.compile(r";\s*filename\s*=\s*([^\s\";][^\";]*)", re.IGNORECASE)


@dataclass(frozen=True)
class FormSpec:
    """Names that a form may hold: file parts, fields, and the fields that name an image each.

    `strict` forms refuse fields of other names; the others ignore them.
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
        """Parts of a form, empty ones included."""
        return self.max_items + _MAX_FIELDS

    @property
    def text(self) -> int:
        """Bytes of all fields that are no images."""
        return _FULL_FIELDS * self.max_field_bytes

    @property
    def body(self) -> int:
        """Bytes of the largest acceptable request."""
        return self.max_items * self.max_image_bytes + self.parts * _PART_OVERHEAD + self.text


class IncomingFile(Protocol):
    """One file while its bytes arrive."""

    @property
    def bytes(self) -> int:
        """Bytes received so far."""
        ...

    def write(self, chunk: bytes) -> None:
        """Take some bytes. Raises ImageRejected and StoreUnavailable."""
        ...

    def end(self) -> None:
        """Take note that the file is whole. Raises ImageRejected."""
        ...


class FileSink(Protocol):
    """Takes the files of a form."""

    def begin(self, index: int, filename: str | None) -> IncomingFile:
        """Begin the file that is the job's item of that index. Raises StoreUnavailable."""
        ...


@dataclass
class Form:
    """The fields of a form, by name in order; its files are in the sink."""

    fields: dict[str, list[str]] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    items: int = 0
    field_count: int = 0
    text_bytes: int = 0

    def text(self, name: str) -> str:
        """Return the first value of a field; empty without it."""
        values = self.fields.get(name)
        return values[0] if values else ""


async def read_form(
    request: web.Request, spec: FormSpec, limits: FormLimits, sink: FileSink
) -> Form:
    """Read the whole form of a request, multipart or URL-encoded.

    Raises:
        Problem: 400 for a broken body, 413 for anything over a limit, 415 for another kind of
            body, 422 for fields that `spec` does not list.
        ImageRejected: a file is no image that this server takes.
        StoreUnavailable: a file could not be kept.
    """
    if (request.content_length or 0) > limits.body:
        raise _body_too_large(limits)
    if request.content_type == "multipart/form-data":
        form = await _read_multipart(request, limits, _Parts(spec, limits, sink))
    elif request.content_type == "application/x-www-form-urlencoded":
        form = await _read_urlencoded(request, spec, limits)
    else:
        raise Problem(415, "content_type_unsupported", "Send the request as multipart/form-data.")
    if form.unknown and spec.strict:
        raise unknown_fields(form.unknown)
    return form


def too_many_items(limit: int) -> Problem:
    """Make the 413 for a job of more images than the limit."""
    return Problem(
        413, "too_many_images", f"A job may have {limit} images at most; send several jobs."
    )


def _body_too_large(limits: FormLimits) -> Problem:
    return Problem(413, "body_too_large", f"The body is over {limits.body / 1e6:.0f} MB.")


async def _read_multipart(request: web.Request, limits: FormLimits, parts: _Parts) -> Form:
    _, options = multipart.parse_options_header(request.headers.get(hdrs.CONTENT_TYPE, ""))
    left = limits.body
    try:
        parser = multipart.PushMultipartParser(
            options.get("boundary", ""),
            max_segment_count=limits.parts,
            max_header_size=_MAX_HEADER_BYTES,
            # Decodes any bytes; `_decoded` finds the charset that the client meant.
            header_charset="latin-1",
        )
        async for chunk in body_chunks(request):
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
    except (multipart.MultipartError, UnicodeEncodeError) as error:
        # Its first argument is a sentence; further ones are Python objects.
        reason = error.args[0] if isinstance(error, multipart.MultipartError) else "bad boundary"
        raise Problem(
            400, "body_invalid", f"The multipart body is broken: {reason}. Send it again whole."
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
    form.field_count += 1
    if form.field_count > _MAX_FIELDS:
        raise Problem(413, "body_too_large", f"The form has more than {_MAX_FIELDS} fields.")


class _Part(Protocol):
    def write(self, chunk: bytes) -> None: ...

    def end(self) -> None: ...


class _Parts:
    """Sorts the events of the parser into files and fields."""

    def __init__(self, spec: FormSpec, limits: FormLimits, sink: FileSink) -> None:
        self.form = Form()
        self._spec = spec
        self._limits = limits
        self._sink = sink
        self._part: _Part = _IgnoredPart()

    def take(self, event: multipart.MultipartSegment | bytes | bytearray | None) -> None:
        """Take one event: a part's headers, some of its bytes, or its end."""
        if event is None:
            self._part.end()
        elif isinstance(event, multipart.MultipartSegment):
            self._part = self._begin(event)
        else:
            self._part.write(event)

    def _begin(self, segment: multipart.MultipartSegment) -> _Part:
        name = _decoded(segment.name or "")
        _count(self.form, name, self._spec, self._limits)
        if name in self._spec.files:
            filename = part_filename(segment)
            incoming = self._sink.begin(self.form.items - 1, filename)
            return _FilePart(self.form, incoming, named=filename != "")
        if name in self._spec.fields:
            return _FieldPart(self.form, name, self._limits)
        if name not in self.form.unknown:
            self.form.unknown.append(name)
        return _IgnoredPart()


class _FilePart:
    """A part that is a file."""

    def __init__(self, form: Form, incoming: IncomingFile, *, named: bool) -> None:
        self.write = incoming.write
        self._form = form
        self._incoming = incoming
        self._named = named

    def end(self) -> None:
        # Browsers send a file input that was left empty as a part without name and bytes.
        if not self._named and not self._incoming.bytes:
            self._form.items -= 1
        else:
            self._incoming.end()


class _FieldPart:
    """A part that is a field."""

    def __init__(self, form: Form, name: str, limits: FormLimits) -> None:
        self._form = form
        self._name = name
        self._limits = limits
        self._value = bytearray()

    def write(self, chunk: bytes) -> None:
        limit, all_limit = self._limits.max_field_bytes, self._limits.text
        if len(self._value) + len(chunk) > limit:
            raise Problem(
                413, "body_too_large", f"{self._name} is over the limit of {limit} bytes."
            )
        self._form.text_bytes += len(chunk)
        if self._form.text_bytes > all_limit:
            raise Problem(413, "body_too_large", f"All fields together are over {all_limit} bytes.")
        self._value += chunk

    def end(self) -> None:
        try:
            text = self._value.decode()
        except UnicodeDecodeError as error:
            raise field_problem(self._name, "not UTF-8 text", code="fields_invalid") from error
        self._form.fields.setdefault(self._name, []).append(text)


class _IgnoredPart:
    """A part that the form has no field for."""

    def write(self, chunk: bytes) -> None:
        """Drop the bytes."""

    def end(self) -> None:
        """Keep nothing."""


def part_filename(segment: multipart.MultipartSegment) -> str | None:
    """Return the file name of a part; None for none, empty for a file input left empty.

    Browsers send it as UTF-8, other clients in the charset of their system. RFC 7578 forbids
    `filename*`, but clients send it; it then has precedence, as in RFC 6266.
    """
    unquoted = _QUOTED.sub('""', segment.header("Content-Disposition", ""))
    if extended := _EXTENDED_NAME.search(unquoted):
        raw = unquote_to_bytes(extended[2])
        try:
            return raw.decode(extended[1])
        except (LookupError, UnicodeDecodeError):
            return _decoded(raw.decode("latin-1"))
    # The parser ends a name without quotes at the first byte that is no ASCII.
    if bare := _BARE_NAME.search(unquoted):
        return _decoded(bare[1].rstrip())
    return None if segment.filename is None else _decoded(segment.filename)


def _decoded(latin: str) -> str:
    """Decode text that was read as Latin-1: it is UTF-8, or else Windows' superset of Latin-1."""
    if latin.isascii():
        return latin
    raw = latin.encode("latin-1")
    for charset in ("utf-8", "cp1252"):
        try:
            return raw.decode(charset)
        except UnicodeDecodeError:
            continue
    return latin
