"""Draw a batch before and after mixing: tools/show_mix.py CONFIG [--policy CutMix ...] [--out FILE.png]."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mmengine.config import Config

from openmix.arguments import CommandParser, check_out, is_name
from openmix.batch import Batch, pools_of
from openmix.config import load_config
from openmix.config_files import config_path, files_of, work_dir_of
from openmix.entry_point import command
from openmix.errors import InputError, brief, check_number
from openmix.files import appearing

if TYPE_CHECKING:
    import torch

    from openmix.evaluation.draw import MixedBatch
    from openmix.mixups.base import MixPolicy
    from openmix.models.classifier import Classifier

LAMS = [i / 10 for i in range(11)]
BRANCHES = ('branch', 'labelled_branch')
FORMATS = ('.png', '.pdf', '.svg')


def places_of(cfg: Config) -> list[str]:
    """Return the keys of a recipe's model that have a policy; that of the whole model is ''.

    Raises:
        InputError: there is none, or the model predicts no classes.
    """
    from openmix.engine.answers import check_answers
    from openmix.models.semisup.base import SemiSupervised
    from openmix.registry import MODELS, find

    if isinstance(cfg.model.get('policy'), dict):
        check_answers(cfg, {'logits'}, '', 'show_mix')
        return ['']
    name, cls = cfg.model.get('type'), find(MODELS, cfg.model.get('type'))
    if not isinstance(cls, type) or not issubclass(cls, SemiSupervised):
        raise InputError(f"show_mix draws what a recipe's model.policy mixes, and {name} has none")
    found = [branch for branch in BRANCHES if cfg.model.get(branch) is not None]
    if not found:
        raise InputError(
            f'show_mix draws what a mixed branch of {name} mixes, and the recipe has none; give one, as in '
            "--cfg-options 'model.branch={policy: {type: NAME}}'"
        )
    return found


def policy_at(cfg: Config, place: str) -> dict:
    """Return the policy at a place that `places_of` names."""
    return cfg.model[place].policy if place else cfg.model.policy


def title_of(policy: dict) -> str:
    args = [f'{key}={value}' for key, value in policy.items() if key != 'type']
    return '\n'.join([policy['type'], *args])


def build(cfg: Config, place: str, policy: dict, checkpoint: dict | None, path: str, ema: bool) -> Classifier:
    """Build the recipe's model with a policy at a place, with initial weights or those of a checkpoint from `path`.

    Raises:
        InputError: the model neither is a `MixClassifier` nor has branches, or the policy mixes with earlier batches.
    """
    from openmix.engine.blame import building
    from openmix.engine.checkpoint import put_weights
    from openmix.mixups.base import MixPolicy
    from openmix.models.classifier import MixClassifier
    from openmix.models.semisup.base import SemiSupervised
    from openmix.registry import MODELS

    changed = {place: {**cfg.model[place], 'policy': policy}} if place else {'policy': policy}
    with building(cfg, 'model' if place else 'model.policy', policy['type']):
        model = MODELS.build({**cfg.model, **changed})
    if not isinstance(model, SemiSupervised if place else MixClassifier):
        raise InputError(f'show_mix draws what a MixClassifier mixes, and the recipe trains a {type(model).__name__}')
    for one in model.modules():
        if isinstance(one, MixPolicy) and one.remembers:
            name = type(one).__name__
            raise InputError(
                f'show_mix draws one batch, and {name} mixes it with the batch before; draw another policy'
            )
    if checkpoint is not None:
        put_weights(model, checkpoint, path, ema)
    return model


def mixable(batch: Batch) -> Batch:
    """The part of a batch whose labels are mixed: all of it, or its one pool that has labels.

    Raises:
        InputError: none of its pools has labels, or several have.
    """
    pools = pools_of(batch)
    found = [one for one in pools.values() if 'labels' in one]
    if '' not in pools and len(found) != 1:
        raise InputError(f'show_mix draws the one pool that has labels, of {", ".join(pools)} it is {len(found)}')
    return pools.get('', *found[:1])


class Drawn(NamedTuple):
    """A policy of a model, and the clean images that it mixes: all of a batch with each other, or pairs."""

    model: Classifier
    policy: MixPolicy
    images: torch.Tensor
    labels: torch.Tensor
    partner: torch.Tensor | None = None
    title: str = ''


def drawn(model: Classifier, place: str, title: str, dataset: Any, batch: Batch) -> Drawn:
    """Augment a loader's batch, and choose what a training step would mix of it.

    Where a training step draws the pairs, each image is mixed with the one before it, by every policy alike. The labels
    of unlabelled images are the pseudo-labels of the method.
    """
    import torch

    from openmix.memory import images_in, memories_in
    from openmix.mixups import PairPolicy

    data = model.data_preprocessor(batch, training=True)
    if not place:
        data = mixable(data)
        # So that pictures of several policies have the same pairs.
        pairs = torch.arange(len(data['inputs'])).roll(1) if isinstance(model.policy, PairPolicy) else None
        return Drawn(model, model.policy, data['inputs'], data['labels'], pairs, title)
    for memory in memories_in(model):
        memory.allocate(images_in(dataset, memory.pool))
    x, y, views = model.read(data)
    branch = model.branches()[place]
    with torch.no_grad():
        guess = model.losses(x, y, views, data['unlabelled']['ids'])[1] if place == 'branch' else None
    pairs = (
        model.labelled_branch_pairs(branch, x, y) if guess is None else model.branch_pairs(branch, x, y, views, guess)
    )
    title = f'{place}: {title}'
    if pairs.rows is not None:
        title += f'\n{int(pairs.rows.sum())} of {len(y)} pairs count'
    return Drawn(model, branch.policy, pairs.clean, pairs.labels, pairs.partner, title)


def mix_batch(of: Drawn, with_maps: bool) -> MixedBatch:
    """Mix images as a training step would."""
    import torch

    from openmix.evaluation.draw import MixedBatch
    from openmix.models.mixing import mixed_features

    model, context = of.model, of.model.context(of.images, of.labels)
    with torch.no_grad():
        mixed = mixed_features(model.backbone, model.sites, of.policy, context, of.partner)
    mix = mixed.mix
    maps = mixed.policy.maps(context, mix) if with_maps else {}
    if with_maps and mix.mask is not None:
        maps.setdefault('mask', mix.mask[:, :1])
    # A sample with several views is drawn as its first view.
    pixels = context.pixels if context.x.dim() == 4 else context.pixels[:, 0]
    images = None if mixed.site else model.data_preprocessor.denormalize(mixed.tensor)
    title = of.title + (f'\nat {mixed.site}' if mixed.site else '')
    return MixedBatch(title, pixels, images, of.labels, mix, maps)


def mix_as_others(of: Drawn) -> MixedBatch:
    """Mix the pairs that a gallery has for all; a policy that groups images in its own way refuses pairs, and draws."""
    import torch

    pairs = torch.arange(len(of.images)).roll(1)
    try:
        return mix_batch(of._replace(partner=pairs), with_maps=False)
    except InputError:
        return mix_batch(of._replace(partner=None), with_maps=False)


def buildable(cfg: Config, policies: list[dict], *weights: Any) -> list[tuple[str, dict, Classifier]]:
    """Build the recipe's model with each policy; print a line for each whose defaults do not fit.

    Raises:
        InputError: a policy whose arguments the recipe gives does not fit.
    """
    found = []
    for policy in policies:
        try:
            found.append(('', policy, build(cfg, '', dict(policy), *weights)))
        except InputError as error:
            if policy.keys() != {'type'}:
                raise
            print(f'left out: {error}')
    return found


def mix_over_lam(of: Drawn, seed: int) -> torch.Tensor:
    """Mix the same pairs of a batch with lam = 0, 0.1, ... 1 and otherwise equal random draws.

    Returns:
        (N, 11, 3, H, W) images.

    Raises:
        InputError: the policy draws no lam.
    """
    import torch

    from openmix.evaluation.mixed_at import mixed_at

    others = torch.arange(len(of.images)).roll(1) if of.partner is None else of.partner
    context = of.model.context(of.images, of.labels)
    return mixed_at('--strip', of.policy, context, of.model.data_preprocessor, others, LAMS, seed)


@command
def main() -> None:
    parser = CommandParser('Draw a batch before and after mixing, with labels and lambda.')
    parser.add_recipe()
    parser.add_list('--policy', is_name, metavar='NAME ...', help="these policies instead of the recipe's")
    parser.add_argument(
        '--out', metavar='FILE', help='the file: .png, .pdf or .svg (default: show_mix.png in the work folder)'
    )
    parser.add_argument('--count', type=int, default=8, metavar='N', help='how many to show: samples (default: 8)')
    parser.add_argument('--maps', action='store_true', help='also the masks, and the saliency or attention behind them')
    parser.add_argument('--strip', action='store_true', help='mix the same pairs with lambda = 0, 0.1, ... 1 instead')
    parser.add_argument(
        '--gallery',
        action='store_true',
        help="every registered policy on the same pairs; the arguments are those of the recipe's policies, or defaults",
    )
    parser.add_argument('--rows', metavar='GLOB', help="only these rows, such as 'Cut*'")
    parser.add_argument(
        '--checkpoint', metavar='FILE', help='a checkpoint: for policies that ask the model (default: initial weights)'
    )
    parser.add_ema()
    parser.add_argument('--seed', type=int, default=0, metavar='N', help='seed of the draws (default: 0)')
    parser.add_cfg_options()
    args = parser.parse_args()
    if args.count < 1:
        raise InputError(f'--count must be at least 1, got {args.count}')
    check_number('--seed', args.seed, 0, 2**32 - 1)
    if args.ema and not args.checkpoint:
        raise InputError('--ema needs --checkpoint: initial weights have no moving average')
    if args.maps and args.strip:
        raise InputError('--strip draws no masks; leave out --maps, or --strip')
    if args.gallery and (args.policy or args.maps or args.strip):
        raise InputError('--gallery draws one row of images a policy; leave out --policy, --maps and --strip')
    if args.rows and not args.gallery:
        raise InputError('--rows chooses policies of --gallery; give both, or --policy NAME ...')
    cfg = load_config(args.config, args.cfg_options)
    work_dir = Path(cfg.get('work_dir') or work_dir_of(args.config))
    out = Path(args.out) if args.out else work_dir / 'show_mix.png'
    check_out('--out', out, *files_of(config_path(args.config)), args.checkpoint)
    events_at = out.parent / 'show_mix'
    check_out('--out', events_at / 'events')
    if out.suffix.lower() not in FORMATS:
        raise InputError(f'--out: the picture is one of {", ".join(FORMATS)}, not {brief(out.name)}')

    import torch
    from torch.utils.tensorboard import SummaryWriter

    from openmix.engine import launch
    from openmix.engine.checkpoint import read_checkpoint
    from openmix.engine.data_check import built_classes, check_built, group_of, trained_classes
    from openmix.engine.runner import Runner
    from openmix.engine.seeding import step_seed
    from openmix.evaluation.draw import draw_gallery, draw_mixes, draw_strip, to_array
    from openmix.evaluation.gallery import leaves, of_gallery
    from openmix.registry import MIXUPS, find

    cfg = launch.prepare(cfg)
    if cfg.get('train_dataloader') is None:
        raise InputError('the recipe has no train_dataloader')
    named = [dict(type=name) for name in args.policy or []]
    places = places_of(cfg)
    if args.gallery and places != ['']:
        raise InputError('--gallery draws policies of a model.policy, and this recipe has a mixed branch')
    asked_for = [(place, policy) for place in places for policy in named or leaves(policy_at(cfg, place))]
    for _, policy in asked_for:
        find(MIXUPS, policy['type'])
    # Of samples that are drawn together one is labelled.
    size = max(args.count, 2) * group_of(cfg, 'train')
    asked = dict(cfg.train_dataloader) | {'batch_size': size, 'num_workers': 0}
    asked.pop('persistent_workers', None)
    loader = Runner.build_dataloader(asked, seed=args.seed)
    path, checkpoint = args.checkpoint or '', read_checkpoint(args.checkpoint) if args.checkpoint else None
    if checkpoint is not None:
        check_built(loader.dataset, trained_classes(checkpoint, path), 'train_dataloader.dataset', f"'{path}'")
    batch = next(iter(loader))
    classes = built_classes(loader.dataset) or tuple(map(str, range(int(mixable(batch)['labels'].max()) + 1)))
    torch.manual_seed(args.seed)
    weights = checkpoint, path, args.ema
    if args.gallery:
        built = buildable(cfg, of_gallery([policy for _, policy in asked_for], args.rows or '*'), *weights)
    else:
        built = [(place, policy, build(cfg, place, dict(policy), *weights)) for place, policy in asked_for]
    strips: list[torch.Tensor] = []
    titles: list[str] = []
    mixes: list[MixedBatch] = []
    # One seed for all, so that every policy is given the same augmented images.
    seed = step_seed(args.seed, 0, 0)
    for place, policy, model in built:
        torch.manual_seed(seed)
        title = policy['type'] if args.gallery else title_of(policy)
        one = drawn(model, place, title, loader.dataset, batch)
        if args.gallery:
            mixes.append(mix_as_others(one))
        elif args.strip:
            strips.append(mix_over_lam(one, seed)[: args.count])
            titles += [one.title] * len(strips[-1])
        else:
            mixes.append(mix_batch(one, args.maps))
    if args.strip:
        figure = draw_strip(torch.cat(strips), LAMS, titles)
    else:
        figure = (draw_gallery if args.gallery else draw_mixes)(mixes, classes, args.count)
    out.parent.mkdir(parents=True, exist_ok=True)
    with appearing(out) as partial:
        figure.savefig(partial, dpi=150)
    with SummaryWriter(str(events_at)) as writer:
        writer.add_image('mixed batch', to_array(figure))
    print(out)


if __name__ == '__main__':
    main()
