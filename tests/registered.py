"""List the content of registries, independently of earlier tests."""

from __future__ import annotations

from typing import Any

from mmengine.registry import Registry


def registered(registry: Registry) -> dict[str, Any]:
    """Return the classes and functions of a registry by name; a look-up first imports its modules."""
    registry.import_from_location()
    assert registry.module_dict, f'the registry of {registry.name}s is empty'
    return dict(registry.module_dict)
