"""Policies and losses work in any training loop: importing them does not import the Runner."""

import subprocess
import sys

import pytest

CODE = """
import sys
import openmix.losses, openmix.mixups
heavy = [name for name in ('mmengine.runner', 'mmcv', 'timm', 'torchvision', 'matplotlib') if name in sys.modules]
assert not heavy, heavy
"""


@pytest.mark.slow
def test_policies_and_losses_import_without_the_runner():
    done = subprocess.run([sys.executable, '-c', CODE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
