"""Inputs of a job: images of the request, URLs, and images uploaded before."""

from __future__ import annotations

import time
from collections.abc import Sequence

from imagemill.images.check import check_image
from imagemill.storage import ObjectNotFound, StoredObject, loose_upload_key
from imagemill.storage.asynchronous import AsyncStore
from producer_api.http.forms import InputBody
from producer_api.http.multipart import too_many_items
from producer_api.http.problems import Problem, field_problem
from producer_api.ids import size_of_upload
from producer_api.jobs.limits import RequestLimits
from producer_api.jobs.plan import ResolvedOperations
from producer_api.jobs.staging import StagedImage, Staging
from schemas.errors import ErrorCode
from schemas.jobs import ItemInput
from schemas.times import DAY_S

# A job may name an upload of this age at most. Retention removes an upload some time later, so a
# queued job does not lose its image.
MAX_UPLOAD_AGE_S = DAY_S


def check_count(operations: ResolvedOperations, count: int, max_items: int) -> None:
    """Check how many inputs a request has.

    Raises:
        Problem: 413 when they are too many, 422 when an operation needs an image and has none.
    """
    if count > max_items:
        raise too_many_items(max_items)
    if not count and operations.needs_image:
        raise Problem(
            422,
            str(ErrorCode.IMAGE_MISSING),
            "There is no image: send a file as image, or an image_url.",
            errors=[{"field": "image", "message": "missing"}],
        )


async def store_inputs(
    staging: Staging,
    entries: Sequence[InputBody],
    owner: str | None,
    store: AsyncStore,
    limits: RequestLimits,
) -> tuple[ItemInput, ...]:
    """Check the owner's uploads that `entries` name, store the staged images, return all inputs.

    Raises:
        Problem: 413 or 422 for an upload that is missing, too old or too large.
        ImageRejected: an upload is no image that this server takes.
        StoreUnavailable: the store could not be read or written.
    """
    named = [await _named_input(entry, owner, store, limits) for entry in entries]
    stored = await staging.commit()
    return in_request_order(staging.images, stored, named)


async def _named_input(
    entry: InputBody, owner: str | None, store: AsyncStore, limits: RequestLimits
) -> ItemInput:
    """Return the input that a URL or an upload id names; an upload is checked now."""
    if entry.upload_id is None:
        return ItemInput(url=entry.url, filename=entry.filename)
    key = loose_upload_key(entry.upload_id, owner)
    try:
        stat = await store.stat(key)
        if time.time() - stat.modified.timestamp() > MAX_UPLOAD_AGE_S:
            raise field_problem(
                "inputs", f"upload {entry.upload_id} is too old", code="upload_expired"
            )
        if stat.bytes > limits.image.max_bytes:
            raise Problem(
                413, str(ErrorCode.IMAGE_TOO_LARGE), f"Upload {entry.upload_id} is too large."
            )
        promised = size_of_upload(entry.upload_id)
        # The store refused another size if it verifies signed headers, which not every one does.
        if promised is not None and stat.bytes != promised:
            raise field_problem(
                "inputs",
                f"upload {entry.upload_id} has {stat.bytes} bytes, not {promised} as announced",
                code="upload_size_differs",
            )
        with await store.open(key) as file:
            facts = check_image(file, entry.filename, limits.image)
    except ObjectNotFound as error:
        raise field_problem(
            "inputs", f"nothing was uploaded as {entry.upload_id}", code="not_found"
        ) from error
    return ItemInput(
        key=key,
        filename=entry.filename,
        content_type=facts.content_type,
        bytes=facts.bytes,
        pixels=facts.width * facts.height,
    )


def in_request_order(
    images: Sequence[StagedImage], stored: Sequence[StoredObject], named: Sequence[ItemInput]
) -> tuple[ItemInput, ...]:
    """Merge images and other inputs; an image's index is its place among all of them."""
    by_index = {
        image.index: ItemInput(
            filename=image.filename,
            key=kept.key,
            content_type=image.facts.content_type,
            bytes=kept.bytes,
            sha256=kept.sha256,
            pixels=image.facts.width * image.facts.height,
        )
        for image, kept in zip(images, stored, strict=True)
    }
    rest = iter(named)
    count = len(images) + len(named)
    return tuple(by_index.get(index) or next(rest) for index in range(count))
