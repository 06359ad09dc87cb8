"""Export the evaluated network of a checkpoint to other formats, and compare its output with the original.

The exported network takes pixels, float32 RGB (N, 3, H, W) in [0, 1], and normalises them itself.
"""

from __future__ import annotations

import json
import logging
import warnings
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import partial
from importlib import import_module
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor, nn

from openmix import __version__
from openmix.algorithm import Network, algorithm_of
from openmix.config import load_config
from openmix.engine.blame import building
from openmix.engine.checkpoint import put_weights, read_checkpoint
from openmix.engine.data_check import trained_classes
from openmix.engine.image_shape import image_shape
from openmix.engine.launch import prepare
from openmix.errors import NO_ROOM, InputError, install_hint
from openmix.files import appearing
from openmix.registry import DATASETS, MODELS, find

INPUT, OUTPUT = 'pixels', 'logits'
# Accepted difference, as a fraction of the largest logit: enough for the rounding of other kernels.
TOLERANCE = 1e-4
_EXTRA = ('onnx', 'onnxscript', 'onnxruntime')
_CHECKED = (1, 3)

Run = Callable[[Tensor], Tensor]
Writer = Callable[[nn.Module, Tensor, dict[str, str], Path], Run]


class Reported(nn.Module):
    """Map (N, 3, H, W) pixels in [0, 1] to the (N, C) logits of the evaluated network.

    With a learned policy, that is its momentum encoder.

    Args:
        network: the classifier.
        preprocessor: preprocessor of the algorithm that trained it.
    """

    def __init__(self, network: Network, preprocessor: Any) -> None:
        super().__init__()
        self.network, self.preprocessor = network, preprocessor

    def forward(self, pixels: Tensor) -> Tensor:
        return self.network(self.preprocessor.normalize(pixels))


def export_as_asked(args: Namespace, write: Writer) -> None:
    """Export with the options of `CommandParser.add_export`, see `export`, and print how well the file agrees."""
    cfg = prepare(load_config(args.config, args.cfg_options))
    with torch.device('meta'):  # before it asks for more
        algorithm_of(MODELS.build(cfg.model)).network('an export')
    difference = export(cfg, args.checkpoint, args.out, write, image_shape(cfg, args.shape), args.ema)
    print(f'{args.out}: largest difference of a logit {difference:.2g}')


def export(cfg: Config, checkpoint: str, out: Path, write: Writer, shape: tuple[int, int], ema: bool = False) -> float:
    """Export a checkpoint's evaluated network, and compare the logits of the file with those of the network.

    Both get the same random pixels, in batches of 1 and 3.

    Args:
        cfg: prepared recipe.
        checkpoint: file written by training.
        out: the file to write; it is created only if the two agree.
        write: function of the network, an example of its input, metadata and a path; it writes the file and
            returns a function that runs it.
        shape: (H, W) of the images.
        ema: use the moving average of the weights.

    Returns:
        the largest difference between logits.

    Raises:
        InputError: the checkpoint does not fit, the network cannot be exported to this format, the
            path is not writable, or the two differ by more than `TOLERANCE` of the largest logit.
    """
    with building(cfg, 'model', cfg.model.get('type')):
        model = MODELS.build(cfg.model)
    content = read_checkpoint(checkpoint)
    put_weights(model, content, checkpoint, ema)
    network = Reported(algorithm_of(model).network('an export'), model.data_preprocessor).eval().requires_grad_(False)
    pixels = [torch.rand(n, 3, *shape, generator=torch.Generator().manual_seed(n)) for n in _CHECKED]
    with torch.no_grad(), building(cfg, 'model.backbone', f'on images of {shape[0]}x{shape[1]}'):
        wanted = [network(x) for x in pixels]
    about = _about(cfg, checkpoint, shape, wanted[0].shape[1], ema, trained_classes(content, checkpoint))
    with new_file(out) as unchecked, torch.no_grad():
        try:
            with building(cfg, 'model.backbone', 'it cannot be exported'), _quietly():
                run = write(network, pixels[-1], about, unchecked)
                found = [run(x) for x in pixels]
        except InputError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in NO_ROOM:
                raise error.__cause__ from None  # the disk is full; the network is not the cause
            raise
        difference = max(float((a - b).abs().max()) for a, b in zip(found, wanted))
        largest = max(float(logits.abs().max()) for logits in wanted)
        # `not <=` instead of `>`, so that nan counts as a difference.
        if not difference <= TOLERANCE * max(1.0, largest):
            raise InputError(
                f"'{out}' is not written: its logits differ from the network's by {difference:.2g}, of {largest:.2g}"
            )
    return difference


def to_onnx(dynamic: bool = False) -> Writer:
    """Make the function that writes ONNX files, for `export`.

    Args:
        dynamic: the exported network takes batches of any size; False: one image.

    Raises:
        InputError: onnx, onnxscript or onnxruntime is not installed.
    """
    try:
        *_, onnxruntime = map(import_module, _EXTRA)
    except ImportError as error:
        raise InputError(f'ONNX needs {", ".join(_EXTRA)}: {install_hint("export")}') from error
    return partial(_write_onnx, dynamic, onnxruntime.InferenceSession)


def _write_onnx(
    dynamic: bool, session_of: Any, network: nn.Module, example: Tensor, about: dict[str, str], path: Path
) -> Run:
    batch = {0: torch.export.Dim('batch')} if dynamic else None
    try:
        program: Any = torch.onnx.export(
            network,
            (example if dynamic else example[:1],),
            dynamo=True,
            verbose=False,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=(batch,) if dynamic else None,
        )
    except torch.onnx.OnnxExporterError as error:
        # The error's own text is general advice; its cause has the reason.
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise InputError(f'the network cannot be exported to ONNX: {reason}') from error
    program.model.metadata_props.update(about)
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # paths of source files on this machine
    # One file: protobuf holds up to 2 GiB.
    program.save(str(path), external_data=False)
    session = session_of(str(path), providers=['CPUExecutionProvider'])

    def run(pixels: Tensor) -> Tensor:
        parts = [pixels] if dynamic else pixels.split(1)
        return torch.cat([torch.from_numpy(session.run([OUTPUT], {INPUT: part.numpy()})[0]) for part in parts])

    return run


def to_torchscript(network: nn.Module, example: Tensor, about: dict[str, str], path: Path) -> Run:
    """Write traced and frozen TorchScript for batches of any size; see `export`."""
    traced = torch.jit.freeze(torch.jit.trace(network, example))
    content = BytesIO()  # torch refuses some file names, and stores the name in the file
    torch.jit.save(traced, content, _extra_files={'openmix.json': json.dumps(about)})
    path.write_bytes(content.getvalue())
    return torch.jit.load(str(path))


def _about(
    cfg: Config, checkpoint: str, shape: tuple[int, int], classes: int, ema: bool, trained: tuple[str, ...] | None
) -> dict[str, str]:
    """Make the metadata of an exported file, strings by key; `trained` are the class names in the checkpoint."""
    dataset = dict(cfg.test_dataloader.dataset)
    facts = find(DATASETS, dataset.pop('type')).facts(**dataset)
    return {
        'openmix': __version__,
        'checkpoint': Path(checkpoint).name,
        'weights': 'moving average' if ema else 'raw',
        'input': f'{INPUT}: float32 RGB (N, 3, {shape[0]}, {shape[1]}) in [0, 1]; normalised inside',
        'output': f'{OUTPUT}: float32 (N, {classes}), before the softmax',
        'classes': json.dumps(list(facts.classes if trained is None else trained)),
    }


@contextmanager
def new_file(out: Path) -> Iterator[Path]:
    """Yield the temporary path of `appearing`, after checking that it is writable.

    Raises:
        InputError: it is not writable.
    """
    try:
        if out.is_dir():
            raise IsADirectoryError(0, 'it is a folder')
        out.parent.mkdir(parents=True, exist_ok=True)
        with appearing(out) as path:
            path.touch()
            yield path
    except OSError as error:
        where = f' ({error.filename})' if error.filename else ''
        raise InputError(f"cannot write '{out}': {error.strerror or error}{where}; choose another --out") from error


@contextmanager
def _quietly() -> Iterator[None]:
    """Suppress warnings, log lines and prints of the exporters, which concern their own code."""
    before, nowhere = logging.root.manager.disable, StringIO()
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(nowhere), redirect_stderr(nowhere):
            warnings.simplefilter('ignore')
            yield
    finally:
        logging.disable(before)
