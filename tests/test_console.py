"""The command `openmix`: its commands are those of tools/, and a command is the process of its script."""

import os
import subprocess
import sys
from pathlib import Path

from openmix import __version__
from openmix.__main__ import purpose, scripts

ROOT = Path(__file__).parent.parent


def openmix(*words, cwd=ROOT, code=0):
    env = {**os.environ, 'PYTHONPATH': str(ROOT)}
    call = [sys.executable, '-m', 'openmix', *words]
    done = subprocess.run(call, cwd=cwd, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_help_lists_every_command_with_its_purpose():
    said = openmix().stdout
    assert openmix('--help').stdout == said
    names = [path.stem for path in (ROOT / 'tools').glob('*.py')]
    assert len(names) > 15
    for name in names:
        (line,) = [line for line in said.splitlines() if line.split()[:1] == [name]]
        assert line.split(maxsplit=1)[1][:1].isupper(), line
        assert 'tools/' not in line


def test_no_command_is_without_a_purpose():
    assert all(purpose(script) for script in scripts().values())


def test_a_command_runs_in_the_folder_and_ends_with_its_code(tmp_path):
    recipe = tmp_path / 'mine.yaml'
    recipe.write_text('_base_: openmix::classification/digits/resnet20.py\ntrain_cfg: {max_epochs: 3}\n')
    said = openmix('print-config', 'mine.yaml', '--diff', cwd=tmp_path).stdout
    assert '+ train_cfg.max_epochs = 3' in said
    done = openmix('print_config', 'ours.yaml', cwd=tmp_path, code=2)
    assert done.stderr.startswith("error: no config file 'ours.yaml'")


def test_the_version_and_an_unknown_command():
    assert openmix('--version').stdout == f'openmix {__version__}\n'
    done = openmix('trian', code=2)
    assert "openmix has no command 'trian'; did you mean 'train'?" in done.stderr
    assert len(done.stderr.splitlines()) == 1
