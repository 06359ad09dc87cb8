"""Write what a shell completes behind `openmix`: commands, options and their values, recipes and tables."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from openmix.arguments import CommandParser
from openmix.shipped import configs_dir

_PLAIN = re.compile(r'[\w./+-]+')  # of names that no shell reads as anything else
_RECIPES = ('.py', '.yaml', '.yml')


@dataclass(frozen=True)
class Takes:
    """What stands behind an option, or at a place of a command.

    Attributes:
        kind: 'nothing' (a flag), 'value' (what nobody can guess), 'words', 'file', 'folder', 'recipe' or 'table'.
        words: of the kind 'words', the choices.
    """

    kind: str
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Described:
    """A command as a shell knows it.

    Attributes:
        words: its words behind `openmix`, such as ('benchmark', 'run').
        purpose: one line.
        options: (option, what it takes, help on one line).
        place: what its arguments are that are no options.
    """

    words: tuple[str, ...]
    purpose: str
    options: tuple[tuple[str, Takes, str], ...]
    place: Takes


def describe(command: Sequence[str], purpose: str, parser: argparse.ArgumentParser) -> Described:
    """Describe a command by its parser."""
    options, places = [], []
    words = parser.words if isinstance(parser, CommandParser) else {}
    for action in parser._actions:
        takes = Takes('words', words[action.dest]) if action.dest in words else _takes(action)
        if not action.option_strings:
            places.append(takes)
        elif action.help != argparse.SUPPRESS:
            told = re.split(r'[:;(]', action.help or '')[0].strip()
            options.append((action.option_strings[0] if len(action.option_strings[0]) > 2 else '--help', takes, told))
    known = [one for one in places if one.kind != 'value']
    return Described(tuple(command), purpose, tuple(options), known[0] if known else Takes('value'))


def _takes(action: argparse.Action) -> Takes:
    if action.nargs == 0:
        return Takes('nothing')
    if action.choices:
        return Takes('words', tuple(map(str, action.choices)))
    first = re.split(r'\W', action.metavar or '')[0] if isinstance(action.metavar, str) else ''
    kinds = {
        'FILE': 'file',
        'PATH': 'file',
        'CHECKPOINT': 'file',
        'DIR': 'folder',
        'RECIPE': 'recipe',
        'CONFIG': 'file',
    }
    if action.option_strings or first in kinds:
        return Takes(kinds.get(first, 'value'))
    return Takes(
        {'config': 'recipe', 'table': 'table', 'checkpoint': 'file', 'images': 'file'}.get(action.dest, 'value')
    )


def recipe_names() -> list[str]:
    """List the recipes below `configs/` by name."""
    found = sorted(path.relative_to(configs_dir()) for path in configs_dir().rglob('*') if path.suffix in _RECIPES)
    return _plain(path.as_posix() for path in found if path.parts[0] not in ('_base_', 'tables'))


def table_names() -> list[str]:
    """List the tables below `configs/tables/` by name."""
    root = configs_dir() / 'tables'
    return _plain(path.relative_to(root).with_suffix('').as_posix() for path in sorted(root.rglob('*.yaml')))


def _plain(names: Iterable[str]) -> list[str]:
    return [name for name in names if _PLAIN.fullmatch(name)]


def script(shell: str, commands: Sequence[Described]) -> str:
    """Write the completion of a shell: 'bash', 'zsh' or 'fish'."""
    template = Path(__file__).with_name('completion_scripts') / f'openmix.{shell}'
    parts = {'bash': _bash, 'zsh': _zsh, 'fish': _fish}[shell](commands)
    parts |= {'RECIPES': ' '.join(recipe_names()), 'TABLES': ' '.join(table_names())}
    return re.sub(r'@(\w+)@', lambda found: parts[found[1]], template.read_text(encoding='utf-8'))


def _tops(commands: Sequence[Described]) -> list[str]:
    return list(dict.fromkeys(command.words[0] for command in commands))


def _verbs(commands: Sequence[Described]) -> list[Described]:
    return [command for command in commands if len(command.words) > 1]


def _bash(commands: Sequence[Described]) -> dict[str, str]:
    cases = []
    for one in commands:
        lines = [f'flags={quoted(" ".join(option for option, _, _ in one.options))}; {_set(one.place)}']
        taking = [(option, takes) for option, takes, _ in one.options if takes.kind != 'nothing']
        lines += ['case "$prev" in', *(f'    {option}) {_set(takes)};;' for option, takes in taking), 'esac;;']
        cases += [f'{quoted(" ".join(one.words))})', *(f'    {line}' for line in lines)]
    verbs = ' '.join(command.words[1] for command in _verbs(commands))
    return {
        'COMMANDS': ' '.join(_tops(commands)),
        'VERBS': verbs,
        'CASES': '\n'.join(f'        {line}' for line in cases),
    }


def _set(takes: Takes) -> str:
    return f'place={takes.kind}' + (f'; choices={quoted(" ".join(takes.words))}' if takes.words else '')


def _zsh(commands: Sequence[Described]) -> dict[str, str]:
    cases = []
    for one in commands:
        items = ' '.join(quoted(f'{option}:{_told(told)}') for option, _, told in one.options)
        taking = [(option, takes) for option, takes, _ in one.options if takes.kind != 'nothing']
        cases += [
            f'{quoted(" ".join(one.words))})',
            f'    flags=({items}); {_set_list(one.place)}',
            '    case "$prev" in',
        ]
        cases += [*(f'        {option}) {_set_list(takes)};;' for option, takes in taking), '    esac;;']
    purposes = {one.words[0]: one.purpose for one in commands if len(one.words) == 1}
    tops = ' '.join(quoted(f'{name}:{_told(purposes.get(name, "run a published table"))}') for name in _tops(commands))
    verbs = ' '.join(quoted(f'{one.words[1]}:{_told(one.purpose)}') for one in _verbs(commands))
    return {'COMMANDS': tops, 'VERBS': verbs, 'CASES': '\n'.join(f'        {line}' for line in cases)}


def _set_list(takes: Takes) -> str:
    return f'place={takes.kind}' + (f'; choices=({" ".join(map(quoted, takes.words))})' if takes.words else '')


def _fish(commands: Sequence[Described]) -> dict[str, str]:
    behind = {'file': ' -r -F', 'folder': " -x -a '(__fish_complete_directories)'", 'nothing': '', 'value': ' -x'}
    behind |= {'recipe': " -r -F -a '(__openmix_recipes)'", 'table': " -r -F -a '(__openmix_tables)'"}

    def of(takes: Takes) -> str:
        return f' -x -a {quoted(" ".join(takes.words))}' if takes.words else behind[takes.kind]

    lines = []
    for name in _tops(commands):
        purpose = next((one.purpose for one in commands if one.words == (name,)), 'Run a published table')
        lines.append(f"complete -c openmix -n '__openmix_words 1' -a {name} -d {quoted(purpose)}")
    for one in _verbs(commands):
        at = f"'__openmix_words 2; and __openmix_at {one.words[0]}'"
        lines.append(f'complete -c openmix -n {at} -a {one.words[1]} -d {quoted(one.purpose)}')
    for one in commands:
        at = f"complete -c openmix -n '__openmix_at {' '.join(one.words)}'"
        lines += [f'{at} -l {option[2:]} -d {quoted(told)}{of(takes)}' for option, takes, told in one.options]
        if one.place.kind != 'value':
            lines.append(f'{at}{of(one.place).replace(" -r", "").replace(" -x", "")}')
    return {'COMPLETIONS': '\n'.join(lines)}


def _told(text: str) -> str:
    return text.replace('\\', '').replace(':', '\\:')


def quoted(text: str) -> str:
    """Quote a text for a shell, in single quotes."""
    return "'" + text.replace("'", '’') + "'"
