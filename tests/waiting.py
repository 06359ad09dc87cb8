"""Wait for the effect of another process or thread."""

import time
from collections.abc import Callable

SECONDS = 240  # long enough for a loaded machine; it matters only if a test fails


def until(condition: Callable[[], object], seconds: float = SECONDS) -> bool:
    """Wait until a condition is true; return false after a timeout in seconds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True
