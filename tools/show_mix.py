"""Draw a batch before and after mixing: tools/show_mix.py CONFIG [--policy CutMix ...] [--out FILE.png]."""

import argparse
from pathlib import Path

import torch
from mmengine.config import Config, DictAction
from mmengine.runner import Runner
from torch.utils.tensorboard import SummaryWriter

from openmix.config import load_config, work_dir_of
from openmix.engine import launch
from openmix.engine.seeding import step_seed
from openmix.errors import InputError, command
from openmix.evaluation.draw import MixedBatch, draw_mixes, to_array
from openmix.models.classifier import MixClassifier
from openmix.registry import DATASETS, MIXUPS, MODELS, find


def leaves(policy: dict) -> list[dict]:
    """The policies of a recipe: itself, or every child of a mixture."""
    return [leaf for child in policy['policies'] for leaf in leaves(child)] if 'policies' in policy else [policy]


def title_of(policy: dict) -> str:
    args = [f'{key}={value}' for key, value in policy.items() if key != 'type']
    return '\n'.join([policy['type'], *args])


def mix_batch(cfg: Config, policy: dict, batch: dict, seed: int) -> MixedBatch:
    """Augment a loader's batch and mix it as a training step of this recipe would."""
    torch.manual_seed(seed)
    model = MODELS.build({**cfg.model, 'policy': policy})
    assert isinstance(model, MixClassifier)
    data = model.data_preprocessor(batch, training=True)
    x, y = data['inputs'], data['labels']
    probe = model.probe(x, y)
    picked, site = model.policy.pick()
    seen = []

    def mix_here(z: torch.Tensor) -> torch.Tensor:
        z, mix = picked(z, probe)
        seen.append(mix)
        return z

    with torch.no_grad():
        if site == '':
            mixed = model.data_preprocessor.denormalize(mix_here(x))
        else:
            mixed = None
            with model.sites.armed(site, mix_here):
                model.backbone(x)
    title = title_of(policy) + (f'\nat {site}' if site else '')
    return MixedBatch(title, probe.pixels, mixed, y, seen[0])


@command
def main() -> None:
    parser = argparse.ArgumentParser(description='Draw a batch before and after mixing, with labels and lambda.')
    parser.add_argument('config', help='a recipe, by path or by its name below configs/')
    parser.add_argument('--policy', nargs='+', metavar='NAME', help="these policies instead of the recipe's")
    parser.add_argument('--out', help='the PNG (default: show_mix.png in the work folder)')
    parser.add_argument('--count', type=int, default=8, help='samples to show')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={}, metavar='K=V')
    args = parser.parse_args()
    if args.count < 1:
        raise InputError(f'--count must be at least 1, got {args.count}')

    cfg = launch.prepare(load_config(args.config, args.cfg_options))
    policies = [dict(type=name) for name in args.policy or []] or leaves(cfg.model.policy)
    for policy in policies:
        find(MIXUPS, policy['type'])
    loader = dict(cfg.train_dataloader) | {'batch_size': max(args.count, 2), 'num_workers': 0}
    loader.pop('persistent_workers', None)
    dataset = dict(cfg.train_dataloader.dataset)
    classes = find(DATASETS, dataset.pop('type')).facts(**dataset).classes
    batch = next(iter(Runner.build_dataloader(loader, seed=args.seed)))
    seeds = [step_seed(args.seed, i, 0) for i in range(len(policies))]
    batches = [mix_batch(cfg, dict(policy), batch, seed) for policy, seed in zip(policies, seeds)]

    figure = draw_mixes(batches, classes, args.count)
    work_dir = Path(cfg.get('work_dir') or work_dir_of(args.config))
    out = Path(args.out) if args.out else work_dir / 'show_mix.png'
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=150)
    with SummaryWriter(str(out.parent / 'show_mix')) as writer:
        writer.add_image('mixed batch', to_array(figure))
    print(out)


if __name__ == '__main__':
    main()
