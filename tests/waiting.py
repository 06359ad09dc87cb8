"""Waiting for what another process or thread brings about."""

import time
from collections.abc import Callable

SECONDS = 240  # on a loaded machine; what never comes fails all the same


def until(condition: Callable[[], object], seconds: float = SECONDS) -> bool:
    """Whether the condition came true in so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True
