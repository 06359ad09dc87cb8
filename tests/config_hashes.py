"""Record the config hash of every recipe and of every implemented cell.

    python tests/config_hashes.py           (writes tests/config_hashes.txt anew; git diff tells what changed)
    python tests/config_hashes.py FILE      (writes another file)

Results are found by this hash, so an unintended change of a hash loses the results of its cells.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import init_default_scope
from test_every_recipe import RECIPES

from openmix.benchmark.table import load_table, table_names
from openmix.config import load_config
from openmix.config_hash import config_hash

RECORD = Path(__file__).with_suffix('.txt')
AGAIN = 'if that is meant: python tests/config_hashes.py records them anew'


def resolved() -> Iterator[tuple[str, Config]]:
    """Yield every recipe by its name, and every different run of every table as 'TABLE: FOLDER'."""
    init_default_scope('openmix')
    for recipe in RECIPES:
        yield recipe, load_config(recipe)
    for table in table_names():
        cells = {cell.folder: cell for cell in load_table(table).cells if cell.implemented}
        for folder, cell in cells.items():
            yield f'{table}: {folder}', cell.resolve()


def hashes() -> Iterator[tuple[str, str]]:
    """Return the config hash of every name of `resolved`."""
    for name, cfg in resolved():
        yield name, config_hash(cfg)


def recorded(text: str) -> dict[str, str]:
    """Read the names and hashes of a record."""
    return {name: digest for digest, _, name in (line.partition('  ') for line in text.splitlines())}


def as_text(found: dict[str, str]) -> str:
    """Write a record as text: one line per name, sorted."""
    return ''.join(f'{found[name]}  {name}\n' for name in sorted(found))


def changes(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Return one line for each name whose hash changed, that is missing, or that is new."""
    told = []
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            told.append(f'{name}: is recorded and gone')
        elif name not in before:
            told.append(f'{name}: is not recorded')
        elif before[name] != after[name]:
            told.append(f'{name}: its hash was {before[name]} and is {after[name]}')
    return told


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out', nargs='?', type=Path, default=RECORD, metavar='FILE')
    out = parser.parse_args().out
    out.write_text(as_text(dict(hashes())), encoding='utf-8')
