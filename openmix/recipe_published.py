"""`published` in a recipe: settings of the runs behind the printed numbers that differ from the recipe, by dotted key.

A training leaves them out; a table's variant `published` and `--variant published` apply them. They are no settings
of the recipe: neither its hash nor its written form contains them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mmengine.config import Config

from openmix.errors import InputError, brief

PUBLISHED = 'published'
_DELETE = '_delete_'
_STATES, _REPLACES = 'states', 'replaces'

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


@dataclass(frozen=True)
class Published:
    """`published` of a recipe with its bases merged.

    Attributes:
        settings: dotted key -> value.
        lost: those that the bases have and the recipe has not, because it replaces what they lie in and does not state
            them itself.
    """

    settings: Settings = field(default_factory=dict)
    lost: Settings = field(default_factory=dict)


def inherited(own: Settings, settings: Mapping[str, Any], base: Published) -> Published:
    """Merge the `published` of a file into that of its bases.

    A setting that the file itself states replaces what its bases have as published there, and
    `published = dict(_delete_=True)` replaces all of theirs.

    Args:
        own: `published` of the file.
        settings: all other settings of the file, not yet merged.
        base: `published` of its bases.
    """
    own = dict(own)
    if own.pop(_DELETE, False):
        return Published(own)
    kept, lost = divided(base.settings, settings)
    for of_bases in divided(base.lost, settings):
        lost |= of_bases
    return Published(kept | own, {key: value for key, value in lost.items() if key not in own})


def divided(published: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[Settings, Settings]:
    """Divide published settings into those that settings leave alone, and those that are lost by them.

    Lost are those in a dict or list that the settings replace without stating them. Those that the settings state are
    in neither part.

    Args:
        published: dotted key -> value.
        settings: nested, with keys that may be dotted.
    """
    kept: Settings = {}
    lost: Settings = {}
    for key, value in published.items():
        above = {place: one for place, one in settings.items() if f'{key}.'.startswith(f'{place}.')}
        found = [_effect(one, key[len(place) + 1 :]) for place, one in above.items()]
        if _STATES in found:
            continue
        (lost if _REPLACES in found else kept)[key] = value
    return kept, lost


def _effect(node: Any, key: str) -> str:
    """Return what a value does to the setting at a dotted key in it: it states it, replaces it, or neither ('')."""
    replaces = False
    for part in key.split('.') if key else ():
        if not isinstance(node, Mapping):
            return _REPLACES
        replaces |= bool(node.get(_DELETE))
        if part not in node:
            return _REPLACES if replaces else ''
        node = node[part]
    return _STATES


def published_of(cfg: Config) -> Settings:
    """Return `published` of a loaded recipe with its bases merged; it is stored on the object, not in the recipe."""
    return _stored(cfg).settings


def lost_of(cfg: Config) -> Settings:
    """Return what the bases of a loaded recipe have as published and the recipe lost, see `Published`."""
    return _stored(cfg).lost


def _stored(cfg: Config) -> Published:
    return cfg.__dict__.get('_published', Published())


def keep_published(cfg: Config, published: Published) -> None:
    """Store `published` on a recipe."""
    object.__setattr__(cfg, '_published', published)
