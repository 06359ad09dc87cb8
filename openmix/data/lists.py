"""Read the lists of published data sets, in text, MATLAB and pickle files, without running code in them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from openmix.errors import InputError
from openmix.regular_file import open_regular, read_bytes

_LARGEST = 2**28
# The functions that a pickled array needs; a pickle could call any other function that it names.
_OF_ARRAYS = {
    ('numpy', 'ndarray'),
    ('numpy', 'dtype'),
    *((f'numpy.{core}.multiarray', '_reconstruct') for core in ('core', '_core')),
    *((f'numpy.{core}.numeric', '_frombuffer') for core in ('core', '_core')),
    ('_codecs', 'encode'),
}


def read_lines(name: str, path: Path, remedy: str) -> list[str]:
    """Read the lines of a UTF-8 text file.

    Raises:
        InputError: the file is missing, cannot be read, or is not text; the line ends with the remedy.
    """
    try:
        return read_bytes(path, _LARGEST, f'{name}: {path}').decode('utf-8-sig').splitlines()
    except InputError as error:
        raise InputError(f'{error}; {remedy}') from error
    except UnicodeDecodeError as error:
        raise InputError(f'{name}: {path} is damaged: {error}; {remedy}') from error


def read_mat(name: str, path: Path, variable: str, remedy: str) -> np.ndarray:
    """Read a variable of a MATLAB file, without dimensions of size 1.

    Raises:
        InputError: the file is missing or damaged, or has no such variable; the line ends with the remedy.
    """
    from scipy.io import loadmat  # slow to import, and few data sets need it

    with _open(name, path, remedy) as file:
        try:
            return np.atleast_1d(loadmat(file, squeeze_me=True, variable_names=[variable])[variable])
        except Exception as error:  # on damaged bytes SciPy's reader may raise any exception
            raise InputError(f'{name}: {path} is damaged; {remedy}') from error


def read_arrays(name: str, path: Path, remedy: str) -> dict[str, Any]:
    """Read a pickled dict of plain values and arrays; anything else in the pickle is refused.

    Raises:
        InputError: the file is missing or damaged, or would run code; the line ends with the remedy.
    """
    with _open(name, path, remedy) as file:
        try:
            content = _ArraysOnly(file, encoding='latin1').load()
        except Exception as error:  # on damaged bytes an unpickler may raise any exception
            raise InputError(f'{name}: {path} is damaged; {remedy}') from error
    if not isinstance(content, dict):
        raise InputError(f'{name}: {path} is damaged; {remedy}')
    return content


def _open(name: str, path: Path, remedy: str) -> BinaryIO:
    """Open a list of a data set; the error line ends with the remedy."""
    try:
        return open_regular(path, _LARGEST, f'{name}: {path}')
    except InputError as error:
        raise InputError(f'{error}; {remedy}') from error


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _OF_ARRAYS:
            raise pickle.UnpicklingError(f'it would run {module}.{name}')
        return super().find_class(module, name)
