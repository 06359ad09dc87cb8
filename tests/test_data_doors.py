"""Readers of damaged data files return a value or raise one error line.

Python recipes are programs, so they are not tested here. `OPENMIX_FUZZ=2000` tests ten times as many files.
"""

from __future__ import annotations

import io
import random
import warnings
from argparse import ArgumentParser

import numpy as np
import pytest
import torch
import yaml
from mutations import MUTANTS, Door, altered, damaged
from PIL import Image

from openmix.benchmark.table import load_table
from openmix.check import check_recipe
from openmix.config import load_config
from openmix.data.read import read_image, read_pixels
from openmix.data.voc_annotation import read_annotation
from openmix.engine.checkpoint import load_weights
from openmix.errors import InputError
from openmix.models.backbones import local_weights
from openmix.options import DictAction
from openmix.shipped import configs_dir

SHIPPED = ('quickstart', 'cifar10_static', 'digits_dynamic', 'decoupled_mixup/table7', 'automatic_mixup/table1')
IMAGES = ('JPEG', 'PNG', 'BMP', 'WEBP', 'TIFF', 'PPM', 'GIF')


def every_cell(path) -> None:
    for cell in load_table(path).cells:
        if cell.implemented:
            cell.config_text()


@pytest.mark.slow
def test_tables(tmp_path):
    door, path = Door('table'), tmp_path / 'table.yaml'
    for number in range(MUTANTS):
        rng = random.Random(number)
        text = (configs_dir() / 'tables' / f'{rng.choice(SHIPPED)}.yaml').read_bytes()
        if number % 2:
            text = damaged(text, rng)
        else:
            text = yaml.safe_dump(altered(yaml.safe_load(text), rng), sort_keys=False, allow_unicode=True).encode(
                'utf-8', 'surrogatepass'
            )
        path.write_bytes(text)
        door.tried(number, lambda: every_cell(path))
    door.looked()


@pytest.mark.slow
def test_yaml_recipes(tmp_path):
    whole = load_config('classification/digits/resnet20.py').to_dict()
    door, path = Door('recipe'), tmp_path / 'recipe.yaml'
    for number in range(MUTANTS):
        rng = random.Random(number)
        text = yaml.safe_dump(altered(whole, rng) if number % 2 else whole, sort_keys=False).encode()
        path.write_bytes(text if number % 2 else damaged(text, rng))
        door.tried(number, lambda: check_recipe(load_config(path)))
    door.looked()


def images() -> list[bytes]:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 20, 3), np.uint8)
    saved = []
    for mode in ('RGB', 'L', 'P', 'RGBA', 'I;16', 'CMYK'):
        image = Image.fromarray(pixels).convert(mode) if mode != 'I;16' else Image.fromarray(pixels[..., 0] * 257.0)
        image = image if mode != 'I;16' else image.convert('I;16')
        for form in IMAGES:
            file = io.BytesIO()
            try:
                image.save(file, form)
            except (OSError, ValueError):  # formats differ in the modes they hold
                continue
            saved.append(file.getvalue())
    assert len(saved) > 20
    return saved


def test_images(tmp_path):
    door, path, whole = Door('image'), tmp_path / 'image.png', images()
    for number in range(MUTANTS):
        rng = random.Random(number)
        path.write_bytes(damaged(rng.choice(whole), rng))
        door.tried(number, lambda: np.asarray(read_image(path)).shape)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            try:
                pixels = read_pixels(path)
            except InputError:
                continue
        assert pixels.dtype == np.uint8
        assert pixels.ndim == 3
    door.looked()


def test_annotations(tmp_path):
    one = (
        '<object><name>cat</name><difficult>0</difficult><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax>'
        '<ymax>40</ymax></bndbox></object>'
    )
    whole = f'<annotation><size><width>64</width><height>48</height></size>{one * 2}</annotation>'.encode()
    door, path = Door('annotation'), tmp_path / 'a.xml'
    for number in range(MUTANTS):
        path.write_bytes(damaged(whole, random.Random(number)))
        door.tried(number, lambda: read_annotation(path))
    door.looked()
    path.write_bytes(b'<a>' * 10**6)
    with pytest.raises(InputError, match='is not XML that can be read'):
        read_annotation(path)


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 2))


def checkpoint() -> dict:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model[0].weight.sum().backward()
    optimizer.step()
    return {
        'meta': {'seed': 0, 'epoch': 1, 'iter': 4, 'batches_per_epoch': 4, 'dataset_meta': {'classes': ['a', 'b']}},
        'state_dict': dict(model.state_dict()),
        'ema_state_dict': {f'module.{key}': value for key, value in model.state_dict().items()},
        'optimizer': optimizer.state_dict(),
        'param_schedulers': [{'last_step': 4}],
        'message_hub': {'runtime_info': {}, 'log_scalars': {}, 'resumed_keys': {}},
    }


def saved(content) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def mutants_of_weights(content):
    """Yield (number, bytes) of files of tensors, with damaged bytes or damaged content."""
    whole = saved(content)
    for number in range(MUTANTS):
        rng = random.Random(number)
        yield number, damaged(whole, rng) if number % 2 else saved(altered(content, rng, tensors=True))


@pytest.mark.parametrize('ema', [False, True])
def test_checkpoints(ema, tmp_path):
    door, path, model = Door('checkpoint'), tmp_path / 'epoch_1.pth', network()
    for number, data in mutants_of_weights(checkpoint()):
        path.write_bytes(data)
        door.tried(number, lambda: load_weights(model, path, ema))
    door.looked()


def test_weights_of_a_backbone(tmp_path):
    door, path, model = Door('weights'), tmp_path / 'weights.pth', network()
    for number, data in mutants_of_weights({'state_dict': dict(network().state_dict())}):
        path.write_bytes(data)
        door.tried(number, lambda: local_weights.load_weights(model, path))
    door.looked()


def test_a_changed_bit_is_never_loaded_unnoticed(tmp_path):
    """The weights that come out are the file's own, or none do."""
    content, path, model = checkpoint(), tmp_path / 'epoch_1.pth', network()
    whole, own = saved(content), content['state_dict']
    refused = 0
    for number in range(MUTANTS):
        rng = random.Random(number)
        at = rng.randrange(len(whole))
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << rng.randrange(8)]) + whole[at + 1 :])
        try:
            load_weights(model, path)
        except InputError:
            refused += 1
            continue
        for key, value in model.state_dict().items():
            assert torch.equal(value, own[key]), f'mutant {number}: {key}'
    assert refused > MUTANTS // 2


def test_options():
    """What is typed behind --cfg-options."""
    plain = ['train_cfg.max_epochs=5', 'model.policy.type=CutMix', 'val_dataloader.dataset.root="my set"', 'a=[1, 2]']
    door = Door('option')
    for number in range(MUTANTS):
        rng = random.Random(number)
        text = damaged(rng.choice(plain).encode(), rng).decode('utf-8', 'surrogateescape').replace('\x00', '')

        def read(text=text):
            parser = ArgumentParser()
            parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={})
            try:
                options = parser.parse_args([f'--cfg-options={text}']).cfg_options
            except SystemExit as stopped:
                raise InputError('usage') from stopped
            check_recipe(load_config('classification/digits/resnet20.py', options))

        door.tried(number, read)
    door.looked()
