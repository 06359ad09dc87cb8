"""Load a trained classifier from a checkpoint: its network, the names of its classes, how images are prepared."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from safetensors import safe_open
from torch import Tensor, nn

from openmix.algorithm import Algorithm, Network, algorithm_of
from openmix.config import load_config
from openmix.config_files import config_path, work_dir_of
from openmix.engine.blame import building
from openmix.engine.checkpoint import load_checkpoint, put_weights, weights_of
from openmix.engine.checkpoint_folder import checkpoints_in
from openmix.engine.data_check import trained_classes
from openmix.engine.inference_settings import INFERENCE, inference_settings
from openmix.engine.launch import fill_from_data
from openmix.engine.publishing import METADATA
from openmix.errors import InputError, brief, close_to
from openmix.memory import training_keys
from openmix.mixups.base import MixPolicy
from openmix.models.classifier import Classifier
from openmix.models.originals import Original
from openmix.models.preprocessor import ImagePreprocessor
from openmix.network import HasClasses
from openmix.ops.batches import check_floating
from openmix.registry import MODELS, find

SAFETENSORS = '.safetensors'
# The file of a folder that tools/publish_model.py writes for the Hugging Face Hub.
HUB_FILE = 'model.safetensors'


class ImageClassifier(nn.Module):
    """A trained classifier: (N, 3, H, W) pixels in [0, 1] to (N, C) logits of the evaluated network.

    With a learned policy that network is its momentum encoder. An algorithm with `ten_crop` sums the logits of ten
    crops.

    Args:
        algorithm: the model of the run, with its weights.
        classes: names of the classes, in the order of the labels; None: the checkpoint has none.
        pipeline: transforms of one validation image, see `openmix.data.pipeline.build_pipeline`; None: images are
            resized and cropped to `size`.
        size: (H, W) of a validation image; None: unknown.

    Raises:
        InputError: the algorithm trains no classifier, or there are more names than classes.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        classes: Sequence[str] | None = None,
        pipeline: Sequence[dict[str, Any]] | None = None,
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        algorithm.network('a prediction')
        if not isinstance(algorithm.data_preprocessor, ImagePreprocessor):
            raise InputError(f'a prediction needs an ImagePreprocessor, and {type(algorithm).__name__} has another')
        self.algorithm = algorithm
        self.classes = None if classes is None else tuple(classes)
        self.pipeline, self.size = pipeline, size
        if isinstance(head := self.network.head, HasClasses):
            self.check_names(head.num_classes)

    def check_names(self, outputs: int) -> None:
        """Check that each name is that of an output of the network.

        Raises:
            InputError: there are more names.
        """
        if self.classes is not None and len(self.classes) > outputs:
            raise InputError(
                f'the checkpoint names {len(self.classes)} classes, and its network has {outputs} outputs; '
                'name its recipe with config (--config), or correct the names'
            )

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.preprocessor.device

    @property
    def preprocessor(self) -> ImagePreprocessor:
        """The preprocessor, which normalises pixels by the training data's mean and std."""
        return self.algorithm.data_preprocessor

    @property
    def network(self) -> Network:
        """The evaluated network, (N, 3, H, W) normalised images to (N, C) logits."""
        return self.algorithm.network('a prediction')

    def forward(self, pixels: Tensor) -> Tensor:
        """Compute the (N, C) logits of (N, 3, H, W) pixels in [0, 1], RGB, of the size of `preprocess`.

        Raises:
            InputError: they are not a floating-point batch.
        """
        check_floating('pixels', pixels)
        x = self.preprocessor.network_input(pixels.to(self.device))
        if isinstance(self.algorithm, Classifier) and self.algorithm.ten_crop is not None:
            return self.algorithm.predict({'inputs': x})['logits']
        return self.network(x)

    def name(self, label: int) -> str:
        """Return the name of a class, or its number if the checkpoint has no name for it."""
        known = self.classes or ()
        return known[label] if label < len(known) else str(label)

    def extra_repr(self) -> str:
        count = 'without names' if self.classes is None else f'{len(self.classes)} names'
        return f'classes: {count}, size={self.size}'


def load_model(
    source: str | Path,
    device: torch.device | str | None = None,
    ema: bool = False,
    config: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
) -> ImageClassifier:
    """Load a trained classifier, in evaluation mode.

    Args:
        source: a checkpoint of tools/train.py, a file or folder of tools/publish_model.py, the folder of a run (its
            newest checkpoint), or the name of a recipe below `configs/` (the run in `work_dirs/`).
        device: where to; None: the GPU if there is one.
        ema: the moving average of the weights, not the raw ones.
        config: the recipe, where the file does not hold it, or has classes of your own code.
        options: dotted key -> value, changes of that recipe.

    Raises:
        InputError: there is no such file, it does not say what its model is, the weights do not fit, or there is no
            such device.
    """
    if not str(source).strip():
        raise InputError('the model is given by an empty text; name a checkpoint, the folder of a run or a recipe')
    file, where = checkpoint_file(source), device_of(device)
    checkpoint = load_checkpoint(file)
    content = dict(checkpoint.content)
    if file.suffix == SAFETENSORS:
        content = {'state_dict': checkpoint.weights, 'meta': _metadata(file)}
    meta = content.get('meta') if isinstance(content.get('meta'), Mapping) else {}
    found = settings_of(meta, file, config, options)
    init_default_scope('openmix')
    model = found['model']
    if 'policy' in model and not any(key.startswith('policy.') for key in checkpoint.weights):
        # It has no weights, and predicts nothing; its teacher may be a file of another machine.
        model['policy'] = {'type': MixPolicy}
    kind = find(MODELS, model.get('type'))
    if isinstance(kind, type) and issubclass(kind, Algorithm):
        kind.for_prediction(model)
    cfg = Config({'model': model})
    with building(cfg, 'model', model.get('type')):
        algorithm = algorithm_of(MODELS.build(cfg.model))
    parts = training_keys(algorithm)
    if isinstance(meta, Mapping) and 'library' in meta:
        content['state_dict'] = Original.renamed(checkpoint.weights, algorithm.backbone, algorithm.network('').head)
    weights = {key: value for key, value in weights_of(content, file, ema).items() if key not in parts}
    put_weights(algorithm, {'state_dict': weights}, file)
    size = found.get('size')
    classes, pipeline = trained_classes(content, str(file)), found.get('pipeline')
    built = ImageClassifier(algorithm, classes, pipeline, None if size is None else tuple(size))
    return built.to(where).eval().requires_grad_(False)


def settings_of(
    meta: Any, file: Path, config: str | Path | None, options: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the `inference_settings` of a recipe, or those in the meta of a checkpoint.

    Raises:
        InputError: there are none.
    """
    if config is not None:
        init_default_scope('openmix')
        cfg = fill_from_data(load_config(config, options or {}))
        return inference_settings(cfg._cfg_dict.to_dict())
    if options:
        raise InputError('options change a recipe; name it with config')
    if isinstance(kept := meta.get(INFERENCE), Mapping):
        return inference_settings({'model': kept.get('model')}) | {key: kept.get(key) for key in ('pipeline', 'size')}
    if isinstance(recipe := meta.get('resolved_recipe'), Mapping):
        return inference_settings(recipe)
    raise InputError(f"'{file}' does not say what its model is; name the recipe that trained it with config (--config)")


def checkpoint_file(source: str | Path) -> Path:
    """Return the file that a path or name means, see `load_model`.

    Raises:
        InputError: there is none.
    """
    path = Path(source)
    if path.is_dir():
        if (path / HUB_FILE).is_file():
            return path / HUB_FILE
        if not (found := checkpoints_in(path)):
            raise InputError(f"'{path}' holds no checkpoint of a run, and no {HUB_FILE}")
        return found[0]
    if path.suffix not in ('.py', '.yaml', '.yml') and (path.exists() or path.suffix):
        if path.is_file() or not (path.parent.is_dir() and not path.exists()):
            return path
        near = close_to(path.name, [one.name for one in path.parent.iterdir()])
        raise InputError(f"no checkpoint '{path}'" + (f"; did you mean '{path.with_name(near)}'?" if near else ''))
    try:
        folder = work_dir_of(config_path(path))
    except InputError as error:
        raise InputError(
            f'{brief(str(source))} is neither a checkpoint, nor a folder, nor a recipe: {error}'
        ) from error
    if not (found := checkpoints_in(folder)):
        raise InputError(f"'{source}' was not trained in '{folder}'; name a checkpoint, or train it first")
    return found[0]


def device_of(device: torch.device | str | None) -> torch.device:
    """Return the device of that name; None: the GPU if there is one, else the CPU.

    Raises:
        InputError: there is no such device.
    """
    if device is None:
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        found = torch.device(device)
        torch.empty(1, device=found)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f'device {brief(str(device))}: {str(error).splitlines()[0]}; take cpu or cuda') from error
    return found


def _metadata(file: Path) -> Any:
    with safe_open(file, framework='pt') as opened:
        told = (opened.metadata() or {}).get(METADATA, '{}')
    try:
        return json.loads(told)
    except ValueError as error:
        raise InputError(f"'{file}' is damaged: its metadata is no JSON") from error
