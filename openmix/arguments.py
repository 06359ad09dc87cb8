"""The argument parser of the commands in `tools/`: faults are refused in one line, before torch is loaded."""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from openmix.errors import InputError, brief, close_to
from openmix.options import DictAction

_LONGEST = 255  # bytes of a file's name, of all common file systems
_RECIPES = ('.py', '.yaml', '.yml')


class CommandParser(argparse.ArgumentParser):
    """argparse whose refusals are an `InputError`, and whose lists end where another argument begins.

    `--cfg-options a=b RECIPE` and `--policy Mixup CutMix RECIPE` leave the recipe to its own argument.
    """

    def __init__(self, description: str | None, prog: str | None = None) -> None:
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(prog, description=description, formatter_class=formatter, allow_abbrev=False)
        self._lists: dict[str, Callable[[str], bool]] = {}
        self._optional: dict[str, tuple[Callable[[str], bool], str]] = {}

    def add_list(self, name: str, belongs: Callable[[str], bool], **kwargs: Any) -> None:
        """An option of one or more words; the first is its own, and those after it that `belongs` says are."""
        self._lists[name] = belongs
        self.add_argument(name, **{'action': 'append', **kwargs})

    def add_optional(self, name: str, belongs: Callable[[str], bool], const: str, **kwargs: Any) -> None:
        """An option with or without a word, `const` without; the next word is its own where `belongs` says so."""
        self._optional[name] = (belongs, const)
        self.add_argument(name, nargs='?', const=const, **kwargs)

    def error(self, message: str) -> NoReturn:
        raise InputError(f'{message}; --help shows what it takes')

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse a command line.

        Raises:
            InputError: it is not what the command takes; of an unknown option the line names the nearest.
        """
        typed = sys.argv[1:] if args is None else list(args)
        for option, value in itertools.pairwise([*typed, '-']):
            # What a shell makes of "$FOLDER" that is not set.
            known = self._option_string_actions.get(option)
            takes_one = known is None or known.nargs != 0
            if option.startswith('--') and ((value == '' and takes_one) or option.partition('=')[1:] == ('=', '')):
                self.error(f'{option.partition("=")[0]}: an empty text says nothing; give a value or leave it out')
        words = self._told_apart(typed)
        found, extra = self.parse_known_intermixed_args(words, namespace)
        for word in extra:
            if word.startswith('-') and word != '-':
                option = word.partition('=')[0]
                meant = close_to(option, self._option_string_actions, 0.5)
                self.error(f'unknown option {brief(option)}' + (f"; did you mean '{meant}'?" if meant else ''))
            self.error(f'one word too many: {brief(word)}')
        return found

    def _told_apart(self, words: list[str]) -> list[str]:
        """Every word of a list behind its option, so that the next argument is not taken for one more."""
        out: list[str] = []
        while words:
            word = words.pop(0)
            if word == '--':
                return [*out, word, *words]
            out.append(word)
            follows = bool(words) and (not words[0].startswith('-') or words[0] == '-')
            if word in self._optional:
                belongs, const = self._optional[word]
                out[-1] = f'{word}={words.pop(0) if follows and belongs(words[0]) else const}'
            elif word in self._lists and follows:
                out[-1] = f'{word}={words.pop(0)}'
                while words and not words[0].startswith('-') and self._lists[word](words[0]):
                    out.append(f'{word}={words.pop(0)}')
        return out

    def add_recipe(self) -> None:
        """The recipe that a command is about."""
        self.add_argument('config', help='a recipe, by path or by its name below configs/')

    def add_cfg_options(self) -> None:
        """`--cfg-options KEY=VALUE ...`."""
        told = 'change the recipe: dotted keys, values as in YAML'
        self.add_list('--cfg-options', is_setting, action=DictAction, default={}, metavar='K=V ...', help=told)

    def add_shape(self) -> None:
        """`--shape H W`, read by `openmix.engine.image_shape`."""
        told = "images' height and width, or one side of a square (default: what the recipe's test data serves)"
        self.add_list('--shape', is_integer, type=int, metavar='H ...', help=told)

    def add_export(self, suffix: str) -> None:
        """Add what every command that exports takes; it is read by `openmix.engine.export.export_as_asked`."""
        self.add_recipe()
        self.add_argument('checkpoint', help='a file written by tools/train.py')
        self.add_argument('--out', type=Path, required=True, metavar='FILE', help=f'the {suffix} file')
        self.add_shape()
        self.add_argument('--ema', action='store_true', help='the moving average of the weights, not the raw ones')
        self.add_cfg_options()


def is_setting(word: str) -> bool:
    """Tell whether a word is KEY=VALUE."""
    return '=' in word


def is_integer(word: str) -> bool:
    """Tell whether a word is a whole number."""
    return word.lstrip('+').isdigit()


def is_name(word: str) -> bool:
    """Tell whether a word can be a registered name: no path."""
    return '/' not in word and '.' not in word


def is_no_recipe(word: str) -> bool:
    """Tell whether a word does not end like a recipe."""
    return not word.endswith(_RECIPES)


def check_out(option: str, path: str | Path, *read: str | Path | None) -> None:
    """Raise an `InputError` unless a file can be written there, before there is anything to write.

    Args:
        option: as in '--out'.
        path: the file; folders above it may be missing. It is replaced, so it may be nothing else than a file.
        read: what the command reads, which must not be replaced by what it writes; None stands for nothing.
    """
    path = Path(path).absolute()
    told = f'{option}: cannot write {brief(str(path))}'
    try:
        if '\0' in str(path):
            raise InputError(f'{told}: a name holds no NUL byte')
        if path.is_dir():
            raise InputError(f'{told}: it is a folder; name a file')
        # What stands there may lead to a file for now, as /dev/stdout does.
        system = path.is_relative_to('/proc') or (path.is_relative_to('/dev') and not path.is_relative_to('/dev/shm'))
        if (system and path.parent.is_dir()) or (path.exists() and not path.is_file()):
            raise InputError(f'{told}: it is a pipe, socket or device; name a file')
        for source in read:
            if source is not None and path.exists() and os.path.exists(source) and path.samefile(source):
                raise InputError(f'{told}: the command reads it; name another file')
        # A file takes another's place by a new name in its folder: that must be one to write to, or the next above.
        there = path.parent
        while not os.path.lexists(there):
            there = there.parent
        if len(os.fsencode(path.name)) > _LONGEST:
            raise InputError(f'{told}: the name is too long')
        if not there.is_dir() or not os.access(there, os.W_OK):
            raise InputError(f'{told}: {there} is {"read-only" if there.is_dir() else "no folder"}')
    except OSError as error:  # longer than a path can be
        raise InputError(f'{told}: {error.strerror}') from error
