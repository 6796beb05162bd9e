"""process-image-and-text: facts about both inputs, and what they have to do with each other."""

from __future__ import annotations

import pytest
from PIL import Image, ImageDraw, ImageFont

from imagemill.operations import RunContext, SourceInfo
from processor.models.fetch.fetch import add
from processor.models.loader import ModelLoader
from processor.models.manifest import ModelEntry, render
from processor.models.store import ModelStore, sha256_of
from processor.operations import image_text
from processor.operations.detection.heads import Head
from processor.operations.reading.engine import Line
from schemas.params.image_text import ImageTextParams
from tests.support.detectors import colour_detector, squares
from tests.support.models import real_store

BOX = ((0.0, 0.0), (100.0, 0.0), (100.0, 20.0), (0.0, 20.0))


@pytest.fixture(scope="module")
def labelled(photos) -> Image.Image:
    """The coffee photo with a caption under it."""
    photo = Image.open(photos / "coffee.png").convert("RGB")
    image = Image.new("RGB", (600, 480), "white")
    image.paste(photo, (0, 0))
    draw = ImageDraw.Draw(image)
    draw.text((20, 415), "Espresso 2.40 EUR", font=ImageFont.load_default(40), fill="black")
    return image


@pytest.fixture(scope="module")
def data(labelled):
    loader = ModelLoader(real_store("ssdlite_mobilenet_v2"))
    run = RunContext(loader, SourceInfo("PNG", (600, 480), 4321), 10**8)
    return image_text.run(labelled, ImageTextParams(text="Espresso 2.40 eur"), run).data


def test_says_where_the_text_is(data):
    (found,) = data["found"]

    assert found["looked_for"] == "Espresso 2.40 eur" and found["similarity"] == 1.0
    ((left, *_),) = found["boxes"]
    assert left[0] == pytest.approx(20, abs=12) and 405 < left[1] < 440
    assert "Espresso 2.40 EUR" in data["recognised"]["text"]


def test_states_facts_of_text_and_picture(data):
    assert data["text"] == {"characters": 17, "words": 4, "lines": 1, "language": None}
    image = data["image"]
    assert (image["width"], image["height"]) == (600, 480)
    assert (image["format"], image["bytes"]) == ("png", 4321)
    assert {colour["name"] for colour in image["colours"]} >= {"brown", "white"}
    assert [one["class"] for one in image["objects"]][:1] == ["cup"]


def test_the_message_is_a_sentence_about_all_of_it(data):
    assert data["message"].startswith("The picture shows ")
    assert '"Espresso 2.40 eur" is in it.' in data["message"]
    assert "Detected: cup" in data["message"]


def test_a_users_own_model_is_the_detector_where_it_is_the_default(tmp_path):
    file = tmp_path / "squares.onnx"
    file.write_bytes(colour_detector(Head.YOLOX))
    store = ModelStore(tmp_path / "home")
    entry = ModelEntry(name="mine", task="detect-objects", sha256=(sha256_of(file),), default=True)
    add(file, entry, render(entry), store)
    run = RunContext(ModelLoader(store), SourceInfo("PNG", (640, 640), 1), 10**8)
    data = image_text.run(squares(), ImageTextParams(text="red"), run).data

    assert [one["class"] for one in data["image"]["objects"]] == ["red", "blue"]


def test_without_a_detector_the_text_part_stands(labelled, tmp_path):
    run = RunContext(ModelLoader(ModelStore(tmp_path)), SourceInfo("PNG", (600, 480), 1), 10**8)
    data = image_text.run(labelled, ImageTextParams(text="2.40"), run).data

    assert data["found"] and data["image"]["objects"] is None
    assert data["message"].endswith("Objects were not looked for: no detector is installed.")


def pieces(text: str, *lines: str) -> list[str]:
    read = [Line(line, 0.9, BOX) for line in lines]
    return [place["looked_for"] for place in image_text.places(text, read)]


def test_the_whole_text_is_looked_for_first():
    assert pieces("Sale ends Friday", "SALE ENDS", "FRIDAY") == ["Sale ends Friday"]


def test_then_its_lines():
    assert pieces("Sale ends Friday\nNot on Sundays", "SALE ENDS FRIDAY") == ["Sale ends Friday"]


def test_then_its_words_but_not_the_everyday_ones():
    assert pieces("When does the sale end?", "THE SALE") == ["sale"]


def test_nothing_is_nothing():
    assert pieces("zebra", "Sale") == [] == pieces("zebra")
