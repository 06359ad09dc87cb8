"""Initial weights of a backbone, read from a file."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process

from openmix.algorithm import Algorithm
from openmix.config_hash import start_of
from openmix.engine.checkpoint import Checkpoint, Meta, Weights, check_weights
from openmix.engine.data_check import check_unseen
from openmix.errors import InputError, brief
from openmix.weights_file import read_hashed

_BACKBONE, _HEAD = 'backbone', 'head'
# Keys under which other projects store a state dict in their files; averaged weights first.
_ELSEWHERE = ('state_dict_ema', 'model_ema', 'model')


@dataclass(frozen=True)
class InitialWeights:
    """A backbone's weights from a file.

    Attributes:
        path: the file.
        digest: hash of its bytes, 12 hex digits.
        part: name of the backbone among the modules of the file; '' if the file contains only a backbone.
        weights: the weights, by name within the backbone.
        head: the weights of that backbone's head, by name within the network, such as 'head.fc.weight'; often none.
        left: first parts of the names of other entries in the file, such as 'head'.
        meta: information about the run that wrote the file.
    """

    path: Path
    digest: str
    part: str
    weights: Weights = field(repr=False)
    head: Weights = field(repr=False)
    left: tuple[str, ...]
    meta: Meta = field(repr=False)

    @classmethod
    def read(cls, path: str | Path) -> InitialWeights:
        """Read the backbone's weights from a file.

        From a checkpoint of openmix, the backbone of the evaluated network is used, from the moving average if the
        run kept one; with a learned policy this is the momentum encoder's backbone. From another file, the entries with
        the prefix `backbone.` are used; a state dict without such entries is used as a whole.

        Raises:
            InputError: the file is missing, damaged, or holds no weights, or it is a checkpoint with several backbones
                that does not record which one is evaluated.
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
        part = _part_of(state, checkpoint)
        prefix = f'{part}.' if part else ''
        own = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        network = part.removesuffix(_BACKBONE)
        # A momentum encoder has several heads, by name.
        places = (f'{network}{_HEAD}.', f'{network}heads.{_HEAD}.')
        beside = {
            f'{_HEAD}.{key.removeprefix(place)}': value
            for place in places
            for key, value in state.items()
            if key.startswith(place)
        }
        left = tuple(dict.fromkeys(key.partition('.')[0] for key in state if not key.startswith(prefix)))
        return cls(Path(path), digest, part, own, beside if part else {}, left, checkpoint.meta)

    def put_into(self, cfg: Config, seed: int | None) -> None:
        """Record the weights in a recipe, in place, because they are part of what determines its result.

        A recipe that names a run without its seed starts from that run with its own seed; if none is given, the run
        gets the seed of the weights.

        Args:
            cfg: recipe, not yet prepared or checked.
            seed: seed of the run; None if it is drawn.

        Raises:
            InputError: the recipe starts from other weights, or the file does not tell the seed that is needed.
        """
        if cfg.get('load_from') and not cfg.get('resume'):
            raise InputError(
                f"--weights and load_from = '{cfg.load_from}' both say what the run starts from; leave out one"
            )
        asked = cfg.get('weights') or {}
        if not isinstance(asked, Mapping):
            raise InputError(f'the recipe: weights must be a dict with run or file, got {brief(asked)}')
        asked = dict(asked)
        if asked.get('run'):
            self._check_run(str(asked['run']), asked.get('seed', seed))
            if asked.get('seed', seed) is None:
                cfg.randomness = {**(cfg.get('randomness') or {}), 'seed': self._own_seed()}
        if asked.get('file') not in (None, self.digest):
            raise InputError(
                f"'{self.path}' holds other weights than the recipe starts from: their digest is {self.digest}, "
                f'weights.file is {brief(asked["file"])}'
            )
        taken = {'part': self.part} | ({} if self.meta.seed is None else {'seed': self.meta.seed})
        if asked.get('taken') not in (None, taken):
            raise InputError(
                f'weights.taken records what a run took, {brief(taken)} of {self.path}, and the recipe has '
                f'{brief(asked["taken"])}; leave it out'
            )
        cfg.weights = {**asked, 'file': self.digest, 'taken': taken}

    def _own_seed(self) -> int:
        """Return the seed of the run that wrote the file.

        Raises:
            InputError: the file does not tell it.
        """
        if self.meta.seed is None:
            raise InputError(f"'{self.path}' does not tell the seed of its run; give the run's own by --seed")
        return self.meta.seed

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
        end = self.meta.ends_at
        if end is not None and (self.meta.iteration or 0) < end:
            raise InputError(f"'{self.path}' is of iteration {self.meta.iteration} of {end}, and {wanted}, finished")

    def load(self, algorithm: Algorithm) -> str:
        """Load the weights into an algorithm's backbone and offer it the head; return a line for the log.

        Raises:
            InputError: names, shapes or kinds of numbers differ from the backbone's, a number is not finite, or the
                algorithm needs another head.
        """
        backbone = algorithm.backbone
        own = {f'{_BACKBONE}.{key}': value for key, value in backbone.state_dict().items()}
        weights = {f'{_BACKBONE}.{key}': value for key, value in self.weights.items()}
        # Batch norm's step counter is missing from many older published weights, and is not used here.
        known = {key: own[key] for key in own if key in weights or not key.endswith('num_batches_tracked')}
        check_weights(known, weights, self.path)
        backbone.load_state_dict(self.weights, strict=False)
        with_head = algorithm.take_head(self.head, self.path)
        rest = [name for name in self.left if not (with_head and name == _HEAD)]
        left = f'; left in it: {", ".join(rest[:5])}' if rest else ''
        more = f' and {len(rest) - 5} more' if len(rest) > 5 else ''
        named = '' if self.part in ('', _BACKBONE) else f' {self.part}'
        what = f'the {len(weights)} tensors of the backbone{named}' + (' and its head' if with_head else '')
        return f'Took {what} from {self.path} ({self.digest}){left}{more}'


def _part_of(state: Mapping[str, Any], checkpoint: Checkpoint) -> str:
    """Return the name of the backbone among the modules of a state dict; '' if it contains only a backbone.

    Raises:
        InputError: the checkpoint is of openmix, has several backbones, and does not record which one is evaluated.
    """
    judged = checkpoint.meta.judged
    if judged is not None:
        return judged
    own = {key for key in state if key.startswith(f'{_BACKBONE}.')}
    if not own:
        return ''
    others = {key.rpartition(f'.{_BACKBONE}.')[0] for key in state if f'.{_BACKBONE}.' in key} - {_BACKBONE}
    second = next((name for name in sorted(others) if all(f'{name}.{key}' in state for key in own)), None)
    if second is not None and (checkpoint.meta.run or checkpoint.meta.recipe):
        raise InputError(
            f"'{checkpoint.path}' holds two backbones, {_BACKBONE} and {second}.{_BACKBONE}, and, like checkpoints of "
            'older versions, does not tell by which its run was judged; give one of them as a state dict of its own'
        )
    return _BACKBONE


def judged_backbone(algorithm: Algorithm) -> str | None:
    """Return the name of the module that is the backbone of the evaluated network.

    It is the trained backbone for an algorithm without a classifier; None if no module of the algorithm is it.
    """
    network = algorithm.networks().get('')
    judged = algorithm.backbone if network is None else network.backbone
    if judged is algorithm.backbone:
        return _BACKBONE
    return next((name for name, module in algorithm.named_modules() if module is judged), None)


def check_start(cfg: Config, given: InitialWeights | None, checkpoint: Checkpoint | None) -> None:
    """Check what a run starts from: a resumed run keeps the record in its checkpoint, and needs no file again.

    Args:
        cfg: prepared recipe; a resumed run's `weights` are set in place, if they are of the same start.
        given: the initial weights, if a file was given.
        checkpoint: the checkpoint to resume from; None for a new run.

    Raises:
        InputError: the recipe of a new run needs weights that are not given, or the run that wrote them was trained on
            images that this one is evaluated on; the line names them.
    """
    asked = cfg.get('weights') or {}
    if checkpoint is not None:
        old = (checkpoint.meta.recipe or {}).get('weights')
        if old and start_of(old) == start_of(asked):
            cfg.weights = old
    elif given is not None:
        _check_unseen(cfg, given)
    elif asked.get('run') or asked.get('file'):
        of = f'run {asked["run"]}' if asked.get('run') else f'the file with the digest {asked["file"]}'
        raise InputError(f'the recipe starts from the weights of {of}: give them by --weights FILE')


def _check_unseen(cfg: Config, given: InitialWeights) -> None:
    """Check that the images of the validation and test were not trained on by the run that wrote the weights."""
    if given.meta.recipe is None:
        return
    named, seed = f"the run of '{given.path}'", (cfg.get('randomness') or {}).get('seed')
    notes = check_unseen(cfg, seed, given.meta.recipe, given.meta.seed, named)
    if is_main_process():
        for note in notes:
            print(f'note: {note}', file=sys.stderr)


def check_same(checkpoint: Checkpoint, cfg: Config) -> None:
    """Check that a checkpoint's run started from the same weights as the recipe, see `start_of`.

    Raises:
        InputError: it did not; the line names both.
    """
    if checkpoint.meta.recipe is None:
        return
    old, new = (start_of(recipe.get('weights') or {}) for recipe in (checkpoint.meta.recipe, cfg))
    if old != new:
        began, now = (_told(start) for start in (old, new))
        how = 'leave out --weights'
        if 'file' in old:
            how = f"give the same --weights, or set weights=dict(file='{old['file']}') in the recipe,"
        elif 'run' in old:
            how = f'set weights={old} in the recipe'
        raise InputError(f"'{checkpoint.path}' is of a run that began from {began}, not {now}: {how} with --resume")


def _told(start: Mapping[str, Any]) -> str:
    """Describe in an error line what a run starts from."""
    if 'run' in start:
        return f'the weights of run {start["run"]}' + (f' of seed {start["seed"]}' if 'seed' in start else '')
    return f'the weights {start["file"]}' if 'file' in start else 'none'
