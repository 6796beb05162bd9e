"""u2netp in its low precisions on the photos.

On a CPU with bfloat16 this measures the rounding. Elsewhere OpenVINO computes the same graphs in
float32, and it measures that the rewrites are the same function.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from processor.models import providers
from processor.models.loader import ModelLoader, Precision
from processor.operations.background.mask import U2NET_INPUT, to_mask, to_tensor
from tests.support.models import real_store

pytestmark = pytest.mark.longest

# Least overlap of a mask with that of float32; over 40 photos it was 0.993 and 0.971.
WORST = {"balanced": 0.985, "fast": 0.95}
REWRITE_WORST = 0.9999


@pytest.fixture(scope="module")
def loader() -> ModelLoader:
    return ModelLoader(real_store("u2netp"))


def mask(loader: ModelLoader, precision: Precision, photo: Image.Image) -> np.ndarray:
    session = loader.session("u2netp", precision=precision)
    return np.asarray(to_mask(session.run(to_tensor(photo, U2NET_INPUT)), (320, 320)))


@pytest.mark.parametrize("precision", ["balanced", "fast"])
@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee"])
def test_masks_overlap_with_float32s(
    loader: ModelLoader,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    precision: Precision,
    name: str,
) -> None:
    worst = WORST[precision] if providers.has_bfloat16() else REWRITE_WORST
    monkeypatch.setattr(providers, "has_bfloat16", lambda: True)
    photo = Image.open(photos / f"{name}.png").convert("RGB")
    exact = mask(loader, "exact", photo) > 127
    low = mask(loader, precision, photo) > 127
    assert (exact & low).sum() / (exact | low).sum() >= worst
