"""Import every file of a folder that registers something, so that no list of files is needed."""

from __future__ import annotations

import gc
import importlib
import pkgutil
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from openmix.errors import InputError, message_of

_REGISTERS = b'register_module'
# Where files that cannot be imported are collected; None: the first one is raised.
_failures: list[InputError] | None = None


def import_folder(package: str, path: Iterable[str]) -> None:
    """Import the files of a package, and of its sub-packages, that register something.

    Files that register nothing are not imported, because some are slow to import.

    Args:
        package: name of the package.
        path: folders of the package, `__path__`.

    Raises:
        InputError: a file cannot be imported; the line names the file and the place in it.
    """
    with _without_collections():
        _import_all(package, path)


@contextmanager
def past_failures() -> Iterator[list[InputError]]:
    """Go on past files that cannot be imported in the block; yield the list of their errors."""
    global _failures
    before, _failures = _failures, []
    try:
        yield _failures
    finally:
        _failures = before


@contextmanager
def _without_collections() -> Iterator[None]:
    """Disable garbage collection in the block: with it imports take a sixth longer, and they leave no garbage."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _import_all(package: str, path: Iterable[str]) -> None:
    for folder in map(Path, path):
        for _, name, is_package in pkgutil.iter_modules([str(folder)]):
            file = folder / name / '__init__.py' if is_package else folder / f'{name}.py'
            try:
                _import(f'{package}.{name}', file, is_package)
            except InputError as error:
                if _failures is None:
                    raise
                _failures.append(error)


def _import(name: str, file: Path, is_package: bool) -> None:
    """Import a file if it registers something, or a package with all its files."""
    if not is_package and _REGISTERS not in file.read_bytes():
        return
    try:
        module = importlib.import_module(name)
    except InputError:
        raise
    except Exception as error:  # a file may raise any exception
        told = f'{_place(error, file)}: {type(error).__name__}: {message_of(error)}'
        raise InputError(f'{told}; mend the file or take it out of the folder') from error
    if is_package:
        _import_all(module.__name__, module.__path__)


def _place(error: Exception, file: Path) -> str:
    """Return the file and line that failed, in `file` or in a file of the same folder that it imports."""
    if isinstance(error, SyntaxError):
        return f'{error.filename}, line {error.lineno}'
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(file.parent)]
    return f'{ours[-1].filename}, line {ours[-1].lineno}' if ours else str(file)
