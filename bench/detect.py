"""Does detect-objects cost more than the bare library? Images/s of both, one process, one thread.

The bare loop is the same ONNX file in onnxruntime on the same provider, with the plain preparation
that the model's project publishes (resize, pad, transpose) and its per-class suppression, from the
same decoded pictures. Models: those of IMAGEMILL_HOME and the shared folder that are there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from processor.models.loader import ModelLoader, Session
from processor.models.store import ModelStore
from processor.operations import detect_objects
from processor.operations.base import RunContext, SourceInfo
from schemas.params.detect_objects import DetectObjectsParams

SECONDS = 6.0
ROUNDS = 20
SIZES = {"yolox_nano": (416, 80), "yolov5n": (640, 80), "ssdlite_mobilenet_v2": (300, 90)}


def main() -> None:
    """Measure each model that is there and print the table."""
    shared = Path(os.environ.get("IMAGEMILL_SHARED") or Path(__file__).parents[2] / "shared")
    home = Path(os.environ.get("IMAGEMILL_HOME") or ".imagemill") / "models"
    loader = ModelLoader(ModelStore(home, shared / "models"))
    photos = [Image.open(path).convert("RGB") for path in sorted((shared / "photos").glob("*.png"))]
    print(f"{'model':22} {'provider':9} {'bare/s':>8} {'operation/s':>12} {'ratio':>6}")
    for name in SIZES:
        if not any((folder / f"{name}.onnx").is_file() for folder in (home, shared / "models")):
            print(f"{name:22} not here: imagemill models fetch {name}")
            continue
        session = loader.session(name)
        bare, ours = rates(photos, bare_loop(session, *SIZES[name]), operation(loader, name))
        provider = session.used.provider
        print(f"{name:22} {provider:9} {bare:8.1f} {ours:12.1f} {ours / bare:6.2f}")


def rates(photos: list[Image.Image], *calls: Callable[[Image.Image], object]) -> tuple[float, ...]:
    """Images per second of each call; taking turns, so that a busy machine slows both alike."""
    done = [0] * len(calls)
    spent = [0.0] * len(calls)
    for _ in range(ROUNDS):
        for index, call in enumerate(calls):
            call(photos[0])
            started = time.perf_counter()
            while (elapsed := time.perf_counter() - started) < SECONDS / ROUNDS:
                call(photos[done[index] % len(photos)])
                done[index] += 1
            spent[index] += elapsed
    return tuple(count / seconds for count, seconds in zip(done, spent, strict=True))


def operation(loader: ModelLoader, name: str) -> Callable[[Image.Image], object]:
    """The operation as a pool process calls it."""
    params = DetectObjectsParams(model=name)

    def call(photo: Image.Image) -> object:
        context = RunContext(loader, SourceInfo("PNG", photo.size, bytes=0), max_pixels=10**8)
        return detect_objects.run(photo, params, context).data

    return call


def bare_loop(session: Session, side: int, classes: int) -> Callable[[Image.Image], object]:
    """The library alone: what the models' own demo scripts do."""
    inference = session.inference
    name = inference.get_inputs()[0].name

    def call(photo: Image.Image) -> object:
        pixels = np.asarray(photo)
        if classes == 90:
            canvas = cv2.resize(pixels, (side, side))
        else:
            scale = side / max(pixels.shape[:2])
            canvas = np.full((side, side, 3), 114, np.uint8)
            small = cv2.resize(pixels, None, fx=scale, fy=scale)
            canvas[: small.shape[0], : small.shape[1]] = small
        tensor = canvas.transpose(2, 0, 1)[None].astype(np.float32)
        outputs = inference.run(None, {name: tensor / 255 if side == 640 else tensor})
        if classes == 90:
            boxes = outputs[0][:, [1, 0, 3, 2]] * side
            boxes[:, 2:] -= boxes[:, :2]
            return per_class(boxes, outputs[1])
        rows = outputs[0][0]
        boxes = on_grid(rows[:, :4], side) if side == 416 else rows[:, :4].copy()
        boxes[:, :2] -= boxes[:, 2:] / 2
        return per_class(boxes, rows[:, 5:] * rows[:, 4:5])

    return call


def on_grid(boxes: np.ndarray, side: int) -> np.ndarray:
    """YOLOX boxes in pixels, as its demo decodes them."""
    grids, strides = [], []
    for stride in (8, 16, 32):
        x, y = np.meshgrid(np.arange(side // stride), np.arange(side // stride))
        grids.append(np.stack((x, y), 2).reshape(-1, 2))
        strides.append(np.full((len(grids[-1]), 1), stride))
    stride = np.concatenate(strides)
    centres = (boxes[:, :2] + np.concatenate(grids)) * stride
    return np.hstack([centres, np.exp(boxes[:, 2:]) * stride])


def per_class(boxes: np.ndarray, scores: np.ndarray) -> list[tuple[int, list[int]]]:
    """Suppression class by class, by OpenCV; boxes are left, top, width, height."""
    kept = []
    for number in range(scores.shape[1]):
        sure = scores[:, number] > 0.25
        if sure.any():
            found = cv2.dnn.NMSBoxes(
                boxes[sure].tolist(), scores[sure, number].tolist(), 0.25, 0.45
            )
            kept.append((number, list(found)))
    return kept


if __name__ == "__main__":
    main()
