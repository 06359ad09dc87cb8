"""Files of weights are loaded exactly as they were written, or give one error line."""

import io
import os
import random
import resource
import zipfile
from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from openmix.engine.checkpoint import load_weights
from openmix.errors import InputError
from openmix.models.backbones import local_weights
from openmix.weights_file import peek, read_file


@pytest.fixture
def state():
    torch.manual_seed(0)
    return {'meta': {'iter': 3}, 'state_dict': {f'w{i}': torch.randn(40, 20) for i in range(4)}}


def refused(path):
    with pytest.raises(InputError) as caught:
        read_file(path)
    assert '\n' not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def flipped(data, rng):
    """Flip one bit."""
    damaged = bytearray(data)
    damaged[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def test_a_flipped_bit_never_loads_changed(tmp_path, state):
    torch.save(state, tmp_path / 'a.pth')
    data, rng, seen = (tmp_path / 'a.pth').read_bytes(), random.Random(0), Counter()
    for _ in range(200):
        (tmp_path / 'b.pth').write_bytes(flipped(data, rng))
        try:
            content = read_file(tmp_path / 'b.pth')
        except InputError:
            seen['refused'] += 1
            continue
        assert content['meta'] == state['meta']
        assert all(torch.equal(content['state_dict'][key], value) for key, value in state['state_dict'].items())
        seen['unchanged'] += 1  # the bit was in what fills the file up
    assert seen['refused'] > 150


@pytest.mark.parametrize('reader', ['checkpoint', 'backbone'])
def test_every_reader_of_weights_checks(tmp_path, reader):
    model = nn.Linear(30, 30)
    torch.save(model.state_dict(), tmp_path / 'a.pth')
    data = bytearray((tmp_path / 'a.pth').read_bytes())
    data[data.index(model.weight.detach().numpy().tobytes()[:64]) + 20] ^= 1
    (tmp_path / 'a.pth').write_bytes(data)
    with pytest.raises(InputError, match=r"is damaged: 'data/0' in it does not fit its checksum"):
        (load_weights if reader == 'checkpoint' else local_weights.load_weights)(model, tmp_path / 'a.pth')


def test_other_forms_are_read(tmp_path, state):
    weights = state['state_dict']
    torch.save(state, tmp_path / 'legacy.pth', _use_new_zipfile_serialization=False)
    save_file(weights, tmp_path / 'a.safetensors')
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(state, tmp_path / 'unchecked.pth')
    finally:
        torch.serialization.set_crc32_options(True)
    for name in ('legacy.pth', 'unchecked.pth'):
        assert torch.equal(read_file(tmp_path / name)['state_dict']['w3'], weights['w3'])
    assert torch.equal(read_file(tmp_path / 'a.safetensors')['w3'], weights['w3'])
    torch.save({'one': weights['w0'], 'other': weights['w0']}, tmp_path / 'tied.pth')
    assert read_file(tmp_path / 'tied.pth')['one'].shape == (40, 20)


@pytest.mark.parametrize('kind', ['safetensors', 'legacy'])
def test_forms_without_checksums_are_refused_where_they_are_cut_short(tmp_path, state, kind):
    path = tmp_path / f'a.{kind}'
    if kind == 'legacy':
        torch.save(state, path, _use_new_zipfile_serialization=False)
    else:
        save_file(state['state_dict'], path)
    data = path.read_bytes()
    for length in range(0, len(data), 997):
        path.write_bytes(data[:length])
        assert 'cut short, damaged' in refused(path)


def rewritten(path, compression=zipfile.ZIP_STORED, **parts):
    """Replace some parts of the archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, 'w', compression) as new:
        for name in old.namelist():
            new.writestr(name, parts.get(name.partition('/')[2], old.read(name)))
    path.write_bytes(out.getvalue())


def test_a_small_file_takes_little_memory(tmp_path):
    """Forty gigabytes, by compression and by strides; a limit on memory stands for the machine's."""
    path, usual = tmp_path / 'a.pth', resource.getrlimit(resource.RLIMIT_AS)
    torch.save({'w': torch.zeros(1).expand(100_000, 100_000)}, path)
    assert 'would take 3.81e+04 MiB: it is refused' in refused(path)
    one = torch.zeros(2**18)
    torch.save({f'w{i}': one.view(2**9, 2**9) for i in range(10)}, path)
    assert 'it is refused' in refused(path)
    torch.save({'w': torch.zeros(2**26)}, path)
    rewritten(path, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2**20
    used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**27, usual[1]))
    try:
        assert 'are compressed' in refused(path)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, usual)


@pytest.mark.parametrize('kind', ['meta', 'sparse'])
def test_tensors_that_hold_no_plain_numbers(tmp_path, kind):
    torch.save({'w': torch.empty(3, device='meta') if kind == 'meta' else torch.eye(3).to_sparse()}, tmp_path / 'a.pth')
    assert f'{kind}' in refused(tmp_path / 'a.pth')


def test_what_is_no_file(tmp_path):
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'dangling').symlink_to('nowhere')
    os.mkfifo(tmp_path / 'fifo')
    assert 'is a folder' in refused(tmp_path / 'folder')
    assert 'leads nowhere' in refused(tmp_path / 'dangling')
    assert 'is a pipe, socket or device' in refused(tmp_path / 'fifo')
    assert 'is missing' in refused(tmp_path / 'gone')


def test_a_peek_reads_no_tensors(tmp_path, state):
    path = tmp_path / 'a.pth'
    torch.save(state, path)
    data = bytearray(path.read_bytes())
    data[data.index(state['state_dict']['w1'].numpy().tobytes()[:64])] ^= 1
    path.write_bytes(data)
    assert peek(path)['meta'] == {'iter': 3}
    torch.save(state, path)
    rewritten(path, **{'data.pkl': b'\x80\x02N.'})
    assert peek(path) is None
    damaged = path.read_bytes().replace(b'\x80\x02N.', b'\x80\x02K.', 1)
    path.write_bytes(damaged)
    with pytest.raises(InputError, match=r"'data\.pkl' in it does not fit its checksum"):
        peek(path)


# Of a weight's numbers: what an own model of 32-bit fractions cannot be given, or what no run would have saved.
SPOILT = [
    (lambda value: (100 * value).to(torch.int8), 'kind'),
    (lambda value: value.to(torch.complex64), 'kind'),
    (lambda value: value * float('nan'), 'not finite'),
    (lambda value: (value / 0).to(torch.float16), 'not finite'),
]


@pytest.mark.parametrize(('spoil', 'told'), SPOILT, ids=['int8', 'complex', 'nan', 'half inf'])
@pytest.mark.parametrize('load', [load_weights, local_weights.load_weights], ids=['checkpoint', 'backbone'])
def test_numbers_that_are_no_weights_are_refused(tmp_path, load, spoil, told):
    model = nn.Linear(3, 2)
    before = model.weight.clone()
    torch.save({'weight': spoil(torch.ones(2, 3)), 'bias': torch.ones(2)}, tmp_path / 'a.pth')
    with pytest.raises(InputError, match='dtype|of torch|' + told) as caught:
        load(model, tmp_path / 'a.pth')
    assert 'weight' in str(caught.value)
    assert torch.equal(model.weight, before)


@pytest.mark.parametrize('load', [load_weights, local_weights.load_weights], ids=['checkpoint', 'backbone'])
def test_weights_of_other_precision_are_taken(tmp_path, load):
    model = nn.Linear(3, 2)
    for dtype in (torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float64):
        torch.save({'weight': torch.full((2, 3), 0.5).to(dtype), 'bias': torch.ones(2)}, tmp_path / 'a.pth')
        load(model, tmp_path / 'a.pth')
        assert model.weight.dtype == torch.float32
        assert model.weight.eq(0.5).all()


@pytest.mark.filterwarnings('ignore:The PyTorch API of nested tensors')
def test_a_nested_tensor_is_refused(tmp_path):
    torch.save({'a': torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])}, tmp_path / 'a.pth')
    assert 'nested' in refused(tmp_path / 'a.pth')
