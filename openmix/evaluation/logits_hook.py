"""Keep the logits of a test, to analyse them or to compare classifiers image by image."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from torch import Tensor

from openmix.errors import InputError
from openmix.evaluation.accuracy import labels_and_ids, rows_of_all
from openmix.files import appearing
from openmix.registry import HOOKS


class Answers(NamedTuple):
    """What a classifier answers on test images, sorted by id.

    Attributes:
        ids, labels: (N,) int64.
        logits: (N, C) float32.
    """

    ids: Tensor
    labels: Tensor
    logits: Tensor


@HOOKS.register_module()
class SaveLogitsHook(Hook):
    """Write ids, labels and logits of all test images to a NumPy file, see `read_answers`.

    Args:
        out: path of the file, .npz; folders are made.

    Raises:
        InputError: the file cannot be written, or is no .npz; in a test, a batch has no labels, or the model
            answers no logits.
    """

    def __init__(self, out: str) -> None:
        if Path(out).suffix != '.npz':
            raise InputError(f'SaveLogitsHook: out must end with .npz, got {out!r}')
        self.out = Path(out)
        self.rows: list[Tensor] = []

    def before_test_epoch(self, runner: Any) -> None:
        self.rows.clear()
        try:
            self.out.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"SaveLogitsHook: cannot write '{self.out}': {error.strerror}") from error

    def after_test_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        for batch in outputs:
            if 'logits' not in batch:
                raise InputError(f'SaveLogitsHook: the model answers {", ".join(batch)}, no logits; leave it out')
            y, ids = labels_and_ids(batch)
            place = torch.stack([ids, y], 1).double()
            self.rows.append(torch.cat([place, batch['logits'].double()], 1).cpu())

    def after_test_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        rows = rows_of_all(self.rows)
        if is_main_process():
            ids, labels = rows[:, :2].long().T.numpy()
            with appearing(self.out) as partial:
                np.savez(partial, ids=ids, labels=labels, logits=rows[:, 2:].float().numpy())


def read_answers(path: Path) -> Answers:
    """Read the file of a `SaveLogitsHook`.

    Raises:
        InputError: there is no such file, or it holds something else.
    """
    try:
        with np.load(path) as found:
            answers = Answers(*(torch.from_numpy(found[name]) for name in Answers._fields))
    except FileNotFoundError:
        raise InputError(f"no file '{path}'") from None
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"'{path}' is no file of logits: {error}") from error
    if not len(answers.ids) == len(answers.labels) == len(answers.logits) or answers.logits.ndim != 2:
        raise InputError(f"'{path}' is no file of logits: its arrays do not fit each other")
    return answers
