"""Read files of tensors, or refuse damaged ones in one line; no code in a file is executed.

`torch.save` writes a zip archive with a checksum for every part. torch does not check them when loading; this module
does. A .safetensors file has no checksums, nor does a file that torch wrote before 1.6 (a bare pickle) or with
`torch.serialization.set_crc32_options(False)`: of those only the structure and the lengths are checked.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from safetensors.torch import load as load_safetensors
from torch import Tensor

from openmix.errors import InputError
from openmix.regular_file import open_regular

_ZIP, _PICKLE = b'PK\x03\x04', b'\x80'
_CHUNK = 2**20
_NO_CHECKPOINT = 'is not a checkpoint: it is not a file of plain tensors, or cut short, damaged or of another kind'
_BAD_ARCHIVE = (zipfile.BadZipFile, EOFError, ValueError, OverflowError, NotImplementedError, RuntimeError)
# Tensors that share a storage, such as tied weights, are stored once: the largest accepted ratio of sizes.
_NAMES_OF_ONE = 4


def read_file(path: str | Path) -> Any:
    """Read a file written by `torch.save` or safetensors, with its tensors on the CPU.

    The file is opened once, so the bytes that are checked are those that are loaded.

    Args:
        path: the file; a name that ends in .safetensors is read as that format, any other as torch's.

    Raises:
        InputError: it cannot be read, is damaged or of another kind, would run code when loaded, or holds tensors
            that are larger than the file or not plain numbers.
    """
    path = Path(path)
    with _one_line(path), open_regular(path, where=f"'{path}'") as file:
        return _content(file, path)


def read_hashed(path: str | Path) -> tuple[Any, str]:
    """Read a file as `read_file` does; return its content and a hash of its bytes, 12 hex digits.

    Raises:
        InputError: as `read_file`.
    """
    path = Path(path)
    with _one_line(path), open_regular(path, where=f"'{path}'") as file:
        content, digest = _content(file, path), hashlib.sha256()
        file.seek(0)
        while piece := file.read(_CHUNK):
            digest.update(piece)
        return content, digest.hexdigest()[:12]


def _content(file: BinaryIO, path: Path) -> Any:
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    if path.suffix == '.safetensors':
        content: Any = load_safetensors(file.read())
    else:
        _check_archive(file, size, path)
        with warnings.catch_warnings():
            # A warning about sparse tensors, which are refused below.
            warnings.filterwarnings('ignore', 'Validating sparse tensor invariants')
            content = torch.load(file, map_location='cpu', weights_only=True)
    _check_tensors(content, size, path)
    return content


def kind_of(value: Tensor) -> tuple[bool, bool]:
    """Classify a dtype as integer, floating point or complex; copying between these kinds would change values."""
    return value.is_floating_point(), value.is_complex()


def is_finite(value: Tensor) -> bool:
    """Return true if a tensor has no NaN and no infinity."""
    # Via float32, because 8-bit floats do not support isfinite.
    return not value.is_floating_point() or bool(torch.isfinite(value.float()).all())


def peek(path: Path) -> Any:
    """Load a torch archive with its tensors memory-mapped, which is cheap if only other values are needed.

    The checksum of the pickled structure is checked, those of the tensors are not.

    Raises:
        InputError: as `read_file`, or the file is not an archive.
    """
    with _one_line(path):
        with open_regular(path, where=f"'{path}'") as file:
            if not _check_archive(file, file.seek(0, io.SEEK_END), path, only='/data.pkl'):
                raise InputError(f"'{path}' is not a checkpoint: it is no archive of torch")
        return torch.load(path, map_location='cpu', weights_only=True, mmap=True)


@contextmanager
def _one_line(path: Path) -> Iterator[None]:
    """Turn any error of reading a file inside the block into a one-line `InputError`."""
    try:
        yield
    except InputError:
        raise
    except (OSError, MemoryError) as error:
        raise InputError(f"'{path}' cannot be read: {getattr(error, 'strerror', None) or 'out of memory'}") from error
    except Exception as error:  # on damaged bytes an unpickler may raise any exception
        if asked := re.search(r'GLOBAL ([\w.]+)', str(error)):
            why = f'not a file of plain tensors: loading it would run {asked[1]}'
            raise InputError(f"'{path}' is no safe checkpoint, as it is {why}") from error
        raise InputError(f"'{path}' {_NO_CHECKPOINT}") from error


def _check_archive(file: BinaryIO, size: int, path: Path, only: str = '') -> bool:
    """Check the parts of a torch archive against their checksums; return false if the file is not an archive.

    Args:
        file: the open file; its position is 0 afterwards.
        size: size of the file in bytes.
        path: the file's name for messages.
        only: check only parts whose name ends with this; '' checks all.

    Raises:
        InputError: a part is damaged; the line names it.
    """
    file.seek(0)
    start = file.read(len(_ZIP))
    file.seek(0)
    if start != _ZIP:
        if not start.startswith(_PICKLE):  # torch's unpickler would interpret any text as opcodes
            raise InputError(f"'{path}' {_NO_CHECKPOINT}")
        return False
    try:
        parts = (archive := zipfile.ZipFile(file)).infolist()
    except _BAD_ARCHIVE as error:
        # The table of contents is at the end, so a truncated file has lost it.
        raise InputError(f"'{path}' is not a checkpoint: the file is cut short, or damaged") from error
    if any(part.compress_type != zipfile.ZIP_STORED or part.file_size != part.compress_size for part in parts):
        raise InputError(f"'{path}' is not a checkpoint: parts of it are compressed, and torch compresses none")
    if sum(part.file_size for part in parts) > size:
        raise InputError(f"'{path}' is damaged: its parts together are larger than the file; take another copy")
    for part in parts if any(part.CRC for part in parts) else ():
        if part.filename.endswith(only):
            try:
                with archive.open(part) as stream:
                    while stream.read(_CHUNK):  # the last read raises if the checksum differs
                        pass
            except _BAD_ARCHIVE as error:
                raise InputError(
                    f"'{path}' is damaged: '{part.filename.partition('/')[2]}' in it does not fit its checksum; "
                    'take another copy, or an older checkpoint'
                ) from error
    file.seek(0)
    return True


def _check_tensors(content: Any, size: int, path: Path) -> None:
    """Refuse tensors that are not dense numbers on the CPU, or that need far more memory than the file's size.

    Views with repeated elements (stride 0) take little space in a file, but their full size once they are copied.

    Raises:
        InputError: there is such a tensor; the line names its kind, or the sizes.
    """
    total, seen, waiting = 0, set(), [content]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Tensor):
            odd = 'quantized' if node.is_quantized else 'nested' if node.is_nested else ''
            if odd or node.layout != torch.strided or node.device.type != 'cpu':
                kind = odd or f'{node.layout} {node.device.type}'
                raise InputError(f"'{path}' holds a {kind.removeprefix('torch.')} tensor, not plain numbers")
            nbytes = node.numel() * node.element_size()
            total += nbytes
            if nbytes > node.untyped_storage().nbytes() or node.untyped_storage().nbytes() > size:
                raise InputError(_too_large(path, nbytes, size))
        elif isinstance(node, (np.ndarray, bytearray)):
            total += node.nbytes if isinstance(node, np.ndarray) else len(node)
        elif id(node) not in seen and isinstance(node, (Mapping, list, tuple, set)):
            seen.add(id(node))
            waiting += [*node.keys(), *node.values()] if isinstance(node, Mapping) else node
        elif id(node) not in seen and hasattr(node, '__dict__') and not isinstance(node, type):
            seen.add(id(node))
            waiting.append(node.__dict__)
    if total > _NAMES_OF_ONE * size:
        raise InputError(_too_large(path, total, size))


def _too_large(path: Path, wanted: int, size: int) -> str:
    return f"'{path}' is {size / 2**20:.3g} MiB, and a tensor of it would take {wanted / 2**20:.3g} MiB: it is refused"
