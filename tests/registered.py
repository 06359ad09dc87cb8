"""What a registry holds, whatever ran before."""

from __future__ import annotations

from typing import Any

from mmengine.registry import Registry


def registered(registry: Registry) -> dict[str, Any]:
    """Name -> class or function. A registry is empty until its first look-up imports what it serves."""
    registry.import_from_location()
    assert registry.module_dict, f'the registry of {registry.name}s is empty'
    return dict(registry.module_dict)
