"""Test the README and the documentation: code runs, recipes load, and commands, paths and links exist."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import torch
from PIL import Image

from openmix.benchmark.table import table_names
from openmix.config import load_config
from openmix.config_files import config_path
from openmix.data.imitation import imitation, jpeg
from openmix.engine import launch
from openmix.engine.checkpoint import read_checkpoint
from openmix.errors import InputError
from openmix.options import DictAction
from openmix.recipe_text import plain
from openmix.registry import DATASETS, HOOKS, LOSSES, METRICS, MIXUPS, MODELS

ROOT = Path(__file__).parent.parent
README, TUTORIAL = ROOT / 'README.md', ROOT / 'docs' / 'add_a_mixup.md'
OF_ALGORITHMS, OF_WEIGHTS = ROOT / 'docs' / 'add_an_algorithm.md', ROOT / 'docs' / 'weights.md'
YOUR_OWN = ROOT / 'docs' / 'your_own.md'
# Their blocks use the run that the README's first command leaves, and a folder of photos.
AFTER_A_RUN = {ROOT / 'docs' / 'predict.md'}
PAGES = [README, ROOT / 'CONTRIBUTING.md', *sorted((ROOT / 'docs').rglob('*.md'))]
PAGES = [page for page in PAGES if '_build' not in page.parts]
every_page = pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))

SCRIPT_OF = {'dist_train.sh': 'train.py', 'slurm_train.sh': 'train.py', 'dist_test.sh': 'test.py'}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf'^```{language}\n(.*?)^```$', page.read_text(encoding='utf-8'), re.MULTILINE | re.DOTALL)


def prose(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return re.sub(r'^```.*?^```$', '', page.read_text(encoding='utf-8'), flags=re.MULTILINE | re.DOTALL)


def recipes(page: Path) -> list[tuple[str, str]]:
    """List (suffix, text) of the blocks that inherit from a recipe."""
    found = [('py', text) for text in blocks(page, 'python')] + [('yaml', text) for text in blocks(page, 'yaml')]
    return [(suffix, text) for suffix, text in found if re.search(r'^_base_\b', text, re.MULTILINE)]


def written_modules() -> dict[str, str]:
    """Return the text of every file of Python code, by module, that the pages on parts of one's own write."""
    pages = (OF_ALGORITHMS, YOUR_OWN)
    inherit = [text for page in pages for _, text in recipes(page)]
    code = [text for page in pages for text in blocks(page, 'python') if text not in inherit]
    modules = ('rotnet', 'plain', 'queue_contrast', 'confidence', 'photos', 'arrays', 'small_net', 'wrong_images')
    return dict(zip(modules, code, strict=True))


def commands(page: Path) -> list[list[str]]:
    """List the words of every command line in the page's bash blocks."""
    lines = '\n'.join(blocks(page, 'bash')).replace('\\\n', ' ').splitlines()
    return [words for line in lines for words in [shlex.split(line, comments=True)] if words]


def tool_calls(page: Path) -> list[tuple[Path, list[str]]]:
    """List (script, arguments) of every command that runs one of OpenMix's scripts."""
    found = []
    for words in commands(page):
        for i, word in enumerate(words):
            if re.fullmatch(r'(tools|benchmarks)/\w+\.(py|sh)', word):
                found.append((ROOT / word, words[i + 1 :]))
            elif word == 'openmix' and i == 0:
                found.append((ROOT / 'tools' / f'{words[1]}.py', words[2:]))
    return found


@cache
def options_of(script: Path, *verb: str) -> set[str]:
    """Return every --option in the help of a script, or of one of its verbs."""
    out = io.StringIO()
    argv, path = sys.argv, list(sys.path)
    sys.argv = [str(script), *verb, '--help']
    try:
        with contextlib.redirect_stdout(out), pytest.raises(SystemExit) as stopped:
            runpy.run_path(str(script), run_name='__main__')
    finally:
        sys.argv, sys.path[:] = argv, path
    assert not stopped.value.code
    return set(re.findall(r'(?<![\w-])--[a-z][\w-]*', out.getvalue()))


def cfg_options(words: list[str]) -> dict:
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={})
    return parser.parse_known_args(words)[0].cfg_options


@pytest.fixture
def registered() -> Iterator[None]:
    """Remove what the blocks have registered, because other tests list the registries."""
    registries = [MIXUPS, LOSSES, MODELS, METRICS, DATASETS, HOOKS]
    for registry in registries:
        registry.import_from_location()
    before = [dict(registry.module_dict) for registry in registries]
    yield
    for registry, modules in zip(registries, before):
        registry.module_dict.clear()
        registry.module_dict.update(modules)
    for module in ('row_mix', *written_modules()):
        sys.modules.pop(module, None)


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """Make an empty folder with the recipes, like the root of a repository."""
    (tmp_path / 'configs').symlink_to(ROOT / 'configs')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_there_is_something_to_check():
    assert len(blocks(README, 'python')) >= 2
    assert len(blocks(TUTORIAL, 'python')) >= 4
    assert len(tool_calls(README)) >= 10
    assert sum(len(recipes(page)) for page in PAGES) >= 5


def as_trained(folder: Path, recipe: str) -> None:
    """Write the checkpoint of a run of this recipe with random weights, and images to predict."""
    cfg = launch.fill_from_data(load_config(recipe))
    facts = launch.facts_of(cfg, 'train')
    meta = {'resolved_recipe': plain(cfg._cfg_dict.to_dict()), 'dataset_meta': {'classes': facts.classes}}
    where = folder / 'work_dirs' / Path(recipe).with_suffix('')
    where.mkdir(parents=True)
    torch.save({'meta': meta, 'state_dict': MODELS.build(cfg.model).state_dict()}, where / 'epoch_15.pth')
    for number in range(3):
        (folder / 'photos').mkdir(exist_ok=True)
        (folder / 'photos' / f'{number}.jpg').write_bytes(jpeg(number))


@every_page
def test_python_blocks_run(page, checkout, registered):
    torch.manual_seed(0)
    if page in AFTER_A_RUN:
        as_trained(checkout, 'classification/digits/resnet20.py')
    recipe_texts = [text for _, text in recipes(page)]
    for text in blocks(page, 'python'):
        if text not in recipe_texts:
            exec(compile(text, str(page), 'exec'), {'__name__': 'block'})


@every_page
def test_recipes_load_and_their_policies_and_losses_build(page, checkout, registered, monkeypatch):
    (checkout / 'row_mix.py').write_text(blocks(TUTORIAL, 'python')[0])
    for name, text in written_modules().items():
        (checkout / f'{name}.py').write_text(text)
    monkeypatch.syspath_prepend(checkout)
    for suffix, text in recipes(page):
        MIXUPS.module_dict.pop('RowMix', None)
        sys.modules.pop('row_mix', None)
        if 'custom_imports' not in text:
            importlib.import_module('row_mix')
        # A recipe that names its neighbour stands beside it.
        folder = checkout if 'configs/' in text.split('_base_', 1)[1] else neighbours(checkout)
        path = folder / f'recipe.{suffix}'
        path.write_text(text)
        cfg = load_config(path)
        if 'policy' in cfg.model and 'head' in cfg.model:
            MIXUPS.build(cfg.model.policy)
            LOSSES.build(cfg.model.head.loss)
        else:
            read = cfg.train_dataloader.dataset.get('labelled', cfg.train_dataloader.dataset)
            # On the meta device weights that a package or a server has are not read.
            device = torch.device('meta' if cfg.model.backbone.get('weights') else 'cpu')
            stand_in = imitation(read.to_dict(), checkout / read.root) if 'root' in read else contextlib.nullcontext()
            with stand_in, device:
                MODELS.build(launch.fill_from_data(cfg).model)
        assert cfg.train_dataloader.dataset.type in ('Digits', 'ImageFolder', 'Photos', 'Pools', 'VOCFolder')


def neighbours(checkout: Path) -> Path:
    folder = checkout / 'copied' / 'classification' / 'digits'
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'resnet20.py').write_bytes((ROOT / 'configs/classification/digits/resnet20.py').read_bytes())
    (checkout / 'copied' / '_base_').symlink_to(ROOT / 'configs' / '_base_')
    return folder


def test_the_tutorials_policy_passes_every_policys_tests(registered):
    generic = importlib.import_module('test_every_policy')
    exec(compile(blocks(TUTORIAL, 'python')[0], str(TUTORIAL), 'exec'), {'__name__': 'row_mix'})
    (row,) = blocks(TUTORIAL, 'diff')
    cases = eval(f'{{{row.lstrip("+ ")}}}', {'Case': generic.Case})['RowMix']
    assert {case.options.get('share', 'sample') for case in cases} == {'sample', 'batch'}
    for case in cases:
        policy = generic.build('RowMix', case)
        for z in (generic.draw_batch(1), generic.draw_batch(7), generic.draw_batch(4, 16, 24)):
            generic.check_contract(policy, z, case)
        generic.check_contract(policy, generic.draw_batch(4, dtype=torch.bfloat16), case)
        generic.check_contract(policy, generic.draw_batch(9), case, pairs=torch.tensor([8, 5, 5, 0]))
        generic.check_constant_images(policy, case)
        generic.check_seeds(policy, case)
        generic.check_no_sync(policy)


@pytest.mark.parametrize(
    ('module', 'metric', 'low', 'high'),
    # Each learns more than to guess: one of 4 rotations, the other view among 257 keys (5.55), one of 10 digits.
    [('rotnet', 'accuracy/top1', 50, 100), ('queue_contrast', 'loss', 0, 5.5), ('plain', 'confidence/mean', 20, 100)],
)
def test_the_tutorials_algorithm_trains(checkout, nursery, module, metric, low, high):
    """By the command of the page, as a process."""
    for name, text in written_modules().items():
        (checkout / f'{name}.py').write_text(text)
    (recipe,) = [text for _, text in recipes(OF_ALGORITHMS) if f"imports=['{module}'" in text]
    (checkout / 'recipe.py').write_text(recipe)
    words = ['train.py', 'recipe.py', '--work-dir', 'run']
    words += ['--cfg-options', 'train_cfg.max_epochs=3', 'model.backbone.depth=8']
    done = nursery.run(words, checkout, {'PYTHONPATH': str(checkout)})
    assert done.returncode == 0, done.stderr[-2000:]
    rows = json.loads((checkout / 'run' / 'result.json').read_text())['history']
    assert low < rows[-1][metric] < high


def test_your_own_data_set_backbone_and_hook_train(checkout, nursery):
    """By the page's recipe, as a process: it learns, and the hook names the two images whose rows are exchanged."""
    for name in ('photos', 'small_net', 'wrong_images'):
        (checkout / f'{name}.py').write_text(written_modules()[name])
    (recipe,) = [text for _, text in recipes(YOUR_OWN)]
    (checkout / 'mine.py').write_text(recipe)
    (checkout / 'images').mkdir()
    rows, generator = ['file,class,split'], np.random.default_rng(0)
    for number in range(60):
        grey = generator.integers(0, 120, (40, 48, 3)) + 100 * (number % 2)
        Image.fromarray(grey.astype(np.uint8)).save(checkout / 'images' / f'{number}.png')
        bright = number % 2 != (number in (45, 52))  # wrong rows, at places 5 and 12 of the validation
        rows.append(f'images/{number}.png,{"bright" if bright else "dark"},{"train" if number < 40 else "val"}')
    (checkout / 'labels.csv').write_text('\n'.join(rows))
    words = ['train.py', 'mine.py', '--work-dir', 'run', '--cfg-options', 'train_cfg.max_epochs=4']
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        words += [f'{loader}.num_workers=0', f'{loader}.persistent_workers=False']
    done = nursery.run(words, checkout, {'PYTHONPATH': str(checkout)})
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads((checkout / 'run' / 'result.json').read_text())['metrics']['accuracy/top1'] == 90
    assert (checkout / 'run' / 'wrong.txt').read_text() == '5\n12\n'


def test_images_in_arrays_are_read_as_the_page_says(checkout, monkeypatch):
    """Its files are divided by `val_fraction`, and what is missing is one line."""
    (checkout / 'arrays.py').write_text(written_modules()['arrays'])
    monkeypatch.syspath_prepend(checkout)
    arrays = importlib.import_module('arrays')
    try:
        pixels = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), np.uint8)
        np.savez(checkout / 'train.npz', images=pixels, labels=np.arange(20) % 2)
        val = DATASETS.build(dict(type='Arrays', root=str(checkout), split='val', val_fraction=0.2))
        assert len(val) == 4
        assert np.array_equal(val[0]['inputs'].permute(1, 2, 0).numpy(), pixels[int(val.rows[0])])
        with pytest.raises(InputError, match=r'Arrays: .*test.npz is missing'):
            arrays.Arrays(str(checkout), 'test')
    finally:
        DATASETS.module_dict.pop('Arrays')


def test_a_frozen_backbone_stays_as_the_page_says(checkout, nursery):
    """Of a linear classifier all of it stays; with a rate of 0 the parameters stay and the statistics move."""
    for name, text in written_modules().items():
        (checkout / f'{name}.py').write_text(text)
    moved = []
    for text in (text for _, text in recipes(OF_WEIGHTS) if 'lr_mult=0' in text or 'selfsup/digits/linear' in text):
        (checkout / 'recipe.py').write_text(text)
        words = ['train.py', 'recipe.py', '--work-dir', f'run{len(moved)}']
        words += ['--cfg-options', 'train_cfg.max_epochs=2', 'model.backbone.depth=8']
        words += ['default_hooks.checkpoint.max_keep_ckpts=-1']
        done = nursery.run(words, checkout, {'PYTHONPATH': str(checkout)})
        assert done.returncode == 0, done.stderr[-2000:]
        files = [checkout / f'run{len(moved)}' / f'epoch_{epoch}.pth' for epoch in (1, 2)]
        one, two = (read_checkpoint(str(file))['state_dict'] for file in files)
        moved.append(
            {key.split('.')[0] + '.' + key.rpartition('.')[2] for key in one if not torch.equal(one[key], two[key])}
        )
    head, statistics = {'head.weight', 'head.bias'}, ('running_mean', 'running_var', 'num_batches_tracked')
    assert moved == [head | {f'backbone.{name}' for name in statistics}, head]


def test_the_pools_and_views_of_the_page_train(checkout, nursery):
    """With an algorithm that reads two pools and two views, by iteration, as the page's recipe says."""
    texts = [text for _, text in recipes(ROOT / 'docs' / 'data.md')]
    (pools,) = [text for text in texts if "type='Pools'" in text]
    (views,) = [text for text in texts if 'unlabelled=[weak, strong]' in text]
    (checkout / 'pools.py').write_text(pools)
    model = (
        "_delete_=True, type='ToyConsistency', backbone=dict(type='ThinResNet', depth=8), head=dict(type='LinearHead')"
    )
    views = re.sub('_base_ = .*', "_base_ = 'pools.py'\ncustom_imports = dict(imports=['consistency'])", views)
    views = views.replace('augment=dict(_delete_=True, ', 'augment=dict(')  # the whole model is replaced here
    views = views.replace('model = dict(', f'model = dict({model}, ')
    views = views.replace('data_preprocessor=dict(', "data_preprocessor=dict(type='ImagePreprocessor', ")
    (checkout / 'recipe.py').write_text(views)
    words = ['train.py', 'recipe.py', '--work-dir', 'run']
    words += ['--cfg-options', 'train_cfg.max_iters=4', 'train_cfg.val_interval=2']
    done = nursery.run(words, checkout, {'PYTHONPATH': str(ROOT / 'tests' / 'algorithms')})
    assert done.returncode == 0, done.stderr[-2000:]
    rows = json.loads((checkout / 'run' / 'result.json').read_text())['history']
    assert [row['iter'] for row in rows] == [2, 4]
    assert rows[-1]['loss_consistency'] > 0


def test_the_tutorials_bands_are_uniform_and_hold_their_share(registered):
    exec(compile(blocks(TUTORIAL, 'python')[0], str(TUTORIAL), 'exec'), {'__name__': 'row_mix'})
    torch.manual_seed(0)
    z = torch.rand(4000, 1, 10, 3)
    _, mix = MIXUPS.build(dict(type='RowMix', lam_range=(0.66, 0.74)))(z)
    inside = 1 - mix.mask[:, 0, :, 0]
    assert (inside.sum(1) == 3).all()
    torch.testing.assert_close(mix.lam, torch.full((4000,), 0.7))
    counts = torch.bincount(inside.argmax(1), minlength=8) / 4000
    assert len(counts) == 8
    assert (counts - 1 / 8).abs().max() < 0.03


@every_page
def test_paths_exist(page):
    text = page.read_text(encoding='utf-8')
    names = set(re.findall(r'(?<![\w./-])(?:tools|configs|docs|openmix|tests|benchmarks)/[\w./-]*\w', text))
    made = set(re.findall(r'`((?:openmix|configs)/[\w/]*row_mix\.py)`', text)) | {'docs/_build/html'}
    missing = [name for name in sorted(names - made) if not (ROOT / name).exists()]
    assert not missing


@every_page
def test_recipes_that_are_named_exist(page):
    text = page.read_text(encoding='utf-8')
    named = set(re.findall(r'(?<![\w/])classification/\w+/\w+\.py', text)) - {'classification/digits/row_mix.py'}
    for name in sorted(named):
        assert config_path(name).is_relative_to(ROOT / 'configs')


@every_page
def test_make_targets_exist(page):
    targets = set(re.findall(r'^([a-z]+):', (ROOT / 'Makefile').read_text(), re.MULTILINE))
    inline = re.findall(r'`make ([a-z]+)`|: make ([a-z]+)', prose(page))
    named = {a or b for a, b in inline} | {words[1] for words in commands(page) if words[0] == 'make'}
    assert named <= targets


def test_every_make_target_is_helped_to():
    makefile = (ROOT / 'Makefile').read_text()
    phony = re.search(r'^\.PHONY: (.*)$', makefile, re.MULTILINE)
    assert phony
    helped = set(re.findall(r"@echo 'make (\w+)", makefile))
    assert helped == set(phony[1].split()) - {'help', 'clean'}


@every_page
def test_commands_take_the_options_shown(page):
    for script, words in tool_calls(page):
        assert script.is_file(), script
        if script.suffix == '.sh':
            assert script.stat().st_mode & 0o100, f'{script} is not executable'
            script = script.with_name(SCRIPT_OF[script.name])
        verb = words[:1] if script.name == 'benchmark.py' else []
        shown = {word for word in words if word.startswith('--')}
        assert not shown or shown <= options_of(script, *verb), f'{script.name} {shlex.join(words)}'


def test_the_option_table_is_the_commands_help():
    listed = set(re.findall(r'^\| `(--[\w-]+)', (ROOT / 'docs' / 'training.md').read_text(), re.MULTILINE))
    aliases = {'--help', '--work_dir'}
    assert listed == options_of(ROOT / 'tools' / 'train.py') - aliases


def trained(page: Path) -> list[tuple[str, dict]]:
    calls = [(script, words) for script, words in tool_calls(page) if '--cfg-options' in words]
    return [(words[0], cfg_options(words)) for _, words in calls if words[0].startswith('classification/digits/r')]


@every_page
def test_config_options_shown_build(page):
    for name, options in trained(page):
        cfg = launch.prepare(load_config(name, options))
        model = MODELS.build(cfg.model)
        assert type(model.policy).__name__ == options.get('model.policy.type', 'NoMix')


def test_the_picture_names_keys_of_a_recipe():
    cfg = load_config('classification/digits/resnet20.py')
    text = (ROOT / 'docs' / 'mental_model.svg').read_text(encoding='utf-8')
    keys = [key for key in re.findall(r'class="key"[^>]*>([^<]+)<', text) if '/' not in key]
    assert len(keys) >= 9
    for key in keys:
        node = cfg
        for part in key.split('.'):
            node = node[part]
    assert '](mental_model.svg)' in (ROOT / 'docs' / 'mental_model.md').read_text(encoding='utf-8')


def test_the_readme_shows_options():
    assert trained(README)


@every_page
def test_tables_shown_exist(page):
    for script, words in tool_calls(page):
        if script.name == 'benchmark.py' and len(words) > 1:
            assert (ROOT / 'configs' / 'tables' / f'{words[1]}.yaml').is_file()


def anchors(page: Path) -> set[str]:
    headings = re.findall(r'^#+ (.*)$', prose(page), re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings}


@every_page
def test_links_resolve(page):
    for target in re.findall(r'\]\(([^)\s]+)\)', prose(page)):
        if target.startswith(('https://', 'http://', 'mailto:')):
            continue
        file, _, anchor = unquote(target).partition('#')
        linked = (page.parent / file) if file else page
        assert linked.exists(), f'{page.name}: {target}'
        assert not anchor or anchor in anchors(linked), f'{page.name}: {target}'


def test_every_page_is_in_the_index():
    index = (ROOT / 'docs/index.md').read_text(encoding='utf-8')
    trees = re.findall(r'^```\{toctree\}\n(?::[^\n]*\n)+\n(.*?)^```$', index, re.MULTILINE | re.DOTALL)
    named = [name for tree in trees for name in tree.split()]
    assert len(named) == len(set(named))
    pages = {path.stem for path in (ROOT / 'docs').glob('*.md')} - {'index'}
    assert pages | {'results/index'} == set(named)
    assert all(f']({name}.md)' in index for name in pages)


def test_the_interface_names_what_there_is():
    named = re.findall(r'^\.\. auto(\w+):: ([\w.]+)$', (ROOT / 'docs' / 'api.md').read_text(), re.MULTILINE)
    assert {'openmix.load_model', 'openmix.mix.Mix', 'openmix.mixups', 'openmix.losses'} <= {name for _, name in named}
    for kind, name in named:
        where, _, what = name.rpartition('.')
        found = importlib.import_module(name if kind == 'module' else where)
        assert (found if kind == 'module' else getattr(found, what)).__doc__
        if kind == 'module':
            assert set(found.__all__) >= set((MIXUPS if name == 'openmix.mixups' else LOSSES).module_dict)


def test_policies_and_losses_are_listed_everywhere():
    """Their tables are complete and name nothing that is not there."""
    MIXUPS.import_from_location()
    LOSSES.import_from_location()
    assert {names[0].partition('(')[0] for names in rows_below('policy')} == set(MIXUPS.module_dict)
    assert {name for (name,) in rows_below('loss')} == set(LOSSES.module_dict)
    headings = ''.join(re.findall(r'^## .*$', (ROOT / 'docs' / 'policies.md').read_text(), re.MULTILINE))
    assert set(re.findall(r'## (\w+)', headings)) >= set(MIXUPS.module_dict)
    losses = set(re.findall(r'^## `(\w+)`', (ROOT / 'docs' / 'losses.md').read_text(), re.MULTILINE))
    assert losses == set(LOSSES.module_dict)


def rows_below(heading: str, page: Path = README) -> list[list[str]]:
    """List the names in backticks of every row of one of a page's tables."""
    table = page.read_text(encoding='utf-8').rstrip().split(f'\n| {heading} |')[1].split('\n\n')[0]
    return [re.findall(r'`([^`]+)`', line) for line in table.splitlines()[2:]]


def test_every_recipe_and_table_is_listed():
    folder, page = ROOT / 'configs', ROOT / 'docs' / 'recipe_list.md'
    recipes = {path.relative_to(folder).as_posix() for path in folder.rglob('*.py') if '_base_' not in path.parts}
    assert {f'{where}{name}' for where, *names in rows_below('recipes', page) for name in names} == recipes
    of_tasks = {names[-1] for names in rows_below('task') if names}
    assert of_tasks == {f'{name.split("/")[0]}/' for name in recipes}
    listed = [names if names[0].endswith('/') else ['', *names] for names in rows_below('tables', page)]
    assert {f'{where}{name}' for where, *names in listed for name in names} == set(table_names())


def test_the_layers_are_those_that_are_held():
    table = (ROOT / 'docs' / 'design.md').read_text(encoding='utf-8').split('## Layers')[1].split('## ')[0]
    rows = re.findall(r'^\| (`.*) \| (.*) \|$', table, re.MULTILINE)
    words = [[re.findall(r'`(\w+)`', cell) for cell in row] for row in rows]
    written = {package: set(may) for packages, may in words for package in packages}
    assert written == importlib.import_module('test_layers').MAY_IMPORT


@pytest.mark.slow
def test_the_tutorials_recipe_trains(checkout):
    """As its last section says: the file beside the recipe, found by PYTHONPATH."""
    policy, *_ = blocks(TUTORIAL, 'python')
    (recipe,) = [text for _, text in recipes(TUTORIAL) if 'custom_imports' in text]
    (checkout / 'row_mix.py').write_text(policy)
    (checkout / 'my_recipe.py').write_text(recipe)
    command = [sys.executable, str(ROOT / 'tools' / 'train.py'), 'my_recipe.py', '--dry-run', '2']
    done = subprocess.run(
        command,
        env={'PYTHONPATH': f'.:{ROOT}', 'PATH': '/usr/bin:/bin', 'OMP_NUM_THREADS': '1', 'HOME': str(checkout)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert 'dry run:' in done.stdout
