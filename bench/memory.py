"""Check that an inference process does not grow: resident MB over 2,000 mixed images.

One process does the work of a pool process: every operation, half of them transforms, on photos in
several sizes and formats and on a page of text. Exits with 1 when memory has grown by more than
10 % since the first 200.
"""

from __future__ import annotations

import argparse
import sys
import tempfile

import psutil

from bench._pictures import invoices, photos, scaled
from bench._system import home
from imagemill.settings import ProcessorSettings
from processor.run.item import ItemProcessor, ItemTask

_IMAGES_PER_ROW = 200
_MAX_GROWTH = 0.1
_SCALES = (0.3, 0.7, 1.0, 1.6)
# Their number has no divisor in common with that of the files, so each step gets every file.
_STEPS = (
    ("remove-background", {}),
    ("transform", {"steps": [{"do": "resize", "width": 300}], "format": "webp"}),
    ("detect-objects", {}),
    ("transform", {"steps": [{"do": "grayscale"}, {"do": "blur", "sigma": 2}]}),
    ("read-text", {"find": "amount due"}),
    ("transform", {"steps": [{"do": "rotate", "degrees": 30}], "format": "png"}),
    ("detect-objects", {"annotate": True}),
    ("transform", {"steps": [{"do": "pad", "top": 40, "left": 40}], "format": "jpeg"}),
    ("remove-background", {"format": "webp", "crop": True}),
    ("transform", {"steps": [{"do": "flip"}]}),
    ("detect-objects", {}),
    ("transform", {"steps": [{"do": "crop", "width": 200, "height": 200}]}),
    ("process-image-and-text", {"text": "Invoice 4711"}),
    ("transform", {"steps": [{"do": "watermark", "text": "imagemill"}]}),
    ("remove-background", {"alpha_matting": True}),
    ("transform", {"steps": [{"do": "sharpen"}]}),
)


def variants() -> list[bytes]:
    """Make the photos in several sizes, as PNG and JPEG, and a page of text."""
    made = invoices(1)
    for data in photos(3):
        for number, scale in enumerate(_SCALES):
            made.append(scaled(data, scale, ("PNG", "JPEG")[number % 2]))
    return made


def main() -> int:
    """Run and print the table; return 1 when memory has grown too much."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2000)
    arguments = parser.parse_args()
    process, files = psutil.Process(), variants()
    with tempfile.TemporaryDirectory() as folder:
        settings = ProcessorSettings(IMAGEMILL_HOME=folder, IMAGEMILL_MODELS=home() / "models")
        bench = ItemProcessor(settings)
        bench.warm()
        keys = [f"uploads/bench/{number}" for number in range(len(files))]
        for key, data in zip(keys, files, strict=True):
            bench._store.put(key, data, "application/octet-stream")
        print(f"{'images':>7} {'MB':>6}")
        seen: list[float] = []
        for number in range(1, arguments.images + 1):
            step = _STEPS[number % len(_STEPS)]
            outcome = bench.run_item(
                ItemTask("bench", number % 50, (step,), key=keys[number % len(keys)])
            )
            if outcome.error is not None:
                raise RuntimeError(f"{step[0]}: {outcome.error}")
            if number % _IMAGES_PER_ROW == 0 or number == arguments.images:
                seen.append(process.memory_info().rss / 1e6)
                print(f"{number:>7} {seen[-1]:>6.0f}", flush=True)
    growth = seen[-1] / seen[0] - 1
    print(f"from the first row to the last: {growth:+.1%}, limit {_MAX_GROWTH:+.0%}")
    return int(growth > _MAX_GROWTH)


if __name__ == "__main__":
    sys.exit(main())
