"""Load recipes and merge options into them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from openmix.config_files import base_path, config_path, is_shipped
from openmix.options import OptionText
from openmix.overrides import apply_overrides
from openmix.recipe_file import parse_source, read_settings


def load_config(path: str | Path, options: Mapping[str, Any] | None = None) -> Config:
    """Load a recipe, merge its `_base_` files and apply `options` (dotted keys).

    Raises:
        InputError: the file is missing or does not parse, or an option does not fit it.
    """
    cfg = read_settings(config_path(path), base_path, is_shipped)
    return apply_options(cfg, options or {})


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
