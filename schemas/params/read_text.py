"""Params of read-text."""

from __future__ import annotations

from pydantic import Field

from schemas.base import NOT_BLANK, Array, Strict
from schemas.params.languages import LanguageCode


class ReadTextParams(Strict):
    """The recogniser, and the text to look for."""

    model: str | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description=(
            "Recogniser by its name in `models list`; null takes the PP-OCR model that comes "
            "with the installation."
        ),
    )
    languages: Array[LanguageCode] = Field(
        default=(),
        max_length=20,
        description=(
            "ISO 639 codes of languages that the text may be in. The recogniser reads all of its "
            "languages at once; naming some makes the item fail with params_invalid, instead of "
            "returning nonsense, where the recogniser lacks their letters."
        ),
    )
    min_confidence: float = Field(
        default=0.5,
        ge=0.0,
        le=1.0,
        description="Lines read with less confidence than this are left out, 0 to 1.",
    )
    find: str | None = Field(
        default=None,
        min_length=1,
        max_length=500,
        pattern=NOT_BLANK,
        description=(
            "Text to look for in what was read; case, spaces and character width do not matter."
        ),
    )
    find_similarity: float = Field(
        default=0.7,
        gt=0.0,
        le=1.0,
        description=(
            "Lowest similarity of a place that counts as found: 1 is the same text, 0.8 has one "
            "edit in five characters."
        ),
    )
