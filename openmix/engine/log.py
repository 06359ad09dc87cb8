"""Filter mmengine's irrelevant messages from a run's log."""

from __future__ import annotations

import logging

# Starts of messages that are not about the run: the order of hooks, and mmengine's deprecation notes.
_LEFT_OUT = (
    'Hooks will be executed in the following order',
    '"FileClient" will be deprecated',
    '"HardDiskBackend" is the alias',
)


class LeftOut(logging.Filter):
    """Drop the messages of mmengine that begin with one of `_LEFT_OUT`."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(_LEFT_OUT)
