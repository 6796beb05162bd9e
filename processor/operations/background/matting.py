"""Closed-form alpha matting and foreground colours by PyMatting: edges finer than the mask."""

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

# numba's workqueue threading layer ends the process when two threads use it at once.
_numba_lock = threading.Lock()

# Limits in pixels that keep an item within the default 3 GiB and 120 s: solving takes 2 KB and
# 0.1 ms per unknown pixel, and the foreground colours take 90 bytes per pixel.
_MAX_UNKNOWN_PIXELS = 750_000
_MAX_COLOURED_PIXELS = 24_000_000
# Size of the preconditioner in numbers: PyMatting allocates 250 million for any picture. Photos
# need 2 to 5 times as many as the matrix has, the largest ones 3.5 times.
_PRECONDITIONER_FACTOR = 6
_MAX_PRECONDITIONER_NUMBERS = 100_000_000
# PyMatting's Laplacian takes 400 bytes per pixel, known or not: this many are computed at a time.
_STRIP_PIXELS = 1 << 18
# Distance in pixels of the neighbours that a pixel's row of the Laplacian depends on.
_NEIGHBOUR_REACH = 2
_SURE_BACKGROUND, _UNSURE, _SURE_SUBJECT = 0, 128, 255


@dataclass(frozen=True)
class Thresholds:
    """Mask values of the sure parts, 0 to 255, and the width of the unknown band in pixels."""

    foreground: int
    background: int
    erode: int


def matted(image: Image.Image, mask: Image.Image, thresholds: Thresholds) -> Image.Image:
    """Return the RGBA cut-out, its alpha between the sure parts solved from the picture.

    If the mask leaves no sure part, or no solution is found, the mask is the alpha, as in rembg.

    Raises:
        OperationError: there is too little memory for the unknown pixels (image_too_large).
    """
    trimap = trimap_of(np.asarray(mask), thresholds)
    kinds = (_SURE_BACKGROUND, _UNSURE, _SURE_SUBJECT)
    # PyMatting compares windows of 3 x 3 pixels.
    if min(image.size) < 3 or not all((trimap == kind).any() for kind in kinds):
        return decontaminated(image, mask)
    unsure = np.count_nonzero(trimap == _UNSURE)
    if unsure > _MAX_UNKNOWN_PIXELS:
        raise OperationError(
            ErrorCode.IMAGE_TOO_LARGE,
            f"alpha_matting: {unsure:,} pixels lie between the sure parts; the limit is "
            f"{_MAX_UNKNOWN_PIXELS:,}. Scale the picture down.",
        )
    rgb = image.convert("RGB")
    try:
        with _numba_lock:
            alpha = _closed_form_alpha(np.asarray(rgb), trimap)
    except ValueError as error:  # PyMatting raises it when the solver does not converge
        log.warning("alpha matting has no solution, the mask is kept: %s", error)
        return decontaminated(image, mask)
    return _with_foreground(rgb, alpha)


def decontaminated(image: Image.Image, mask: Image.Image) -> Image.Image:
    """Return the RGBA cut-out with only the subject's colour in half-transparent pixels.

    Raises:
        OperationError: there is too little memory for the picture (image_too_large).
    """
    if max(image.size) < 2:  # a single pixel has no neighbours
        cutout = image.convert("RGBA")
        cutout.putalpha(mask)
        return cutout
    return _with_foreground(image.convert("RGB"), np.asarray(mask) / np.float32(255))


def trimap_of(mask: NDArray[np.uint8], thresholds: Thresholds) -> NDArray[np.uint8]:
    """Return the trimap: 255 is surely subject, 0 surely background, 128 unknown."""
    structure = np.ones((thresholds.erode, thresholds.erode)) if thresholds.erode else None
    subject = binary_erosion(mask > thresholds.foreground, structure=structure)
    background = binary_erosion(mask < thresholds.background, structure=structure, border_value=1)
    trimap = np.full(mask.shape, _UNSURE, dtype=np.uint8)
    trimap[subject] = _SURE_SUBJECT
    trimap[background] = _SURE_BACKGROUND
    return trimap


def _closed_form_alpha(pixels: NDArray[np.uint8], trimap: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Compute the alpha of PyMatting's estimate_alpha_cf(), for pictures of any size.

    Raises:
        ValueError: the solver does not converge.
    """
    # The first import on a machine takes 15 s, and few jobs need it.
    from processor.operations.background.compiled import cg, ichol

    matrix, wanted = _equations(pixels, trimap)
    room = min(matrix.nnz * _PRECONDITIONER_FACTOR, _MAX_PRECONDITIONER_NUMBERS)
    solution = cg(matrix, wanted, M=ichol(matrix, max_nnz=room))
    alpha = (trimap == _SURE_SUBJECT).astype(np.float32)
    alpha[trimap == _UNSURE] = np.clip(solution, 0, 1)
    return alpha


def _equations(
    pixels: NDArray[np.uint8], trimap: NDArray[np.uint8]
) -> tuple[sparse.csr_matrix, NDArray[np.float64]]:
    """Return the matting Laplacian between unknown pixels and the right-hand side for it."""
    from processor.operations.background.compiled import cf_laplacian

    unsure, subject = trimap == _UNSURE, trimap == _SURE_SUBJECT
    height, width = trimap.shape
    # Unknown pixels are numbered row by row; these are the first numbers of the rows.
    numbers = np.concatenate([[0], np.cumsum(unsure.sum(axis=1))])
    matrices, wanted = [], []
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        if numbers[top] == numbers[bottom]:
            continue
        first = max(0, top - _NEIGHBOUR_REACH)
        near = slice(first, bottom + _NEIGHBOUR_REACH)
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

    if alpha.size > _MAX_COLOURED_PIXELS:
        raise OperationError(
            ErrorCode.IMAGE_TOO_LARGE,
            "The subject's colours can be computed in pictures of at most "
            f"{_MAX_COLOURED_PIXELS:,} pixels; scale this one down, or ask for neither "
            "alpha_matting nor decontaminate.",
        )
    with _numba_lock:
        foreground = estimate_foreground_ml(np.asarray(image) / np.float32(255), alpha)
    cutout = np.empty((*alpha.shape, 4), np.uint8)
    for channel, values in enumerate((*np.moveaxis(foreground, 2, 0), alpha)):
        cutout[..., channel] = np.rint(values * 255)
    return Image.fromarray(cutout)
