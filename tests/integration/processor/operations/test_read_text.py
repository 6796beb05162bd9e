"""read-text on pictures drawn here: what is written comes back, with boxes where it was."""

from __future__ import annotations

import io
import socket
from pathlib import Path

import onnx
import pytest
from PIL import Image, ImageDraw, ImageFont

from imagemill.images.check import ImageLimits
from imagemill.operations import OperationError, RunContext, SourceInfo
from processor.imaging.decoding import decode
from processor.models.fetch import cli
from processor.models.loader import ModelLoader
from processor.models.store import ModelStore, sha256_of
from processor.operations import read_text
from processor.operations.reading import engine, letters
from schemas.errors import ErrorCode
from schemas.params.read_text import ReadTextParams
from tests.support.models import brightness_model

pytestmark = pytest.mark.longest

# How a picture is stored that an EXIF orientation makes upright.
STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
LINES = ((30, "Invoice 4711"), (110, "Amount due: 128.50 EUR"), (190, "Thank you for your order"))


@pytest.fixture(scope="module")
def invoice() -> Image.Image:
    image = Image.new("RGB", (640, 260), "white")
    draw = ImageDraw.Draw(image)
    for y, text in LINES:
        draw.text((30, y), text, font=ImageFont.load_default(36), fill="black")
    return image


@pytest.fixture(scope="module")
def read(invoice, context):
    return read_text.run(invoice, ReadTextParams(find="amount due"), context(invoice)).data


def test_reads_the_lines_in_order(read):
    assert read["text"] == "\n".join(text for _, text in LINES)
    assert [line["text"] for line in read["lines"]] == [text for _, text in LINES]
    assert all(0.9 < line["confidence"] <= 1 for line in read["lines"])


def test_boxes_lie_round_the_lines(read):
    for (y, _), line in zip(LINES, read["lines"], strict=True):
        (x0, y0), (x1, y1), (x2, y2), (x3, y3) = line["box"]
        assert x0 == pytest.approx(30, abs=8) and x3 == pytest.approx(30, abs=8)
        assert min(x1, x2) > 200
        assert y - 10 < min(y0, y1) < max(y2, y3) < y + 60


def test_find_gives_the_box_of_the_words_alone(read):
    font = ImageFont.load_default(36)
    (found,) = read["find"]

    assert found["text"] == "Amount due" and found["similarity"] == 1.0 and found["lines"] == [1]
    ((left, right, _, _),) = found["boxes"]
    assert left[0] == pytest.approx(30, abs=12)
    assert right[0] == pytest.approx(30 + font.getlength("Amount due"), abs=16)


def test_a_picture_without_text_gives_none(context):
    blank = Image.new("RGB", (200, 100), "white")

    assert read_text.run(blank, ReadTextParams(find="x"), context(blank)).data == {
        "text": "",
        "lines": [],
        "find": [],
    }


def test_transparent_pictures_are_read_on_white(context):
    image = Image.new("RGBA", (400, 90), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    draw.text((20, 20), "Transparent", font=ImageFont.load_default(40), fill=(0, 0, 0, 255))

    assert read_text.run(image, ReadTextParams(), context(image)).data["text"] == "Transparent"


@pytest.mark.parametrize("hidden", ["white", "black"])
@pytest.mark.parametrize("ink", ["white", "black", "grey", "red", "yellow"])
def test_text_of_every_colour_is_read_on_a_clear_ground(context, ink, hidden):
    image = Image.new("RGBA", (700, 160), hidden)
    image.putalpha(0)
    font = ImageFont.load_default(40)
    ImageDraw.Draw(image).text((20, 40), "Invoice 4711", fill=ink, font=font)

    assert read_text.run(image, ReadTextParams(), context(image)).data["text"] == "Invoice 4711"


def test_white_and_black_text_is_read_on_one_clear_ground(context):
    image = Image.new("RGBA", (700, 260))
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(40)
    draw.text((20, 20), "White text here", fill="white", font=font)
    draw.text((20, 140), "Black text here", fill="black", font=font)

    data = read_text.run(image, ReadTextParams(), context(image)).data
    assert data["text"] == "White text here\nBlack text here"


@pytest.mark.parametrize("angle", [90, 180, 270])
def test_a_turned_page_is_read_as_if_it_were_upright(invoice, context, read, angle):
    page = invoice.rotate(angle, expand=True)
    data = read_text.run(page, ReadTextParams(find="amount due"), context(page)).data

    assert data["text"] == "\n".join(text for _, text in LINES)
    for turned, line in zip(data["lines"], read["lines"], strict=True):
        assert_turned(turned["box"], line["box"], angle, invoice.size)
    (found,), (upright,) = data["find"], read["find"]
    assert found["text"] == "Amount due"
    assert_turned(found["boxes"][0], upright["boxes"][0], angle, invoice.size)


def assert_turned(box, upright, angle, size):
    """The corners are those of the upright page, the top left of the text first."""
    width, height = size
    expected = {
        90: lambda x, y: (y, width - x),
        180: lambda x, y: (width - x, height - y),
        270: lambda x, y: (height - y, x),
    }[angle]
    for corner, (x, y) in zip(box, upright, strict=True):
        assert corner == pytest.approx(expected(x, y), abs=8)


@pytest.mark.parametrize("angle", [0, 90, 180])
def test_two_columns_are_read_one_after_the_other(context, angle):
    page, font = Image.new("RGB", (900, 400), "white"), ImageFont.load_default(28)
    draw = ImageDraw.Draw(page)
    title = "The daily mill: news of this week and the last one"
    left = ["Grain prices rose on", "Monday after a dry", "summer in the north"]
    right = ["The miller said that", "his stones had to be", "dressed once more"]
    draw.text((20, 10), title, fill="black", font=font)
    for number, texts in enumerate(zip(left, right, strict=True)):
        for x, text in zip((20, 480), texts, strict=True):
            draw.text((x, 80 + number * 50), text, fill="black", font=font)
    page = page.rotate(angle, expand=True)

    lines = read_text.run(page, ReadTextParams(), context(page)).data["text"].splitlines()
    assert lines == [title, *left, *right]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_read_upright(invoice, context, orientation):
    stored = invoice if orientation == 1 else invoice.transpose(STORED[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    stored.save(file, "PNG", exif=exif)
    image, _ = decode(file, None, ImageLimits())

    data = read_text.run(image, ReadTextParams(), context(image)).data
    assert data["text"] == "\n".join(text for _, text in LINES)


def test_a_narrow_strip_is_read_and_its_boxes_lie_in_it(context):
    strip = Image.new("L", (3000, 20), 255)
    text, font = "Open on Sunday until eight. " * 12, ImageFont.load_default(16)
    ImageDraw.Draw(strip).text((200, 0), text, font=font, fill=0)

    data = read_text.run(strip, ReadTextParams(find="Open on Sunday"), context(strip)).data
    assert data["text"].count("Sunday") == 12
    assert all(0 <= y <= 20 for _, y in data["lines"][0]["box"])
    left, right, *_ = data["find"][0]["boxes"][0]
    assert left[0] == pytest.approx(200, abs=12)
    assert right[0] == pytest.approx(200 + font.getlength("Open on Sunday"), abs=16)


@pytest.mark.parametrize(("size", "read"), [((1, 999), (125, 999)), ((600, 1), (600, 10))])
def test_lines_without_a_width_are_not_blown_up(size, read):
    assert engine._bgr(Image.new("RGBA", size)).shape == (read[1], read[0], 3)


def test_confidence_threshold_leaves_lines_out(invoice, context):
    sure = ReadTextParams(min_confidence=1.0)

    assert read_text.run(invoice, sure, context(invoice)).data["lines"] == []


def test_models_come_with_the_installation_and_run_on_one_thread(invoice, context, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("reading text must not use the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    run = context(invoice)
    reader = engine.TextReader(None)
    assert len(reader.read(invoice, 0.5, with_characters=False)) == 3
    read_text.run(invoice, ReadTextParams(), run)

    for part in (reader._ocr.text_det, reader._ocr.text_rec, reader._ocr.text_cls):
        options = part.session.session.get_session_options()
        assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)
    assert [len(used.sha256) for used in run.used_models] == [64, 64]
    assert engine.text_reader() is engine.text_reader()


def test_languages_that_cannot_be_read_are_refused_with_those_that_can(invoice, context):
    with pytest.raises(OperationError, match=r"cannot read ko.* it reads .*en") as raised:
        read_text.run(invoice, ReadTextParams(languages=["en", "ko"]), context(invoice))

    assert raised.value.error.code is ErrorCode.PARAMS_INVALID


def test_languages_that_can_be_read_are_taken(invoice, context):
    wanted = ReadTextParams(languages=["en", "de", "zh", "ja"])

    assert read_text.run(invoice, wanted, context(invoice)).data["lines"]


def test_every_language_has_its_letters():
    assert letters.missing_languages(letters.LETTERS, "") == dict(letters.LETTERS)
    readable = letters.readable_languages("".join(letters.LETTERS.values()))
    assert set(readable) == set(letters.LETTERS)


def own_recogniser(path: Path, tmp_path: Path, monkeypatch) -> RunContext:
    monkeypatch.setenv("IMAGEMILL_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("IMAGEMILL_MODELS", raising=False)
    add_recogniser(path)
    loader = ModelLoader(ModelStore(tmp_path / "home" / "models"))
    return RunContext(loader, SourceInfo("PNG", (640, 260), 1), 10**8)


def add_recogniser(path: Path) -> None:
    assert cli.main(["add", str(path), "--task", "read-text", "--name", "own"]) == 0


def test_a_users_own_recogniser_reads(invoice, tmp_path, monkeypatch):
    run = own_recogniser(engine.text_reader().recogniser, tmp_path, monkeypatch)
    data = read_text.run(invoice, ReadTextParams(model="own"), run).data

    assert len(data["lines"]) == 3
    assert run.used_models[1].name == "own"

    changed = onnx.load(engine.text_reader().recogniser)
    changed.producer_name = "another"
    onnx.save(changed, tmp_path / "another.onnx")
    add_recogniser(tmp_path / "another.onnx")
    replaced = read_text.open_reader("own", run).files[1]
    assert replaced.sha256 == sha256_of(tmp_path / "another.onnx")


def test_a_model_without_characters_is_refused(invoice, tmp_path, monkeypatch):
    file = tmp_path / "no-characters.onnx"
    file.write_bytes(brightness_model())
    run = own_recogniser(file, tmp_path, monkeypatch)

    with pytest.raises(OperationError, match="own has no list `character`") as raised:
        read_text.run(invoice, ReadTextParams(model="own"), run)
    assert raised.value.error.code is ErrorCode.MODEL_UNAVAILABLE
