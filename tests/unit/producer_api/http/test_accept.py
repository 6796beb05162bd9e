"""The Accept header, as it decides between a picture and a document."""

from __future__ import annotations

import pytest

from producer_api.http.accept import prefers_picture


@pytest.mark.parametrize(
    "accept",
    [
        "image/*",
        "image/png",
        "IMAGE/PNG",
        "application/octet-stream",
        "image/webp, application/json;q=0.5",
        "application/json;q=0.5, image/*;q=0.9",
        "image/*, */*;q=0.1",
        "image/png;q=1.000",
        # What Chrome sends for <img>.
        "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8",
    ],
)
def test_a_picture_is_asked_for(accept: str) -> None:
    assert prefers_picture(accept)


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "application/json",
        "application/json, text/plain, */*",
        "image/*;q=0",
        "image/*;q=0.5, application/json",
        "application/problem+json",
        ",,;",
        # What browsers send for a page.
        "text/html,application/xhtml+xml,image/avif,image/webp,*/*;q=0.8",
    ],
)
def test_a_document_is_asked_for(accept: str) -> None:
    assert not prefers_picture(accept)
