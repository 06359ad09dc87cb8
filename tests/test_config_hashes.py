"""The config hashes of recipes and cells equal the recorded ones, because finished runs are found by them."""

import json
import os
import subprocess
import sys

import config_hashes
import pytest
from config_hashes import AGAIN, RECORD, as_text, changes, recorded, resolved

from openmix.config import load_config
from openmix.config_hash import config_hash

DIGITS = 'classification/digits/resnet20.py'


@pytest.fixture(scope='module')
def record():
    return recorded(RECORD.read_text(encoding='utf-8'))


def test_every_hash_is_the_recorded_one(record):
    """Recipes hold plain data: anything else is hashed as `str` writes it, which another version may change."""
    found = {}
    for name, cfg in resolved():
        assert json.dumps(cfg._cfg_dict.to_dict()), name
        found[name] = config_hash(cfg)
    told = changes(record, found)
    assert not told, '\n'.join([*told, AGAIN])


def test_another_setting_is_told_and_a_name_that_is_gone_or_new(record):
    found = dict(record)
    found[DIGITS] = config_hash(load_config(DIGITS, {'train_cfg.max_epochs': 16}))
    gone = next(name for name in found if name.startswith('quickstart: '))
    del found[gone]
    found['classification/digits/mine.py'] = '0' * 12
    assert changes(record, found) == [
        'classification/digits/mine.py: is not recorded',
        f'{DIGITS}: its hash was {record[DIGITS]} and is {found[DIGITS]}',
        f'{gone}: is recorded and gone',
    ]


def test_a_record_is_read_as_it_was_written(record):
    assert as_text(record) == RECORD.read_text(encoding='utf-8')
    assert recorded(as_text({'b: c/d': '1', 'a': '2'})) == {'a': '2', 'b: c/d': '1'}


def test_the_command_writes_the_record(tmp_path):
    """In a process with another order of sets, from another folder."""
    out = tmp_path / 'again.txt'
    env = {**os.environ, 'PYTHONHASHSEED': '1'}
    call = [sys.executable, config_hashes.__file__, str(out)]
    done = subprocess.run(call, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert out.read_bytes() == RECORD.read_bytes()
