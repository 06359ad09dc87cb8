"""Compare exported files, run by other programs, with the network they come from."""

import json
import sys

import pytest
import torch

from openmix.config import load_config
from openmix.engine.export import export, to_onnx, to_torchscript
from openmix.engine.image_shape import image_shape
from openmix.engine.launch import prepare
from openmix.errors import InputError
from openmix.models.backbones import ThinResNet
from openmix.registry import MODELS

RECIPE = 'classification/digits/resnet20.py'
SMALL = {'model.backbone.depth': 8, 'model.backbone.width': 8}
POLICIES = {
    'plain': {'model.policy.type': 'NoMix'},
    'hidden sites': {'model.policy.type': 'Mixup', 'model.policy.sites': ('', 'layer1')},
    'learned': {'model.policy.type': 'AutoMix', 'model.policy.site': 'layer2'},
}


@pytest.fixture
def onnxruntime():
    for name in ('onnx', 'onnxscript', 'onnxruntime'):
        pytest.importorskip(name, reason=f'needs {name}: the extra [export]')


def trained(folder, policy='plain'):
    """Return a recipe, a checkpoint of a run with an EMAHook, and models with its raw and its averaged weights."""
    cfg = prepare(load_config(RECIPE, {**SMALL, **POLICIES[policy]}))
    models = []
    for seed in range(2):
        torch.manual_seed(seed)
        model = MODELS.build(cfg.model).eval()
        with torch.no_grad():
            for name, value in model.state_dict().items():
                if name.endswith(('running_var', 'bn1.weight', 'bn2.weight')):
                    value.uniform_(0.5, 1.5)
                elif 'running_mean' in name or name.endswith('fc.weight'):
                    value.normal_(std=0.3)  # the momentum encoder's too: it then differs from the trained network
        models.append(model)
    raw, average = models
    kept = {f'module.{key}': value for key, value in raw.state_dict().items()}
    torch.save({'state_dict': average.state_dict(), 'ema_state_dict': kept}, folder / 'epoch_1.pth')
    return cfg, folder / 'epoch_1.pth', raw, average


def run_onnx(path, pixels):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    return torch.from_numpy(session.run(['logits'], {'pixels': pixels.numpy()})[0])


def run_torchscript(path, pixels):
    return torch.jit.load(str(path))(pixels)


def write(cfg, checkpoint, out, writer, **options):
    return export(cfg, str(checkpoint), out, writer, image_shape(cfg), **options)


def draw(n, shape=(16, 16)):
    return torch.randint(0, 256, (n, 3, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(n))


def check_agrees(model, run, path, batches, shape=(16, 16)):
    """Compare both on images from a loader, after the preprocessor of evaluation."""
    for n in batches:
        data = dict(inputs=draw(n, shape), labels=torch.arange(n), ids=torch.arange(n))
        with torch.no_grad():
            (wanted,) = model.test_step(data)
        found = run(path, draw(n, shape).float() / 255)
        assert found.shape == (n, 10)
        torch.testing.assert_close(found, wanted['logits'], rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.usefixtures('onnxruntime')
def test_onnx_is_the_reported_network(tmp_path):
    cfg, checkpoint, raw, _ = trained(tmp_path, 'learned')
    out = tmp_path / 'new' / 'model.onnx'
    assert write(cfg, checkpoint, out, to_onnx(dynamic=True)) < 1e-4
    check_agrees(raw, run_onnx, out, (1, 2, 5))
    # One network and its graph, whatever the policy holds beside it.
    weights = sum(4 * v.numel() for part in (raw.backbone, raw.head) for v in part.state_dict().values())
    assert weights * 0.9 < out.stat().st_size < 1.2 * weights + 60_000
    assert [path.name for path in out.parent.iterdir()] == ['model.onnx']


@pytest.mark.parametrize('policy', POLICIES)
def test_torchscript_is_the_reported_network(tmp_path, policy):
    cfg, checkpoint, raw, _ = trained(tmp_path, policy)
    out = tmp_path / 'model.pt'
    assert write(cfg, checkpoint, out, to_torchscript) < 1e-4
    check_agrees(raw, run_torchscript, out, (1, 2, 5))
    if policy == 'learned':
        with torch.no_grad():
            online = raw.head(raw.backbone(raw.data_preprocessor.normalize(draw(2).float() / 255)))
        assert not torch.allclose(run_torchscript(out, draw(2).float() / 255), online, atol=0.05)


@pytest.mark.slow
@pytest.mark.usefixtures('onnxruntime')
def test_a_file_of_one_image_takes_one_and_says_what_it_is(tmp_path):
    import onnx

    cfg, checkpoint, _, average = trained(tmp_path)
    out, script = tmp_path / 'model.onnx', tmp_path / 'model.pt'
    write(cfg, checkpoint, out, to_onnx(), ema=True)
    check_agrees(average, run_onnx, out, (1,))
    with pytest.raises(Exception, match='dimension'):
        run_onnx(out, torch.rand(2, 3, 16, 16))

    about = {entry.key: entry.value for entry in onnx.load(out).metadata_props}
    write(cfg, checkpoint, script, to_torchscript, ema=True)
    extra = {'openmix.json': ''}
    torch.jit.load(str(script), _extra_files=extra)
    assert json.loads(extra['openmix.json']) == about
    assert about['weights'] == 'moving average'
    assert 'in [0, 1]; normalised inside' in about['input']
    assert json.loads(about['classes']) == [str(digit) for digit in range(10)]
    # Nothing of this machine goes with it.
    assert str(tmp_path).encode() not in out.read_bytes()
    assert b'site-packages' not in out.read_bytes()


def test_the_moving_average_and_another_shape(tmp_path):
    cfg, checkpoint, raw, average = trained(tmp_path)
    out = tmp_path / 'model.pt'
    export(cfg, str(checkpoint), out, to_torchscript, (20, 12), ema=True)
    check_agrees(average, run_torchscript, out, (3,), (20, 12))
    with pytest.raises(AssertionError):
        check_agrees(raw, run_torchscript, out, (3,), (20, 12))


@pytest.mark.parametrize(
    'wrong', [lambda logits: logits + 0.01 * logits.abs().max(), lambda logits: logits * torch.nan]
)
def test_a_file_that_disagrees_is_not_left(tmp_path, wrong):
    cfg, checkpoint, *_ = trained(tmp_path)
    out = tmp_path / 'new' / 'model.pt'

    def writer(network, example, about, path):
        path.write_bytes(b'x')
        return lambda pixels: wrong(network(pixels))

    with pytest.raises(InputError, match='is not written: its logits differ'):
        write(cfg, checkpoint, out, writer)
    assert not list(out.parent.iterdir())
    out.write_bytes(b'old')
    with pytest.raises(InputError):
        write(cfg, checkpoint, out, writer)
    assert out.read_bytes() == b'old'


class Branching(ThinResNet):
    """A backbone whose control flow depends on the values of the images, which the meta device lacks."""

    def forward(self, x):
        features = super().forward(x)
        return features if x.is_meta or features.sum() > 0 else -features


@pytest.mark.slow
@pytest.mark.usefixtures('onnxruntime')
def test_what_onnx_cannot_hold_is_one_line(tmp_path, capfd):
    cfg = prepare(load_config(RECIPE, SMALL))
    cfg.model.backbone.type = Branching
    torch.save({'state_dict': MODELS.build(cfg.model).state_dict()}, tmp_path / 'epoch_1.pth')
    with pytest.raises(InputError, match=r'cannot be exported to ONNX: .*data-dependent') as error:
        write(cfg, tmp_path / 'epoch_1.pth', tmp_path / 'model.onnx', to_onnx())
    assert '\n' not in str(error.value)
    assert capfd.readouterr() == ('', '')
    assert [path.name for path in tmp_path.iterdir()] == ['epoch_1.pth']


@pytest.mark.parametrize(
    ('change', 'line'),
    [
        (lambda folder: {'checkpoint': folder / 'none.pth'}, "no checkpoint '"),
        (lambda folder: {'out': folder}, 'it is a folder; choose another --out'),
        (lambda folder: {'out': folder / 'epoch_1.pth' / 'model.pt'}, "cannot write '"),
        (lambda folder: {'out': folder / ('x' * 300)}, 'File name too long'),
    ],
)
def test_bad_input_is_one_line(tmp_path, change, line):
    cfg, checkpoint, *_ = trained(tmp_path)
    before = sorted(tmp_path.rglob('*'))
    with pytest.raises(InputError, match=line) as error:
        write(
            **{
                'cfg': cfg,
                'checkpoint': checkpoint,
                'out': tmp_path / 'model.pt',
                'writer': to_torchscript,
                **change(tmp_path),
            }
        )
    assert '\n' not in str(error.value)
    assert sorted(tmp_path.rglob('*')) == before


def test_another_architectures_checkpoint_is_one_line(tmp_path):
    _, checkpoint, *_ = trained(tmp_path)
    cfg = prepare(load_config(RECIPE, {'model.backbone.depth': 14}))
    with pytest.raises(InputError, match="of another model: missing 'backbone") as error:
        write(cfg, checkpoint, tmp_path / 'model.pt', to_torchscript)
    assert '\n' not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ['epoch_1.pth']


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(InputError, match=r"onnxruntime: pip install -e '\.\[export\]'"):
        to_onnx()


@pytest.mark.parametrize(('given', 'line'), [([0], 'each side'), ([3, 4, 5], 'got 3 numbers')])
def test_wrong_shapes_are_one_line(given, line):
    with pytest.raises(InputError, match=line):
        image_shape(load_config(RECIPE), given)


@pytest.mark.parametrize(('given', 'shape'), [(None, (16, 16)), ([20], (20, 20)), ([20, 12], (20, 12))])
def test_shapes(given, shape):
    assert image_shape(load_config(RECIPE), given) == shape
