"""read-text on pictures drawn here: what is written comes back, with boxes where it was."""

from __future__ import annotations

import socket
from pathlib import Path

import onnx
import pytest
from PIL import Image, ImageDraw, ImageFont

from imagemill.operations import OperationError, RunContext, SourceInfo
from processor.models.fetch import cli
from processor.models.loader import ModelLoader
from processor.models.store import ModelStore, sha256_of
from processor.operations import read_text
from processor.operations.reading import engine, letters
from schemas.errors import ErrorCode
from schemas.params.read_text import ReadTextParams
from tests.support.models import brightness_model

pytestmark = pytest.mark.longest

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
