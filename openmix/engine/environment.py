"""Record the environment of a run: versions, machine, commit."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import openmix
from openmix.errors import DISTRIBUTION, printable
from openmix.metrics import MOST_OF_FACT

_PACKAGES = ('torch', 'torchvision', 'timm', 'mmengine', 'mmcv-lite', 'numpy', 'scikit-learn')
_GIT_S = 60  # time limit in seconds, because git hangs on a network folder that does not respond


def commit() -> str | None:
    """Return the commit of openmix's checkout, with '+' if files are modified; None in a wheel or if git fails."""
    root = Path(openmix.__file__).resolve().parent.parent
    if not (root / '.git').exists():
        return None
    try:
        git = ['git', '-C', str(root)]
        asked: dict[str, Any] = dict(capture_output=True, text=True, check=True, timeout=_GIT_S)
        head = subprocess.run([*git, 'rev-parse', '--short=12', 'HEAD'], **asked)
        dirty = subprocess.run([*git, 'status', '--porcelain', '-uno'], **asked)
    except (OSError, subprocess.SubprocessError):
        return None
    return head.stdout.strip() + ('+' if dirty.stdout.strip() else '')


def _cpu_name() -> str:
    info = Path('/proc/cpuinfo')
    names = [line for line in info.read_text().splitlines() if line.startswith('model name')] if info.is_file() else []
    return names[0].split(':', 1)[1].strip() if names else platform.processor() or platform.machine()


def namesake() -> str | None:
    """Return a warning if a distribution named `openmix` is installed: another project's, or this one's former name."""
    try:
        found = metadata.distribution('openmix')
    except metadata.PackageNotFoundError:
        return None
    return (
        f"openmix {found.version} in {found.locate_file('')} is not this project's distribution, which is "
        f'{DISTRIBUTION}; both import as openmix: pip uninstall openmix, then install this one again'
    )


def environment() -> dict[str, str | int]:
    """Return versions and hardware by name; a text is one line that `openmix.result.parse_result` reads."""
    found: dict[str, str | int] = {'openmix': openmix.__version__, 'python': platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = 'not installed'
    found |= {'platform': platform.platform(), 'cpu': _cpu_name(), 'cores': os.cpu_count() or 1}
    found |= {'threads': torch.get_num_threads(), 'cuda': torch.version.cuda or 'none'}
    for i in range(torch.cuda.device_count()):
        found[f'gpu{i}'] = torch.cuda.get_device_name(i)
    return {key: printable(fact)[:MOST_OF_FACT] if isinstance(fact, str) else fact for key, fact in found.items()}


def in_short() -> str:
    """Return the versions and the device on one line."""
    known = environment()
    device = known.get('gpu0', known['cpu'])
    return f'openmix {known["openmix"]}, Python {known["python"]}, torch {known["torch"]}, {device}'
