"""A trained classifier is loaded by one name and predicts what its validation saw."""

import json
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

import openmix
from openmix.config import load_config
from openmix.engine.inference_settings import inference_settings
from openmix.engine.launch import fill_from_data
from openmix.errors import InputError
from openmix.inference.model import checkpoint_file
from openmix.recipe_text import plain
from openmix.registry import MODELS

CLASSES = ('cat', 'dog', 'newt')
RECIPE = """
_base_ = 'configs/classification/image_folder/resnet18.py'
resize = [dict(type='torchvision/Resize', size=20, interpolation='bicubic'),
          dict(type='torchvision/CenterCrop', size=16)]
model = dict(backbone=dict(_delete_=True, type='ThinResNet', depth=8, width=8))
train_dataloader = dict(batch_size=6, num_workers=0, persistent_workers=False,
                        dataset=dict(root='data', size=16, pipeline=resize))
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(root='data', size=16, pipeline=resize))
test_dataloader = val_dataloader
custom_hooks = [dict(type='StepSeedHook'), dict(type='AlgorithmHook'), dict(type='RankZeroBuffersHook'),
                dict(type='ResultHook'), dict(type='EMAHook', momentum=0.5)]
train_cfg = dict(max_epochs=2)
optim_wrapper = dict(optimizer=dict(lr=0.2))
"""


@pytest.fixture(scope='module')
def run(nursery, tmp_path_factory):
    """Train on images of several sizes, whose colours tell the classes."""
    folder = tmp_path_factory.mktemp('predict')
    draw = np.random.default_rng(0)
    for half in ('train', 'val'):
        for label, name in enumerate(CLASSES):
            place = folder / 'data' / half / name
            place.mkdir(parents=True)
            for number in range(4):
                pixels = draw.integers(0, 120, (24 + 5 * number, 40 - 4 * number, 3), dtype=np.uint8)
                pixels[..., label] += 100
                Image.fromarray(pixels).save(place / f'{number}.png')
    (folder / 'recipe.py').write_text(RECIPE)
    done = nursery.run(['train.py', 'recipe.py', '--work-dir', 'run'], folder, {'CUDA_VISIBLE_DEVICES': ''})
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


def expected(run, model, path):
    """Compute the probabilities of one file with torchvision alone."""
    image = F.center_crop(F.resize(Image.open(path), [20], v2.InterpolationMode.BICUBIC), [16])
    x = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    backbone, head = model.algorithm.backbone, model.algorithm.head
    return head(backbone((x - mean[:, None, None]) / std[:, None, None])).softmax(1)[0]


def test_a_folder_is_predicted_as_it_was_validated(run):
    model = openmix.load_model(run / 'run', 'cpu', ema=True)
    assert model.classes == CLASSES
    assert not model.training
    found = openmix.predict(model, run / 'data' / 'val', topk=9, batch_size=5)
    files = sorted((run / 'data' / 'val').rglob('*.png'))
    assert [one.image for one in found] == list(map(str, files))
    for one, file in zip(found, files):
        wanted = expected(run, model, file)
        order = wanted.argsort(descending=True).tolist()
        assert one.labels == tuple(order)  # no more than there are
        assert one.classes == tuple(CLASSES[label] for label in order)
        torch.testing.assert_close(torch.tensor(one.probabilities), wanted[order])
    right = sum(one.classes[0] == file.parent.name for one, file in zip(found, files))
    result = json.loads((run / 'run' / 'result.json').read_text())['metrics']
    assert 100 * right / len(files) == pytest.approx(result['accuracy/top1'], abs=1e-3)


def test_raw_weights_are_others_than_their_average(run):
    file = run / 'data/val/cat/0.png'
    (raw,), (average,) = openmix.predict(run / 'run', file, device='cpu'), openmix.predict(run / 'run', file, ema=True)
    assert raw.probabilities != average.probabilities


def test_every_form_of_an_image_gives_the_same(run):
    model = openmix.load_model(run / 'run', 'cpu')
    file = run / 'data/val/dog/2.png'
    image = Image.open(file)
    pixels = np.array(image)
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    forms = [str(file), image, pixels, pixels[None], tensor, tensor[None], tensor / 255, [file, tensor]]
    found = [openmix.predict(model, form) for form in forms]
    assert [len(one) for one in found] == [1] * 7 + [2]
    wanted = found[0][0].probabilities
    assert [one.probabilities == pytest.approx(wanted, rel=1e-5) for many in found for one in many] == [True] * 9
    assert [one.image for one in found[-1]] == [str(file), '<image 1>']
    with torch.inference_mode():
        logits = model(F.center_crop(F.resize(tensor[None], [20], v2.InterpolationMode.BICUBIC), [16]) / 255)
    assert logits.shape == (1, 3)


@pytest.mark.parametrize('layout', ['openmix', 'safetensors'])
def test_a_published_file_predicts_the_same_and_names_no_path(run, call, tmp_path, layout):
    code, said, err = call('publish_model.py', run / 'run/epoch_2.pth', '--format', layout, '--out', tmp_path)
    assert code == 0, err
    file = run / 'data/val/newt/1.png'
    model = openmix.load_model(said.strip(), 'cpu')
    assert model.classes == CLASSES
    assert openmix.predict(model, file) == openmix.predict(run / 'run/epoch_2.pth', file, device='cpu')
    assert str(run).encode() not in (tmp_path / said.strip()).read_bytes()


def test_the_command_prints_and_writes(run, nursery, tmp_path):
    """As a process: a line an image, and the same in two kinds of files."""
    words = ['predict.py', 'run', 'data/val/cat', 'data/val/dog/0.png', '--topk', 2]
    for out in ('a/found.json', 'found.csv'):
        done = nursery.run([*words, '--out', tmp_path / out], run, {'CUDA_VISIBLE_DEVICES': ''})
        assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / 'a/found.json').read_text())
    assert [row['image'] for row in rows] == [f'data/val/cat/{i}.png' for i in range(4)] + ['data/val/dog/0.png']
    lines = done.stdout.splitlines()
    assert lines == [
        f'{row["image"]}: ' + ', '.join(f'{c} {p:.4f}' for c, p in zip(row['classes'], row['probabilities']))
        for row in rows
    ]
    table = (tmp_path / 'found.csv').read_text().splitlines()
    assert table[0] == 'image,rank,label,class,probability'
    assert table[1].startswith(f'data/val/cat/0.png,1,{rows[0]["labels"][0]},{rows[0]["classes"][0]},')
    assert len(table) == 1 + 2 * 5


@pytest.mark.parametrize(
    ('words', 'line'),
    [
        (['gone.pth', 'data'], "no checkpoint 'gone.pth'"),
        (['run/epoch_3.pth', 'data'], "did you mean 'run/epoch_2.pth'"),
        (['data', 'data'], 'holds no checkpoint'),
        (['classification/digits/resnet02.py', 'data'], 'neither a checkpoint, nor a folder'),
        (['run', 'gone.png'], "no image or folder 'gone.png'"),
        (['run', ''], 'an image is given by an empty text'),
        (['', 'data'], 'the model is given by an empty text'),
        (['run', 'recipe.py'], 'recipe.py is not a readable image'),
        (['run', 'run'], "'run' holds no images"),
        (['run', 'data', '--topk', '0'], '--topk must be'),
        (['run', 'data', '--device', 'cud'], 'take cpu or cuda'),
        (['run', 'data', '--out', 'found.txt'], 'no .json or .csv file'),
        (['run', 'data', '--cfg-options', 'model.head.num_classes=4'], 'name it with --config'),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else '',
)
def test_what_cannot_be_predicted_is_one_line(run, call, monkeypatch, words, line):
    monkeypatch.chdir(run)
    code, _, err = call('predict.py', *words)
    assert (code, len(err.splitlines())) == (2, 1), err
    assert line in err
    assert 'in the data set' not in err


def test_corrupt_files_are_left_out_when_asked(run, tmp_path):
    (tmp_path / 'a.png').write_bytes(b'no image')
    Image.new('RGB', (30, 30)).save(tmp_path / 'b.png')
    with pytest.warns(UserWarning, match=r'a\.png is not a readable image'):
        (found,) = openmix.predict(run / 'run', tmp_path, device='cpu', skip_corrupt=True)
    assert found.image.endswith('b.png')


@pytest.mark.parametrize('workers', [0, 1])
def test_batches_without_a_readable_file_are_left_out(run, tmp_path, workers):
    for name in 'abcd':
        (tmp_path / f'{name}.png').write_bytes(b'no image')
    Image.new('RGB', (30, 30)).save(tmp_path / 'e.png')
    asked = dict(device='cpu', skip_corrupt=True, batch_size=2, workers=workers)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        (found,) = openmix.predict(run / 'run', tmp_path, **asked)
    assert found.image.endswith('e.png')
    told = ' '.join(str(one.message) for one in said)
    assert workers or all(f'{name}.png is not a readable image' in told for name in 'abcd')  # a worker says it itself
    (tmp_path / 'e.png').unlink()
    with pytest.raises(InputError, match=r'none of the 4 images is readable, e.g. .*a\.png'):
        openmix.predict(run / 'run', tmp_path, **asked)


def test_the_command_leaves_out_and_names_a_whole_batch(run, nursery, tmp_path):
    for name in 'ab':
        (tmp_path / f'{name}.png').write_bytes(b'no image')
    Image.new('RGB', (30, 30)).save(tmp_path / 'c.png')
    words = ['predict.py', run / 'run', tmp_path, '--skip-corrupt', '--batch-size', '2', '--device', 'cpu']
    done = nursery.run(words, tmp_path)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 1), done.stderr
    assert all(f'{name}.png is not a readable image' in done.stderr for name in 'ab')


def test_more_names_than_outputs_are_refused(run, call, tmp_path):
    content = torch.load(run / 'run/epoch_2.pth', weights_only=False)
    content['meta']['dataset_meta'] = {'classes': [*CLASSES, 'owl']}
    torch.save(content, tmp_path / 'named.pth')
    code, said, err = call('predict.py', tmp_path / 'named.pth', run / 'data/val/cat/0.png')
    assert (code, said, len(err.splitlines())) == (2, '', 1)
    assert 'names 4 classes, and its network has 3 outputs' in err


def test_images_without_labels_are_not_evaluated(run, call, monkeypatch):
    monkeypatch.chdir(run)
    options = ['test_dataloader.dataset.type=UnlabelledFolder', 'test_dataloader.dataset.split=val']
    code, said, err = call('test.py', 'recipe.py', 'run/epoch_2.pth', '--cfg-options', *options)
    assert (code, said, len(err.splitlines())) == (2, '', 1), err
    assert 'images without labels cannot be evaluated' in err


@pytest.mark.parametrize(
    ('images', 'line'),
    [
        ([], 'no images'),
        ('', 'an image is given by an empty text'),
        ([' '], 'an image is given by an empty text'),
        (torch.randn(3, 8, 8), 'not normalised'),
        (torch.zeros(8, 8, 3), r'got a float32 tensor of \(8, 8, 3\)'),
        (np.zeros((8, 8, 3)), 'got a ndarray'),
        (7, 'got a int'),
    ],
)
def test_other_forms_are_refused(run, images, line):
    with pytest.raises(InputError, match=line):
        openmix.predict(run / 'run', images, device='cpu')


def test_classes_without_names_are_numbered_and_a_file_without_its_model_asks_for_the_recipe(run, call, tmp_path):
    content = torch.load(run / 'run/epoch_2.pth', weights_only=False)
    del content['meta']['dataset_meta']
    torch.save(content, tmp_path / 'unnamed.pth')
    code, said, err = call('predict.py', tmp_path / 'unnamed.pth', run / 'data/val/cat/0.png')
    assert code == 0
    assert 'names no classes' in err
    assert sorted(word.split()[0] for word in said.split(': ')[1].split(', ')) == ['0', '1', '2']
    torch.save({'state_dict': content['state_dict']}, tmp_path / 'bare.pth')
    with pytest.raises(InputError, match='name the recipe that trained it'):
        openmix.load_model(tmp_path / 'bare.pth')
    recipe = tmp_path / 'recipe.py'
    recipe.write_text(RECIPE.replace("'data'", f"'{run}/data'"))
    # With a moving average `state_dict` is that average.
    (found,) = openmix.predict(tmp_path / 'bare.pth', run / 'data/val/cat/0.png', config=recipe, device='cpu')
    (wanted,) = openmix.predict(run / 'run', run / 'data/val/cat/0.png', ema=True, device='cpu')
    assert found.probabilities == wanted.probabilities


def test_the_newest_checkpoint_of_a_run_is_meant(run):
    assert checkpoint_file(run / 'run').name == 'epoch_2.pth'


def test_a_model_that_is_loaded_takes_no_options_of_loading(run):
    with pytest.raises(InputError, match='ema: of a model that is loaded from a path'):
        openmix.predict(openmix.load_model(run / 'run', 'cpu'), run / 'data', ema=True)
    with pytest.raises(InputError, match=r'device .*take cpu or cuda'):
        openmix.predict(openmix.load_model(run / 'run', 'cpu'), run / 'data', device='gpu')


def test_of_a_learned_policy_the_momentum_encoder_predicts(tmp_path):
    options = {'model.policy.type': 'AutoMix', 'model.policy.site': 'layer2', 'model.backbone.depth': 8}
    cfg = fill_from_data(load_config('classification/digits/resnet20.py', options))
    built = MODELS.build(cfg.model)
    built.start()
    for value in built.policy.encoder.parameters():
        value.data.mul_(1.5)
    meta = {'resolved_recipe': plain(cfg._cfg_dict.to_dict())}
    torch.save({'meta': meta, 'state_dict': built.state_dict()}, tmp_path / 'run.pth')
    pixels = torch.rand(4, 3, 16, 16)
    x = built.data_preprocessor.network_input(pixels)
    networks = built.eval().networks()
    found = openmix.load_model(tmp_path / 'run.pth', 'cpu')(pixels)
    torch.testing.assert_close(found, networks[''](x))
    assert not torch.allclose(found, networks['online'](x))


@pytest.mark.parametrize('source', [{'checkpoint': '/elsewhere/source.pth'}, {'name': 'torchvision/resnet18'}])
def test_what_training_alone_needs_is_not_asked_for(tmp_path, monkeypatch, source):
    """A source head of other classes, from a file or a download that are not there: a prediction does without it."""
    options = {'model.type': 'CoTuning', 'model.backbone.depth': 8, 'model.relationship': 'direct'}
    options['model.source'] = {'pretrained': False, 'num_classes': 7}
    cfg = fill_from_data(load_config('classification/digits/resnet20.py', options))
    built = MODELS.build(cfg.model)
    cfg.model.source = source
    whole, meta = built.state_dict(), {'resolved_recipe': plain(cfg._cfg_dict.to_dict())}
    published = {key: value for key, value in whole.items() if key.partition('.')[0] not in built.of_training}
    pixels = torch.rand(2, 3, 16, 16)
    for state in (whole, published):
        torch.save({'meta': meta, 'state_dict': state}, tmp_path / 'run.pth')
        found = openmix.load_model(tmp_path / 'run.pth', 'cpu')(pixels)
        torch.testing.assert_close(found, built.eval().networks()[''](built.data_preprocessor.network_input(pixels)))
    assert 'elsewhere' not in str(inference_settings(meta['resolved_recipe']))
