"""Which policies a picture shows."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from openmix.errors import InputError
from openmix.mixups.base import MixPolicy
from openmix.registry import MIXUPS


def leaves(policy: dict) -> list[dict]:
    """List the policies that a policy consists of: the policy itself, or every child of a mixture."""
    return [leaf for child in policy['policies'] for leaf in leaves(child)] if 'policies' in policy else [policy]


def of_gallery(own: Sequence[dict], rows: str) -> list[dict]:
    """List every registered policy that mixes, with the arguments that the recipe gives it, or its defaults.

    Args:
        own: the policies of the recipe.
        rows: glob of the names to keep, in any case.

    Returns:
        Registry dicts, in the order of their names.

    Raises:
        InputError: no name fits the glob.
    """
    MIXUPS.import_from_location()
    given = {policy['type']: policy for policy in own}
    names = [name for name, cls in MIXUPS.module_dict.items() if issubclass(cls, MixPolicy) and cls.mixes]
    kept = sorted((name for name in names if fnmatchcase(name.lower(), rows.lower())), key=str.lower)
    if not kept:
        raise InputError(f"--rows: no policy is named as '{rows}'; there are {', '.join(sorted(names))}")
    return [given.get(name, {'type': name}) for name in kept]
