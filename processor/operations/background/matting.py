"""Edges finer than the mask: closed-form alpha matting and foreground colours, by PyMatting."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import sparse
from scipy.ndimage import binary_erosion

from imagemill.operations import OperationError
from schemas.errors import ErrorCode

log = logging.getLogger(__name__)

# numba's simplest threading layer ends the process when two threads are in it.
_one_at_a_time = threading.Lock()

# What the default limits do for, 3 GiB and two minutes: 2 KB and 0.1 ms for each pixel to be
# worked out, and 90 bytes for each pixel whose colour is.
_MOST_UNSURE = 750_000
_MOST_PIXELS = 24_000_000
# PyMatting makes room for 250 million numbers whatever the size. Photos need 2 to 5 times as many
# as the matrix has, those of the largest pictures 3.5 times.
_ROOM_FOR_EACH = 6
_MOST_ROOM = 100_000_000
# PyMatting's Laplacian takes 400 bytes a pixel, sure or not: it is made of this many at a time.
_STRIP_PIXELS = 1 << 18
# A pixel's row of it depends on the pixels up to this far away.
_REACH = 2
_SURE_BACKGROUND, _UNSURE, _SURE_SUBJECT = 0, 128, 255


@dataclass(frozen=True)
class Thresholds:
    """Which mask values are surely subject or background, and the unsure band's width in pixels."""

    foreground: int
    background: int
    erode: int


def matted(image: Image.Image, mask: Image.Image, thresholds: Thresholds) -> Image.Image:
    """The RGBA cut-out with its alpha worked out from the picture between the sure parts.

    Where the mask leaves nothing sure, or no answer is found, the mask stays the alpha, as with
    rembg.

    Raises:
        OperationError: more pixels are unsure than there is memory for (image_too_large).
    """
    trimap = trimap_of(np.asarray(mask), thresholds)
    kinds = (_SURE_BACKGROUND, _UNSURE, _SURE_SUBJECT)
    # PyMatting looks at squares of three pixels.
    if min(image.size) < 3 or not all((trimap == kind).any() for kind in kinds):
        return decontaminated(image, mask)
    unsure = np.count_nonzero(trimap == _UNSURE)
    if unsure > _MOST_UNSURE:
        raise OperationError(
            ErrorCode.IMAGE_TOO_LARGE,
            f"alpha_matting: {unsure:,} pixels lie between the sure parts, and {_MOST_UNSURE:,} is "
            "the most that can be worked out; scale the picture down.",
        )
    rgb = image.convert("RGB")
    try:
        with _one_at_a_time:
            alpha = _closed_form_alpha(np.asarray(rgb), trimap)
    except ValueError as error:  # the ways of PyMatting to say that it found no solution
        log.warning("no alpha is found, the mask is kept: %s", error)
        return decontaminated(image, mask)
    return _with_foreground(rgb, alpha)


def decontaminated(image: Image.Image, mask: Image.Image) -> Image.Image:
    """The RGBA cut-out whose half-transparent pixels have the subject's colour alone.

    Raises:
        OperationError: the picture is larger than there is memory for (image_too_large).
    """
    if max(image.size) < 2:  # a single pixel has no neighbours to learn from
        cutout = image.convert("RGBA")
        cutout.putalpha(mask)
        return cutout
    return _with_foreground(image.convert("RGB"), np.asarray(mask) / np.float32(255))


def trimap_of(mask: NDArray[np.uint8], thresholds: Thresholds) -> NDArray[np.uint8]:
    """255 surely subject, 0 surely background, 128 to be worked out."""
    structure = np.ones((thresholds.erode, thresholds.erode)) if thresholds.erode else None
    subject = binary_erosion(mask > thresholds.foreground, structure=structure)
    background = binary_erosion(mask < thresholds.background, structure=structure, border_value=1)
    trimap = np.full(mask.shape, _UNSURE, dtype=np.uint8)
    trimap[subject] = _SURE_SUBJECT
    trimap[background] = _SURE_BACKGROUND
    return trimap


def _closed_form_alpha(pixels: NDArray[np.uint8], trimap: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What estimate_alpha_cf() gives, for pictures of any size.

    Raises:
        ValueError: no solution is found.
    """
    # Slow to import, the first time on a machine a quarter of a minute: few jobs need it.
    from processor.operations.background.compiled import cg, ichol

    matrix, wanted = _equations(pixels, trimap)
    room = min(matrix.nnz * _ROOM_FOR_EACH, _MOST_ROOM)
    solution = cg(matrix, wanted, M=ichol(matrix, max_nnz=room))
    alpha = (trimap == _SURE_SUBJECT).astype(np.float32)
    alpha[trimap == _UNSURE] = np.clip(solution, 0, 1)
    return alpha


def _equations(
    pixels: NDArray[np.uint8], trimap: NDArray[np.uint8]
) -> tuple[sparse.csr_matrix, NDArray[np.float64]]:
    """The matting Laplacian between unsure pixels, and what their alpha must make of it."""
    from processor.operations.background.compiled import cf_laplacian

    unsure, subject = trimap == _UNSURE, trimap == _SURE_SUBJECT
    height, width = trimap.shape
    # Unsure pixels have numbers, row by row; these are the first ones of the rows.
    numbers = np.concatenate([[0], np.cumsum(unsure.sum(axis=1))])
    matrices, wanted = [], []
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        if numbers[top] == numbers[bottom]:
            continue
        first = max(0, top - _REACH)
        near = slice(first, bottom + _REACH)
        laplacian = cf_laplacian(pixels[near] / 255.0, is_known=~unsure[near])
        mine = unsure[near].copy()
        mine[: top - first] = mine[bottom - first :] = False
        part = laplacian[mine.ravel()]
        wanted.append(-(part @ subject[near].ravel()))
        part = part[:, unsure[near].ravel()]
        part.indices += numbers[first]
        part.resize(part.shape[0], numbers[-1])
        matrices.append(part)
    return sparse.vstack(matrices, "csr"), np.concatenate(wanted)


def _with_foreground(image: Image.Image, alpha: NDArray[np.float32]) -> Image.Image:
    from processor.operations.background.compiled import estimate_foreground_ml

    if alpha.size > _MOST_PIXELS:
        raise OperationError(
            ErrorCode.IMAGE_TOO_LARGE,
            f"The subject's colours can be worked out in pictures of at most {_MOST_PIXELS:,} "
            "pixels; scale this one down, or ask for neither alpha_matting nor decontaminate.",
        )
    with _one_at_a_time:
        foreground = estimate_foreground_ml(np.asarray(image) / np.float32(255), alpha)
    cutout = np.empty((*alpha.shape, 4), np.uint8)
    for channel, values in enumerate((*np.moveaxis(foreground, 2, 0), alpha)):
        cutout[..., channel] = np.rint(values * 255)
    return Image.fromarray(cutout)
