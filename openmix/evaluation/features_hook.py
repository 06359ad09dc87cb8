"""Keep the features of a test, and draw them in a plane by scikit-learn's t-SNE."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.hooks import Hook
from torch import Tensor

from openmix.algorithm import algorithm_of
from openmix.errors import InputError, check_number
from openmix.evaluation.accuracy import labels_and_ids, rows_of_all
from openmix.figure_style import COLOURS, MARKERS, STYLE, save
from openmix.registry import HOOKS

_MOST_NAMED = 20  # largest number of classes with a legend


@HOOKS.register_module()
class FeaturesHook(Hook):
    """Keep the features (N, D) of all test images, which the evaluated network's head reads, sorted by id.

    Attributes:
        ids, labels: (N,) int64, after a test.
        features: (N, D) float32, after a test.
    """

    def __init__(self) -> None:
        self.rows: list[Tensor] = []

    def before_test_epoch(self, runner: Any) -> None:
        self.rows.clear()

    def after_test_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        model = algorithm_of(runner.model)
        network = model.network('FeaturesHook')
        batch = model.data_preprocessor(data_batch, training=False)
        y, ids = labels_and_ids(batch)
        with torch.no_grad():
            features = network.backbone(batch['inputs'])
        place = torch.stack([ids, y], 1).double()
        self.rows.append(torch.cat([place, features.flatten(1).double()], 1).cpu())

    def after_test_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        rows = rows_of_all(self.rows)
        self.ids, self.labels = rows[:, 0].long(), rows[:, 1].long()
        self.features = rows[:, 2:].float()


def in_plane(features: Tensor, perplexity: float = 30.0, seed: int = 0) -> np.ndarray:
    """Place images in a plane, (N, 2), by t-SNE of their features (van der Maaten and Hinton, JMLR 2008).

    It starts from the first two principal components.

    Args:
        features: (N, D).
        perplexity: about the number of neighbours that an image has; below N.
        seed: of what scikit-learn draws.

    Raises:
        InputError: the perplexity is not in (0, N), or the features are not finite.
    """
    from sklearn.manifold import TSNE  # slow to import

    check_number('perplexity', float(perplexity), 0.0, float(len(features)), above=True, below=True)
    if not torch.isfinite(features).all():
        raise InputError('t-SNE needs finite features, and these are not')
    return TSNE(perplexity=perplexity, init='pca', random_state=seed).fit_transform(features.double().numpy())


def draw_plane(places: np.ndarray, labels: Tensor, classes: Sequence[str], paths: Sequence[Path]) -> None:
    """Draw a point for each image, coloured and shaped by its class; up to 20 classes have a legend.

    Args:
        places: (N, 2).
        labels: (N,) int64.
        classes: names of the classes.
        paths: files to write.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(5.6, 4.4), layout='constrained')
        FigureCanvasAgg(figure)
        ax = figure.subplots()
        for label in labels.unique().tolist():
            x, y = places[labels.numpy() == label].T
            # Another marker for each round of colours too.
            marker = MARKERS[(label + label // len(COLOURS)) % len(MARKERS)]
            colour = COLOURS[label % len(COLOURS)]
            ax.scatter(x, y, s=9, marker=marker, color=colour, linewidths=0, alpha=0.8, label=classes[label])
        ax.set(xticks=[], yticks=[], xlabel='t-SNE 1', ylabel='t-SNE 2')
        ax.grid(visible=False)
        if len(labels.unique()) <= _MOST_NAMED:
            figure.legend(loc='outside right center')
        save(figure, paths)
