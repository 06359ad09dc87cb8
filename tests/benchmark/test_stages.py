"""Test cells of several stages: their settings in a table, their runs, and the folders of these."""

import json
import runpy
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from openmix.benchmark import plan, progress, slurm
from openmix.benchmark.cell import _recipe
from openmix.benchmark.chain import with_earlier
from openmix.benchmark.foundation import foundations
from openmix.benchmark.page import page
from openmix.benchmark.records import read_records
from openmix.benchmark.run import Queue
from openmix.benchmark.show import records_of
from openmix.benchmark.table import load_table
from openmix.benchmark.training import command_line
from openmix.benchmark.trials import stages, trials_of
from openmix.config_hash import config_hash
from openmix.errors import InputError
from openmix.files import write_text
from openmix.lease import Lease, beside
from openmix.options import OptionText
from openmix.shipped import tools_path

RECIPE = """
model = dict(type='MixClassifier', policy=dict(type='NoMix'), head=dict(type='LinearHead', loss=dict(type='mix_ce')))
optim_wrapper = dict(optimizer=dict(type='SGD', lr={lr}))
train_cfg = dict(max_epochs={epochs})
"""
TABLE = """
title: Stages
source: none
metric: accuracy/top1
readout: last
trials: 2
columns:
  Linear: {{config: {root}/linear.py, from: {{config: {root}/first.py, train_cfg.max_epochs: 3}}}}
  Tuned: {{config: {root}/tuned.py, from: {{config: {root}/first.py}}}}
rows:
  Vanilla: {{}}
  Mixup: {{from.model.policy: {{type: Mixup, alpha: 1.0, _delete_: true}}}}
  CutMix: {{from.model.policy: {{type: CutMix, alpha: 1.0, _delete_: true}}}}
"""
# Fails where a file named `fail` holds the name of the recipe's stage; notes what it was started with.
SCRIPT = """
import argparse, json, pathlib, sys
parser = argparse.ArgumentParser()
parser.add_argument('config', type=pathlib.Path)
parser.add_argument('--work-dir', type=pathlib.Path)
parser.add_argument('--weights', type=pathlib.Path)
parser.add_argument('--seed', type=int)
parser.add_argument('--resume', action='store_true')
args = parser.parse_args()
text = args.config.read_text()
print('weights', args.weights, flush=True)
fail = pathlib.Path(__file__).with_name('fail')
if fail.exists() and f'Recipe: {fail.read_text().strip()}' in text:
    sys.exit(2)
if args.weights is not None:
    assert args.weights.is_file()
(args.work_dir / 'epoch_1.pth').write_text('weights')
(args.work_dir / 'last_checkpoint').write_text('/moved/from/epoch_1.pth')
result = {'readouts': {'accuracy/top1': {'last': 50.0 + args.seed}}, 'seed': args.seed, 'duration_s': 3.0,
          'config_hash': text.split('Hash: ')[1].split()[0]}
(args.work_dir / 'result.json').write_text(json.dumps(result))
"""


class Staged:
    """A table of two stages in a temporary folder, and a script that pretends to train."""

    def __init__(self, root):
        self.root, self.work_dir, self.weights = root, root / 'work', root / 'weights'
        for name, lr, epochs in (('first', 0.1, 2), ('linear', 0.2, 1), ('tuned', 0.3, 1)):
            (root / f'{name}.py').write_text(RECIPE.format(lr=lr, epochs=epochs))
        (root / 'fake.py').write_text(SCRIPT)
        self.write(TABLE)

    def write(self, text, name='stages', **more):
        (self.root / f'{name}.yaml').write_text(text.format(root=self.root, **more))
        return load_table(self.root / f'{name}.yaml')

    @property
    def table(self):
        return load_table(self.root / 'stages.yaml')

    def trials(self, table=None, rows=None, columns=None, count=1, work_dir=None):
        table = table or self.table
        return trials_of(table, table.select(rows, columns), work_dir or self.work_dir, count, self.weights)

    def run(self, trials, **options):
        said = self.root / 'said.txt'
        with said.open('w') as file:
            failed = Queue(Console(file=file, width=200), self.root / 'fake.py', **options).run(with_earlier(trials))
        return failed, said.read_text()


@pytest.fixture
def staged(tmp_path, monkeypatch):
    monkeypatch.setattr('openmix.benchmark.run.cuda_devices', list)
    monkeypatch.setattr('openmix.benchmark.waiting._LOOK_AGAIN_S', 0.05)
    monkeypatch.chdir(tmp_path)
    return Staged(tmp_path)


def hashes(staged, **chosen):
    return [trial.config_hash for trial in staged.trials(**chosen)]


# What a table may say


def test_rows_say_something_of_the_stage_before(staged):
    cell = staged.table.cell('Mixup', 'Linear')
    first = cell.earlier.cell.resolve()
    assert (first.model.policy.type, first.train_cfg.max_epochs, first.optim_wrapper.optimizer.lr) == ('Mixup', 3, 0.1)
    last = cell.resolve()
    assert (last.model.policy.type, last.train_cfg.max_epochs, last.optim_wrapper.optimizer.lr) == ('NoMix', 1, 0.2)
    assert last.weights == {'run': config_hash(first), 'data': ''}
    assert 'From: ' in cell.config_text()


def test_stages_are_as_many_as_are_said(staged):
    chain = (
        '{{config: {root}/linear.py, from: {{config: {root}/tuned.py, seed: 5, from: {{config: {root}/first.py}}}}}}'
    )
    text = TABLE.replace(
        'Linear: {{config: {root}/linear.py, from: {{config: {root}/first.py, train_cfg.max_epochs: 3}}}}',
        f'Linear: {chain}',
    )
    table = staged.write(text.replace('from.model', 'from.from.model').replace('  Tuned:', '  # Tuned:'))
    (trial,) = staged.trials(table, 'CutMix', 'Linear')
    middle, first = trial.earlier, trial.earlier.earlier
    assert (trial.stage, middle.stage, first.stage) == (3, 2, 1)
    assert (trial.seed, middle.seed, first.seed) == (0, 5, 5)
    assert middle.cell.resolve().weights.run == first.provenance.recipe
    assert first.cell.resolve().model.policy.type == 'CutMix'
    assert [found.name for found in with_earlier([trial])] == [first.name, middle.name, trial.name]


def test_a_row_may_start_from_nothing_or_from_another_recipe(staged):
    rows = TABLE + '  Random: {{from: null}}\n  Other: {{from: {{config: {root}/tuned.py, _delete_: true}}}}\n'
    table = staged.write(rows + '  Kept: {{from: {{config: {root}/tuned.py}}}}\n')
    assert table.cell('Random', 'Linear').earlier is None
    assert 'weights' not in table.cell('Random', 'Linear').resolve()
    kept, other = (table.cell(row, 'Linear').earlier.cell for row in ('Kept', 'Other'))
    assert kept.config == other.config == f'{staged.root}/tuned.py'
    assert (kept.overrides, other.overrides) == ({'train_cfg.max_epochs': 3}, {})


OF_TABLE = """
title: Others
source: none
metric: accuracy/top1
readout: last
base: {root}/tuned.py
columns:
  A: {{from: {{table: {root}/stages.yaml, column: Linear}}}}
rows:
  Mixup: {{from.row: Mixup}}
  More: {{from: {{row: Mixup, train_cfg.max_epochs: 7}}}}
"""


def test_a_cell_of_another_table_comes_with_its_stages(staged):
    table = staged.write(OF_TABLE, 'others')
    (mixup, more) = staged.trials(table)
    theirs = staged.table.cell('Mixup', 'Linear')
    assert mixup.earlier.provenance == staged.trials(rows='Mixup', columns='Linear')[0].provenance
    assert mixup.earlier.earlier.cell.resolve().model.policy.type == 'Mixup'
    assert more.earlier.cell.resolve().train_cfg.max_epochs == 7
    assert more.earlier.provenance != mixup.earlier.provenance
    assert config_hash(theirs.earlier.recipe) == mixup.earlier.earlier.provenance.recipe


def test_a_cell_that_is_not_implemented_holds_back_what_starts_from_it(staged):
    staged.write(TABLE.replace('Mixup: {{from', 'Mixup: {{implemented: false, from'))
    table = staged.write(OF_TABLE, 'others')
    assert not table.cell('Mixup', 'A').implemented


def test_a_finished_run_of_the_other_table_is_used_where_it_lies(staged):
    (theirs,) = staged.trials(rows='Mixup', columns='Linear', work_dir='work_dirs/tables/stages')
    assert not staged.run([theirs])[0]
    trial, _ = staged.trials(staged.write(OF_TABLE, 'others'))
    assert trial.earlier.folder == theirs.folder
    failed, said = staged.run([trial])
    assert not failed
    assert '1 trials done before, 1 to run' in said
    (theirs.folder / 'epoch_1.pth').unlink()
    assert staged.trials(staged.write(OF_TABLE, 'others'))[0].earlier.folder.is_relative_to(staged.weights)


WRONG = [
    ('from: {{config: a.py, table: t}}', 'config and table both name the stage; leave out one'),
    ('from: {{config: a.py, row: t}}', 'config and row both name the stage'),
    ('from: {{confg: a.py}}', "unknown word 'confg'; did you mean 'config'?"),
    ('from: 3', 'from must be a mapping'),
    ('from: {{train_cfg.max_epochs: 3}}', "'from.train_cfg.max_epochs' is said of a stage that is not there"),
    ('from.model.policy.alpha: 3', "'from.model.policy.alpha' is said of a stage that is not there"),
    ('from.from.model.policy.alpha: 3', 'is said of a stage that is not there'),
    ('from: {{config: a.py, from.seed: 1}}', "'from.seed' is said of a stage that is not there"),
    ('from: {{table: stages, row: Mixup}}', "a cell is named by table, row and column; 'column' is missing"),
    ('from: {{table: nowhere, row: A, column: B}}', "no table 'nowhere'"),
    ('from: {{table: quickstart, row: CutMx, column: MCE}}', "has no row 'CutMx'; did you mean 'CutMix'?"),
    ('from: {{table: quickstart, row: CutMix, column: MCF}}', "has no column 'MCF'; did you mean 'MCE'?"),
    ('from: {{table: stages, row: Bad, column: Linear}}', "'Bad / Linear' of table 'stages' would start from itself"),
    ('from: {{config: a.py, metric: loss}}', 'an earlier stage has no metric'),
    ('from: {{config: a.py, grid: {{a: [1]}}}}', 'an earlier stage has no grid'),
    ('from: {{config: a.py, seed: -1}}', 'from: seed must be in [0, 4294967295]'),
    ('from: {{config: a.py, work_dir: b}}', 'from: work_dir is not read'),
    ('from: {{config: a.py, model: {{type: a.b}}}}', 'a path to code'),
    ('from: {{config: a.py}}, from.config: b.py', "'from.config' is given twice"),
    ('weights: {{run: abc}}', 'weights is not read, say `from`'),
]


@pytest.mark.parametrize(('said', 'line'), WRONG)
def test_what_does_not_fit_is_one_line(said, line, staged):
    text = TABLE.replace(', from: {{config: {root}/first.py, train_cfg.max_epochs: 3}}', '').replace(
        'from.model', 'model'
    )
    text = text.replace(', from: {{config: {root}/first.py}}', '')
    with pytest.raises(InputError) as caught:
        staged.write(text + f'  Bad: {{{{{said}}}}}\n')
    assert line in str(caught.value)
    assert '\n' not in str(caught.value)
    assert 'Bad' in str(caught.value)


def test_what_the_recipe_of_a_stage_does_not_have_is_one_line(staged):
    for said, line in (
        ('from.config: {root}/nowhere.py', 'no config file'),
        ('from.model.plicy.x: 1', "'plicy' is not in model"),
        ('from.default_hooks: {{checkpoint: null}}', 'saves no last checkpoint to start from'),
    ):
        table = staged.write(f'{TABLE}  Bad: {{{{{said}}}}}\n')
        with pytest.raises(InputError, match=line) as caught:
            table.cell('Bad', 'Linear').resolve()
        assert "cell 'Bad / Linear', from" in str(caught.value)
    (staged.root / 'linear.py').write_text(RECIPE.format(lr=1, epochs=1) + "weights = dict(run='a')\n")
    with pytest.raises(InputError, match='names the weights that it starts from itself'):
        staged.table.cell('Mixup', 'Linear').resolve()


def test_cells_of_a_table_that_lead_to_themselves_are_one_line(staged):
    a = OF_TABLE.replace('stages.yaml, column: Linear', 'b.yaml, column: A')
    (staged.root / 'b.yaml').write_text(a.replace('b.yaml', 'a.yaml').format(root=staged.root))
    with pytest.raises(InputError, match='would start from itself'):
        staged.write(a, 'a')


def test_options_reach_the_stage_before(staged):
    table = staged.table.with_options({'from.train_cfg.max_epochs': 9, 'train_cfg.max_epochs': 4, 'from.seed': 3})
    cell = table.cell('Mixup', 'Linear')
    assert (cell.resolve().train_cfg.max_epochs, cell.earlier.cell.resolve().train_cfg.max_epochs) == (4, 9)
    assert cell.resolve().weights.seed == 3
    with pytest.raises(InputError, match='from: config is said in the table'):
        staged.table.with_options({'from.config': 'a.py'})
    with pytest.raises(InputError, match=r"option 'from\.train_cfg\.max_epochs': none of the \d+ chosen cells has"):
        load_table('quickstart').with_options({'from.train_cfg.max_epochs': 9})


def test_an_option_that_sets_a_whole_stage_is_refused(staged):
    for key in ('from', 'from.from'):
        for value in (OptionText('rubbish'), OptionText('null'), {'seed': 0}):
            with pytest.raises(InputError, match=rf'--cfg-options: {key}=.* sets nothing: .* {key}\.KEY=VALUE; .*null'):
                staged.table.with_options({key: value})


def test_the_seed_of_a_stage_is_read_from_text(staged):
    table = staged.table.with_options({'from.seed': OptionText('5')})
    assert table.cell('Mixup', 'Linear').resolve().weights.seed == 5
    for text in ('x', "'5'", '1.5', '-1', 'None', ''):
        with pytest.raises(InputError, match=r'--cfg-options.*seed'):
            staged.table.with_options({'from.seed': OptionText(text)})


def test_options_of_a_stage_leave_alone_the_cells_without_it(staged):
    plain = staged.write(f'{TABLE}  Random: {{{{from: null}}}}\n')
    table = plain.with_options({'from.train_cfg.max_epochs': 9, 'train_cfg.val_interval': 1})
    assert table.cell('Mixup', 'Linear').said == {'from.train_cfg.max_epochs': 9, 'train_cfg.val_interval': 1}
    random = table.cell('Random', 'Linear')
    assert (random.said, random.resolve().get('weights')) == ({'train_cfg.val_interval': 1}, None)
    with pytest.raises(InputError, match='none of the 2 chosen cells has this earlier stage'):
        plain.with_options({'from.train_cfg.max_epochs': 9}, plain.select('Random'))
    with pytest.raises(InputError, match=r"option 'from\.from\.seed': none of"):
        plain.with_options({'from.from.seed': OptionText('1')})


# Which runs they are


def test_cells_that_differ_in_an_earlier_stage_alone_are_two_runs(staged):
    cells = staged.table.cells
    assert len({cell.folder for cell in cells}) == len(cells) == 6
    assert len(set(hashes(staged))) == 6
    # The same at both ends is one.
    table = staged.write(
        f'{TABLE}  Again: {{{{from.model.policy: {{{{_delete_: true, alpha: 1.0, type: CutMix}}}}}}}}\n'
    )
    assert table.cell('Again', 'Linear').folder == table.cell('CutMix', 'Linear').folder


def test_the_hash_is_of_content_alone(staged, tmp_path):
    before = hashes(staged)
    staged.weights, staged.work_dir = tmp_path / 'elsewhere', tmp_path / 'other'
    assert hashes(staged) == before
    (staged.root / 'first.py').write_text(RECIPE.format(lr=0.11, epochs=2))
    _recipe.cache_clear()
    assert not set(hashes(staged)) & set(before)


def test_a_seed_of_its_own_is_another_run(staged):
    own = staged.table.cell('Mixup', 'Linear')
    fixed = replace(own, overrides={**own.overrides, 'from.seed': 0})
    assert config_hash(own.resolve()) != config_hash(fixed.resolve())
    assert config_hash(own.earlier.recipe) == config_hash(fixed.earlier.recipe)
    table = staged.write(TABLE.replace('max_epochs: 3', 'max_epochs: 3, seed: 4'))
    trials = staged.trials(table, columns='Linear', count=2)
    assert {trial.earlier.seed for trial in trials} == {4}
    assert len({trial.earlier.folder for trial in trials}) == 3
    assert [trial.earlier.seed for trial in staged.trials(table, 'Mixup', 'Tuned', 2)] == [0, 1]


def test_another_variant_is_of_every_stage(staged):
    mixup = staged.table.as_variant('published').cell('Mixup', 'Linear')
    assert mixup.earlier.cell.resolve().model.policy.share == 'batch'
    theirs = staged.write(OF_TABLE, 'others').as_variant('published').cell('Mixup', 'A')
    assert theirs.earlier.cell.earlier.cell.resolve().model.policy.share == 'batch'


# How they are run


def test_a_stage_is_trained_once_and_before_what_starts_from_it(staged):
    trials = staged.trials(rows='Mixup', count=2)
    failed, said = staged.run(trials, jobs=3)
    assert not failed
    assert '0 trials done before, 8 to run' in said
    for trial in trials:
        first = trial.earlier
        assert first.folder == staged.weights / 'first' / f'{first.provenance.recipe}-seed{trial.seed}'
        assert (first.state(), trial.state()) == ('done', 'done')
        assert (trial.folder / 'log.txt').read_text() == f'weights {first.folder / "epoch_1.pth"}\n'
        assert (first.folder / 'log.txt').read_text() == 'weights None\n'
        assert said.index(f'{first.name}: finished') < said.index(f'{trial.name}: started')
    # Another table that starts from the same finds it trained.
    other = staged.write(TABLE.replace('  Vanilla: {{}}\n', ''), 'other')
    failed, said = staged.run(staged.trials(other, rows='Mixup', count=2, work_dir=staged.root / 'other'), jobs=2)
    assert not failed
    assert '4 trials done before, 4 to run' in said


def test_a_failed_stage_holds_back_what_starts_from_it(staged):
    write_text(staged.root / 'fail', f'{staged.root}/first.py\n')
    trials = staged.trials(rows='Mixup', count=2)
    failed, said = staged.run(trials)
    assert len(failed) == 8
    assert said.count('cannot run, its earlier stage') == 4
    assert '4 of 8 trials lack their earlier stage' in said
    assert {trial.state() for trial in trials} == {'blocked'}
    (linear, _) = records = read_records(staged.table.select('Mixup'), trials)
    assert (linear.state, linear.status) == ('blocked', 'stage 1 failed (0/2)')
    text = ''.join(map(str, progress.status(staged.table, with_earlier(trials)).renderables))
    assert text.count('cannot run, its earlier stage') == 4
    assert plan.needs(staged.table, with_earlier(trials), records, None).runs == 8
    (staged.root / 'fail').unlink()
    failed, said = staged.run(trials)
    assert not failed
    assert {trial.state() for trial in trials} == {'done'}


def test_a_stage_whose_weights_were_deleted_is_trained_again_only_where_it_is_needed(staged):
    (trial,) = staged.trials(rows='Mixup', columns='Linear')
    staged.run([trial])
    (trial.earlier.folder / 'epoch_1.pth').unlink()
    assert (trial.state(), trial.earlier.state()) == ('done', 'stale')
    assert with_earlier([trial]) == [trial]
    (trial.folder / 'result.json').unlink()
    failed, said = staged.run([trial])
    assert not failed
    assert f'{trial.earlier.name}: its last checkpoint is gone; the old run is kept' in said


def test_a_damaged_checkpoint_of_a_stage_is_named_with_what_to_delete(staged):
    (trial,) = staged.trials(rows='Mixup', columns='Linear')
    staged.run([trial])
    (trial.folder / 'result.json').unlink()
    write_text(staged.root / 'fail', f'{staged.root}/linear.py\n')
    weights = trial.earlier.folder / 'epoch_1.pth'
    failed, said = staged.run([trial])
    assert failed == [trial]
    assert said.count(f"'{weights}' is not a checkpoint") == 1
    assert f'delete {trial.earlier.folder} and run again, which trains this earlier stage again' in said
    torch.save({'state_dict': {}}, weights)
    failed, said = staged.run([trial])
    assert failed == [trial]
    assert 'delete' not in said


def test_a_resumed_run_asks_for_no_weights(staged):
    """Its checkpoint has them, and the file may be gone or be of another training of the same run by now."""
    (trial,) = staged.trials(rows='Mixup', columns='Linear')
    staged.run([trial])
    assert command_line(trial, trial.config_path, resume=False).count('--weights') == 1
    (trial.earlier.folder / 'epoch_1.pth').unlink()
    assert '--weights' not in command_line(trial, trial.config_path, resume=True)
    with pytest.raises(InputError, match='left no checkpoint'):
        command_line(trial, trial.config_path, resume=False)


def test_a_stage_that_another_process_trains_is_waited_for(staged):
    (trial,) = staged.trials(rows='Mixup', columns='Linear')
    first = trial.earlier
    lease = Lease.take(beside(first.folder))
    said = staged.root / 'said.txt'
    turns = []

    class Watched(Queue):
        def _turn(self):
            turns.append(len(self.running))
            if len(turns) == 5:  # the other one ends
                lease.release()
            super()._turn()

    with said.open('w') as file:
        failed = Watched(Console(file=file, width=200), staged.root / 'fake.py').run(with_earlier([trial]))
    assert not failed
    assert 'is at it; what starts from it waits' in said.read_text()
    assert turns[:4] == [0] * 4
    assert [first.state(), trial.state()] == ['done', 'done']
    assert '[2/2]' in said.read_text()


def test_a_search_and_its_finals_share_a_stage(staged):
    text = TABLE.replace('Tuned: {{config', 'Tuned: {{grid: {{optim_wrapper.optimizer.lr: [1, 2]}}, config')
    text += 'validation: {{train_cfg.val_interval: 1}}\n'
    table = staged.write(text)
    said = []
    for trials in stages(table, table.select('Mixup', 'Tuned'), staged.work_dir, 2, staged.weights):
        assert not staged.run(trials)[0]
        said.append([trial.kind for trial in trials])
    assert said == [['earlier', 'search', 'search'], ['earlier', 'final', 'earlier', 'final']]


def test_a_grid_may_search_in_the_stage_before(staged):
    text = TABLE.replace('Tuned: {{config', 'Tuned: {{grid: {{from.optim_wrapper.optimizer.lr: [1, 2]}}, config')
    table = staged.write(text + 'validation: {{train_cfg.val_interval: 1}}\n')
    searches = staged.trials(table, 'Mixup', 'Tuned')
    assert len({search.earlier.folder for search in searches}) == len(searches) == 2
    assert {search.earlier.cell.resolve().optim_wrapper.optimizer.lr for search in searches} == {1, 2}


def test_a_report_says_what_the_numbers_stand_on(staged):
    trials = staged.trials(rows='Mixup', count=2)
    staged.run(trials)
    (found, other) = foundations(read_records(staged.table.select('Mixup'), trials))
    stage, config, overrides, run, seeds, cells = found.words()
    assert (stage, config, seeds, cells) == ('1', f'{staged.root}/first.py', '0, 1', 'Mixup / Linear')
    assert run == trials[0].earlier.provenance.recipe
    assert 'train_cfg.max_epochs=3' in overrides
    assert 'Mixup' in overrides
    assert other.cells == ('Mixup / Tuned',)


def test_slurm_gets_an_array_a_stage(staged, tmp_path):
    pytest.importorskip('submitit', reason='needs submitit: the extra [slurm]')
    trials = with_earlier(staged.trials(rows='Mixup', count=2))
    arrays = slurm.by_stage(trials)
    assert [len(array) for array in arrays] == [4, 4]
    assert [{trial.stage for trial in array} for array in arrays] == [{1}, {2}]
    cpu = slurm.Resources(gpus=0)
    text = slurm.sbatch_script(4, tmp_path, 'two', cpu, '4711')
    assert '#SBATCH --dependency=afterany:4711\n' in text
    assert '--dependency' not in slurm.sbatch_script(4, tmp_path, 'one', cpu)
    jobs = []
    for array in arrays:
        jobs = slurm.submit(array, tmp_path / 'jobs', 'x', cpu, 1, 'debug', staged.root / 'fake.py', after=jobs)
        assert [job.result() for job in jobs] == ['done'] * 4
    write_text(staged.root / 'fail', f'{staged.root}/first.py\n')
    (trial,) = staged.trials(rows='CutMix', columns='Linear')
    for each, state in ((trial.earlier, 'failed'), (trial, 'blocked')):
        (job,) = slurm.submit([each], tmp_path / 'jobs', 'x', cpu, 1, 'debug', staged.root / 'fake.py')
        assert job.result() == state


def test_slurm_gets_nothing_that_waits_for_a_stage_in_another_process(staged, monkeypatch, capsys):
    pytest.importorskip('submitit', reason='needs submitit: the extra [slurm]')
    mixup, cutmix = (staged.trials(rows=row, columns='Linear')[0] for row in ('Mixup', 'CutMix'))
    lease = Lease.take(beside(mixup.earlier.folder))
    assert slurm.behind_running([mixup, cutmix, cutmix.earlier]) == [mixup]
    words = ['run', 'stages.yaml', '--rows', '*Mix*', '--columns', 'Linear', '--trials', '1', '--print-sbatch']
    words += ['--work-dir', str(staged.work_dir), '--weights-dir', str(staged.weights)]
    monkeypatch.setattr('sys.argv', ['benchmark.py', *words])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(tools_path('benchmark.py')), run_name='__main__')
    said = capsys.readouterr()
    assert ended.value.code == 0
    assert '1 trials start from a stage that is running: the same command submits them once it is done' in said.err
    # An array for the other row's stage, and one that waits for it.
    assert said.out.count('#!/bin/bash') == 2
    assert said.out.count('--dependency') == 1
    lease.release()
    assert not slurm.behind_running([mixup])


def test_cell_json_of_a_stage_says_what_it_is(staged):
    (trial,) = staged.trials(rows='Mixup', columns='Linear')
    staged.run([trial])
    said = json.loads((trial.earlier.folder / 'cell.json').read_text())
    assert (said['kind'], said['seed'], said['config_hash']) == ('earlier', 0, trial.earlier.config_hash)
    assert trial.earlier.config_path == trial.earlier.folder.with_name(f'{trial.earlier.folder.name}.py')
    assert 'from_' not in trial.earlier.config_path.read_text()


def test_a_plan_counts_each_stage_at_its_own_length(staged):
    script = staged.root / 'dry.py'
    script.write_text(
        'import json, pathlib, re, sys\n'
        "length = int(re.search(r'max_epochs=(\\d+)', pathlib.Path(sys.argv[1]).read_text())[1])\n"
        "pathlib.Path(sys.argv[5]).write_text(json.dumps({'hours': float(length)}))\n"
    )
    # The same recipe before and after, of which only the lengths differ.
    table = staged.write(TABLE.replace('config: {root}/linear.py', 'config: {root}/first.py, train_cfg.max_epochs: 1'))
    chain = with_earlier(staged.trials(table, 'Vanilla', 'Linear', 2))
    hours = dict(plan.measure_hours([trial.cell for trial in chain], 2, script))
    assert sorted(hours.values()) == [1.0, 3.0]
    need = plan.needs(table, chain, [], None, hours)
    assert (need.runs, need.seconds, need.unknown) == (4, 2 * (1 + 3) * 3600, 0)


def test_a_served_page_names_earlier_runs_and_does_not_link_out_of_its_folder(staged):
    trials = staged.trials(rows='Mixup', columns='Linear')
    staged.run(trials)
    records = records_of(staged.table, staged.table.select('Mixup', 'Linear'), staged.work_dir, 1, (), staged.weights)
    written, served = (page(staged.table, records, staged.work_dir, now=now) for now in (None, (0, '')))
    folder = trials[0].earlier.folder
    assert f'href="../{folder.relative_to(staged.root)}"' in written
    assert 'href="../' not in served
    assert f'outside the folder that is served: {folder.parent}' in served
    assert 'outside the folder' not in written
    assert f'href="{trials[0].folder.parent.relative_to(staged.work_dir)}"' in served
