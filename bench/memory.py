"""Whether an inference process keeps its memory: resident MB over 2,000 mixed images.

One process does what each of the pool does: a tenth remove-background, a fifth detect-objects, the
rest transforms, of photos in several sizes and formats.
"""

from __future__ import annotations

import io
import tempfile

import psutil
from PIL import Image

from bench._system import home
from bench.images import photos
from imagemill.settings import ProcessorSettings
from processor.work import ItemTask, Workbench

IMAGES = 2000
_WARM = 200
_SCALES = (0.3, 0.7, 1.0, 1.6)
_STEPS = (
    ("remove-background", {}),
    ("detect-objects", {}),
    ("detect-objects", {"annotate": True}),
    ("transform", {"steps": [{"do": "resize", "width": 300}], "format": "webp"}),
    ("transform", {"steps": [{"do": "grayscale"}, {"do": "blur", "sigma": 2}]}),
    ("transform", {"steps": [{"do": "rotate", "degrees": 30}], "format": "png"}),
    ("transform", {"steps": [{"do": "pad", "top": 40, "left": 40}], "format": "jpeg"}),
    ("transform", {"steps": [{"do": "flip"}]}),
    ("transform", {"steps": [{"do": "crop", "width": 200, "height": 200}]}),
    ("transform", {"steps": [{"do": "watermark", "text": "imagemill"}]}),
)


def variants() -> list[bytes]:
    """The photos in several sizes, as PNG and JPEG."""
    made = []
    for data in photos(3):
        picture = Image.open(io.BytesIO(data)).convert("RGB")
        for number, scale in enumerate(_SCALES):
            size = (round(picture.width * scale), round(picture.height * scale))
            buffer = io.BytesIO()
            picture.resize(size).save(buffer, ("PNG", "JPEG")[number % 2])
            made.append(buffer.getvalue())
    return made


def main() -> None:
    """Run and print the table."""
    process, files = psutil.Process(), variants()
    with tempfile.TemporaryDirectory() as folder:
        settings = ProcessorSettings(IMAGEMILL_HOME=folder, IMAGEMILL_MODELS=home() / "models")
        bench = Workbench(settings)
        bench.warm()
        keys = [f"uploads/bench/{number}" for number in range(len(files))]
        for key, data in zip(keys, files, strict=True):
            bench._store.put(key, data, "application/octet-stream")
        print(f"{'images':>7} {'MB':>6}")
        settled = 0.0
        for number in range(1, IMAGES + 1):
            step = _STEPS[number % len(_STEPS)]
            outcome = bench.run_item(
                ItemTask("bench", number % 50, (step,), key=keys[number % len(keys)])
            )
            if outcome.error is not None:
                raise RuntimeError(f"{step[0]}: {outcome.error}")
            if number % 200 == 0:
                resident = process.memory_info().rss / 1e6
                settled = settled if number > _WARM else resident
                print(f"{number:>7} {resident:>6.0f}", flush=True)
    print(f"from image {_WARM} to {IMAGES}: {(resident / settled - 1) * 100:+.1f} %")


if __name__ == "__main__":
    main()
