"""`imagemill completion`: the script that makes a shell complete commands and options."""

from __future__ import annotations

import argparse

_SHELLS = ("bash", "zsh", "fish")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the shell."""
    parser.add_argument(
        "shell",
        choices=_SHELLS,
        help='shell to print it for: eval "$(imagemill completion bash)" in ~/.bashrc, the same '
        "with zsh in ~/.zshrc, imagemill completion fish | source in config.fish",
    )


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    import argcomplete

    print(argcomplete.shellcode(["imagemill"], shell=args.shell))
    return 0
