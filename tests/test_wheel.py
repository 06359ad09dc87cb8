"""A wheel contains recipes and commands, and trains without the repository."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.slow


def run(*call, cwd, env=None):
    done = subprocess.run(call, cwd=cwd, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


def test_a_wheel_trains(tmp_path):
    source = tmp_path / 'source'
    source.mkdir()
    tracked = subprocess.run(['git', 'ls-files', '-co', '--exclude-standard'], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip('needs a git checkout to know which files belong to the project')
    for name in tracked.stdout.splitlines():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    pip = [sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps', '--no-build-isolation']
    run(*pip, '--wheel-dir', str(tmp_path), str(source), cwd=tmp_path)
    (wheel,) = tmp_path.glob('*.whl')
    assert wheel.name.startswith('openmix_bench-'), 'the index has another project named openmix'
    site = tmp_path / 'site'
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(site)
    recipes = {str(p.relative_to(ROOT)) for p in (ROOT / 'configs').rglob('*') if p.suffix in ('.py', '.yaml')}
    assert {f'openmix/{name}' for name in recipes} <= names
    assert {f'openmix/tools/{p.name}' for p in (ROOT / 'tools').glob('*') if p.is_file()} <= names
    assert not [name for name in names if name.startswith('tests/')]
    entry_points = (next(site.glob('openmix_bench-*.dist-info')) / 'entry_points.txt').read_text()
    assert 'openmix = openmix.__main__:main' in entry_points
    assert 'openmix/completion_scripts/openmix.bash' in names
    assert 'openmix/py.typed' in names, 'the annotations are told to those who import it'

    env = {**os.environ, 'PYTHONPATH': str(site), 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''}
    elsewhere = tmp_path / 'elsewhere'
    elsewhere.mkdir()
    where = run(sys.executable, '-c', 'import openmix; print(openmix.__file__)', cwd=elsewhere, env=env)
    assert where.startswith(str(site))
    train = [sys.executable, '-m', 'openmix', 'train', 'classification/digits/resnet20.py', '--dry-run', '2']
    assert 's an iteration' in run(*train, cwd=elsewhere, env=env)
    assert 'quickstart' in run(sys.executable, '-m', 'openmix', 'benchmark', 'list', cwd=elsewhere, env=env)
