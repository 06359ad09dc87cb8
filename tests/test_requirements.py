"""The declared minimum versions are those that the CI jobs install and test."""

import re
import subprocess
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / 'tests' / 'environments.sh'
WORKFLOW = ROOT / '.github' / 'workflows' / 'ci.yml'


def test_every_core_dependency_has_a_floor():
    lines = (ROOT / 'requirements.txt').read_text().split()
    assert len(lines) >= 15
    assert [line for line in lines if not re.fullmatch(r'[A-Za-z-]+>=[0-9.]*[0-9](,<[0-9.]+)?', line)] == []


def test_both_ends_of_the_range_are_tried_on_the_oldest_python():
    jobs = yaml.safe_load(WORKFLOW.read_text())['jobs']
    matrix = jobs['test']['strategy']['matrix']
    assert matrix['versions'] == ['oldest', 'newest']
    (oldest,) = re.findall(r"python_requires='>=([0-9.]+)'", (ROOT / 'setup.py').read_text())
    assert min(matrix['python'], key=lambda version: int(version.split('.')[1])) == oldest
    steps = [step for job in jobs.values() for step in job['steps']]
    (ran,) = [step['run'] for step in steps if 'environments.sh' in step.get('run', '')]
    assert ran.split()[0] == SCRIPT.relative_to(ROOT).as_posix()
    assert int(jobs['fuzz']['env']['OPENMIX_FUZZ']) >= 2000
    used = [step['uses'] for step in steps if 'uses' in step]
    assert used
    assert all(re.fullmatch(r'actions/[a-z-]+@v\d+', name) for name in used)
    assert 'secrets' not in WORKFLOW.read_text()


def test_everything_is_checked_for_the_oldest_python():
    """What a newer Python alone can read is found before it is tried on the oldest one."""
    (oldest,) = re.findall(r"python_requires='>=([0-9.]+)'", (ROOT / 'setup.py').read_text())
    settings = (ROOT / 'pyproject.toml').read_text()
    assert re.findall(r'^python_version = "(.+)"$', settings, re.MULTILINE) == [oldest]
    assert re.findall(r'^target-version = "py(.+)"$', settings, re.MULTILINE) == [oldest.replace('.', '')]
    jobs = yaml.safe_load(WORKFLOW.read_text())['jobs']
    versions = [step['with']['python-version'] for step in jobs['check']['steps'] if 'with' in step]
    assert versions == [oldest]
    assert jobs['check']['steps'][-1] == {'run': 'make check'}
    assert jobs['test']['strategy']['matrix']['python'] == [oldest, '3.13']
    # YAML would read 3.10 without quotes as 3.1.
    assert all(isinstance(version, str) for version in (*versions, *jobs['test']['strategy']['matrix']['python']))


def test_a_commit_is_checked_as_ci_checks_it():
    repos = yaml.safe_load((ROOT / '.pre-commit-config.yaml').read_text())['repos']
    assert [repo['repo'] for repo in repos] == ['local'], 'a hook from elsewhere needs a network'
    (hook,) = repos[0]['hooks']
    assert (hook['entry'], hook['language'], hook['pass_filenames']) == ('make check', 'system', False)
    assert hook['always_run'] is True
    assert 'check:' in (ROOT / 'Makefile').read_text()


def test_issue_forms_ask_what_a_report_needs():
    forms = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / '.github/ISSUE_TEMPLATE').glob('*.yml')}
    assert forms.pop('config') == {'blank_issues_enabled': True}
    assert forms.keys() == {'fault', 'new_method'}
    for form in forms.values():
        assert form['name']
        assert form['description']
        fields = form['body']
        assert len({field['id'] for field in fields}) == len(fields)
        assert all(field['type'] in ('input', 'textarea', 'dropdown') for field in fields)
        assert all(field['attributes']['label'] for field in fields)
        assert any(field.get('validations', {}).get('required') for field in fields)
        for field in fields:
            for command in re.findall(r'python (\S+\.py)', field['attributes'].get('description', '')):
                assert (ROOT / command).is_file()


def test_the_oldest_environment_has_every_floor(tmp_path):
    """With a Python that only writes down what it is asked to install."""
    fake = tmp_path / 'python'
    fake.write_text(
        '#!/bin/sh\n'
        'case "$*" in\n'
        '  "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;\n'
        '  *pytest*) echo "1 passed" ;;\n'
        '  "-") echo versions ;;\n'
        'esac\n'
    )
    fake.chmod(0o755)
    command = [str(SCRIPT), str(fake), 'oldest', str(tmp_path / 'made')]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == 'oldest: versions: 1 passed'
    constraints = (tmp_path / 'made' / 'constraints.txt').read_text().split()
    floors = re.findall(r'^([\w-]+)>=([\w.]+)', (ROOT / 'requirements.txt').read_text(), re.MULTILINE)
    assert floors
    assert {f'{name}=={floor}' for name, floor in floors} <= set(constraints)
    assert {line.partition('==')[0] for line in constraints} >= {'onnx', 'onnxruntime', 'onnxscript', 'submitit'}
    assert not [line for line in constraints if not re.fullmatch(r'[\w.-]+==[0-9.]+', line)]


def test_wrong_words_say_how_to_call_it():
    done = subprocess.run([str(SCRIPT), 'python3', 'older'], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2
    assert 'PYTHON oldest|newest' in done.stderr
