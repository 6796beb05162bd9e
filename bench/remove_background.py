"""Compare remove-background with the bare libraries: images/s of each, one process, one thread.

All take the same photo files and return PNG files. The bare loop is rembg's recipe for u2netp with
onnxruntime's CPU provider and Pillow alone, at the PNG level of ours; "rembg" is that library
itself, on the same model file and provider. Precisions that this CPU cannot run are listed as such.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image

from bench._pictures import photos
from imagemill.operations import OperationError, RunContext, SourceInfo
from processor.imaging.encoding import encode
from processor.models.loader import ModelLoader
from processor.models.store import ModelStore
from processor.operations import remove_background
from schemas.params.remove_background import RemoveBackgroundParams

ROUNDS = 8
PNG_LEVEL = 1
PRECISIONS = ("exact", "balanced", "fast")
_MEAN, _STD = np.array((0.485, 0.456, 0.406)), np.array((0.229, 0.224, 0.225))
Call = Callable[[bytes], object]


def main() -> None:
    """Measure and print the table."""
    root = Path(__file__).parents[1]
    home = Path(os.environ.get("IMAGEMILL_HOME") or root / ".imagemill") / "models"
    loader = ModelLoader(ModelStore(home))
    files = photos(3)
    model = home / "u2netp.onnx"
    if not model.is_file():
        raise SystemExit("u2netp is not here: imagemill models fetch u2netp")
    calls: dict[str, Call] = {"bare loop": bare_loop(model), "rembg": rembg_loop(model)}
    refused = {}
    for precision in PRECISIONS:
        try:
            loader.session("u2netp", precision=precision)
        except OperationError as error:
            refused[precision] = str(error)
        else:
            calls[precision] = operation(loader, precision)
    table(calls, files, refused)


def table(calls: dict[str, Call], files: list[bytes], refused: dict[str, str]) -> None:
    """Time the calls in alternation, so that a busy machine slows all alike; print the medians."""
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call(files[0])
    for _ in range(ROUNDS):
        for name, call in calls.items():
            started = time.perf_counter()
            for file in files:
                call(file)
            spent[name].append((time.perf_counter() - started) / len(files))
    bare = float(np.median(spent["bare loop"]))
    print(f"{'u2netp':12} {'ms/image':>9} {'images/s':>9} {'of bare':>8}")
    for name, times in spent.items():
        middle = float(np.median(times))
        print(f"{name:12} {middle * 1000:9.0f} {1 / middle:9.2f} {bare / middle:8.2f}")
    for name, reason in refused.items():
        print(f"{name:12} not here: {reason}")


def operation(loader: ModelLoader, precision: str) -> Call:
    """Decode, run and encode as a pool process does."""
    params = RemoveBackgroundParams.model_validate({"model": "u2netp", "precision": precision})

    def call(file: bytes) -> object:
        photo = Image.open(io.BytesIO(file)).convert("RGB")
        source = SourceInfo("png", photo.size, len(file))
        output = remove_background.run(photo, params, RunContext(loader, source, 10**8))
        assert output.image is not None
        return encode(output.image, output.encode, source)

    return call


def bare_loop(model: Path) -> Call:
    """Cut out with onnxruntime and Pillow alone."""
    session = onnxruntime.InferenceSession(
        str(model), _one_thread(), providers=["CPUExecutionProvider"]
    )

    def call(file: bytes) -> object:
        photo = Image.open(io.BytesIO(file)).convert("RGB")
        pixels = np.asarray(photo.resize((320, 320), Image.Resampling.LANCZOS))
        tensor = ((pixels / max(pixels.max(), 1e-6) - _MEAN) / _STD).transpose(2, 0, 1)
        found = session.run(["1959"], {"input.1": tensor[None].astype(np.float32)})[0][0, 0]
        found = (found - found.min()) / (found.max() - found.min())
        mask = Image.fromarray((found * 255).astype(np.uint8))
        photo.putalpha(mask.resize(photo.size, Image.Resampling.LANCZOS))
        photo.save(out := io.BytesIO(), "PNG", compress_level=PNG_LEVEL)
        return out

    return call


def rembg_loop(model: Path) -> Call:
    """Cut out with the rembg library, from file to file, with its own PNG settings."""
    # rembg looks for its models in this folder; it must not download one.
    os.environ["U2NET_HOME"] = str(model.parent)
    os.environ["OMP_NUM_THREADS"] = "1"
    import rembg

    session: Any = rembg.new_session("u2netp", providers=["CPUExecutionProvider"])

    def call(file: bytes) -> object:
        return rembg.remove(file, session=session)

    return call


def _one_thread() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return options


if __name__ == "__main__":
    main()
