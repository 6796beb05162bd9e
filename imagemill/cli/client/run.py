"""`imagemill run`: pictures in, results out, by a running imagemill."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagemill.cli.client.connection import (
    FAILED,
    UsageError,
    complain,
    connection_arguments,
    json_argument,
    operation_arguments,
    params_of,
    with_client,
)
from imagemill.cli.client.paths import STDIO, Arrivals, Source, Targets, sources
from imagemill.images.formats import FORMATS, by_extension

if TYPE_CHECKING:
    from imagemill.client import Client, Outcome

_DEFAULT = "remove-background"
_WATCH_S = 1.0
# Operations whose param `format` chooses the format of the file.
_WITH_FORMAT = frozenset({_DEFAULT, "transform"})
# Options of rembg's command line, and the params that they are here.
_REMBG = {
    "model": "model",
    "alpha_matting": "alpha_matting",
    "foreground_threshold": "alpha_matting_foreground_threshold",
    "background_threshold": "alpha_matting_background_threshold",
    "erode_size": "alpha_matting_erode_size",
    "only_mask": "only_mask",
    "post_process_mask": "post_process_mask",
    "bgcolor": "background_color",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the inputs, the output, and what is done."""
    parser.add_argument(
        "inputs",
        nargs="*",
        metavar="IMAGE",
        help="file, folder, quoted glob, URL, or - for standard input (default, if it is a pipe)",
    )
    parser.add_argument(
        "-o",
        "--out",
        metavar="PATH",
        help="file to write, or folder where there are several inputs; - is standard output. "
        "Without it NAME-OPERATION.png is written beside a single file",
    )
    operation_arguments(parser)
    parser.add_argument(
        "-j", "--jobs", type=int, default=8, metavar="N", help="jobs under way at once (default 8)"
    )
    parser.add_argument(
        "--resume", action="store_true", help="leave out images whose result is there and newer"
    )
    parser.add_argument(
        "--watch",
        action="store_true",
        help="go on, and process images that come into the input folders, until Ctrl+C",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="seconds to wait for one image (default 300)",
    )
    json_argument(parser)
    connection_arguments(parser)
    _rembg_arguments(parser)


def _rembg_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("remove-background, as in rembg")
    group.add_argument("-m", "--model", metavar="NAME", help="model to use")
    for short, long in (
        ("-a", "alpha-matting"), ("-om", "only-mask"), ("-ppm", "post-process-mask"),
    ):  # fmt: skip
        group.add_argument(
            short,
            f"--{long}",
            action="store_true",
            default=None,
            help=f"param {long.replace('-', '_')}",
        )
    for short, long in (
        ("-af", "alpha-matting-foreground-threshold"),
        ("-ab", "alpha-matting-background-threshold"),
        ("-ae", "alpha-matting-erode-size"),
    ):
        group.add_argument(
            short,
            f"--{long}",
            type=int,
            metavar="N",
            dest=long.removeprefix("alpha-matting-").replace("-", "_"),
            help=f"param {long.replace('-', '_')}",
        )
    group.add_argument(
        "-bgc",
        "--bgcolor",
        type=int,
        nargs=4,
        metavar=("R", "G", "B", "A"),
        help="colour behind the subject, four numbers from 0 to 255",
    )


def run(args: argparse.Namespace) -> int:
    """Process the images; return 0, or 1 if any of them failed."""
    return with_client(args, lambda client: _Run(args, client).all())


class _Run:
    """One call of the command."""

    def __init__(self, args: argparse.Namespace, client: Client) -> None:
        """Raise UsageError for arguments that contradict each other."""
        self._args = args
        self._client = client
        self._inputs = args.inputs or _piped()
        self._operation = args.op or _DEFAULT
        self._params = params_of(args) | self._of_rembg()
        if args.jobs < 1:
            raise UsageError("--jobs must be 1 or more.")

    def all(self) -> int:
        """Process everything; return the exit status."""
        args, inputs = self._args, self._inputs
        single = len(inputs) == 1 and not Path(inputs[0]).is_dir() and not _is_glob(inputs[0])
        if args.watch and not any(Path(each).is_dir() for each in inputs):
            raise UsageError("--watch needs a folder among the inputs.")
        to_folder = args.out is not None and (Path(args.out).is_dir() or args.out.endswith("/"))
        if single and not to_folder and not args.resume:
            return self._one(inputs[0])
        if args.out in (None, STDIO):
            raise UsageError("several images need a folder for their results: -o FOLDER.")
        return self._folder(Path(args.out))

    def _of_rembg(self) -> dict[str, Any]:
        given = {
            param: getattr(self._args, option)
            for option, param in _REMBG.items()
            if getattr(self._args, option) is not None
        }
        if given and self._operation != _DEFAULT:
            raise UsageError(
                f"{', '.join(given)}: an option of {_DEFAULT}; give --param for {self._operation}."
            )
        return given

    def _one(self, given: str) -> int:
        (source,) = sources([given], out=None)
        image = sys.stdin.buffer.read() if given == STDIO else given
        out = self._args.out or (STDIO if given == STDIO else None)
        if out not in (None, STDIO):
            self._choose_format(out)
        if out == STDIO and sys.stdout.isatty() and not self._args.json:
            raise UsageError("standard output is a terminal; name a file with -o.")
        result = self._client.run(
            image,
            self._operation,
            self._params,
            timeout_s=self._args.timeout,
            priority=self._args.priority,
        )
        written: str | None = None
        if result.content is None:
            text = json.dumps(result.data, ensure_ascii=False, indent=2) + "\n"
            if out in (None, STDIO):
                sys.stdout.write(text)
                return 0
            Path(out).write_text(text, encoding="utf-8")
            written = out
        elif out == STDIO:
            sys.stdout.buffer.write(result.content)
            return 0
        else:
            path = Path(out) if out else _beside(source, self._operation, result.content_type)
            written = str(result.save(path))
        self._say({"image": given, "result": written, "job": result.job.id})
        return 0

    def _choose_format(self, out: str) -> None:
        known = by_extension(out)
        if known is not None and self._operation in _WITH_FORMAT:
            self._params.setdefault("format", known.name)

    def _folder(self, out: Path) -> int:
        if STDIO in self._inputs:
            raise UsageError("standard input is one image; give it alone.")
        out.mkdir(parents=True, exist_ok=True)
        targets = Targets(out)
        if self._args.watch:
            return self._watch(out, targets)
        todo = [each for each in self._listed(out) if self._wanted(each, targets)]
        with _progress(len(todo), quiet=self._args.json) as step:
            return FAILED if self._batch(todo, targets, step) else 0

    def _watch(self, out: Path, targets: Targets) -> int:
        arrivals, failed = Arrivals(self._inputs, out), 0
        try:
            while True:
                todo = [each for each in arrivals.look() if self._wanted(each, targets)]
                failed += self._batch(todo, targets, lambda: None)
                time.sleep(_WATCH_S)
        except KeyboardInterrupt:
            return FAILED if failed else 0

    def _batch(self, todo: list[Source], targets: Targets, step: Callable[[], None]) -> int:
        """Process the images; return the number that failed."""
        failed = 0
        for outcome in self._client.map(
            [source.image for source in todo],
            self._operation,
            self._params,
            concurrency=self._args.jobs,
            timeout_s=self._args.timeout,
            priority=self._args.priority,
        ):
            failed += not self._written(todo[outcome.index], outcome, targets)
            step()
        return failed

    def _listed(self, out: Path) -> list[Source]:
        found = list(sources(self._inputs, out=out))
        if not found:
            raise UsageError(f"there is no image in {', '.join(self._inputs)}.")
        return found

    def _wanted(self, source: Source, targets: Targets) -> bool:
        return not (self._args.resume and targets.done(source))

    def _written(self, source: Source, outcome: Outcome, targets: Targets) -> bool:
        if outcome.result is None:
            self._say({"image": source.image, "error": str(outcome.error)}, failed=True)
            return False
        result = outcome.result
        stem = targets.stem(source)
        path = stem.with_name(stem.name + suffix_of(result.content_type))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if result.content is None:
                path.write_text(json.dumps(result.data, ensure_ascii=False), encoding="utf-8")
            else:
                result.save(path)
        except OSError as error:
            self._say({"image": source.image, "error": str(error)}, failed=True)
            return False
        self._say({"image": source.image, "result": str(path), "job": result.job.id})
        return True

    def _say(self, fact: dict[str, Any], *, failed: bool = False) -> None:
        if self._args.json:
            print(json.dumps(fact, ensure_ascii=False), flush=True)
        elif failed:
            complain(f"{fact['image']}: {fact['error']}", FAILED)
        elif self._args.watch or not self._args.out:
            print(fact["result"], flush=True)


def _piped() -> list[str]:
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("name an image, a folder, or pipe an image in; `imagemill run --help`.")
    return [STDIO]


def _is_glob(text: str) -> bool:
    return not Path(text).exists() and any(letter in text for letter in "*?[")


def suffix_of(content_type: str | None) -> str:
    """Return the suffix of a result's file by its media type; `.json` for data alone."""
    if content_type is None:
        return ".json"
    for known in FORMATS.values():
        if known.content_type == content_type.partition(";")[0]:
            return f".{known.extension}"
    return ".bin"


def _beside(source: Source, operation: str, content_type: str | None) -> Path:
    path = Path(source.image if Path(source.image).exists() else source.below)
    return path.with_name(f"{path.stem}-{operation}{suffix_of(content_type)}")


@contextmanager
def _progress(total: int, *, quiet: bool) -> Iterator[Callable[[], None]]:
    """Show a progress bar on stderr, if that is a terminal; the function given is called a step."""
    if quiet or not sys.stderr.isatty():
        yield lambda: None
        return
    # Imported here: most calls show no bar.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)
