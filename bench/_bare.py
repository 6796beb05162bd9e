"""Bare loops: the same work with the same libraries alone, from a file's bytes to the result.

Each function loads the models of its loop and returns the loop's body. All use one thread, and
onnxruntime's CPU provider.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
from PIL import Image, ImageFilter

from bench._pictures import SHARED
from bench._system import home

Body = Callable[[bytes], object]

SIDES = {"ssdlite_mobilenet_v2": 300, "yolox_nano": 416, "yolov5n": 640}
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def model_file(name: str) -> Path:
    """Return the file of a fetched model, or of the shared folder.

    Raises:
        FileNotFoundError: the model is in neither.
    """
    for folder in (home() / "models", SHARED / "models"):
        if (folder / f"{name}.onnx").is_file():
            return folder / f"{name}.onnx"
    raise FileNotFoundError(f"not here: imagemill models fetch {name}")


def remover() -> Body:
    """Cut out the subject in rembg's steps, with u2netp."""
    session = _session("u2netp")

    def body(data: bytes) -> object:
        image = Image.open(io.BytesIO(data)).convert("RGB")
        pixels = np.asarray(image.resize((320, 320), Image.Resampling.LANCZOS)) / 255.0
        pixels = ((pixels / max(pixels.max(), 1e-6) - _MEAN) / _STD).transpose(2, 0, 1)[None]
        (mask,) = session.run(["1959"], {"input.1": pixels.astype(np.float32)})
        mask = mask[0, 0]
        mask = (mask - mask.min()) / (mask.max() - mask.min())
        alpha = Image.fromarray((mask * 255).astype("uint8")).resize(
            image.size, Image.Resampling.LANCZOS
        )
        image.putalpha(alpha)
        image.save(file := io.BytesIO(), "PNG", compress_level=1)  # as the system does
        return file

    return body


def detector(name: str) -> Body:
    """Detect as the models' own demo scripts do: resize, pad, transpose, suppress per class."""
    session, side = _session(name), SIDES[name]
    source = session.get_inputs()[0].name
    ssd, yolox = name.startswith("ssd"), name.startswith("yolox")

    def body(data: bytes) -> object:
        pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        canvas = cv2.resize(pixels, (side, side)) if ssd else _on_grey(pixels, side)
        tensor = canvas.transpose(2, 0, 1)[None].astype(np.float32)
        outputs = session.run(None, {source: tensor if ssd or yolox else tensor / 255})
        if ssd:
            boxes = outputs[0][:, [1, 0, 3, 2]] * side
            boxes[:, 2:] -= boxes[:, :2]
            return _per_class(boxes, outputs[1])
        rows = outputs[0][0]
        boxes = _on_grid(rows[:, :4], side) if yolox else rows[:, :4].copy()
        boxes[:, :2] -= boxes[:, 2:] / 2
        return _per_class(boxes, rows[:, 5:] * rows[:, 4:5])

    return body


def reader(**options: bool) -> Body:
    """Read text with rapidocr as its front page shows, with these options of a call."""
    from rapidocr import RapidOCR

    one_thread = {
        f"EngineConfig.onnxruntime.{kind}_op_num_threads": 1 for kind in ("intra", "inter")
    }
    ocr = RapidOCR(params={"Global.log_level": "error", **one_thread})
    return lambda data: ocr(data, **options)


def reader_and_detector() -> Body:
    """Read the places of characters, and detect objects, as process-image-and-text does."""
    read = reader(return_word_box=True, return_single_char_box=True)
    detect = detector("ssdlite_mobilenet_v2")
    return lambda data: (read(data), detect(data))


def shrinker() -> Body:
    """Shrink with Pillow's thumbnail(), which decodes JPEGs at a fraction of their size."""

    def body(data: bytes) -> object:
        image = Image.open(io.BytesIO(data))
        image.thumbnail((400, 400), Image.Resampling.LANCZOS)
        image.save(file := io.BytesIO(), "JPEG", quality=90)
        return file

    return body


def filters() -> Body:
    """Run several of Pillow's filters on every pixel."""

    def body(data: bytes) -> object:
        image = Image.open(io.BytesIO(data)).convert("RGB")
        image = image.filter(ImageFilter.GaussianBlur(2)).convert("L")
        image = image.transpose(Image.Transpose.ROTATE_270)
        image.save(file := io.BytesIO(), "WEBP", quality=80, method=2)  # as the system does
        return file

    return body


def _session(name: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    path = str(model_file(name))
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _on_grey(pixels: np.ndarray, side: int) -> np.ndarray:
    scale = side / max(pixels.shape[:2])
    small = cv2.resize(pixels, None, fx=scale, fy=scale)
    canvas = np.full((side, side, 3), 114, np.uint8)
    canvas[: small.shape[0], : small.shape[1]] = small
    return canvas


def _on_grid(boxes: np.ndarray, side: int) -> np.ndarray:
    """Decode YOLOX boxes to pixels, as its demo does."""
    grids, strides = [], []
    for stride in (8, 16, 32):
        x, y = np.meshgrid(np.arange(side // stride), np.arange(side // stride))
        grids.append(np.stack((x, y), 2).reshape(-1, 2))
        strides.append(np.full((len(grids[-1]), 1), stride))
    stride = np.concatenate(strides)
    centres = (boxes[:, :2] + np.concatenate(grids)) * stride
    return np.hstack([centres, np.exp(boxes[:, 2:]) * stride])


def _per_class(boxes: np.ndarray, scores: np.ndarray) -> list[tuple[int, list[int]]]:
    """Suppress boxes with OpenCV; each is left, top, width, height."""
    kept = []
    for number in range(scores.shape[1]):
        sure = scores[:, number] > 0.25
        if sure.any():
            found = cv2.dnn.NMSBoxes(
                boxes[sure].tolist(), scores[sure, number].tolist(), 0.25, 0.45
            )
            kept.append((number, list(found)))
    return kept
