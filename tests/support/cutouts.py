"""A picture with a bright subject, and a model whose mask is brightness."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from imagemill.operations import Output, RunContext, SourceInfo
from processor.models.loader import ModelLoader
from processor.operations.remove_background import run
from schemas.params.remove_background import RemoveBackgroundParams
from tests.support.models import brightness_entry, brightness_model, install

SIZE = (96, 64)
SUBJECT = (24, 16, 72, 48)
INSIDE, OUTSIDE = (48, 32), (4, 4)
DATA = brightness_model()


def brightness_loader(home: Path) -> ModelLoader:
    """Make a loader whose only model, in `home`, is the brightness model."""
    return ModelLoader(install(home, DATA, brightness_entry(DATA, default=True)))


def fresh_context(models: ModelLoader) -> RunContext:
    """Make the context of one run of the operation."""
    return RunContext(models, SourceInfo("PNG", SIZE, 1), max_pixels=10**6)


def picture(mode: str = "RGB") -> Image.Image:
    """Draw a yellow box, the subject, on dark blue."""
    image = Image.new("RGB", SIZE, (0, 0, 30))
    image.paste((255, 250, 200), SUBJECT)
    return image.convert(mode)


def result(context: RunContext, image: Image.Image | None = None, **options: object) -> Output:
    """Run remove-background on a picture, by default `picture()`, with these params."""
    params = RemoveBackgroundParams.model_validate(options)
    return run(picture() if image is None else image, params, context)


def pixels(output: Output) -> Image.Image:
    """Return the picture of a result that has one."""
    assert output.image is not None
    return output.image
