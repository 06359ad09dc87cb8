"""`published` in a recipe: settings of the runs behind the printed numbers that differ from the recipe, by dotted key.

A training leaves them out; a table's variant `published` and `--variant published` apply them. They are no settings
of the recipe: neither its hash nor its written form contains them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

from openmix.errors import InputError, brief

PUBLISHED = 'published'
_DELETE = '_delete_'

Settings = dict[str, Any]


def take_published(settings: Settings) -> Settings:
    """Remove `published` from the settings of one file and return it; empty if there is none.

    Raises:
        InputError: it is not a dict.
    """
    found = settings.pop(PUBLISHED, {})
    if not isinstance(found, Mapping):
        raise InputError(
            f"{PUBLISHED} must be a dict of dotted keys, such as {{'train_cfg.max_epochs': 300}}, got {brief(found)}"
        )
    return dict(found)


def inherited(own: Settings, settings: Mapping[str, Any], base: Mapping[str, Any]) -> Settings:
    """Merge the `published` of a file into that of its bases.

    A setting that the file itself states replaces what its bases have as published there, and
    `published = dict(_delete_=True)` replaces all of theirs.

    Args:
        own: `published` of the file.
        settings: all other settings of the file, not yet merged.
        base: `published` of its bases.
    """
    own = dict(own)
    kept = {} if own.pop(_DELETE, False) else {key: value for key, value in base.items() if not _states(settings, key)}
    return kept | own


def _states(settings: Mapping[str, Any], key: str) -> bool:
    """Return true if settings have a value at a dotted key, or replace a container that it lies in."""
    node: Any = settings
    for part in key.split('.'):
        if not isinstance(node, Mapping) or node.get(_DELETE):
            return True
        if part not in node:
            return False
        node = node[part]
    return True


def published_of(cfg: Config) -> Settings:
    """Return `published` of a loaded recipe with its bases merged; it is stored on the object, not in the recipe."""
    return cfg.__dict__.get('_published', {})


def keep_published(cfg: Config, published: Settings) -> None:
    """Store `published` on a recipe."""
    object.__setattr__(cfg, '_published', published)
