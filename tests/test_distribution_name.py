"""`pip install openmix` installs another project: our texts never say it, and its presence is reported."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from openmix.engine.environment import namesake
from openmix.errors import DISTRIBUTION, install_hint

ROOT = Path(__file__).parent.parent
SUFFIXES = {'.py', '.md', '.yaml', '.yml', '.sh', '.toml', '.txt', '.cff', '.in', '.cfg', ''}
# openmix as what pip is to install: `pip install openmix`, `openmix[export]`, `pip install -U 'openmix>=1'`.
FETCHES = re.compile(r'pip3? install[^\n|`]*?(?<![\w./-])openmix(?![\w/-])|(?<![\w./-])openmix\[')


def texts():
    for folder in ('openmix', 'tools', 'configs', 'docs', 'benchmarks', 'tests', '.ci'):
        yield from (p for p in (ROOT / folder).rglob('*') if p.is_file() and p.suffix in SUFFIXES)
    yield from (p for p in ROOT.iterdir() if p.is_file() and p.suffix in SUFFIXES)


def test_no_text_installs_the_other_project():
    own = Path(__file__).name
    found = [path for path in texts() if path.name != own and '_build' not in path.parts]
    assert len(found) > 200
    wrong = [path for path in found if FETCHES.search(path.read_text(encoding='utf-8', errors='replace'))]
    assert not wrong


@pytest.mark.parametrize('text', ['pip install openmix', "pip install 'openmix[export]'", 'openmix[slurm]'])
def test_the_search_finds_what_it_is_for(text):
    assert FETCHES.search(text)


@pytest.mark.parametrize('text', ["pip install -e '.[export]'", 'pip install openmix-bench', 'openmix/[a-z]'])
def test_the_search_leaves_alone_what_is_right(text):
    assert not FETCHES.search(text)


def test_the_distribution_has_the_name_of_the_constant():
    assert f"name='{DISTRIBUTION}'" in (ROOT / 'setup.py').read_text()
    assert DISTRIBUTION != 'openmix'


def test_a_hint_names_an_extra_of_the_setup():
    hinted = {name for p in texts() for name in re.findall(r'install_hint\([\'"](\w+)', p.read_text(errors='replace'))}
    assert {'export', 'slurm'} <= hinted
    assert all(f"'{name}':" in (ROOT / 'setup.py').read_text() for name in hinted)
    assert install_hint('export') == "pip install -e '.[export]'"


def installed(folder: Path, name: str) -> None:
    info = folder / f'{name.replace("-", "_")}-9.8.dist-info'
    info.mkdir(parents=True)
    (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: 9.8\n')


def test_the_other_project_beside_ours_is_named(tmp_path, monkeypatch):
    installed(tmp_path, 'openmix')
    monkeypatch.syspath_prepend(tmp_path)
    assert namesake().startswith(f'openmix 9.8 in {tmp_path}')
    done = subprocess.run(
        [sys.executable, ROOT / 'tools' / 'collect_env.py'],
        env={'PYTHONPATH': f'{tmp_path}:{ROOT}', 'PATH': '/usr/bin:/bin'},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith('warning: ')]
    assert 'openmix 9.8' in line
    assert DISTRIBUTION in line
