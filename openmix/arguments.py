"""The argument parser of the commands in `tools/`: it refuses wrong arguments in one line, before torch is imported."""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from openmix.errors import InputError, brief, close_to
from openmix.options import DictAction

_LONGEST = 255  # bytes in a file name, on all common file systems
_RECIPES = ('.py', '.yaml', '.yml')


class CommandParser(argparse.ArgumentParser):
    """An argparse parser whose errors are `InputError`s and whose lists end where another argument begins.

    In `--cfg-options a=b RECIPE` and `--policy Mixup CutMix RECIPE` the recipe is not part of the list.
    """

    def __init__(self, description: str | None, prog: str | None = None) -> None:
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(prog, description=description, formatter_class=formatter, allow_abbrev=False)
        self._lists: dict[str, Callable[[str], bool]] = {}
        self._optional: dict[str, tuple[Callable[[str], bool], str]] = {}
        self.words: dict[str, tuple[str, ...]] = {}  # of arguments that take known words, for completion

    def add_list(self, name: str, belongs: Callable[[str], bool], **kwargs: Any) -> None:
        """Add an option with one or more words: the first, and the following words for which `belongs` is true."""
        self._lists[name] = belongs
        self.add_argument(name, **{'action': 'append', **kwargs})

    def add_optional(self, name: str, belongs: Callable[[str], bool], const: str, **kwargs: Any) -> None:
        """Add an option whose word is optional: the next word if `belongs` is true for it, else `const`."""
        self._optional[name] = (belongs, const)
        self.add_argument(name, nargs='?', const=const, **kwargs)

    def add_words(self, name: str, words: Iterable[str], **kwargs: Any) -> None:
        """Add an argument of any number of known words, which the command checks and a shell completes."""
        self.words[self.add_argument(name, nargs='*', **kwargs).dest] = tuple(words)

    def error(self, message: str) -> NoReturn:
        raise InputError(f'{message}; --help shows what it takes')

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse a command line.

        Raises:
            InputError: the command does not accept it; for an unknown option the line names the nearest valid one.
        """
        typed = sys.argv[1:] if args is None else list(args)
        for option, value in itertools.pairwise([*typed, '-']):
            # An empty word is what a shell passes for "$FOLDER" if the variable is not set.
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
        """Write every word of a list as OPTION=WORD, so that argparse does not add the next argument to the list."""
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
        """Add the recipe argument."""
        self.add_argument('config', help='a recipe, by path or by its name below configs/')

    def add_cfg_options(self, of: str = '') -> None:
        """Add `--cfg-options KEY=VALUE ...`, which sets keys of a recipe; `of` says of which, if there are more."""
        told = (
            f'set keys of the recipe{of}: dotted keys, values as in YAML, such as model.policy.alpha=0.2 '
            'train_cfg.max_epochs=5 train_dataloader.dataset.root=data/mine; tools/print_config.py prints all keys'
        )
        self.add_list('--cfg-options', is_setting, action=DictAction, default={}, metavar='K=V ...', help=told)

    def add_ema(self) -> None:
        """Add `--ema`."""
        self.add_argument('--ema', action='store_true', help='the moving average of the weights, not the raw ones')

    def add_launcher(self) -> None:
        """Add `--launcher`, and the argument that launchers append."""
        told = 'what starts the processes: torchrun (pytorch) or srun (default: none)'
        self.add_argument('--launcher', choices=('none', 'pytorch', 'slurm'), default='none', help=told)
        self.add_argument('--local-rank', '--local_rank', type=int, help=argparse.SUPPRESS)

    def add_shape(self) -> None:
        """Add `--shape H W`, which `openmix.engine.image_shape` reads."""
        told = "images' height and width, or one side of a square (default: what the recipe's test data serves)"
        self.add_list('--shape', is_integer, type=int, metavar='H ...', help=told)

    def add_export(self, suffix: str) -> None:
        """Add the arguments of the export commands, which `openmix.engine.export.export_as_asked` reads."""
        self.add_recipe()
        self.add_argument('checkpoint', help='a file written by tools/train.py')
        self.add_argument('--out', type=Path, required=True, metavar='FILE', help=f'the file: {suffix}')
        self.add_shape()
        self.add_ema()
        self.add_cfg_options()


def is_setting(word: str) -> bool:
    """Return true if a word is KEY=VALUE."""
    return '=' in word


def is_integer(word: str) -> bool:
    """Return true if a word is an integer."""
    return word.lstrip('+').isdigit()


def is_number(word: str) -> bool:
    """Return true if a word is a decimal number, such as 0.5 or -1."""
    return word.lstrip('-').replace('.', '', 1).isdigit()


def is_name(word: str) -> bool:
    """Return true if a word can be a registered name and is not a path."""
    return '/' not in word and '.' not in word


def is_no_recipe(word: str) -> bool:
    """Return true unless a word ends like the name of a recipe file."""
    return not word.endswith(_RECIPES)


def check_out(option: str, path: str | Path, *read: str | Path | None) -> None:
    """Raise an `InputError` unless a file can be written at a path; called before the work that produces it.

    Args:
        option: the option for the message, as in '--out'.
        path: the file; its parent folders may be missing. It will be replaced, so it must not be a pipe or device.
        read: files that the command reads and must not overwrite; None is ignored.
    """
    path = Path(path).absolute()
    told = f'{option}: cannot write {brief(str(path))}'
    try:
        if '\0' in str(path):
            raise InputError(f'{told}: a name holds no NUL byte')
        if path.is_dir():
            raise InputError(f'{told}: it is a folder; name a file')
        # Below /dev and /proc, a path may be a link to a file, as /dev/stdout, and still must not be replaced.
        system = path.is_relative_to('/proc') or (path.is_relative_to('/dev') and not path.is_relative_to('/dev/shm'))
        if (system and path.parent.is_dir()) or (path.exists() and not path.is_file()):
            raise InputError(f'{told}: it is a pipe, socket or device; name a file')
        for source in read:
            if source is not None and path.exists() and os.path.exists(source) and path.samefile(source):
                raise InputError(f'{told}: the command reads it; name another file')
        # Files are replaced by renaming within the folder, so the folder, or its nearest existing parent, is checked.
        there = path.parent
        while not os.path.lexists(there):
            there = there.parent
        if len(os.fsencode(path.name)) > _LONGEST:
            raise InputError(f'{told}: the name is too long')
        if not there.is_dir() or not os.access(there, os.W_OK):
            raise InputError(f'{told}: {there} is {"read-only" if there.is_dir() else "no folder"}')
    except OSError as error:  # the path is too long
        raise InputError(f'{told}: {error.strerror}') from error
