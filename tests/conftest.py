"""Fixtures for the tests of several folders."""

from __future__ import annotations

import gc
import random
import runpy
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub, MMLogger
from mmengine.visualization import Visualizer

TOOLS = Path(__file__).parent.parent / 'tools'
sys.path.append(str(Path(__file__).parent / 'engine'))

from nursery import Nursery  # noqa: E402


def pytest_collection_modifyitems(items):
    """Put the files with many slow tests first, so that processes which share the files end at about the same time."""
    slow = Counter(item.path for item in items if item.get_closest_marker('slow'))
    items.sort(key=lambda item: -slow[item.path])


def pytest_collection_finish():
    gc.freeze()  # what is imported is not searched for cycles in every full collection


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Seed the generators before every test, because the order of tests differs between machines."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope='session')
def nursery():
    """Return the process that runs commands of tools/, each as a process of its own, without importing torch again."""
    nursery = Nursery()
    yield nursery
    nursery.close()


@pytest.fixture
def call(monkeypatch, capsys):
    """Return a function that runs a command of tools/ in this process and returns its exit code and output."""

    def run(name, *args):
        monkeypatch.setattr(sys, 'argv', [str(name), *map(str, args)])
        monkeypatch.setattr(sys, 'path', list(sys.path))
        code = 0
        # What mmengine keeps by the second in which a run began; a command has a process of its own.
        for kept in (MMLogger, MessageHub, Visualizer):
            kept._instance_dict.clear()
        try:
            runpy.run_path(str(TOOLS / name), run_name='__main__')
        except SystemExit as stopped:
            code = stopped.code
        said = capsys.readouterr()
        return code, said.out, said.err

    return run
