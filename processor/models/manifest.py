"""The manifest: the facts of each model, read from TOML and checked.

Only load() and files() read from the disk.
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
    """A file behind http(s); an interrupted download is resumed with Range."""

    kind: Literal["url"] = Field(description="Marks a source of this kind.")
    url: str = Field(pattern=r"^https?://", description="Address of the file.")

    def __str__(self) -> str:
        return self.url


class PypiSource(_Entry):
    """One file inside a wheel, downloaded with pip and never installed."""

    kind: Literal["pypi"] = Field(description="Marks a source of this kind.")
    package: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Name of the package."
    )
    version: str = Field(
        pattern=r"^[0-9][0-9A-Za-z.+!-]*$", description="Exact version of the package."
    )
    member: str = Field(description="Path of the model file inside the wheel.")

    def __str__(self) -> str:
        return f"the PyPI package {self.package} {self.version}"


class NpmSource(_Entry):
    """One file inside an npm package, converted if `conversion` is given."""

    kind: Literal["npm"] = Field(description="Marks a source of this kind.")
    package: str = Field(
        pattern=r"^(@[a-z0-9._-]+/)?[a-z0-9][a-z0-9._-]*$",
        description="Name of the package, with its scope if it has one.",
    )
    version: str = Field(
        pattern=r"^[0-9][0-9A-Za-z.+-]*$", description="Exact version of the package."
    )
    member: str = Field(description="Path inside the tarball of the file to take or convert.")
    archive_sha256: Sha256 = Field(description="sha256 of the package's tarball, in hex.")
    conversion: Literal["tfjs-ssd", "chunks"] | None = Field(
        default=None,
        description=(
            "tfjs-ssd makes ONNX of a TensorFlow.js detector whose model.json the member is; "
            "chunks joins the pieces that the member lists for `resource`; null takes the member "
            "as it is."
        ),
    )
    resource: str = Field(
        default="", description="With chunks: name of the file in the member's list of pieces."
    )

    def __str__(self) -> str:
        return f"the npm package {self.package} {self.version}"


Source = Annotated[UrlSource | PypiSource | NpmSource, Field(discriminator="kind")]


Side = Annotated[int, Field(ge=1, le=8192)]
Layout = Literal["nchw", "nhwc"]


class ModelInput(_Entry):
    """Steps from pixels to the input tensor: resize, divide by `scale`, then (x - mean) / std.

    In an entry only the fields in written() count. The model's family gives the others, and a size
    or layout that the file fixes overrides both.
    """

    size: tuple[Side, Side] | None = Field(
        default=None, description="Width and height of the input, 1 to 8192 pixels each."
    )
    layout: Layout = Field(
        default="nchw", description="Axis order, where the input's shape leaves it open."
    )
    channels: Literal["rgb", "bgr"] = Field(
        default="rgb", description="Order of the colour channels."
    )
    scale: Literal["image-max", "255", "none"] = Field(
        default="255",
        description=(
            "Divisor of the values 0 to 255: image-max is the largest value in the resized "
            "picture, as in rembg; none leaves 0 to 255."
        ),
    )
    mean: tuple[float, float, float] = Field(
        default=(0.0, 0.0, 0.0), description="Subtracted per channel, after the division."
    )
    std: tuple[float, float, float] = Field(
        default=(1.0, 1.0, 1.0), description="Divisor per channel, after the subtraction."
    )

    def written(self) -> dict[str, Any]:
        """Return the fields that were given; either of mean and std brings both."""
        pair = {"mean", "std"}
        names = self.model_fields_set
        return {name: getattr(self, name) for name in names | (pair if names & pair else set())}


def picture_axes(
    shape: Sequence[int | str | None], layout: Layout
) -> tuple[Layout, int | None, int | None]:
    """Return the axis order of a picture input, and the width and height that its shape fixes.

    `layout` is the order where the shape has no axis of 3; None stands for an open side.
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
    """One model."""

    name: str = Field(
        pattern=NAME_PATTERN, description="Name in params, and of the file, 1 to 100 characters."
    )
    task: str = Field(min_length=1, max_length=100, description="Operation that the model serves.")
    sha256: tuple[Sha256, ...] = Field(
        min_length=1, description="sha256, in hex, of every file accepted; the preferred first."
    )
    summary: str = Field(default="", description="One line for `imagemill models list`.")
    licence: str = Field(default="unknown", description="Licence of the weights, as SPDX has it.")
    default: bool = Field(
        default=False,
        description="Fetched by `models fetch --default`, and used by jobs that name no model.",
    )
    bytes: int | None = Field(default=None, gt=0, description="Size of the file in bytes.")
    output: str | None = Field(
        default=None, description="Output to compute where there are several; null: the first."
    )
    input: ModelInput | None = Field(
        default=None, description="Steps from pixels to the input; null: as the family has them."
    )
    sources: tuple[Source, ...] = Field(default=(), description="Tried in this order.")
    centre: dict[str, dict[int, float]] = Field(
        default_factory=dict,
        description="For precision fast: the constant of each nearly constant channel, by ReLU.",
    )
    bf16: tuple[str, ...] = Field(
        default=(), description="Convolutions that precision balanced computes in bfloat16."
    )

    @property
    def file_name(self) -> str:
        """Name of its file in every folder."""
        return f"{self.name}.onnx"

    @property
    def remedy(self) -> str:
        """Advice for error messages about a file that is missing or has another sum."""
        if self.sources:
            return f"run `imagemill models fetch {self.name}`"
        options = f"--name {self.name} --task {self.task}"
        return f"add its file again with `imagemill models add FILE {options}`"

    @property
    def precisions(self) -> tuple[str, ...]:
        """The precisions it has on a CPU with bfloat16."""
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
        """Return the model of that name, or None."""
        return self.models.get(name)

    def defaults(self, task: str | None = None) -> tuple[ModelEntry, ...]:
        """Return the default models, of one task or of all, in the manifest's order."""
        entries = self.models.values()
        return tuple(e for e in entries if e.default and task in (None, e.task))

    def merged(self, other: Manifest) -> Manifest:
        """Return both manifests joined, `other` last; it wins where a name is in both."""
        kept = {name: one for name, one in self.models.items() if name not in other.models}
        return Manifest.model_construct(models={**kept, **other.models})


def parse(text: str, origin: str) -> Manifest:
    """Parse a manifest; `origin` names it in errors.

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
    """Return the entry as TOML that parse() reads back to an equal entry."""
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
    """A *.toml file in a folder; its content has changed if the time or inode has."""

    path: Path
    modified_ns: int
    inode: int


def files(*folders: Path) -> tuple[ManifestFile, ...]:
    """List the manifest files in the folders' order, the newest of each folder last."""
    found: list[ManifestFile] = []
    for folder in folders:
        here = []
        for path in folder.glob("*.toml"):
            # Removed between glob and stat: as if it had never been found.
            with contextlib.suppress(FileNotFoundError):
                facts = path.stat()
                here.append(ManifestFile(path, facts.st_mtime_ns, facts.st_ino))
        found += sorted(here, key=lambda file: (file.modified_ns, file.path))
    return tuple(found)


def load(*folders: Path) -> Manifest:
    """Read the built-in manifest and the folders' files(); later entries win.

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
