"""Run the commands for trained models as a user does: count FLOPs, export, evaluate on ten crops."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from openmix.config import load_config
from openmix.engine.launch import prepare
from openmix.registry import MODELS

ROOT = Path(__file__).parent.parent
RECIPE = 'classification/digits/resnet20.py'
SMALL = ['--cfg-options', 'model.backbone.depth=8', 'model.backbone.width=8']

pytestmark = pytest.mark.slow


def save(folder, recipe, options=None):
    """Save a checkpoint of a recipe's model with initial weights; return the model and the file."""
    torch.manual_seed(0)
    model = MODELS.build(prepare(load_config(recipe, options)).model).eval()
    torch.nn.init.normal_(model.head.fc.weight)
    torch.save({'state_dict': model.state_dict()}, folder / 'epoch_1.pth')
    return model, folder / 'epoch_1.pth'


def test_flops_as_text_and_json(call):
    code, text, _ = call('get_flops.py', 'classification/imagenet/resnet50_rsb_a3.py')
    assert code == 0
    assert 'image: 3 x 224 x 224\nparameters: 25.56 M\nFLOPs: 4.09 G (multiply-adds' in text
    assert 'backbone.layer4' in text
    found = json.loads(call('get_flops.py', RECIPE, '--shape', 32, '--format', 'json')[1])
    # He et al., Table 6 and text: 0.27 M parameters; 41 million multiply-adds at 32 px.
    assert found['parameters'] == 269_722
    assert found['multiply_adds'] / 1e6 == pytest.approx(41, abs=0.6)
    assert found['shape'] == [3, 32, 32]
    deeper = json.loads(call('get_flops.py', RECIPE, '--shape', 32, 32, '--depth', 2, '--format', 'json')[1])
    assert 'backbone.layer1.0' in [stage['name'] for stage in deeper['stages']]
    assert deeper['multiply_adds'] == found['multiply_adds']


@pytest.mark.parametrize(
    ('name', 'suffix', 'options'),
    [('export_torchscript.py', 'pt', []), ('export_onnx.py', 'onnx', ['--dynamic-batch'])],
)
def test_exports(call, tmp_path, name, suffix, options):
    if suffix == 'onnx':
        pytest.importorskip('onnxruntime', reason='needs onnxruntime: the extra [export]')
    _, checkpoint = save(tmp_path, RECIPE, {'model.backbone.depth': 8, 'model.backbone.width': 8})
    out = tmp_path / f'model.{suffix}'
    hidden = ['model.policy.type=Mixup', "model.policy.sites=('',layer1)"]
    code, said, _ = call(name, RECIPE, checkpoint, '--out', out, *options, *SMALL, *hidden)
    assert code == 0
    assert said.startswith(f'{out}: largest difference of a logit ')
    assert out.stat().st_size > 10_000


@pytest.fixture
def folder(tmp_path):
    """Make an image folder of landscape and portrait images, its recipe, its model and its files."""
    rng = np.random.default_rng(0)
    for i in range(15):
        height, width = [(30, 44), (41, 26), (33, 33)][i % 3]
        split, name = ('train' if i < 6 else 'val'), 'abc'[i % 3]
        path = tmp_path / 'images' / split / name / f'{i:02d}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(path)
    recipe = tmp_path / 'mine.py'
    recipe.write_text(
        f"_base_ = '{ROOT}/configs/classification/image_folder/resnet18.py'\n"
        f"images = dict(root='{tmp_path}/images', size=16, pipeline=[\n"
        "    dict(type='torchvision/Resize', size=19), dict(type='torchvision/CenterCrop', size=16)])\n"
        "model = dict(backbone=dict(_delete_=True, type='ThinResNet', depth=8, width=8))\n"
        'train_dataloader = dict(num_workers=0, persistent_workers=False, dataset=images)\n'
        'val_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False, dataset=images)\n'
        "test_evaluator = dict(type='Accuracy', topk=(1,))\n"
        'test_dataloader = val_dataloader\n'
    )
    return recipe, *save(tmp_path, recipe)


def slow_ten_crops(model, root):
    """Compute top-1 in percent and the mean cross-entropy in loops over images and crops."""
    right, nll, paths = 0, 0.0, sorted(root.glob('*/*.png'))
    for path in paths:
        image, label = Image.open(path), 'abc'.index(path.parent.name)
        scale = 19 / min(image.size)
        image = image.resize(tuple(int(side * scale + 1e-9) for side in image.size), Image.Resampling.BILINEAR)
        left, top = round((image.width - 19) / 2), round((image.height - 19) / 2)
        square = np.asarray(image.crop((left, top, left + 19, top + 19)))
        shares = 0
        for y, x in ((0, 0), (0, 3), (3, 0), (3, 3), (2, 2)):
            for crop in (square[y : y + 16, x : x + 16], square[y : y + 16, x : x + 16][:, ::-1]):
                pixels = torch.from_numpy(crop.copy()).permute(2, 0, 1)[None].float() / 255
                normalised = (pixels - model.data_preprocessor.mean) / model.data_preprocessor.std
                with torch.no_grad():
                    shares = shares + model(normalised).double().softmax(1)[0] / 10
        right += int(shares.argmax()) == label
        nll -= float(shares[label].log())
    return 100 * right / len(paths), nll / len(paths)


def test_ten_crops_are_those_of_a_slow_loop(call, folder, tmp_path):
    recipe, model, checkpoint = folder
    top1, nll = slow_ten_crops(model, tmp_path / 'images' / 'val')
    found = {}
    average = tmp_path / 'average.pth'
    raw = {f'module.{key}': torch.zeros_like(value) for key, value in model.state_dict().items()}
    torch.save({'state_dict': model.state_dict(), 'ema_state_dict': raw}, average)
    for options in ([], ['--ten-crop'], ['--ten-crop', '--ema']):
        out = tmp_path / f'out{len(options)}.json'
        path = average if '--ema' in options else checkpoint
        code, _, err = call('test.py', recipe, path, '--work-dir', tmp_path / 'log', '--out', out, *options)
        assert code == 0, err
        found[len(options)] = json.loads(out.read_text())
    assert [found[i]['crops'] for i in (0, 1)] == [1, 10]
    assert found[1]['metrics'] == pytest.approx({'accuracy/top1': top1, 'accuracy/nll': nll}, rel=1e-5)
    assert found[2]['metrics'] == found[1]['metrics']
    assert found[2]['ema'] is True
    assert abs(found[0]['metrics']['accuracy/nll'] - nll) > 1e-3


def test_ten_crops_in_a_process_group(folder, tmp_path, nursery):
    """Of one process: the copy that DDP wraps is tested, not what wraps it."""
    recipe, model, checkpoint = folder
    top1, nll = slow_ten_crops(model, tmp_path / 'images' / 'val')
    # Port 0: the system chooses a free one at the moment that it is taken.
    group = dict(RANK='0', LOCAL_RANK='0', WORLD_SIZE='1', MASTER_ADDR='127.0.0.1', MASTER_PORT='0')
    words = ['test.py', recipe, checkpoint, '--work-dir', tmp_path / 'log', '--launcher', 'pytorch', '--ten-crop']
    # A process of its own: waiting for a peer is nothing that a test's time limit could end.
    done = nursery.run(words, env={**group, 'CUDA_VISIBLE_DEVICES': ''})
    assert done.returncode == 0, done.stderr
    metrics = json.loads(done.stdout.splitlines()[-1])
    assert metrics == pytest.approx({'accuracy/top1': top1, 'accuracy/nll': nll}, rel=1e-5)


def test_corruptions_are_measured_beside_the_clean_images(call, folder, tmp_path):
    recipe, _, checkpoint = folder
    words = ['test.py', '--occlusion', 0, 0.5, recipe, checkpoint, '--work-dir', tmp_path / 'log']
    code, out, err = call(*words, '--corruptions', 'contrast', 'shot_noise', '--severities', 1, 5)
    assert code == 0, err
    found = json.loads(out.splitlines()[-1])
    assert found['occlusion/0'] == pytest.approx(100 - found['accuracy/top1'])
    assert found['occlusion/error'] == pytest.approx((found['occlusion/0'] + found['occlusion/0.5']) / 2)
    assert {'accuracy/top1', 'corruption/contrast/5', 'corruption/shot_noise/1', 'corruption/error'} <= found.keys()
    assert len([name for name in found if name.startswith('corruption/')]) == 7


def test_published_corrupted_images_are_tested_beside_the_clean_ones(call, folder, tmp_path):
    """Of the clean images themselves the errors are the clean one; a kind that is missing is one line."""
    recipe, _, checkpoint = folder
    root = tmp_path / 'images-c'
    for place in ('fog/1', 'snow/1'):
        shutil.copytree(tmp_path / 'images' / 'val', root / place)
    for path in (root / 'snow' / '1').rglob('*.png'):
        Image.new('RGB', (33, 33)).save(path)
    words = ['test.py', recipe, checkpoint, '--work-dir', tmp_path / 'log', '--corrupted-images', root]
    code, out, err = call(*words, '--corruptions', 'fog', 'snow', '--severities', 1)
    assert code == 0, err
    found = json.loads(out.splitlines()[-1])
    assert found['corruption/fog/1'] == pytest.approx(100 - found['accuracy/top1'])
    assert found['corruption/snow/1'] == pytest.approx(200 / 3)  # black images are all of one class
    assert found['corruption/error'] == pytest.approx((found['corruption/fog'] + found['corruption/snow']) / 2)
    code, _, err = call(*words, '--corruptions', 'fog', '--severities', 2)
    assert code == 2
    assert err.splitlines()[-1].startswith('error: fog/2: ')
    assert call(*words)[0] == 2


def test_what_cannot_be_measured_is_one_line(folder, tmp_path, nursery):
    """As processes: a size in grey levels, a head of other classes; each leaves no metrics."""
    recipe, _, checkpoint = folder
    other = tmp_path / 'other.pth'
    content = torch.load(checkpoint, weights_only=True)['state_dict']
    content['head.fc.weight'], content['head.fc.bias'] = (
        torch.zeros(5, content['head.fc.weight'].shape[1]),
        torch.zeros(5),
    )
    torch.save({'state_dict': content}, other)
    cases = [
        (
            [checkpoint, '--attack', 'fgsm', '--eps', '8'],
            'eps is a distance of pixels in [0, 1], got 8; for grey levels',
        ),
        ([other, '--attack', 'fgsm'], "'head.fc.weight' is (5, "),
    ]
    out = tmp_path / 'metrics.json'
    for words, line in cases:
        done = nursery.run(['test.py', recipe, *words, '--work-dir', tmp_path / 'log', '--out', out], tmp_path)
        assert done.returncode == 2, done.stderr
        assert done.stderr.splitlines()[-1].startswith('error: ')
        assert line in done.stderr.splitlines()[-1]
        assert 'Traceback' not in done.stderr
        assert not out.exists()


def test_mixed_images_are_measured_beside_the_clean_ones(call, tmp_path):
    _, checkpoint = save(tmp_path, RECIPE, {'model.backbone.depth': 8, 'model.backbone.width': 8})
    words = [RECIPE, checkpoint, '--work-dir', tmp_path / 'log', '--mixed-accuracy']
    code, said, err = call('test.py', *words, *SMALL, 'model.policy.type=Mixup')
    assert code == 0, err
    found = json.loads(said.splitlines()[-1])
    assert set(found) >= {'accuracy/top1', 'mixed_accuracy/top1', 'mixed_accuracy/top2'}
    code, _, err = call('test.py', *words, *SMALL)
    assert code == 2
    assert err.splitlines()[-1] == f'error: --mixed-accuracy: {RECIPE} has none, its policy mixes nothing; leave it out'
    code, _, err = call('test.py', *words, '--ten-crop', *SMALL)
    assert (code, err.splitlines()[-1]) == (
        2,
        'error: --mixed-accuracy and --ten-crop do not go together: no protocol mixes ten crops',
    )


def test_an_attack_is_measured_beside_the_clean_images(call, folder, tmp_path):
    recipe, _, checkpoint = folder
    found = {}
    for eps in (0, '40/255'):
        out = tmp_path / 'attack.json'
        attack = ['--attack', 'pgd', '--eps', eps, '--attack-step', '20/255', '--attack-iterations', 3]
        code, _, err = call('test.py', recipe, checkpoint, '--work-dir', tmp_path / 'log', '--out', out, *attack)
        assert code == 0, err
        found[eps] = json.loads(out.read_text())
    clean, attacked = (one['metrics'] for one in found.values())
    assert clean['pgd/error'] == pytest.approx(100 - clean['accuracy/top1'])
    assert attacked['pgd/error'] > clean['pgd/error']
    assert attacked['accuracy/top1'] == clean['accuracy/top1']
    assert found['40/255']['hooks'] == [{'type': 'PGDHook', 'eps': '40/255', 'step': '20/255', 'iterations': 3}]


@pytest.mark.parametrize(
    ('args', 'line'),
    [
        (['get_flops.py', 'classification/digits/resnet02.py'], "did you mean 'classification/digits/resnet20.py'"),
        (['get_flops.py', RECIPE, '--shape', 0], '--shape: each side must be in'),
        (['get_flops.py', RECIPE, '--depth', 0], '--depth must be >= 1'),
        (['get_flops.py', 'classification/imagenet/deit_small.py', '--shape', 100], "doesn't match model (224)"),
        (['export_torchscript.py', RECIPE, 'none.pth', '--out', 'x.pt'], "no checkpoint 'none.pth'"),
        (['export_torchscript.py', 'digits', 'none.pth', '--out', 'x.pt'], 'no config file'),
        (['export_onnx.py', RECIPE, 'none.pth', '--out', 'x.onnx', '--shape', 1, 2, 3], 'got 3 numbers'),
        (['test.py', RECIPE, 'none.pth', '--ten-crop'], 'Digits serves them whole; end test_dataloader'),
        (['test.py', RECIPE, 'none.pth', '--eps', '8/255'], '--eps belongs to --attack fgsm or pgd'),
        (['test.py', RECIPE, 'none.pth', '--attack', 'fgsm', '--attack-step', '.1'], 'belongs to --attack pgd'),
        (['test.py', RECIPE, 'none.pth', '--attack', 'fgsm', '--ten-crop'], 'do not go together'),
        (
            ['test.py', RECIPE, 'none.pth', '--occlusion', 50],
            '--occlusion: a share of the patches must be in [0, 1], got 50.0',
        ),
        (['test.py', RECIPE, 'none.pth', '--severities', 3], '--severities belongs to --corruptions'),
        (['test.py', RECIPE, 'none.pth', '--corruptions', 'all', '--ten-crop'], 'do not go together'),
    ],
    ids=lambda value: ' '.join(map(str, value)) if isinstance(value, list) else '',
)
def test_bad_input_is_one_line_and_exit_code_2(call, tmp_path, monkeypatch, args, line):
    monkeypatch.chdir(tmp_path)
    if args[0] == 'export_onnx.py':
        pytest.importorskip('onnxruntime', reason='needs onnxruntime: the extra [export]')
    code, out, err = call(*args)
    assert code == 2
    (said,) = err.splitlines()
    assert said.startswith('error: ')
    assert line in said
    assert not out
    assert not list(tmp_path.iterdir())
