"""Facts about texts and pictures, and the sentence made of them."""

from __future__ import annotations

import pytest
from PIL import Image, ImageDraw

from processor.operations.describing.image_facts import colour_name, dominant_colours
from processor.operations.describing.sentence import message
from processor.operations.describing.text_facts import language, text_facts, words
from tests.support.pictures import in_srgb, of_gamma


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("The invoice is due on Friday, please pay in time.", "en"),
        ("Der Hund ist nicht auf dem Sofa, sondern im Garten.", "de"),
        ("Le chat est dans la cuisine avec une souris.", "fr"),
        ("La casa es muy bonita pero no la compro porque es cara.", "es"),
        ("Il gatto non \u00e8 sul tavolo ma nella scatola.", "it"),
        ("O gato n\u00e3o est\u00e1 em casa, mas j\u00e1 volta.", "pt"),
        ("Het huis van mijn buurman is niet zo groot.", "nl"),
        ("Jag har inte varit i Stockholm och det \u00e4r synd.", "sv"),
        ("To nie jest dla mnie, ale dzi\u0119kuj\u0119 za pomoc.", "pl"),
        ("Bu ev \u00e7ok g\u00fczel ama benim i\u00e7in b\u00fcy\u00fck.", "tr"),
        ("\u044d\u0442\u043e \u043c\u044b", "ru"),
        ("\u0446\u0435 \u0457\u0457 \u043a\u043d\u0438\u0433\u0430", "uk"),
        ("\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8", "ja"),
        ("\u4eca\u5929\u5929\u6c14\u5f88\u597d", "zh"),
        ("\ud55c\uad6d\uc5b4", "ko"),
        ("\u03ba\u03b1\u03bb\u03b7\u03bc\u03ad\u03c1\u03b1", "el"),
        ("\u0645\u0631\u062d\u0628\u0627", "ar"),
        ("\u0686\u06af\u0648\u0646\u0647", "fa"),
        ("\u0928\u092e\u0938\u094d\u0924\u0947", "hi"),
    ],
)
def test_tells_the_language(text, code):
    assert language(text) == code


@pytest.mark.parametrize("text", ["", "4711", "xqz vrr", "!?", "qwertz uiop"])
def test_says_nothing_when_unsure(text):
    assert language(text) is None


def test_counts_words_of_all_scripts():
    assert words("It's a well-known (old) caf\u00e9, isn't it? 42") == [
        "It's", "a", "well-known", "old", "caf\u00e9", "isn't", "it", "42",
    ]  # fmt: skip
    assert words("\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e")[
        1:
    ] == ["\u0926\u0941\u0928\u093f\u092f\u093e"]
    assert len(words("\u4eca\u5929\u5929\u6c14")) == 4
    assert words("--- '' ...") == []


def test_text_facts():
    assert text_facts("Hello world\nand you") == {
        "characters": 19,
        "words": 4,
        "lines": 2,
        "language": "en",
    }


def test_dominant_colours_have_their_shares():
    image = Image.new("RGB", (100, 100), (255, 255, 255))
    ImageDraw.Draw(image).rectangle((0, 0, 99, 29), fill=(220, 20, 30))
    white, red = dominant_colours(image)

    assert (white["name"], white["share"], white["hex"]) == (
        "white",
        pytest.approx(0.7, abs=0.02),
        "#ffffff",
    )
    assert (red["name"], red["share"]) == ("red", pytest.approx(0.3, abs=0.02))


def test_colours_are_srgbs_whatever_the_pictures_profile():
    image = Image.new("RGB", (40, 40), (200, 100, 60))
    profile = of_gamma(2.2, b"RGB ", "Display P3")
    (found,) = dominant_colours(image, profile)
    shown = bytes.fromhex(found["hex"][1:])
    assert tuple(shown) == pytest.approx(in_srgb((200, 100, 60), 2.2, "Display P3"), abs=3)


def test_transparent_parts_have_no_colour():
    image = Image.new("RGBA", (40, 40), (255, 0, 0, 0))
    assert dominant_colours(image) == []

    image.paste((0, 0, 255, 255), (0, 0, 10, 10))
    assert [(c["name"], c["share"]) for c in dominant_colours(image)] == [("blue", 1.0)]


@pytest.mark.parametrize(
    ("colour", "name"),
    [
        ((0, 0, 0), "black"),
        ((255, 255, 255), "white"),
        ((128, 128, 128), "grey"),
        ((120, 75, 40), "brown"),
        ((255, 140, 0), "orange"),
        ((230, 210, 175), "beige"),
        ((250, 220, 40), "yellow"),
        ((20, 70, 30), "dark green"),
        ((30, 90, 220), "blue"),
        ((160, 200, 240), "light blue"),
        ((250, 180, 190), "pink"),
        ((130, 40, 200), "purple"),
        ((230, 10, 20), "red"),
    ],
)
def test_colours_have_the_names_people_use(colour, name):
    assert colour_name(colour) == name


@pytest.mark.parametrize(
    ("lines", "found", "objects", "expected"),
    [
        ([], [], [], 'The picture shows no readable text, so "sale" is not in it. '
                     "No known objects were detected."),
        (["SALE"], ["sale"], ["cup", "cup"],
         'The picture shows 1 line of text, and "sale" is in it. Detected: cup (2).'),
        (["Exit", "Left"], [], ["dog", "cat"],
         'The picture shows 2 lines of text, but "sale" is not among them: it reads "Exit Left". '
         "Detected: dog and cat."),
    ],
)  # fmt: skip
def test_the_message_reads_well(lines, found, objects, expected):
    assert message("sale", lines, found, objects) == expected


def test_long_texts_and_many_objects_are_cut_short():
    said = message("word " * 100, ["x"], ["a", "b"], ["a", "b", "c", "d", "e"])

    assert len(said) < 250 and '...", it has "a" and "b".' in said
    assert said.endswith("Detected: a, b, c and 2 more kinds.")
