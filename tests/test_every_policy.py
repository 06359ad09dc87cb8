"""Test every registered policy. A new policy needs only one row in POLICIES."""

from __future__ import annotations

import contextlib
import importlib.util
import math
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import pytest
import timm
import torch
from device_waits import DEVICE, no_waits
from registered import registered

from openmix.algorithm import Network
from openmix.errors import InputError
from openmix.mix import Mix
from openmix.mixups import MixContext, MixPolicy, PairPolicy
from openmix.models.heads.linear_head import LinearHead
from openmix.registry import MIXUPS


@dataclass(frozen=True)
class Case:
    """One setting of a policy.

    Attributes:
        options: the policy's arguments.
        label: 'area' where the label share must be the mask's mean, 'drawn' where it need not, 'seen' where it follows
            from what the network sees in each image, 'own' where each source has a weight of its own and they need not
            sum to 1.
        moves: the policy resizes or moves its images, so a pixel of a partner comes from elsewhere in it.
        moves_own: a pixel of the sample itself does too.
        looks: the masks, or the shares, follow the images, so samples that share one drawn lam differ in theirs.
        draws: a seed changes the result.
        pairs: partners can be given.
        attends: it reads attention of the trained network, which must then be a transformer.
        merges: that must be one of timm, whose tokens are merged.
    """

    options: dict[str, Any] = field(default_factory=dict)
    label: str = 'area'
    moves: bool = False
    moves_own: bool = False
    looks: bool = False
    draws: bool = True
    pairs: bool = True
    attends: bool = False
    merges: bool = False

    @property
    def trained(self) -> dict[str, Any]:
        """The arguments in a training, whose transformer has modules of other names."""
        return {key: value for key, value in self.options.items() if not (self.attends and key == 'site')}

    def backbone(self, size: int) -> dict[str, Any] | None:
        """Return the backbone that a training on images of this size needs; None: any."""
        vit = dict(patch_size=size // 4, embed_dim=24, depth=2, num_heads=2)
        return dict(type='TimmBackbone', name='vit_tiny_patch16_224', img_size=size, **vit) if self.attends else None


class Attention(torch.nn.Module):
    """Let every pixel of (N, C, h, w) feature maps attend to all."""

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        tokens = z.flatten(2).transpose(1, 2)[:, None]
        mixed = (tokens @ tokens.transpose(2, 3)).softmax(-1) @ tokens
        return mixed[:, 0].transpose(1, 2).reshape(z.shape)


ATTENDING = torch.nn.Sequential(torch.nn.Conv2d(3, 6, 4, stride=4), Attention())
TEACHER = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(48, 5))

PLAIN = Case()

POLICIES: dict[str, list[Case]] = {
    'NoMix': [Case(draws=False)],
    'Mixup': [
        Case(),
        Case({'share': 'batch', 'self_pairs': False}),
        Case({'alpha': 0.2, 'lam_range': (0.1, 0.9), 'fold': True}),
    ],
    'CutMix': [Case(), Case({'share': 'batch', 'alpha': 0.2}), Case({'correct_lam': False}, label='drawn')],
    'SaliencyMix': [
        Case(),
        Case({'share': 'batch'}),
        Case({'share': 'batch', 'detector_input': 'float'}),
        Case({'correct_lam': False}, label='drawn'),
    ],
    'FMix': [Case(), Case({'share': 'batch', 'spectrum': 'two_harmonics'}), Case({'spectrum': 'two_harmonics'})],
    'ResizeMix': [
        Case(moves=True),
        Case({'share': 'batch', 'interpolation': 'bilinear'}, moves=True),
        Case({'alpha': 2, 'scope': (0.3, 0.9)}, moves=True),
        Case({'alpha': 0.2, 'redraw': 'uniform'}, moves=True),
    ],
    'RegMixup': [Case(), Case({'share': 'batch', 'alpha': 20.0, 'clean_weight': 0.5})],
    'SnapMix': [
        Case({'site': 'layer3'}, label='own', moves=True),
        Case({'site': 'layer3', 'share': 'batch', 'alpha': 1.0}, label='own', moves=True),
    ],
    'SUMix': [
        Case({'policy': {'type': 'CutMix', 'alpha': 0.2}}, label='seen'),
        Case({'policy': {'type': 'Mixup', 'share': 'batch'}, 'scale': 2.0, 'gamma': 0.1}, label='seen'),
    ],
    'RecursiveMix': [
        Case({'site': 'layer3'}, draws=False, pairs=False),
        Case({'site': 'layer3', 'interpolation': 'bilinear', 'omega': 0.1}, draws=False, pairs=False),
    ],
    'AlignMix': [
        Case({'sites': ('', 'layer3'), 'iterations': 2}, label='drawn', moves_own=True),
        Case({'sites': ('layer3',), 'share': 'batch', 'iterations': 2}, label='drawn', moves_own=True),
    ],
    'GuidedMixup': [
        Case(draws=False),
        Case({'saliency': 'gradient', 'pairing': 'random', 'clean_weight': 1.0}),
        Case({'pairing': 'random', 'kernel': 3, 'sigma': 1.0}),
    ],
    'PuzzleMix': [
        Case(moves=True, moves_own=True, looks=True),
        Case({'share': 'batch', 't_size': -1}, moves=True, moves_own=True, looks=True),
        Case({'block_nums': (4,), 'n_labels': 2, 'transport': False, 'batch_statistics': True}, looks=True),
        Case({'clean_weight': 1.0}, moves=True, moves_own=True, looks=True),
    ],
    'CoMixup': [
        Case(pairs=False),
        Case({'part': 3, 'block_num': 2, 'sweeps': 2, 'clean_weight': 0.0, 'omega': 0.5}, pairs=False),
    ],
    'GridMix': [Case(), Case({'share': 'batch', 'grid': 8}), Case({'grid': 5, 'alpha': 0.5})],
    'SmoothMix': [Case(), Case({'share': 'batch'}), Case({'shape': 'square', 'sigma': (0.1, 0.2)})],
    'PatchUp': [
        Case({'channels': 'shared', 'block': 3}),
        Case({'channels': 'shared', 'share': 'batch', 'gamma': 0.2}),
        Case({'channels': 'shared', 'mode': 'hard', 'block': 5}),
    ],
    'AttentiveMix': [Case({'teacher': TEACHER, 'site': '0', 'size': None, 'top_k': 3})],
    'SKMixup': [
        Case(looks=True),
        Case({'share': 'batch', 'tau_std': 0.25}, looks=True),
        Case({'distance': 'input', 'alpha': 0.3}, looks=True),
    ],
    'InterIntra': [Case(), Case({'intra': 'cut', 'inter': 'interpolate', 'intra_alpha': 0.2, 'inter_alpha': 2})],
    'SuperMix': [
        Case({'teacher': TEACHER, 'iterations': 4}, label='drawn'),
        Case({'teacher': TEACHER, 'iterations': 4, 'sources': 3, 'sigma': 0.0}, label='drawn', pairs=False),
    ],
    'Views': [Case(draws=False)],
    'AutoMix': [
        Case(label='drawn', looks=True),
        Case({'share': 'batch', 'heads': 'split', 'adjust_prob': 0.5}, label='drawn', looks=True),
    ],
    'AMix': [
        Case(label='drawn', looks=True),
        Case({'adjust_prob': 1.0}, looks=True),
        Case({'share': 'batch', 'mixer': {'gamma': 0.5}}, label='drawn', looks=True),
        Case({'train_prob': 0.5, 'skips': 'mixer_loss'}, label='drawn', looks=True),
    ],
    'AdAutoMix': [
        Case(label='drawn', looks=True),
        Case({'share': 'batch', 'against': 'encoder', 'interval': 2, 'heads': 'split'}, label='drawn', looks=True),
    ],
    'TransMix': [
        Case(label='seen', attends=True),
        Case({'share': 'batch', 'area_weight': 0.5}, label='seen', attends=True),
    ],
    'MixPro': [
        Case(label='seen', looks=True, attends=True),
        Case({'share': 'batch', 'mask_patch': 5}, label='seen', looks=True, attends=True),
    ],
    'SMMix': [Case(moves=True, attends=True), Case({'sides': (0.5, 1.0), 'site': 'attend'}, moves=True, attends=True)],
    'TokenMix': [
        Case(label='own', attends=True),
        Case({'share': 'batch', 'ratio': 0.5}, label='own', attends=True),
        Case({'least': 0.0, 'teacher': ATTENDING}, label='own'),
    ],
    'MergeMix': [
        Case(looks=True, attends=True, merges=True),
        Case({'share': 'batch', 'rescale': True}, label='drawn', looks=True, attends=True, merges=True),
        Case({'merged': 0.25, 'site': 'blocks.0.attn'}, looks=True, attends=True, merges=True),
    ],
    'SAMix': [Case(label='drawn', looks=True), Case({'share': 'batch'}, label='drawn', looks=True)],
    'OneOf': [
        Case({'policies': [{'type': 'Mixup', 'alpha': 0.8}, {'type': 'CutMix'}], 'probs': [0.3, 0.7]}),
        Case({'policies': [{'type': 'Mixup'}, {'type': 'CutMix'}, {'type': 'NoMix'}], 'share': 'sample'}),
        Case({'policies': [{'type': 'NoMix'}, {'type': 'Mixup'}], 'probs': [0.2, 0.8], 'share': 'sample'}),
    ],
    'PairedBy': [
        Case({'policy': {'type': 'CutMix'}, 'by': 'class_balance'}),
        Case({'policy': {'type': 'Mixup', 'alpha': 2.0}, 'by': 'other_class'}),
        Case({'policy': {'type': 'CutMix', 'share': 'batch'}, 'by': 'same_class', 'self_pairs': True}),
    ],
    'Remix': [
        Case({'policy': {'type': 'CutMix'}}, label='drawn'),
        Case({'policy': {'type': 'Mixup', 'share': 'batch'}, 'kappa': 2.0, 'tau': 0.7}, label='drawn'),
    ],
    'Until': [
        Case({'policy': {'type': 'CutMix'}, 'epoch': 1}),
        Case({'policy': {'type': 'Mixup'}, 'epoch': 0}, draws=False),
    ],
}

CASES = [pytest.param(name, case, id=f'{name}-{i}') for name, cases in POLICIES.items() for i, case in enumerate(cases)]
every_case = pytest.mark.parametrize(('name', 'case'), CASES)
DEVICES = ['cpu', *(['cuda'] if torch.cuda.is_available() else [])]


def build(name: str, case: Case) -> MixPolicy:
    policy = MIXUPS.build({'type': name, **case.options})
    policy.attach(classifier(draw_batch(1), case) if case.merges else small_network())
    policy.read_counts(torch.tensor([500, 200, 80, 30, 10]))
    return policy


def small_network() -> Network:
    """Make the small network that a learned policy copies."""
    torch.manual_seed(0)
    backbone = torch.nn.Sequential(OrderedDict(layer3=torch.nn.Conv2d(3, 6, 4, stride=4), attend=Attention()))
    return Network(backbone, LinearHead(6, 5, init_std=None))


def draw_batch(n: int, height: int = 16, width: int = 16, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.rand(n, 3, height, width, generator=torch.Generator().manual_seed(n + height)).to(dtype)


def run(
    policy: MixPolicy, z: torch.Tensor, seed: int = 0, pairs: torch.Tensor | None = None, case: Case = PLAIN
) -> tuple[torch.Tensor, Mix]:
    context = MixContext(z, torch.arange(len(z), device=z.device) % 5, network=classifier(z, case))
    torch.manual_seed(seed)
    return policy(z, context, pairs)


def classifier(z: torch.Tensor, case: Case = PLAIN) -> Network:
    """Make the model for policies that need one, in the dtype and on the device of the images."""
    torch.manual_seed(0)
    if case.merges:
        sizes = dict(img_size=16, patch_size=4, embed_dim=24, depth=3, num_heads=2, dynamic_img_size=True)
        vit = timm.create_model('vit_tiny_patch16_224', num_classes=0, **sizes)
        return Network(vit, torch.nn.Linear(24, 5)).to(z)
    layers = OrderedDict(layer3=torch.nn.Conv2d(3, 6, 4, stride=4), act=torch.nn.GELU(), attend=Attention())
    pool = OrderedDict(pool=torch.nn.AdaptiveAvgPool2d(1), flat=torch.nn.Flatten())
    return Network(torch.nn.Sequential(layers | pool), torch.nn.Linear(6, 5)).to(z)


def pixel_shares(mix: Mix, z: torch.Tensor) -> torch.Tensor:
    """Compute the float64 share (N, K, 1 or H, 1 or W) of every source in every pixel."""
    if mix.mask is None:
        return mix.weight.double()[:, :, None, None]
    mask = mix.mask.double()
    return torch.cat([mask, 1 - mask], 1) if mix.source.shape[1] == 2 else mask


def check_mix(mix: Mix, z: torch.Tensor, case: Case, pairs: torch.Tensor | None = None) -> None:
    """Check that the `Mix` is well-formed and fits the batch."""
    n = len(z) if pairs is None else len(pairs)
    k = mix.source.shape[1]
    assert mix.source.shape == mix.weight.shape == (n, k)
    assert mix.source.dtype == torch.int64
    assert mix.weight.dtype == torch.float32
    assert mix.source.device == mix.weight.device == z.device
    assert mix.source.min() >= 0
    assert mix.source.max() < len(z)
    assert mix.weight.min() >= 0
    assert mix.weight.max() <= 1
    if case.label != 'own':
        torch.testing.assert_close(mix.weight.sum(1), torch.ones(n, device=z.device))
    if k <= 2:
        assert torch.equal(mix.source[:, 0], torch.arange(n, device=z.device))
    if k == 2 and pairs is not None:
        assert torch.equal(mix.partner, pairs)
    if mix.mask is not None:
        assert mix.mask.shape == (n, 1 if k == 2 else k, *z.shape[2:])
        assert mix.mask.is_floating_point()
        assert mix.mask.min() >= 0
        assert mix.mask.max() <= 1
        if case.label == 'area':
            area = pixel_shares(mix, z).mean((2, 3)).float()
            torch.testing.assert_close(mix.weight, area, rtol=0, atol=1e-5)


def check_pixels(mixed: torch.Tensor, mix: Mix, z: torch.Tensor, case: Case) -> None:
    """Check that every pixel is the weighted sum of its sources, recomputed in float64."""
    shares = pixel_shares(mix, z).expand(-1, -1, *z.shape[2:])
    wanted = (shares[:, :, None] * z.double()[mix.source]).sum(1)
    tolerance = 1e-5 if z.dtype in (torch.float32, torch.float64) else 0.02
    if case.moves_own:
        # Where it came from is for the policy's own test to tell.
        assert mixed.amin() >= z.amin() - tolerance
        assert mixed.amax() <= z.amax() + tolerance
    elif case.moves:
        still = (shares[:, :1] == 1).expand_as(wanted)
        assert torch.equal(mixed[still], z[: len(mixed)][still])
    else:
        torch.testing.assert_close(mixed.double(), wanted, rtol=0, atol=tolerance)


def check_contract(policy: MixPolicy, z: torch.Tensor, case: Case, pairs: torch.Tensor | None = None) -> None:
    """Check one policy with one batch."""
    before = z.clone()
    mixed, mix = run(policy, z, pairs=pairs, case=case)
    assert torch.equal(z, before), 'the input was written to'
    assert mixed.shape == (len(z) if pairs is None else len(pairs), *z.shape[1:])
    assert mixed.dtype == z.dtype
    assert mixed.device == z.device
    check_mix(mix, z, case, pairs)
    check_pixels(mixed, mix, z, case)


def check_constant_images(policy: MixPolicy, case: Case) -> None:
    """Check that images of one colour are mixed, on average over the pixels, by the label shares."""
    colours = torch.linspace(0, 1, 9)
    mixed, mix = run(policy, colours.view(9, 1, 1, 1).expand(9, 3, 16, 24).contiguous(), case=case)
    inside = (pixel_shares(mix, mixed) * colours.double()[mix.source][:, :, None, None]).sum(1, keepdim=True)
    torch.testing.assert_close(mixed.double(), inside.expand_as(mixed), rtol=0, atol=1e-5)
    if case.label == 'area':
        label = (mix.weight * colours[mix.source]).sum(1)
        torch.testing.assert_close(mixed.mean((1, 2, 3)), label, rtol=0, atol=1e-5)


def check_seeds(policy: MixPolicy, case: Case) -> None:
    """Check that the same seed gives the same result, and another seed another one."""
    z = draw_batch(8)
    (first, mix), (again, mix_again), (other, _) = (run(policy, z, seed, case=case) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert torch.equal(mix.source, mix_again.source)
    assert torch.equal(mix.weight, mix_again.weight)
    assert torch.equal(first, other) is not case.draws


def check_no_sync(policy: MixPolicy, case: Case = PLAIN) -> None:
    policy = policy.to(DEVICE)
    with torch.device(DEVICE):
        z, y, mean, std = torch.empty(6, 3, 16, 16), torch.empty(6, dtype=torch.int64), torch.empty(3), torch.empty(3)
        context = MixContext(z, y, mean=mean, std=std, network=classifier(z, case))
    child, _ = policy.pick()  # which child and which site is drawn on the host, before
    with no_waits():
        mixed, mix = child(z, context)
    assert {value.device.type for value in (mixed, mix.source, mix.weight)} == {DEVICE}


def test_every_policy_has_a_row_and_every_row_a_policy():
    policies = {name for name in registered(MIXUPS) if issubclass(MIXUPS.get(name), MixPolicy)}
    assert policies == set(POLICIES)
    assert all(POLICIES.values())


def test_every_pair_policy_is_run_with_both_shares():
    for name, cases in POLICIES.items():
        if issubclass(MIXUPS.get(name), PairPolicy):
            assert {case.options.get('share', 'sample') for case in cases} == {'sample', 'batch'}, name


def test_no_image_is_its_own_partner_where_that_is_excluded():
    z, rows, given = torch.empty(40, 3, 8, 8), torch.arange(40), torch.zeros(3, dtype=torch.int64)
    names = [name for name in POLICIES if issubclass(MIXUPS.get(name), PairPolicy)]
    assert names
    for name in names:
        torch.manual_seed(0)
        own = dict.fromkeys((True, False), 0)
        for self_pairs in own:
            policy = MIXUPS.build(dict(type=name, self_pairs=self_pairs))
            for _ in range(20):
                own[self_pairs] += int((policy.draw_pairs(z, None) == rows).sum())
            assert policy.draw_pairs(z, given) is given
        assert own[False] == 0 < own[True], name


@every_case
@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('n', [1, 2, 7, 8])
def test_contract_for_any_batch_size(name, case, n, device):
    check_contract(build(name, case).to(device), draw_batch(n).to(device), case)


@every_case
@pytest.mark.parametrize(('height', 'width'), [(16, 24), (24, 16), (28, 28), (32, 32)])
def test_contract_for_any_image_size(name, case, height, width):
    check_contract(build(name, case), draw_batch(5, height, width), case)


@every_case
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16, torch.float64])
def test_contract_for_any_float(name, case, dtype):
    check_contract(build(name, case), draw_batch(6, dtype=dtype), case)


@every_case
def test_contract_for_channels_last(name, case):
    check_contract(build(name, case), draw_batch(6).contiguous(memory_format=torch.channels_last), case)


@every_case
def test_contract_for_given_pairs_over_a_longer_pool(name, case):
    refused = contextlib.nullcontext() if case.pairs else pytest.raises(InputError, match='pairs')
    with refused:
        check_contract(build(name, case), draw_batch(9), case, pairs=torch.tensor([8, 5, 5, 0]))


@every_case
def test_constant_images_blend_to_the_label_share(name, case):
    check_constant_images(build(name, case), case)


@every_case
def test_same_seed_same_result_other_seed_other_result(name, case):
    check_seeds(build(name, case), case)


@every_case
def test_nothing_waits_for_the_device(name, case):
    check_no_sync(build(name, case), case)


@every_case
def test_a_batch_share_is_one_for_all_samples_and_a_sample_share_is_not(name, case):
    policy = build(name, case)
    if not isinstance(policy, PairPolicy):
        assert 'share' not in case.options or name == 'OneOf'  # whose share is of the choice, tested below
        return
    _, mix = run(policy, draw_batch(16), case=case)
    if case.looks:
        followed = mix.lam if mix.mask is None else mix.mask
        assert not bool((followed == followed[:1]).all())
        lam = policy.draw_lam(16, mix.lam.device)
        assert bool((lam == lam[0]).all()) == (policy.share == 'batch')
        return
    if case.label not in ('own', 'seen'):
        one_share = bool((mix.lam == mix.lam[0]).all())
        assert one_share == (policy.share == 'batch')
    if mix.mask is not None:
        assert bool((mix.mask == mix.mask[:1]).all()) == (policy.share == 'batch')


@pytest.mark.parametrize('probs', [[0.5, 0.5], [0.2, 0.8], [1.0, 0.0], None])
def test_one_of_draws_its_children_as_often_as_it_says(probs):
    torch.manual_seed(0)
    policy = MIXUPS.build(
        {'type': 'OneOf', 'policies': [{'type': 'Mixup', 'sites': ('', 'layer1')}, {'type': 'CutMix'}], 'probs': probs}
    )
    first = sum(policy.pick()[0] is policy.choices()[0] for _ in range(2000))
    wanted = 0.5 if probs is None else probs[0]
    assert abs(first - 2000 * wanted) <= 4 * math.sqrt(2000 * wanted * (1 - wanted))
    assert policy.all_sites() == {'', 'layer1'}


@pytest.mark.parametrize(
    ('probs', 'line'),
    [
        ([0.5], '2 policies need as many probs, probabilities that sum to 1'),
        ([0.7, 0.7], '2 policies need as many probs, probabilities that sum to 1'),
        ([-0.5, 1.5], r'probs must be in \[0, 1\], got -0.5'),
    ],
)
def test_one_of_refuses_probabilities_that_do_not_fit(probs, line):
    with pytest.raises(InputError, match=line):
        MIXUPS.build({'type': 'OneOf', 'policies': [{'type': 'Mixup'}, {'type': 'CutMix'}], 'probs': probs})


def test_one_of_names_the_nearest_policy():
    with pytest.raises(InputError, match="did you mean 'CutMix'"):
        MIXUPS.build({'type': 'OneOf', 'policies': [{'type': 'CutMx'}]})


TOY = '''
"""Stripes: every other row is the partner's."""

import torch

from openmix.mix import Mix
from openmix.mixups.base import PairPolicy
from openmix.registry import MIXUPS


@MIXUPS.register_module()
class ToyStripes(PairPolicy):
    def forward(self, z, context=None, pairs=None):
        height, width = self.height_and_width(z)
        partner = self.draw_pairs(z, pairs)
        mask = (torch.arange(height, device=z.device) % 2).float().view(1, 1, -1, 1)
        mask = mask.expand(len(partner), 1, height, width)
        mix = Mix.pairs(partner, mask.mean((1, 2, 3)), mask)
        return mix.blend(z), mix
'''


@pytest.fixture
def toy(tmp_path):
    """Write a user's policy as one file, with no other change."""
    (tmp_path / 'toy_stripes.py').write_text(TOY)
    spec = importlib.util.spec_from_file_location('toy_stripes', tmp_path / 'toy_stripes.py')
    MIXUPS.get('Mixup')  # what is there is imported before
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    yield 'ToyStripes'
    MIXUPS.module_dict.pop('ToyStripes')


def test_a_dropped_in_policy_passes_and_works_in_one_of(toy):
    inside = Case({'policies': [{'type': toy}, {'type': 'Mixup'}], 'probs': [1.0, 0.0]})
    for name, case in ((toy, Case()), ('OneOf', inside)):
        policy = build(name, case)
        for z in (draw_batch(1), draw_batch(7), draw_batch(4, 16, 24), draw_batch(4, dtype=torch.bfloat16)):
            check_contract(policy, z, case)
        check_contract(policy, draw_batch(9), case, pairs=torch.tensor([8, 5, 5, 0]))
        check_constant_images(policy, case)
        check_seeds(policy, case)
        check_no_sync(policy)


def test_one_of_draws_a_child_for_every_sample():
    """Samples of each child look as the child alone mixes them, and are as many as its probability says."""
    children = [{'type': 'NoMix'}, {'type': 'Mixup', 'lam_range': (0.4, 0.6)}, {'type': 'CutMix', 'correct_lam': False}]
    policy = MIXUPS.build({'type': 'OneOf', 'policies': children, 'probs': [0.2, 0.3, 0.5], 'share': 'sample'})
    torch.manual_seed(0)
    z = torch.rand(2000, 1, 4, 4)
    mixed, mix = policy(z)
    inside = ((mix.mask > 0) & (mix.mask < 1)).flatten(1).any(1)
    kept = (mix.lam == 1) & (mix.mask == 1).flatten(1).all(1)
    assert torch.equal(mixed[kept], z[kept])
    counts = torch.stack([kept, inside, ~kept & ~inside]).double().mean(1)
    assert (counts - torch.tensor([0.2, 0.3, 0.5])).abs().max() < 0.04
    assert ((mix.lam[inside] >= 0.4) & (mix.lam[inside] <= 0.6)).all()
    torch.testing.assert_close(mixed, mix.mask * z + (1 - mix.mask) * z[mix.partner])


@pytest.mark.parametrize(
    ('child', 'line'),
    [
        ({'type': 'Mixup', 'sites': ('', 'layer3')}, 'mixes features'),
        ({'type': 'PuzzleMix', 'clean_weight': 1.0}, 'trains on clean images too'),
        ({'type': 'CutMix', 'self_pairs': False}, 'the same self_pairs'),
    ],
)
def test_one_of_refuses_a_child_that_cannot_be_drawn_for_a_sample(child, line):
    with pytest.raises(InputError, match=line):
        MIXUPS.build({'type': 'OneOf', 'policies': [{'type': 'Mixup'}, child], 'share': 'sample'})


def test_one_of_refuses_what_has_no_pairs_or_is_learned_for_a_sample():
    with pytest.raises(InputError, match='pairs'):
        run(
            build('OneOf', Case({'policies': [{'type': 'CoMixup', 'clean_weight': 0.0}], 'share': 'sample'})),
            draw_batch(4),
        )
    with pytest.raises(InputError, match='AutoMix trains on clean images'):
        build('OneOf', Case({'policies': [{'type': 'AutoMix'}], 'share': 'sample'}))
    learned = MIXUPS.get('Mixup')()
    learned.block = torch.nn.Linear(1, 1)
    with pytest.raises(InputError, match='trained by whole batches'):
        MIXUPS.get('OneOf')([learned], share='sample').attach(small_network())


def test_until_stops_to_mix_at_its_epoch():
    policy, z = MIXUPS.build({'type': 'Until', 'policy': {'type': 'Mixup'}, 'epoch': 2}), draw_batch(6)
    for epoch, mixes in ((0, True), (1, True), (2, False), (7, False), (1, True)):
        policy.before_epoch(epoch)
        for mixed, mix in (policy(z), policy.pick()[0](z)):
            assert torch.equal(mixed, z) is not mixes
            assert mix.source.shape[1] == 1 + mixes
    with pytest.raises(InputError, match='epoch must be >= 0'):
        MIXUPS.build({'type': 'Until', 'policy': {'type': 'Mixup'}, 'epoch': -1})
