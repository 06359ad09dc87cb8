"""A run's log: where it goes, and what of mmengine's remarks is left out."""

from __future__ import annotations

import logging

# How remarks begin that say nothing of the run: the order of hooks, and mmengine's notes to itself.
_LEFT_OUT = (
    'Hooks will be executed in the following order',
    '"FileClient" will be deprecated',
    '"HardDiskBackend" is the alias',
)


class LeftOut(logging.Filter):
    """Drops mmengine's remarks that are of no use to who trains."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(_LEFT_OUT)
