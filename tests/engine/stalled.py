"""What a recipe imports so that its command stops in the middle of what it writes below a folder, until it is ended."""

import os
import time
from pathlib import Path

_fsync, _replace = os.fsync, os.replace


def _stall(path):
    if str(path).startswith(os.environ['STALL_BELOW']):
        Path(os.environ['STALLED']).touch()
        time.sleep(300)


def fsync(number):
    _stall(os.readlink(f'/proc/self/fd/{number}'))
    _fsync(number)


def replace(source, *args, **kwargs):
    _stall(source)
    _replace(source, *args, **kwargs)


os.fsync, os.replace = fsync, replace
