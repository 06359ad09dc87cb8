"""The weights of a backbone that a run starts from, from a file that is read once."""

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
# Where other projects keep a state dict in their files; averaged weights first.
_ELSEWHERE = ('state_dict_ema', 'model_ema', 'model')


@dataclass(frozen=True)
class InitialWeights:
    """A backbone's weights from a file.

    Attributes:
        path: of the file.
        digest: 12 hex digits over its bytes.
        weights: by name inside the backbone.
        left: the first parts of the names of what else the file holds, such as 'head'.
        meta: what the file says of the run that wrote it.
    """

    path: Path
    digest: str
    weights: Weights = field(repr=False)
    left: tuple[str, ...]
    meta: Meta = field(repr=False)

    @classmethod
    def read(cls, path: str | Path) -> InitialWeights:
        """Take the backbone's weights from a file.

        Of a checkpoint of this project they are those below `backbone.` of the weights that the run was judged by:
        the moving average where it kept one. A state dict without such names is taken as a backbone's.

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
        """Write into a recipe, in place, which weights it starts from: part of what decides its result.

        Args:
            cfg: recipe, not prepared yet.
            seed: of the run; None where it is drawn.

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
        """Hold the file against the run that a recipe says it starts from.

        Raises:
            InputError: it is of another run, or not of its end.
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
        """Load the weights into an algorithm's backbone; returns one line that says what was taken.

        Raises:
            InputError: names, shapes or kinds of numbers differ from the backbone's, or a number is not finite.
        """
        own = {f'{_BACKBONE}{key}': value for key, value in backbone.state_dict().items()}
        weights = {f'{_BACKBONE}{key}': value for key, value in self.weights.items()}
        # The step counter of batch norm is younger than many published weights, and unused here.
        known = {key: own[key] for key in own if key in weights or not key.endswith('num_batches_tracked')}
        check_weights(known, weights, self.path)
        backbone.load_state_dict(self.weights, strict=False)
        left = f'; left in it: {", ".join(self.left[:5])}' if self.left else ''
        more = f' and {len(self.left) - 5} more' if len(self.left) > 5 else ''
        return f'Took the {len(weights)} tensors of the backbone from {self.path} ({self.digest}){left}{more}'


def _end_of(meta: Meta) -> int | None:
    """The iterations that a checkpoint's run was to train; None where it may end earlier, or does not say."""
    recipe = meta.recipe or {}
    loop, hooks = recipe.get('train_cfg') or {}, recipe.get('custom_hooks') or ()
    if any(issubclass(find(HOOKS, hook['type']), EarlyStoppingHook) for hook in hooks):
        return None
    if loop.get('max_iters') is not None:
        return loop['max_iters']
    return loop['max_epochs'] * meta.batches if loop.get('max_epochs') and meta.batches else None


def check_given(cfg: Config, given: InitialWeights | None) -> None:
    """Refuse to train a recipe that starts from weights without them.

    Raises:
        InputError: naming the weights.
    """
    asked = cfg.get('weights') or {}
    if given is None and (asked.get('run') or asked.get('file')):
        of = f'run {asked["run"]}' if asked.get('run') else f'the file with the digest {asked["file"]}'
        raise InputError(f'the recipe starts from the weights of {of}: give them by --weights FILE')


def check_same(checkpoint: Checkpoint, cfg: Config) -> None:
    """Refuse to go on from a checkpoint of a run that started from other weights.

    Raises:
        InputError: naming both digests.
    """
    if checkpoint.meta.recipe is None:
        return
    old, new = ((recipe.get('weights') or {}).get('file') for recipe in (checkpoint.meta.recipe, cfg))
    if old != new:
        began, now = (f'the weights {digest}' if digest else 'none' for digest in (old, new))
        how = 'give the same --weights' if old else 'leave out --weights'
        raise InputError(f"'{checkpoint.path}' is of a run that began from {began}, not {now}: {how} with --resume")
