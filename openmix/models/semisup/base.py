"""`SemiSupervised`: the base of methods that train a classifier on a labelled and an unlabelled pool."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from openmix.algorithm import Network
from openmix.batch import LABELLED, UNLABELLED, Batch
from openmix.errors import InputError
from openmix.models.classifier import Classifier
from openmix.models.mixing import mixed_features
from openmix.models.semisup.branch import MixedBranch, Pairs, faults_of
from openmix.models.semisup.targets import PseudoLabels
from openmix.ops.batches import what
from openmix.ops.kept_buffers import KeptBuffers
from openmix.ops.schedules import linear_ramp
from openmix.registry import MODELS, Built, HeadConfig, ModelConfig, PreprocessorConfig

BranchConfig = Annotated[dict, Built(MODELS, default=MixedBranch.__name__)]


class SemiSupervised(Classifier):
    """A classifier trained on a labelled and an unlabelled pool; a method derives from it and implements `losses`.

    A batch is {'labelled': {...}, 'unlabelled': {...}}, as `Pools` gives it. Known labels of the unlabelled images,
    `true_labels`, are only measured with: a method never sees them. Two diagnostics are recorded, where they are
    known: `mask_rate`, the share of unlabelled images that the method trains on, and `pseudo_label_accuracy`, the
    share of right classes among them.

    The loss of the head is that of the labelled images, which only some methods mix: elsewhere DM's term has no pairs.
    That of the unlabelled images is the method's.

    Args:
        backbone, head, data_preprocessor: see `Classifier`.
        branch: options of a branch that mixes labelled with unlabelled images, see `MixedBranch`; None: there is none.
        labelled_branch: options of one that mixes labelled images with one another; None: there is none.
        grad_checkpointing, ten_crop: see `MixClassifier`.

    Attributes:
        labelled_views: the views of every labelled image that the method reads, in their order.
        views: those of every unlabelled image.
        ramp: share of the training over which the weight of the unlabelled images rises linearly from 0; 0: none.
        progress: share of the training that is done, in [0, 1).

    Raises:
        InputError: an unknown part, or an option out of range.
    """

    labelled_views: ClassVar[tuple[str, ...]] = ('weak',)
    views: ClassVar[tuple[str, ...]]
    ramp: float = 0.0

    def __init__(
        self,
        backbone: ModelConfig,
        head: HeadConfig,
        branch: BranchConfig | None = None,
        labelled_branch: BranchConfig | None = None,
        data_preprocessor: PreprocessorConfig | None = None,
        grad_checkpointing: bool | Sequence[str] = False,
        ten_crop: int | tuple[int, int] | None = None,
    ) -> None:
        super().__init__(backbone, head, data_preprocessor, ten_crop)
        self.branch = self.built_branch('branch', branch, self.views)
        self.labelled_branch = self.built_branch('labelled_branch', labelled_branch, self.labelled_views)
        self.progress = 0.0
        policies = [one.policy for one in self.branches().values()]
        self.finish(*policies, grad_checkpointing=grad_checkpointing)
        for name, one in self.branches().items():
            with faults_of(name):
                one.check_untrained()

    def built_branch(self, name: str, options: BranchConfig | None, views: tuple[str, ...]) -> MixedBranch | None:
        """Build a mixed branch, if there are options of one.

        Args:
            name: the argument.
            options: its registry dict.
            views: the views of the images that are the partners.

        Raises:
            InputError: an option is wrong, or there is no such view.
        """
        if options is None:
            return None
        with faults_of(name):
            built = MODELS.build({'type': MixedBranch.__name__, **options})
            if not isinstance(built, MixedBranch):
                raise InputError(f'{type(built).__name__} is no mixed branch; leave its type out')
            built.attach(self.online())
            if built.view >= len(views):
                named = ', '.join(f'{place} ({view})' for place, view in enumerate(views))
                raise InputError(f'view is {built.view}, and {type(self).__name__} has {named}')
        return built

    def branches(self) -> dict[str, MixedBranch]:
        """Return the mixed branches by the name of their argument."""
        found = {'branch': self.branch, 'labelled_branch': self.labelled_branch}
        return {name: branch for name, branch in found.items() if branch is not None}

    def losses(
        self, x: Tensor, y: Tensor, views: tuple[Tensor, ...], ids: Tensor
    ) -> tuple[dict[str, Tensor], PseudoLabels]:
        """Compute the method's losses by name, and its pseudo-labels; the only duty of a method.

        Args:
            x: (B, 3, H, W) normalised labelled images; (B, V, 3, H, W) if the method reads V > 1 `labelled_views`.
            y: (B,) int64 labels.
            views: the `views` of U unlabelled images, each (U, 3, H, W).
            ids: (U,) int64 indices of the unlabelled images in their pool.
        """
        raise NotImplementedError

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Compute the losses of a batch of two pools, and the diagnostics.

        Raises:
            InputError: the batch has no two such pools, other views than the method reads, or known labels that are not
                one for each unlabelled image.
        """
        x, y, views = self.read(batch)
        unlabelled = batch[UNLABELLED]
        losses, guess = self.losses(x, y, views, unlabelled['ids'])
        if self.branch is not None:
            pairs, ramp = self.branch_pairs(self.branch, x, y, views, guess), self.branch.ramp
            weight = self.branch.weight * self.rise(self.ramp if ramp is None else ramp)
            losses['branch_loss'] = weight * self.mixed_loss(self.branch, pairs)
        if self.labelled_branch is not None:
            pairs, ramp = self.labelled_branch_pairs(self.labelled_branch, x, y), self.labelled_branch.ramp
            weight = self.labelled_branch.weight * self.rise(ramp or 0.0)
            losses['labelled_branch_loss'] = weight * self.mixed_loss(self.labelled_branch, pairs)
        return losses | measured(guess, unlabelled.get('true_labels'))

    def read(self, batch: Batch) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Check a batch; return the labelled images as `losses` takes them, their labels, and the unlabelled views.

        Raises:
            InputError: see `loss`.
        """
        name = type(self).__name__
        if any(not isinstance(batch.get(pool), dict) for pool in (LABELLED, UNLABELLED)):
            raise InputError(
                f"{name} trains on the pools '{LABELLED}' and '{UNLABELLED}', and the batch has not both; set "
                "train_dataloader.dataset=dict(type='Pools', ...) and train_dataloader.sampler=dict(type='PoolSampler')"
            )
        of_labelled, y = all_views(batch[LABELLED]['inputs']), batch[LABELLED].get('labels')
        if y is None:
            raise InputError(f"{name} learns from the labels of the pool '{LABELLED}', and the batch has none")
        if batch[UNLABELLED].get('ids') is None:
            raise InputError(f"{name}: the pool '{UNLABELLED}' of the batch has no ids, the places of its images")
        views = all_views(batch[UNLABELLED]['inputs'])
        check_views(name, LABELLED, self.labelled_views, of_labelled)
        check_views(name, UNLABELLED, self.views, views)
        size = tuple(of_labelled[0].shape[1:])
        for pool, of_pool in ((LABELLED, of_labelled), (UNLABELLED, views)):
            for place, view in enumerate(of_pool):
                if (found := tuple(view.shape[1:])) != size:
                    raise InputError(
                        f'{name}: all views must have the size of the labelled images, {size}, and view {place} of the '
                        f"pool '{pool}' has {found}; give both pools the same size, or a crop to it"
                    )
        return of_labelled[0] if len(of_labelled) == 1 else torch.stack(of_labelled, 1), y, views

    def together(self, *images: Tensor) -> tuple[Tensor, ...]:
        """Compute the (N, C) logits of several batches in one pass, which is one batch for batch norm."""
        return self.online()(torch.cat(images)).split([len(one) for one in images])

    def rise(self, over: float) -> float:
        """Return the factor in [0, 1] of a weight that rises linearly over this share of the training."""
        return linear_ramp(self.progress, over)

    def branch_pairs(
        self, branch: MixedBranch, x: Tensor, y: Tensor, views: tuple[Tensor, ...], guess: PseudoLabels
    ) -> Pairs:
        """Draw a random unlabelled partner of every labelled image, the first view of images that `losses` takes."""
        labelled, images = all_views(x)[0], views[branch.view]
        n, unlabelled = len(labelled), len(images)
        partner = torch.randperm(-(-n // unlabelled) * unlabelled, device=x.device)[:n] % unlabelled
        rows = None if guess.mask is None else guess.mask[partner]
        clean, labels = torch.cat([labelled, images[partner]]), torch.cat([y, guess.classes[partner]])
        return Pairs(clean, labels, torch.arange(n, 2 * n, device=x.device), rows)

    def labelled_branch_pairs(self, branch: MixedBranch, x: Tensor, y: Tensor) -> Pairs:
        """Draw a permutation of labelled images as their partners, of images that `losses` takes."""
        views, partner = all_views(x), torch.randperm(len(y), device=y.device)
        if branch.view == 0:
            return Pairs(views[0], y, partner)
        return Pairs(torch.cat([views[0], views[branch.view]]), torch.cat([y, y]), len(y) + partner)

    def mixed_loss(self, branch: MixedBranch, pairs: Pairs) -> Tensor:
        """Mix pairs as a branch does, and compute its loss of the mixed images, without its weight."""
        kept = KeptBuffers(self.online()) if branch.statistics == 'kept' else nullcontext()
        with kept:
            context = self.context(pairs.clean, pairs.labels)
            mixed = mixed_features(self.backbone, self.sites, branch.policy, context, pairs.partner)
            logits = (self.head if branch.head is None else branch.head)(mixed.features)
        return branch.loss(logits, pairs.labels, mixed.mix, pairs.rows)

    def networks(self) -> dict[str, Network]:
        found = super().networks()
        for name, branch in self.branches().items():
            if branch.head is not None:
                found[name] = Network(self.backbone, branch.head)
        return found

    def ways(self) -> Iterator[AbstractContextManager[None]]:
        if not self.branches():
            yield from super().ways()
        for branch in self.branches().values():
            yield from branch.policy.ways()

    def start(self) -> None:
        for branch in self.branches().values():
            branch.policy.start(self.online())

    def before_epoch(self, epoch: int) -> None:
        for branch in self.branches().values():
            branch.policy.before_epoch(epoch)

    def before_step(self, step: int, steps: int) -> None:
        self.progress = step / steps
        for branch in self.branches().values():
            branch.policy.before_step(step, steps)

    def after_step(self) -> None:
        for branch in self.branches().values():
            branch.policy.after_step(self.online())


def check_views(name: str, pool: str, wanted: tuple[str, ...], views: tuple[Tensor, ...]) -> None:
    """Check that the images of a pool have the views that a method reads.

    Raises:
        InputError: they have more or fewer.
    """
    if len(views) == len(wanted):
        return
    if len(wanted) == 1:
        raise InputError(f'{name} reads one view of every {pool} image, and the batch has {len(views)}')
    raise InputError(
        f'{name} reads {len(wanted)} views of every {pool} image ({", ".join(wanted)}), and the batch has '
        f"{len(views)}; list as many pipelines in augment of the preprocessor for the pool '{pool}', or in a MultiView "
        'of that pool'
    )


def all_views(inputs: Any) -> tuple[Tensor, ...]:
    """Return the views of images (N, 3, H, W), (N, V, 3, H, W) or a list of V tensors, each (N, 3, H, W).

    Raises:
        InputError: the images have another shape.
    """
    if isinstance(inputs, Tensor) and inputs.dim() in (4, 5):
        return inputs.unbind(1) if inputs.dim() == 5 else (inputs,)
    if isinstance(inputs, (list, tuple)):
        return tuple(inputs)
    raise InputError(f'inputs must be (N, 3, H, W) images, or (N, V, 3, H, W) with V views, got {what(inputs)}')


def measured(guess: PseudoLabels, truth: Tensor | None) -> dict[str, Tensor]:
    """Compute the diagnostics of pseudo-labels, without gradient and GPU sync.

    Args:
        guess: the pseudo-labels of U images.
        truth: (U,) int64 labels, if they are known. A batch in which all images are masked has no accuracy, a nan,
            which the records leave out.

    Raises:
        InputError: there is not one label for each pseudo-label.
    """
    mask = guess.mask
    found = {} if mask is None else {'mask_rate': mask.detach().mean()}
    if truth is not None:
        if not isinstance(truth, Tensor) or truth.shape != guess.classes.shape:
            raise InputError(
                f"true_labels of the pool '{UNLABELLED}' must be one label for each of the {len(guess.classes)} "
                f'pseudo-labels, got {what(truth)}; leave them out if they are not known'
            )
        right = (guess.classes == truth).float()
        found['pseudo_label_accuracy'] = right.mean() if mask is None else (right * mask).sum() / mask.sum()
    return found
