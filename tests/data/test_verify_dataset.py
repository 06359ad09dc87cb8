import importlib.util
import os
import pickle
import shutil

import pytest
from image_trees import write_cub200

from openmix.data.verify import splits_of
from openmix.errors import InputError
from openmix.shipped import tools_path

OWN = """
import torch
from torch.utils.data import Dataset
from openmix.registry import DATASETS


@DATASETS.register_module()
class Halves(Dataset):
    def __len__(self):
        return 6

    def __getitem__(self, index):
        return dict(inputs=torch.zeros(3, 4, 4, dtype=torch.uint8), labels=index % 2, ids=index)


@DATASETS.register_module()
class NamedHalves(Halves):
    metainfo = dict(classes=('a', 'b'))


@DATASETS.register_module()
class Pairs2(Halves):
    def __getitem__(self, index):
        return dict(inputs=torch.zeros(3, 4, 4, dtype=torch.uint8))
"""


@pytest.fixture(scope='module')
def main():
    spec = importlib.util.spec_from_file_location('verify_dataset', tools_path('verify_dataset.py'))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def test_prints_a_line_a_split_and_a_class_and_what_is_not_read(main, folder_tree, capsys):
    (folder_tree / 'train' / 'cat' / '.DS_Store').write_bytes(b'')
    (folder_tree / 'test' / 'dog' / 'x.gif').write_bytes(b'')
    (folder_tree / 'test' / 'emu' / '0.png').unlink()
    assert main(['--type', 'ImageFolder', '--root', str(folder_tree)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        'train: 18 images, served at 224x224, 3 classes, 6 to 6 images a class',
        'test: 5 images, served at 224x224, 3 classes, 1 to 2 images a class',
        'label  class  train  test',
        '0      cat    6      2',
        '1      dog    6      2',
        '2      emu    6      1',
        "labels follow the names as text, '10' before '2'; classes=[...] sets another order",
        f'train: not read: 1 hidden ({folder_tree}/train/cat/.DS_Store)',
        f'test: not read: 1 of the kind .gif ({folder_tree}/test/dog/x.gif)',
    ]


def test_a_data_set_of_ones_own_is_counted_by_its_samples(tmp_path, monkeypatch, main, capsys):
    """As the documentation has it, with names or without; what says no label is one line."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / 'own_halves.py').write_text(OWN)
    base = "_base_ = 'configs/classification/digits/resnet20.py'\n"
    imports = "custom_imports = dict(imports=['own_halves'], allow_failed_imports=False)\n"
    for kind, said in (('Halves', ['0      0      3', '1      1      3']), ('NamedHalves', ['0      a      3'])):
        own = f"own = dict(dataset=dict(_delete_=True, type='{kind}'))\ntrain_dataloader = val_dataloader = own\n"
        (tmp_path / 'own.py').write_text(base + imports + own + 'test_dataloader = own\n')
        assert main([str(tmp_path / 'own.py')]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == 'train: 6 images, served at 4x4, 2 classes, 3 to 3 images a class'
        assert lines[2 : 2 + len(said)] == said
    (tmp_path / 'own.py').write_text((tmp_path / 'own.py').read_text().replace('NamedHalves', 'Pairs2'))
    assert main([str(tmp_path / 'own.py')]) == 2
    assert 'Pairs2: a sample must be a dict with a label' in capsys.readouterr().err


def test_an_image_of_two_classes_is_told(main, folder_tree, capsys):
    cat = folder_tree / 'train' / 'cat' / '0.png'
    (folder_tree / 'train' / 'dog' / 'again.png').write_bytes(cat.read_bytes())
    (folder_tree / 'train' / 'cat' / 'again.png').write_bytes(cat.read_bytes())
    assert main(['--type', 'ImageFolder', '--root', str(folder_tree)]) == 0
    told = capsys.readouterr().out
    assert 'train: 1 of 20 images are in another class too, the first is' in told
    assert f'{folder_tree}/train/dog/again.png, there {folder_tree}/train/cat/0.png' in told


def test_an_image_of_two_splits_is_found_by_its_content(main, folder_tree, capsys):
    trained = (folder_tree / 'train' / 'cat' / '0.png').read_bytes()
    (folder_tree / 'test' / 'dog' / 'renamed.png').write_bytes(trained)
    (folder_tree / 'test' / 'emu' / 'linked.png').symlink_to(folder_tree / 'train' / 'emu' / '1.png')
    line = fault(main, capsys, '--type', 'ImageFolder', '--root', str(folder_tree))
    assert line.startswith('error: test: 2 of 8 images are in train too, the first is ')
    assert line.endswith('dog/renamed.png, there ' + str(folder_tree / 'train/cat/0.png; leave each in one of them\n'))


def test_splits_of_one_name_in_two_folders_are_compared(main, folder_tree, tmp_path, capsys):
    other, recipe = tmp_path / 'other', tmp_path / 'recipe.py'
    shutil.copytree(folder_tree, other)
    for file in sorted((other / 'train').rglob('*.png'))[1:]:
        file.write_bytes(file.read_bytes() + b'0')  # readable still, and another content
    loader = f"dict(dataset=dict(type='ImageFolder', root={str(folder_tree)!r}, size=16))"
    recipe.write_text(f'train_dataloader = {loader}\nval_dataloader = {loader}\n')
    option = 'val_dataloader.dataset.root='
    line = fault(main, capsys, str(recipe), '--cfg-options', f'{option}{other}')
    assert line.startswith('error: val: 1 of 18 images are in train too, the first is ')
    # One folder by two names, whose training images the recipe asks for.
    (tmp_path / 'link').symlink_to(folder_tree)
    words = [str(recipe), '--cfg-options', f'{option}{tmp_path / "link"}', 'val_dataloader.dataset.split=train']
    assert main(words) == 0


def test_unreadable_files_of_two_splits_are_not_compared(folder_tree, tmp_path, nursery):
    """Pipes, which have a size of 0 alike, and links that lead nowhere, left out by `skip_corrupt`."""
    recipe = tmp_path / 'recipe.py'
    dataset = f"dict(type='ImageFolder', root={str(folder_tree)!r}, size=8, skip_corrupt=True, split='{{}}')"
    halves = ('train', 'test')
    for half in halves:
        (first, second) = sorted((folder_tree / half).iterdir())[:2]
        os.mkfifo(first / 'pipe.png')
        os.mkfifo(second / 'pipe.png')
        (first / 'gone.png').symlink_to('nowhere')
    recipe.write_text('\n'.join(f'{half}_dataloader = dict(dataset={dataset.format(half)})' for half in halves))
    done = nursery.run(['verify_dataset.py', recipe])
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('not read: 3 not readable') == 2


def test_published_images_of_two_halves_are_said(main, tmp_path, capsys):
    write_cub200(tmp_path)
    images = tmp_path / 'CUB_200_2011' / 'images' / '001.Kind_1'
    (images / 'bird_1.jpg').write_bytes((images / 'bird_0.jpg').read_bytes())
    assert main(['--type', 'CUB200', '--root', str(tmp_path)]) == 0
    assert 'test: 1 of 6 images are in train too' in capsys.readouterr().out


def test_checks_a_recipe(main, folder_tree, tmp_path, capsys):
    recipe = tmp_path / 'recipe.py'
    loader = f"dict(dataset=dict(type='ImageFolder', root={str(folder_tree)!r}, split='%s', size=16, in_memory=True))"
    recipe.write_text(
        f'train_dataloader = {loader % "train"}\nval_dataloader = {loader % "test"}\ntest_dataloader = val_dataloader\n'
    )
    assert main([str(recipe)]) == 0
    assert [line.split(':')[0] for line in capsys.readouterr().out.splitlines()[:2]] == ['train', 'val']
    assert main([str(recipe), '--cfg-options', 'train_dataloader.dataset.subset=4']) == 0
    assert capsys.readouterr().out.startswith('train: 4 images')


def test_tiny_imagenet(main, tiny_tree, capsys):
    assert main(['--type', 'TinyImageNet', '--root', str(tiny_tree)]) == 0
    line = 'test: 6 images, served at 64x64, 3 classes, 2 to 2 images a class; the official data set has 10000'
    assert capsys.readouterr().out.splitlines()[1] == line


def fault(main, capsys, *argv):
    assert main(list(argv)) == 2
    captured = capsys.readouterr()
    assert len(captured.err.splitlines()) == 1
    return captured.err


def test_faults_are_one_line_and_exit_code_2(main, folder_tree, tmp_path, capsys):
    assert "did you mean 'CIFAR10'" in fault(main, capsys, '--type', 'CIFAR', '--root', str(tmp_path))
    assert 'needs --root' in fault(main, capsys, '--type', 'CIFAR10')
    assert 'is missing' in fault(main, capsys, '--type', 'CIFAR10', '--root', str(tmp_path))
    assert 'absent is missing' in fault(main, capsys, '--type', 'ImageFolder', '--root', str(tmp_path / 'absent'))
    assert 'no config file' in fault(main, capsys, 'classification/nothing.py')
    (folder_tree / 'train' / 'cat' / '0.png').write_bytes(pickle.dumps(0))
    (folder_tree / 'train' / 'cat' / '1.png').write_bytes(b'')
    said = fault(main, capsys, '--type', 'ImageFolder', '--root', str(folder_tree))
    assert said.startswith('error: ')
    assert 'cat/0.png is not a readable image' in said
    assert f'likewise {folder_tree}/train/cat/1.png' in said


def test_a_class_without_images_is_named(main, folder_tree, capsys):
    for path in (folder_tree / 'test' / 'emu').iterdir():
        path.unlink()
    recipe = folder_tree / 'mine.py'
    recipe.write_text(
        f"data = dict(type='ImageFolder', root={str(folder_tree)!r}, size=16)\n"
        "train_dataloader = dict(batch_size=4, dataset=dict(**data, split='train'))\n"
        "test_dataloader = dict(batch_size=4, dataset=dict(**data, split='test'))\n"
    )
    assert main([str(recipe)]) == 0
    assert 'test: no image of emu' in capsys.readouterr().out


def test_what_the_summary_says_is_not_warned_of_too(main, folder_tree, capsys, recwarn):
    for path in (folder_tree / 'test' / 'emu').iterdir():
        path.unlink()
    main(['--type', 'ImageFolder', '--root', str(folder_tree)])
    assert 'test: 4 images, served at 224x224, 3 classes, 0 to 2 images a class' in capsys.readouterr().out
    assert [str(one.message) for one in recwarn if 'has no images' in str(one.message)] == []


def test_a_recipe_without_data_is_named():
    with pytest.raises(InputError, match='no data'):
        splits_of({'train_dataloader': None})


@pytest.mark.parametrize(
    ('words', 'told'),
    [
        (['classification/digits/resnet20.py', '--root', '/nowhere'], '--root goes with --type'),
        (['--type', 'Digits', '--cfg-options', 'train_cfg.max_epochs=1'], '--cfg-options goes with a recipe'),
    ],
)
def test_options_that_would_not_count_are_refused(main, capsys, words, told):
    assert main(words) == 2
    said = capsys.readouterr()
    assert told in said.err
    assert not said.out
