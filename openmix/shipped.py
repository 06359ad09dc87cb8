"""Where the recipes, tables and commands lie that come with openmix."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def _shipped(folder: str) -> Path:
    """Return the folder `configs` or `tools` of the checkout, or of the installed wheel outside a checkout."""
    checkout = _PACKAGE.parent / folder
    return checkout if (_PACKAGE.parent / 'setup.py').is_file() else _PACKAGE / folder


def configs_dir() -> Path:
    """Return the folder that holds the recipes and tables."""
    return _shipped('configs')


def tools_path(name: str) -> Path:
    """Return the path of a script in `tools/`, such as 'train.py'."""
    return _shipped('tools') / name
