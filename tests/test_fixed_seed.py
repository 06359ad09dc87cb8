"""The record of `fixed_seed.py` is equal for repeated runs and differs for different runs."""

import pytest
from fixed_seed import DIGITS, MIXUP, SHORT, differences, trained

from openmix.config import load_config

pytestmark = pytest.mark.slow


def test_a_run_is_recorded_alike_twice(tmp_path):
    def recorded(name, **options):
        return trained(load_config(DIGITS, SHORT | MIXUP | options), tmp_path / name)

    once = recorded('once')
    assert recorded('twice') == once
    assert recorded('other', **{'randomness.seed': 1}) != once


def test_every_difference_is_told():
    lines = differences({'run a': '1', 'run b': '1', 'run c': '1'}, {'run a': '1', 'run b': '2', 'run d': '1'})
    assert lines == ['run b: 1, 2', 'run c: 1, not there', 'run d: not there, 1']
