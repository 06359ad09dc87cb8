"""Leaderboards of README and docs are those of the results that are in the repository."""

import json

import pytest
from recorded_runs import RUNS, keep, leaderboard, pages, path_of, record, records_of, restore

from openmix.benchmark.table import load_table
from openmix.benchmark.trials import distinct, trials_of
from openmix.errors import InputError

FILES = sorted(RUNS.glob('*.json'))


def test_pages_show_what_the_runs_gave():
    found = list(pages())
    assert found
    for page, text, made in found:
        assert made == text, f'{page}: python tests/recorded_runs.py pages writes it anew'


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
def test_runs_are_those_of_the_table_as_it_is_now(path, tmp_path):
    content = json.loads(path.read_text())
    table = load_table(content['table'])
    assert path == path_of(table.name)
    assert restore(path, tmp_path) == len(content['runs'])
    trials = distinct(trials_of(table, table.cells, tmp_path))
    done = [trial for trial in trials if trial.state() == 'done']
    assert len(done) == len(content['runs'])
    assert not [trial.name for trial in trials if trial.state() == 'stale']
    assert record(table, trials, tmp_path) == path.read_text()


def test_a_number_that_is_changed_changes_the_leaderboard(tmp_path):
    table, records = records_of(path_of('few/digits_100'), tmp_path / 'one')
    before = leaderboard(table, records)
    content = json.loads(path_of('few/digits_100').read_text())
    name = next(name for name in content['runs'] if '/trial' in name and '/search/' not in name)
    content['runs'][name]['result']['readouts']['accuracy/top1']['last'] -= 30
    (tmp_path / 'changed.json').write_text(json.dumps(content))
    assert leaderboard(*records_of(tmp_path / 'changed.json', tmp_path / 'two')) != before


def test_a_run_of_another_recipe_ends_in_a_line_and_no_emptier_page(tmp_path):
    content = json.loads(path_of('quickstart').read_text())
    name = next(iter(content['runs']))
    content['runs'][name]['result']['config_hash'] = '0' * 12
    (tmp_path / 'changed.json').write_text(json.dumps(content))
    with pytest.raises(InputError, match='1 of 21 runs are not those of quickstart as it is now'):
        records_of(tmp_path / 'changed.json', tmp_path / 'work')
    with pytest.raises(InputError, match='no finished run of quickstart'):
        keep('quickstart', tmp_path / 'nowhere')
