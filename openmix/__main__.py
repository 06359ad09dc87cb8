"""The command `openmix`: `openmix train ...` runs `tools/train.py ...`, and likewise for every command there."""

from __future__ import annotations

import ast
import os
import sys
from pathlib import Path

from openmix import __version__
from openmix.entry_point import command
from openmix.errors import InputError, nearest
from openmix.shipped import tools_path


def scripts() -> dict[str, Path]:
    """Return the commands in `tools/` by name, such as 'publish_model'."""
    return {path.stem: path for path in sorted(tools_path('').glob('*.py'))}


def purpose(script: Path) -> str:
    """Return the purpose of a command, the start of its file's docstring; the file is not run."""
    first = (ast.get_docstring(ast.parse(script.read_bytes())) or '').partition('\n')[0]
    return first.partition(': tools/')[0].removesuffix('.')


def help_text() -> str:
    """Return the list of all commands."""
    known = scripts()
    width = max(map(len, known))
    lines = [f'  {name:<{width}}  {purpose(script)}' for name, script in known.items()]
    usage = 'usage: openmix COMMAND [arguments]\n\nTrain, compare and extend mixup methods.'
    return '\n'.join([usage, '', 'commands, each with a --help of its own:', *lines])


@command
def main() -> None:
    name, *words = sys.argv[1:] or ['--help']
    if name in ('-h', '--help'):
        print(help_text())
        return
    if name == '--version':
        print(f'openmix {__version__}')
        return
    known = scripts()
    if (script := known.get(name.replace('-', '_'))) is None:
        raise InputError(f"openmix has no command '{name}'; {nearest(name, known)}")
    # The process becomes that of the script, so that signals, exit code and the command that is recorded are its own.
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, str(script), *words])


if __name__ == '__main__':
    main()
