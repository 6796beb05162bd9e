"""The sepia operation as every imagemill service sees it: name, params, where its code is."""

from __future__ import annotations

from pydantic import Field

from imagemill.operations import OperationSpec, Strict


class SepiaParams(Strict):
    """The strength of the tone."""

    strength: float = Field(
        default=1.0, ge=0.0, le=1.0, description="0 leaves the picture as it is, 1 is all sepia."
    )


SEPIA = OperationSpec(
    name="sepia",
    summary="Tone a picture like an old photograph",
    params=SepiaParams,
    run="imagemill_sepia.operation:run",
)
