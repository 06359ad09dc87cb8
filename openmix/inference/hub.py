"""Write a folder for the Hugging Face Hub: weights, their configuration and a model card with evaluation results."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from torch import Tensor

from openmix import __version__
from openmix.engine.history import read_history
from openmix.engine.inference_settings import INFERENCE
from openmix.engine.publishing import safetensors_bytes
from openmix.errors import InputError
from openmix.inference.markdown import code, words
from openmix.inference.model import HUB_FILE
from openmix.models.originals import Original
from openmix.registry import DATASETS, find
from openmix.weights_file import read_file

_TASK = 'image-classification'
_RAW = '/raw/'


def measured(checkpoint: Path, iteration: Any, ema: bool) -> dict[str, float]:
    """Return what the run measured of a checkpoint's weights, by metric; empty if it did not validate them.

    Args:
        checkpoint: a file in the folder of a run, which has `metrics.jsonl`.
        iteration: number of the checkpoint's last iteration.
        ema: its moving average, not its raw weights.
    """
    rows, _ = read_history(checkpoint.parent / 'metrics.jsonl')
    row = next((row for row in rows if row['iter'] == iteration), {})
    of_raw = {name.replace(_RAW, '/', 1): value for name, value in row.items() if _RAW in name}
    # With one slash: of the evaluated network, and not of the others of an algorithm.
    found = {name: value for name, value in row.items() if name.count('/') == 1}
    # A hook that averages weights validates the average, and the raw weights beside it.
    if of_raw:
        return found if ema else of_raw
    return {} if ema else found


def evaluation_results(metrics: Mapping[str, float], dataset: Mapping[str, Any]) -> list[EvalResult]:
    """Make the evaluation results of a model card.

    Args:
        metrics: see `measured`; accuracies are in percent.
        dataset: registry dict of the data set that they were measured on.
    """
    kind = str(dataset.get('type'))
    arguments = {key: value for key, value in dataset.items() if key != 'type'}
    try:
        name = str(find(DATASETS, kind).facts(**arguments).name)
    except (InputError, OSError):  # some data sets need files that may be on another machine
        name = kind
    results = []
    for metric, value in metrics.items():
        group, _, last = metric.partition('/')
        results.append(
            EvalResult(
                task_type=_TASK,
                dataset_type=kind.lower(),
                dataset_name=name,
                dataset_split=dataset.get('split'),
                metric_type=group if last.startswith('top') else last.replace('/', '_'),
                metric_name=metric,
                metric_value=round(value, 4),
            )
        )
    return results


def timm_config(original: Original, known: Mapping[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    """Make timm's `config.json`, from which `timm.create_model('hf-hub:...')` builds the model.

    Args:
        original: the model, of timm.
        known: what is known of the weights: `mean`, `std` and `dataset_meta`.
        size: (H, W) of a validation image.
    """
    model: Any = original.build()
    kept = ('pool_size', 'first_conv', 'classifier', 'fixed_input_size')
    stated = {key: model.pretrained_cfg[key] for key in kept if model.pretrained_cfg.get(key) is not None}
    classes = (known.get('dataset_meta') or {}).get('classes')
    return {
        'architecture': original.name,
        'num_classes': original.num_classes,
        'num_features': model.num_features,
        **({'label_names': list(classes)} if classes else {}),
        **({'model_args': original.options} if original.options else {}),
        'pretrained_cfg': {
            **stated,
            'custom_load': False,
            'num_classes': original.num_classes,
            'input_size': [3, *size],
            **_resizing(known[INFERENCE].get('pipeline')),
            'mean': known['mean'],
            'std': known['std'],
        },
    }


def _resizing(pipeline: Any) -> dict[str, Any]:
    """Return how validation images are resized and cropped, in timm's words; without a pipeline they are whole."""
    steps = {step['type'].rpartition('/')[2]: step for step in pipeline or () if isinstance(step, Mapping)}
    resize, crop = steps.get('Resize', {}), steps.get('CenterCrop', {})
    whole, part = resize.get('size'), crop.get('size')
    share = part / whole if isinstance(whole, int) and isinstance(part, int) else 1.0
    return {'crop_pct': round(share, 4), 'interpolation': str(resize.get('interpolation', 'bilinear'))}


def usage(original: Original | None, name: str) -> list[str]:
    """Write the lines of Python that load the model."""
    if original is None:
        return ['import openmix', '', f'model = openmix.load_model({name!r})', "openmix.predict(model, 'photo.jpg')"]
    if original.library == 'timm':
        return ['import timm', '', f'model = timm.create_model({f"local-dir:{name}"!r}, pretrained=True).eval()']
    options = ''.join(f', {key}={value!r}' for key, value in original.options.items())
    build = f'torchvision.models.get_model({original.name!r}, num_classes={original.num_classes}{options})'
    load = f'model.load_state_dict(safetensors.torch.load_file({f"{name}/{HUB_FILE}"!r}))'
    return ['import safetensors.torch', 'import torchvision', '', f'model = {build}', load]


def card(
    name: str,
    known: Mapping[str, Any],
    recipe: Mapping[str, Any],
    original: Original | None,
    metrics: Mapping[str, float],
) -> str:
    """Write the model card: metadata as YAML between two lines of dashes, then text.

    Args:
        name: name of the model, such as that of the folder.
        known: what is known of the weights, see `openmix.engine.publishing.about`.
        recipe: the resolved recipe.
        original: the model of another library; None: it is openmix's.
        metrics: see `measured`.
    """
    model = recipe['model']
    dataset = (recipe.get('val_dataloader') or recipe.get('test_dataloader') or {}).get('dataset') or {}
    parts = {
        'backbone': model.get('backbone'),
        'policy': model.get('policy'),
        'loss': (model.get('head') or {}).get('loss'),
        'training data': ((recipe.get('train_dataloader') or {}).get('dataset') or {}).get('type'),
    }
    data = ModelCardData(
        library_name='openmix' if original is None else original.library,
        pipeline_tag=_TASK,
        tags=[_TASK, 'openmix', 'mixup'],
        model_name=name,
        eval_results=evaluation_results(metrics, dataset) or None,
    )
    rows = [f'| {what} | {code(_told(of))} |' for what, of in parts.items() if of is not None]
    rows += [f'| {what} | {words(known[what])} |' for what in ('epoch', 'seed', 'recipe', 'weights') if what in known]
    table = ['| | |', '|---|---|', *rows, f'| openmix | {__version__} |']
    kind = words(model.get('type'))
    lines = [f'# {words(name)}', '', f'An image classifier, trained with {kind} of openmix.', '', *table, '']
    lines += ['## Use', '', '```python', *usage(original, name), '```', '']
    if original is not None:
        lines += ['It takes images in [0, 1], RGB, normalised by', '']
        lines += [f'- mean {_few(known["mean"])}', f'- standard deviation {_few(known["std"])}', '']
    lines += ['## Evaluation', '']
    if metrics:
        where = words(f'{dataset.get("type")}' + (f', {dataset["split"]} split' if dataset.get('split') else ''))
        lines += [f'On the validation data of the run ({where}), after the epoch of this checkpoint:', '']
        lines += ['| metric | |', '|---|---|', *(f'| {code(key)} | {value:.4g} |' for key, value in metrics.items())]
    else:
        lines += ['The run did not validate these weights.']
    return str(ModelCard(f'---\n{data.to_yaml()}\n---\n\n' + '\n'.join(lines) + '\n'))


def write_hub_folder(
    folder: Path,
    weights: Mapping[str, Tensor],
    known: Mapping[str, Any],
    config: Mapping[str, Any],
    text: str,
    check: Callable[[dict[str, Tensor]], None],
) -> Path:
    """Write the folder whole, or not at all.

    Args:
        folder: a new or an empty folder.
        weights: by name.
        known: metadata of the file of weights.
        config: content of `config.json`.
        text: the model card.
        check: function of the weights as read back, which raises if they are wrong.

    Raises:
        InputError: the folder has files, or cannot be written.
    """
    with _new_folder(folder) as partial:
        file = partial / HUB_FILE
        file.write_bytes(safetensors_bytes(weights, known))
        check(read_file(file))
        (partial / 'config.json').write_text(json.dumps(dict(config), indent=2, default=list) + '\n', encoding='utf-8')
        (partial / 'README.md').write_text(text, encoding='utf-8')
    return folder


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    try:
        if folder.is_dir() and any(folder.iterdir()):
            raise InputError(f"'{folder}' has files; name a new folder with --out")
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = folder.with_name(f'.partial-{os.getpid()}-{folder.name[-50:]}')
        partial.mkdir()
        try:
            yield partial
            os.replace(partial, folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise InputError(f"cannot write '{folder}': {error.strerror or error}; choose another --out") from error


def _told(part: Any) -> str:
    """Write a part of a recipe on one line, as in `CutMix(alpha=0.2)`."""
    if not isinstance(part, Mapping):
        return str(part)
    options = ', '.join(
        f'{key}={value}' for key, value in part.items() if key != 'type' and not isinstance(value, Mapping)
    )
    return f'{part.get("type")}({options})'


def _few(numbers: Any) -> str:
    return ', '.join(f'{number:.4g}' for number in numbers)
