"""Load recipes and merge options into them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from openmix.config_files import base_path, config_path, is_shipped
from openmix.errors import InputError, nearest
from openmix.options import OptionText
from openmix.overrides import apply_overrides
from openmix.recipe_file import parse_source, read_settings
from openmix.recipe_keys import ALSO_READ
from openmix.recipe_published import PUBLISHED, published_of


def load_config(path: str | Path, options: Mapping[str, Any] | None = None, published: bool = False) -> Config:
    """Load a recipe, merge its `_base_` files and apply `options` (dotted keys).

    Args:
        path: the recipe, by path or by its name below `configs/`.
        options: dotted key -> value, on top of everything else.
        published: apply the settings that the recipe has as those of the published runs.

    Raises:
        InputError: the file is missing or does not parse, or a published setting or an option does not fit it.
    """
    cfg = read_settings(config_path(path), base_path, is_shipped)
    as_published = with_published(cfg)  # also if it is not asked for, so that a wrong key is told at once
    return apply_options(as_published if published else cfg, options or {})


def with_published(cfg: Config) -> Config:
    """Return a loaded recipe with the settings that it has as those of the published runs.

    Raises:
        InputError: the recipe has no such setting.
    """
    settings = published_of(cfg)
    if not settings:
        return cfg
    where = f'{cfg.filename}: {PUBLISHED}'
    for key in settings:
        if '.' not in key and key not in cfg and key not in ALSO_READ:
            raise InputError(f"{where} sets '{key}', which nothing reads; {nearest(key, [*cfg, *ALSO_READ])}")
    try:
        return apply_overrides(cfg, settings, PUBLISHED)
    except InputError as error:
        raise InputError(f'{where}: {error}') from error


def apply_options(cfg: Config, options: Mapping[str, Any]) -> Config:
    """Merge `--cfg-options` into a copy of `cfg`; a typed text gets the type that its parameter is annotated with.

    Raises:
        InputError: an option does not fit the recipe, or nothing reads it.
    """
    cfg = apply_overrides(cfg, options, '--cfg-options')
    if typed := [key for key, value in options.items() if isinstance(value, OptionText)]:
        from openmix.settle import settle  # imports torch, which reading annotations needs

        cfg = settle(cfg, typed)
    return cfg


def bases_of(path: str | Path) -> Config:
    """Merge the `_base_` files of a recipe, without its own settings."""
    found = config_path(path)
    merged = Config()
    for name in parse_source(found).bases:
        merged.merge_from_dict(read_settings(base_path(name, found), base_path, is_shipped)._cfg_dict.to_dict())
    return merged
