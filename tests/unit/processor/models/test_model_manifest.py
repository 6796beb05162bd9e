"""The manifest says what it means, and errors in it name the place."""

from __future__ import annotations

from pathlib import Path

import pytest

from processor.models.manifest import (
    ManifestError,
    ModelEntry,
    ModelInput,
    UrlSource,
    load,
    parse,
    render,
)

SUM = "ab" * 32


def test_the_built_in_manifest_has_the_default_models_with_free_licences() -> None:
    manifest = load()
    defaults = {entry.task: entry for entry in manifest.defaults()}
    assert defaults["remove-background"].name == "u2netp"
    assert defaults["detect-objects"].name == "ssdlite_mobilenet_v2"
    assert {entry.licence for entry in defaults.values()} == {"Apache-2.0"}


def test_every_built_in_model_can_be_fetched_from_somewhere() -> None:
    assert all(entry.sources for entry in load().models.values())


def test_removers_share_one_recipe_but_for_numbers() -> None:
    removers = {e.name: e for e in load().models.values() if e.task == "remove-background"}
    scales = {name: e.input.scale for name, e in removers.items() if e.input is not None}
    assert scales == {
        **dict.fromkeys(("u2netp", "u2net", "silueta", "isnet-general-use"), "image-max"),
        # Its package's own way, whatever the picture's brightest pixel is.
        "isnet-fp16": "none",
    }


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('[models.a]\ntask = "t"\n', r"models\.a\.sha256"),
        ('[models.a]\ntask = "t"\nsha256 = ["12"]\n', r"models\.a\.sha256\.0"),
        (f'[models.a]\ntask = "t"\nsha256 = ["{SUM}"]\nmisspelt = 1\n', r"models\.a\.misspelt"),
        (f'[models."../a"]\ntask = "t"\nsha256 = ["{SUM}"]\n', r"models\.\.\./a\.name"),
        ("[models.a\n", "is not TOML"),
    ],
)
def test_an_error_names_the_file_and_the_key(text: str, where: str) -> None:
    with pytest.raises(ManifestError, match=rf"mine\.toml.*{where}"):
        parse(text, "mine.toml")


def test_a_source_of_an_unknown_kind_is_refused() -> None:
    text = f'[models.a]\ntask = "t"\nsha256 = ["{SUM}"]\nsources = [{{ kind = "ftp" }}]\n'
    with pytest.raises(ManifestError, match=r"sources\.0"):
        parse(text, "mine.toml")


def test_a_rendered_entry_reads_back_equal() -> None:
    entry = ModelEntry(
        name="my.model-2",
        task="detect-objects",
        summary='quotes " and \\ and \x07 and \u00e9',
        sha256=(SUM,),
        default=True,
        bytes=12,
        input=ModelInput(size=(3, 4), channels="bgr", mean=(0.5, 1e-7, 0)),
        sources=(UrlSource(kind="url", url="https://example.org/m.onnx"),),
        centre={"Relu_1": {14: 226.25}},
    )
    assert parse(render(entry), "mine.toml").models == {entry.name: entry}


def test_a_folders_entry_replaces_the_built_in_one_of_its_name(tmp_path: Path) -> None:
    mine = ModelEntry(name="u2netp", task="remove-background", sha256=(SUM,))
    (tmp_path / "mine.toml").write_text(render(mine))
    assert load(tmp_path).models["u2netp"] == mine
