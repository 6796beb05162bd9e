"""The text of a secret: its form, its checksum, its key id."""

from __future__ import annotations

import re

import pytest

from producer_api.access.keys.secret import NoSecret, hash_of, key_id_of, new_key_id, new_secret


def test_a_scanner_finds_it_by_its_form() -> None:
    secret = new_secret(new_key_id())

    assert re.fullmatch(r"im_[0-9A-Za-z]{42}", secret)


def test_it_names_its_key() -> None:
    key_id = new_key_id()

    assert key_id_of(new_secret(key_id)) == key_id


def test_two_secrets_of_a_key_differ() -> None:
    key_id = new_key_id()

    assert new_secret(key_id) != new_secret(key_id)


def test_the_checksum_is_that_of_every_version() -> None:
    """A secret of an earlier version stays valid: its checksum must not change."""
    assert key_id_of("im_000000000000AAAAAAAAAAAAAAAAAAAAAAAA37MrA6") == "0" * 12


@pytest.mark.parametrize("place", [3, 20, 38, 44])
def test_a_mistyped_character_is_noticed(place: int) -> None:
    secret = new_secret(new_key_id())
    other = "a" if secret[place] != "a" else "b"

    with pytest.raises(NoSecret, match="mistyped"):
        key_id_of(secret[:place] + other + secret[place + 1 :])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "begins with im_"),
        ("sk_live_1", "begins with im_"),
        ("im_", "cut off"),
        ("im_" + "a" * 41, "cut off"),
        ("im_" + "a" * 43, "cut off"),
        ("im_" + "-" * 42, "cut off or has others"),
        ("im_" + "é" * 42, "cut off or has others"),
        ("im_" + "a" * 42, "mistyped"),
    ],
)
def test_another_text_is_refused_with_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(NoSecret, match=sentence):
        key_id_of(text)


def test_its_hash_is_sha_256() -> None:
    assert hash_of("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
