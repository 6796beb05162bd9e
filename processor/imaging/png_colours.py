"""Make an ICC profile of a PNG's gAMA and cHRM chunks, the older way to say what colours mean."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SRGB_GAMMA = 1 / 2.2
_SRGB_CHROMATICITIES = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
# Differences below these come from rounding in the writers of files that mean sRGB.
_GAMMA_TOLERANCE, _CHROMATICITY_TOLERANCE = 0.005, 0.002
_GAMMAS = (0.1, 10.0)
_D50 = np.array([0.96420, 1.0, 0.82491])
# Bradford's cone responses, for the change of white.
_CONES = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def profile_of(info: Mapping[str, Any], grey: bool) -> bytes | None:
    """Return the profile that Pillow's `info` of a PNG describes, None for sRGB.

    The chunks iCCP and sRGB overrule gAMA and cHRM, which mean nothing without gAMA.
    """
    gamma = info.get("gamma")
    if gamma is None or "icc_profile" in info or "srgb" in info:
        return None
    if not _GAMMAS[0] <= gamma <= _GAMMAS[1]:
        return None
    places = info.get("chromaticity", _SRGB_CHROMATICITIES)
    if _near(gamma, _SRGB_GAMMA, _GAMMA_TOLERANCE) and (
        grey or _near(places, _SRGB_CHROMATICITIES, _CHROMATICITY_TOLERANCE)
    ):
        return None
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, min(round(256 / gamma), 0xFFFF))
    if grey:
        return _icc(b"mntrGRAYXYZ ", {b"kTRC": curve})
    try:
        primaries = _primaries(np.array(places, dtype=np.float64).reshape(4, 2))
    except (np.linalg.LinAlgError, ZeroDivisionError, FloatingPointError):
        return None
    tags = {name + b"TRC": curve for name in (b"r", b"g", b"b")}
    for name, tristimulus in zip((b"r", b"g", b"b"), primaries.T, strict=True):
        tags[name + b"XYZ"] = _xyz(tristimulus)
    return _icc(b"mntrRGB XYZ ", tags)


def _near(value: Any, other: Any, tolerance: float) -> bool:
    return bool(np.abs(np.subtract(value, other)).max() <= tolerance)


def _primaries(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the XYZ of red, green and blue as columns, under D50, of white and their x and y."""
    with np.errstate(divide="raise", invalid="raise"):
        white, *primaries = (np.array([x / y, 1.0, (1 - x - y) / y]) for x, y in places)
    matrix = np.column_stack(primaries)
    matrix = matrix * np.linalg.solve(matrix, white)
    change = (_CONES @ _D50) / (_CONES @ white)
    return np.linalg.inv(_CONES) @ (change[:, None] * (_CONES @ matrix))


def _xyz(tristimulus: NDArray[np.float64]) -> bytes:
    numbers = (round(float(value) * 65536) for value in tristimulus)
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *numbers)


def _icc(kind: bytes, tags: Mapping[bytes, bytes]) -> bytes:
    """Return a profile of that class, colour space and connection space."""
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 4) + b"PNG\0" + b"\0" * 79,
        b"cprt": b"text\0\0\0\0none\0",
        b"wtpt": _xyz(_D50),
        **tags,
    }
    at = 128 + 4 + 12 * len(tags)
    directory, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        directory += name + struct.pack(">II", at + len(body), len(data))
        body += data + b"\0" * (-len(data) % 4)
    header = struct.pack(">I4xI", at + len(body), 0x02400000) + kind + b"\0" * 12
    header += b"acsp" + b"\0" * 28 + _xyz(_D50)[8:]
    return header.ljust(128, b"\0") + directory + body
