"""`imagemill models`: list, fetch, verify and add model files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from imagemill.cli.services import SOME_MODELS
from imagemill.settings import ProcessorSettings
from processor.models.convert.prepare import PrepareError, prepare_all
from processor.models.fetch.fetch import FetchError, add, fetch, progress_bar
from processor.models.manifest import Manifest, ManifestError, ModelEntry, render
from processor.models.store import ModelCorrupt, ModelMissing, ModelStore, sha256_of

# Exit statuses; argparse's own is 2.
OK, FAILED = 0, 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return the exit status.

    0: every model asked for is there; SOME_MODELS (`fetch` only): some are; FAILED: none is, or
    another error.
    """
    arguments = _parser().parse_args(argv)
    store = ModelStore.of(ProcessorSettings())
    try:
        return arguments.command(arguments, store.manifest(), store)
    except (ManifestError, PrepareError, OSError) as error:
        return _fail(str(error))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="imagemill models", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="every known model, and whether it is here")
    listing.set_defaults(command=_list)
    fetching = commands.add_parser("fetch", help="download models and check them")
    fetching.add_argument("names", nargs="*", metavar="NAME")
    fetching.add_argument("--default", action="store_true", help="the models used by default")
    fetching.set_defaults(command=_fetch)
    verifying = commands.add_parser("verify", help="check the sums of the files that are here")
    verifying.add_argument("names", nargs="*", metavar="NAME", help="these; else all that are here")
    verifying.set_defaults(command=_verify)
    adding = commands.add_parser("add", help="make an ONNX file of your own known by a name")
    adding.add_argument("file", type=Path)
    adding.add_argument("--task", required=True, help="e.g. detect-objects, remove-background")
    adding.add_argument("--name", help="the file's name without .onnx unless given")
    adding.add_argument("--licence", default="unknown")
    adding.add_argument(
        "--size", help="input WIDTHxHEIGHT in pixels, where the file leaves it open"
    )
    adding.add_argument("--channels", choices=("rgb", "bgr"), help="their order in the input")
    adding.add_argument(
        "--scale",
        choices=("255", "none", "image-max"),
        help="what pixels are divided by: 255, nothing, or the picture's largest value",
    )
    adding.add_argument("--mean", help="three numbers with commas, subtracted after that")
    adding.add_argument("--std", help="three numbers with commas, divided by after that")
    adding.add_argument("--default", action="store_true", help="use it when a job names no model")
    adding.set_defaults(command=_add)
    return parser


def _list(arguments: argparse.Namespace, manifest: Manifest, store: ModelStore) -> int:
    rows = [("NAME", "TASK", "HERE", "DEFAULT", "LICENCE", "SUMMARY")]
    for entry in store.known():
        flags = ("yes" if entry.here else "no", "yes" if entry.default else "")
        rows.append((entry.name, entry.task, *flags, entry.licence, entry.summary))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
    return OK


def _fetch(arguments: argparse.Namespace, manifest: Manifest, store: ModelStore) -> int:
    if not arguments.names and not arguments.default:
        return _fail("name a model, or give --default; `imagemill models list` shows the names")
    chosen = [entry.name for entry in manifest.defaults()] if arguments.default else []
    unknown = [name for name in arguments.names if manifest.find(name) is None]
    if unknown:
        return _fail(f"unknown: {', '.join(unknown)}; `imagemill models list` shows the names")
    names = dict.fromkeys([*arguments.names, *chosen])
    missing = 0
    for name in names:
        try:
            _fetch_one(manifest.models[name], store)
        except FetchError as error:
            missing += 1
            _fail(str(error))
    if not missing:
        return OK
    return FAILED if missing == len(names) else SOME_MODELS


def _fetch_one(entry: ModelEntry, store: ModelStore) -> None:
    with progress_bar(entry.name, sys.stderr.isatty()) as progress:
        file = fetch(entry, store, progress, lambda line: print(line, file=sys.stderr))
    prepare_all(entry, file, store)
    print(f"{entry.name}: {file.path}")


def _verify(arguments: argparse.Namespace, manifest: Manifest, store: ModelStore) -> int:
    status = OK
    for name in arguments.names or manifest.models:
        entry = manifest.find(name)
        if entry is None:
            status = _fail(f"unknown: {name}")
            continue
        try:
            file = store.resolve(entry)
        except ModelMissing as error:
            if arguments.names:
                status = _fail(f"{name}: {error}")
        except ModelCorrupt as error:
            status = _fail(f"{name}: {error}; {entry.remedy}")
        else:
            print(f"{name}: {file.path} is sha256 {file.sha256}")
    return status


def _add(arguments: argparse.Namespace, manifest: Manifest, store: ModelStore) -> int:
    from processor.models.convert import weights

    name = arguments.name or arguments.file.stem
    known = manifest.find(name)
    if known is not None and not (store.home / f"{name}.toml").is_file():
        return _fail(f"{name} is a built-in model's name; give another with --name")
    try:
        with weights.one_file(arguments.file) as path:
            entry = _entry(arguments, name, path)
            _check_loads(path)
            destination = add(path, entry, render(entry), store)
    except ValidationError as error:
        first = error.errors()[0]
        return _fail(f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
    except weights.WeightsError as error:
        return _fail(str(error))
    print(f"{name}: {destination}")
    return OK


def _entry(arguments: argparse.Namespace, name: str, path: Path) -> ModelEntry:
    """Return the manifest entry of a file that is added.

    Raises:
        ValidationError: an option is out of its range.
    """
    facts: dict[str, object] = {
        "name": name,
        "task": arguments.task,
        "sha256": (sha256_of(path),),
        "bytes": path.stat().st_size,
        "licence": arguments.licence,
        "summary": f"added from {path.name}",
        "default": arguments.default,
    }
    lists = {
        "size": arguments.size and arguments.size.split("x"),
        "mean": arguments.mean and arguments.mean.split(","),
        "std": arguments.std and arguments.std.split(","),
    }
    given = {"channels": arguments.channels, "scale": arguments.scale, **lists}
    # Only the options given: the model's family and file decide the rest.
    if written := {key: value for key, value in given.items() if value}:
        facts["input"] = written
    return ModelEntry.model_validate(facts)


def _check_loads(path: Path) -> None:
    """Raise ManifestError if the file cannot be run: now, not at its first job."""
    from processor.models import runtime  # loads onnxruntime, which fetching does not need

    try:
        runtime.open_session(path, ["cpu"], "exact", 1, path.parent)
    except runtime.ERRORS as error:
        raise ManifestError(f"{path} is not a model that can be run: {error}") from error


def _fail(message: str) -> int:
    print(f"imagemill models: {message}", file=sys.stderr)
    return FAILED
