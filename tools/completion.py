"""Print what a shell completes behind `openmix`: tools/completion.py SHELL."""

from __future__ import annotations

import runpy
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from openmix.__main__ import purpose, scripts
from openmix.arguments import CommandParser
from openmix.benchmark.command_line import VERBS
from openmix.completion import Described, describe, script
from openmix.entry_point import command
from openmix.errors import InputError

SHELLS = {
    'bash': 'openmix completion bash > ~/.local/share/bash-completion/completions/openmix',
    'zsh': 'openmix completion zsh > FOLDER/_openmix, a folder of $fpath',
    'fish': 'openmix completion fish > ~/.config/fish/completions/openmix.fish',
}


class _ParserError(Exception):
    """Ends a command once its parser is known."""


def parser_of(path: Path, *verb: str) -> CommandParser:
    """Return the parser of a command, which is run up to its arguments.

    Raises:
        InputError: it has none.
    """
    found: list[CommandParser] = []

    def parse_args(parser: CommandParser, *_args: Any, **_kwargs: Any) -> NoReturn:
        found.append(parser)
        raise _ParserError

    own, typed, places = CommandParser.parse_args, sys.argv, list(sys.path)
    try:
        setattr(CommandParser, 'parse_args', parse_args)  # noqa: B010
        sys.argv = [str(path), *verb]
        with suppress(_ParserError):
            runpy.run_path(str(path), run_name='__main__')
    finally:
        setattr(CommandParser, 'parse_args', own)  # noqa: B010
        sys.argv, sys.path[:] = typed, places
    if not found:
        raise InputError(f'{path} has no arguments that can be described')
    return found[0]


def described() -> list[Described]:
    """Describe every command in `tools/`, and the verbs of those that have some."""
    found = []
    for name, path in scripts().items():
        if name == 'benchmark':
            found += [describe((name, verb), told, parser_of(path, verb)) for verb, told in VERBS.items()]
        elif path.samefile(__file__):
            found.append(describe((name,), purpose(path), arguments()))
        else:
            found.append(describe((name,), purpose(path), parser_of(path)))
    return found


def arguments() -> CommandParser:
    """Return the parser of this command."""
    ways = '\n'.join(f'  {way}' for way in SHELLS.values())
    parser = CommandParser(f'Print what a shell completes behind openmix. Write it where the shell looks:\n\n{ways}')
    parser.add_argument('shell', choices=SHELLS, help='the shell')
    return parser


@command
def main() -> None:
    shell = arguments().parse_args().shell
    print(script(shell, described()), end='')


if __name__ == '__main__':
    main()
