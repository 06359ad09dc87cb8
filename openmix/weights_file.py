"""Files of tensors, read whole and unchanged or refused in one line; nothing in them is executed.

What `torch.save` writes is a zip archive with a checksum of every part. torch does not look at them when it loads;
here they are held against the bytes that are loaded. A .safetensors file has no checksums, nor has what torch wrote
before 1.6 (a bare pickle): of those the structure and the lengths are checked, not the values. An archive written
with `torch.serialization.set_crc32_options(False)` has none either.
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
# Several names of one storage are written once: tied weights, or a state dict under two names.
_NAMES_OF_ONE = 4


def read_file(path: str | Path) -> Any:
    """The content of a file that `torch.save` or safetensors wrote, with its tensors on the CPU.

    The file is opened once: what is checked is what is loaded.

    Args:
        path: of the file; one that ends in .safetensors is read as such, every other as torch's.

    Raises:
        InputError: it cannot be read, is damaged or of another kind, would run code when loaded, or holds tensors
            that are larger than the file or no plain ones.
    """
    path = Path(path)
    with _one_line(path), open_regular(path, where=f"'{path}'") as file:
        return _content(file, path)


def read_hashed(path: str | Path) -> tuple[Any, str]:
    """The content of a file as `read_file` gives it, and 12 hex digits over its bytes.

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
            # Of sparse tensors, which are refused below.
            warnings.filterwarnings('ignore', 'Validating sparse tensor invariants')
            content = torch.load(file, map_location='cpu', weights_only=True)
    _check_tensors(content, size, path)
    return content


def kind_of(value: Tensor) -> tuple[bool, bool]:
    """Tell whole numbers, fractions and complex numbers apart: one kind would lose of another's values."""
    return value.is_floating_point(), value.is_complex()


def is_finite(value: Tensor) -> bool:
    """True where all of a tensor are numbers, none of them infinite."""
    # Those of 8 bits have no test of their own.
    return not value.is_floating_point() or bool(torch.isfinite(value.float()).all())


def peek(path: Path) -> Any:
    """The content of an archive of torch, its tensors left on the disk: cheap, for what lies beside them.

    The checksum of what is read is checked, those of the tensors are not.

    Raises:
        InputError: as `read_file`, and where the file is no archive.
    """
    with _one_line(path):
        with open_regular(path, where=f"'{path}'") as file:
            if not _check_archive(file, file.seek(0, io.SEEK_END), path, only='/data.pkl'):
                raise InputError(f"'{path}' is not a checkpoint: it is no archive of torch")
        return torch.load(path, map_location='cpu', weights_only=True, mmap=True)


@contextmanager
def _one_line(path: Path) -> Iterator[None]:
    """Say in one line what is wrong with a file that is read inside."""
    try:
        yield
    except InputError:
        raise
    except (OSError, MemoryError) as error:
        raise InputError(f"'{path}' cannot be read: {getattr(error, 'strerror', None) or 'out of memory'}") from error
    except Exception as error:  # an unpickler raises whatever the bytes lead it to
        if asked := re.search(r'GLOBAL ([\w.]+)', str(error)):
            why = f'not a file of plain tensors: loading it would run {asked[1]}'
            raise InputError(f"'{path}' is no safe checkpoint, as it is {why}") from error
        raise InputError(f"'{path}' {_NO_CHECKPOINT}") from error


def _check_archive(file: BinaryIO, size: int, path: Path, only: str = '') -> bool:
    """Hold the parts of torch's archive against their checksums; False for a file that is no archive.

    Args:
        file: left at its start.
        size: of the file in bytes.
        only: the last part of the name of the parts to check; by default all.

    Raises:
        InputError: naming the part that is damaged.
    """
    file.seek(0)
    start = file.read(len(_ZIP))
    file.seek(0)
    if start != _ZIP:
        if not start.startswith(_PICKLE):  # torch's unpickler takes words of any text for orders
            raise InputError(f"'{path}' {_NO_CHECKPOINT}")
        return False
    try:
        parts = (archive := zipfile.ZipFile(file)).infolist()
    except _BAD_ARCHIVE as error:
        # A file that is cut short has lost its table of contents, which stands last.
        raise InputError(f"'{path}' is not a checkpoint: the file is cut short, or damaged") from error
    if any(part.compress_type != zipfile.ZIP_STORED or part.file_size != part.compress_size for part in parts):
        raise InputError(f"'{path}' is not a checkpoint: parts of it are compressed, and torch compresses none")
    if sum(part.file_size for part in parts) > size:
        raise InputError(f"'{path}' is damaged: its parts together are larger than the file; take another copy")
    for part in parts if any(part.CRC for part in parts) else ():
        if part.filename.endswith(only):
            try:
                with archive.open(part) as stream:
                    while stream.read(_CHUNK):  # the last one raises where the checksum differs
                        pass
            except _BAD_ARCHIVE as error:
                raise InputError(
                    f"'{path}' is damaged: '{part.filename.partition('/')[2]}' in it does not fit its checksum; "
                    'take another copy, or an older checkpoint'
                ) from error
    file.seek(0)
    return True


def _check_tensors(content: Any, size: int, path: Path) -> None:
    """Refuse tensors that are not plain numbers in memory, or that ask for far more than the file holds.

    Views with repeated elements take no room in a file and all that they span once they are copied.

    Raises:
        InputError: naming the kind of tensor, or the sizes.
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
