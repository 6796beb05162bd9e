"""The command `imagemill`: one module for each subcommand, imported when it is called."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

from imagemill import __version__
from imagemill.errors import OperatorError

# Each name, with _ for -, is a module with `arguments(parser)` and `run(args) -> int`: those that
# use a running imagemill are in `imagemill.cli.client`, the others in this package.
_OF_CLIENT = {
    "run": "cut out pictures, or do another operation: files, folders, pipes",
    "submit": "queue a job and print its id",
    "get": "print a job",
    "wait": "wait until a job has ended, and print it",
    "cancel": "cancel a job",
    "list": "list jobs, newest first",
    "download": "fetch the results of a job",
    "stats": "print counts of jobs, rates, lag and workers",
    "top": "watch queues, workers, rates and failures",
    "results": "print ended jobs from the topic jobs.results as JSON lines",
    "completion": "print the completion script of a shell",
}
COMMANDS = _OF_CLIENT | {
    "up": "start everything on this machine and make a first cut-out",
    "down": "stop everything and keep the data",
    "doctor": "check this machine and the cluster, and say what to do",
    "status": "show which services run, restart or are stopped",
    "logs": "show the logs of the services",
    "ready": "ask a service of this machine whether it is ready, as health checks do",
    "serve": "run one service in the foreground",
    "prepare": "create topics and bucket, fetch the default models; once for a deployment",
    "topics": "create, list or check the Kafka topics",
    "keys": "create, list, revoke or rotate API keys",
    "retention": "remove old jobs and their files, or list them",
    "models": "list, fetch, verify or add models",
    "webhooks": "list, create or test webhook endpoints, list or replay deliveries",
    "dead-letter": "list what was given up, say why, and put it back",
    "config": "show every setting with its default and current value",
}


_OURS = frozenset({"imagemill", "schemas", "producer_api", "processor", "notifier"})
# Errors of the machine or its set-up: their text says what to do, a traceback would not help.
_OF_THIS_MACHINE = frozenset(
    {
        errno.EADDRINUSE,
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EMFILE,
        errno.ENFILE,
    }
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if "_ARGCOMPLETE" in os.environ:
        _complete()
    try:
        return _run(words)
    except OperatorError as error:
        return _complain(str(error))
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in _OURS:
            raise
        return _complain(
            f"`{words[0]}` needs the packages of the services, of which {error.name} is missing: "
            "pip install 'imagemill[server]'"
        )
    except OSError as error:
        if error.errno not in _OF_THIS_MACHINE:
            raise
        where = f"{error.filename}: " if error.filename else ""
        return _complain(f"{where}{error.strerror}")
    except KeyboardInterrupt:
        return 130


def _run(words: list[str]) -> int:
    parser = _parser(chosen=words[0] if words else None)
    args, rest = parser.parse_known_args(words)
    if args.command is None:
        parser.print_help()
        return 2
    if rest and not getattr(args, "passes_on", False):
        parser.error(f"unknown argument: {' '.join(rest)}")
    args.rest = rest
    return _module(args.command).run(args)


def _complain(sentence: str) -> int:
    print(f"imagemill: {sentence}", file=sys.stderr)
    return 1


def _complete() -> None:
    """Answer the shell's question for completions, and exit; see completion.py."""
    import argcomplete

    typed = os.environ.get("COMP_LINE", "").split()
    argcomplete.autocomplete(_parser(chosen=typed[1] if len(typed) > 1 else None))


def _module(command: str) -> ModuleType:
    package = "imagemill.cli.client" if command in _OF_CLIENT else "imagemill.cli"
    return import_module(f"{package}.{command.replace('-', '_')}")


def command_parser(name: str) -> argparse.ArgumentParser:
    """Return the parser of one command, for the page that is generated from it."""
    parser = argparse.ArgumentParser(add_help=name != "models")
    _module(name).arguments(parser)
    return parser


def _parser(chosen: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="imagemill", description="Images in, models on a stream, results out."
    )
    parser.add_argument("--version", action="version", version=f"imagemill {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command")
    for name, summary in COMMANDS.items():
        # The processor parses the arguments of `models`.
        command = commands.add_parser(
            name, help=summary, description=summary, add_help=name != "models"
        )
        if name == chosen:
            _module(name).arguments(command)
    return parser
