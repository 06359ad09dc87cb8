"""Initial weights of a backbone, read from a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mmengine.config import Config
from torch import nn

from openmix.engine.checkpoint import Checkpoint, Meta, Weights, check_weights
from openmix.engine.early_stopping import EarlyStoppingHook
from openmix.errors import InputError, brief
from openmix.registry import HOOKS, find
from openmix.weights_file import read_hashed

_BACKBONE = 'backbone.'
# Keys under which other projects store a state dict in their files; averaged weights first.
_ELSEWHERE = ('state_dict_ema', 'model_ema', 'model')


@dataclass(frozen=True)
class InitialWeights:
    """A backbone's weights from a file.

    Attributes:
        path: the file.
        digest: hash of its bytes, 12 hex digits.
        weights: the weights, by name within the backbone.
        left: first parts of the names of other entries in the file, such as 'head'.
        meta: information about the run that wrote the file.
    """

    path: Path
    digest: str
    weights: Weights = field(repr=False)
    left: tuple[str, ...]
    meta: Meta = field(repr=False)

    @classmethod
    def read(cls, path: str | Path) -> InitialWeights:
        """Read the backbone's weights from a file.

        From a checkpoint of openmix the entries with the prefix `backbone.` are used, of the moving average if the run
        kept one. A state dict without such entries is used as a whole.

        Raises:
            InputError: the file is missing, damaged, or holds no weights.
        """
        if not os.path.lexists(path):
            raise InputError(f"no file of weights '{path}'; check the path")
        content, digest = read_hashed(path)
        if isinstance(content, Mapping) and 'state_dict' not in content:
            inside = next((content[key] for key in _ELSEWHERE if isinstance(content.get(key), Mapping)), None)
            content = content if inside is None else {'state_dict': inside}
        checkpoint = Checkpoint.parse(content, path)
        state = checkpoint.weights if checkpoint.average is None else checkpoint.average
        if not state:
            raise InputError(f"'{path}' holds no weights")
        if all(key.startswith('module.') for key in state):
            state = {key.removeprefix('module.'): value for key, value in state.items()}
        own = {key.removeprefix(_BACKBONE): value for key, value in state.items() if key.startswith(_BACKBONE)}
        left = tuple(dict.fromkeys(key.partition('.')[0] for key in state if not key.startswith(_BACKBONE)))
        return cls(Path(path), digest, own or state, left if own else (), checkpoint.meta)

    def put_into(self, cfg: Config, seed: int | None) -> None:
        """Record the weights in a recipe, in place, because they are part of what determines its result.

        Args:
            cfg: recipe, not yet prepared.
            seed: seed of the run; None if it is drawn.

        Raises:
            InputError: the recipe starts from other weights.
        """
        if cfg.get('load_from') and not cfg.get('resume'):
            raise InputError(
                f"--weights and load_from = '{cfg.load_from}' both say what the run starts from; leave out one"
            )
        asked = dict(cfg.get('weights') or {})
        if asked.get('run'):
            self._check_run(str(asked['run']), asked.get('seed', seed))
        if asked.get('file') not in (None, self.digest):
            raise InputError(
                f"'{self.path}' holds other weights than the recipe starts from: their digest is {self.digest}, "
                f'weights.file is {brief(asked["file"])}'
            )
        cfg.weights = {**asked, 'file': self.digest}

    def _check_run(self, run: str, seed: int | None) -> None:
        """Check that the file was written at the end of the run that the recipe's `weights` names.

        Raises:
            InputError: it is from another run, or from an earlier iteration.
        """
        wanted = f'the recipe starts from run {run}' + ('' if seed is None else f' of seed {seed}')
        if self.meta.run != run:
            found = f'of run {self.meta.run}' if self.meta.run else 'of a run that it does not name'
            raise InputError(f"'{self.path}' is {found}, and {wanted}")
        if seed is not None and self.meta.seed != seed:
            raise InputError(f"'{self.path}' is of seed {self.meta.seed}, and {wanted}")
        end = _end_of(self.meta)
        if end is not None and (self.meta.iteration or 0) < end:
            raise InputError(f"'{self.path}' is of iteration {self.meta.iteration} of {end}, and {wanted}, finished")

    def load(self, backbone: nn.Module) -> str:
        """Load the weights into an algorithm's backbone; return a line for the log.

        Raises:
            InputError: names, shapes or kinds of numbers differ from the backbone's, or a number is not finite.
        """
        own = {f'{_BACKBONE}{key}': value for key, value in backbone.state_dict().items()}
        weights = {f'{_BACKBONE}{key}': value for key, value in self.weights.items()}
        # Batch norm's step counter is missing from many older published weights, and is not used here.
        known = {key: own[key] for key in own if key in weights or not key.endswith('num_batches_tracked')}
        check_weights(known, weights, self.path)
        backbone.load_state_dict(self.weights, strict=False)
        left = f'; left in it: {", ".join(self.left[:5])}' if self.left else ''
        more = f' and {len(self.left) - 5} more' if len(self.left) > 5 else ''
        return f'Took the {len(weights)} tensors of the backbone from {self.path} ({self.digest}){left}{more}'


def _end_of(meta: Meta) -> int | None:
    """Return the planned number of iterations of a checkpoint's run; None if unknown, or if it may stop early."""
    recipe = meta.recipe or {}
    loop, hooks = recipe.get('train_cfg') or {}, recipe.get('custom_hooks') or ()
    if any(issubclass(find(HOOKS, hook['type']), EarlyStoppingHook) for hook in hooks):
        return None
    if loop.get('max_iters') is not None:
        return loop['max_iters']
    return loop['max_epochs'] * meta.batches if loop.get('max_epochs') and meta.batches else None


def check_given(cfg: Config, given: InitialWeights | None) -> None:
    """Check that initial weights are given if the recipe needs them.

    Raises:
        InputError: they are not; the line names them.
    """
    asked = cfg.get('weights') or {}
    if given is None and (asked.get('run') or asked.get('file')):
        of = f'run {asked["run"]}' if asked.get('run') else f'the file with the digest {asked["file"]}'
        raise InputError(f'the recipe starts from the weights of {of}: give them by --weights FILE')


def check_same(checkpoint: Checkpoint, cfg: Config) -> None:
    """Check that a checkpoint's run started from the same weights as the recipe.

    Raises:
        InputError: it did not; the line names both digests.
    """
    if checkpoint.meta.recipe is None:
        return
    old, new = ((recipe.get('weights') or {}).get('file') for recipe in (checkpoint.meta.recipe, cfg))
    if old != new:
        began, now = (f'the weights {digest}' if digest else 'none' for digest in (old, new))
        how = 'give the same --weights' if old else 'leave out --weights'
        raise InputError(f"'{checkpoint.path}' is of a run that began from {began}, not {now}: {how} with --resume")
