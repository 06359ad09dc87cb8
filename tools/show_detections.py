"""Draw what a detector finds: tools/show_detections.py CONFIG CHECKPOINT [--threshold 0.5] [--out FILE.png]."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmengine.config import Config

from openmix.arguments import CommandParser, check_out
from openmix.config import load_config
from openmix.config_files import config_path, files_of, work_dir_of
from openmix.entry_point import command
from openmix.errors import InputError, brief, check_number

if TYPE_CHECKING:
    from openmix.batch import Batch
    from openmix.evaluation.draw_boxes import DetectedImage

FORMATS = ('.png', '.pdf', '.svg')
COUNT = 4
ANSWERS = ('boxes', 'scores', 'box_labels')


def batches_of_files(paths: Sequence[Path], pipeline: Any) -> list[Batch]:
    """Read image files, each as a batch of one image without objects.

    Raises:
        InputError: a file is no image, or a transform fails on it.
    """
    import torch

    from openmix.data.box_pipeline import build_box_pipeline, run_box_pipeline
    from openmix.data.read import read_image

    steps = build_box_pipeline(pipeline or ())
    batches = []
    for number, path in enumerate(paths):
        image = read_image(path)
        pixels, _ = run_box_pipeline(steps, image, torch.zeros(0, 4), str(path))
        size = torch.tensor([[image.height, image.width]])
        batches.append({'inputs': [pixels], 'original_sizes': size, 'ids': torch.tensor([number])})
    return batches


def test_batches(cfg: Config, checkpoint: dict, path: str, count: int) -> list[Batch]:
    """Read test images with their objects, `count` or a few more.

    Raises:
        InputError: the checkpoint was trained on other classes.
    """
    from openmix.engine.data_check import check_built, trained_classes
    from openmix.engine.runner import Runner

    asked = dict(cfg.test_dataloader) | {'num_workers': 0}
    asked.pop('persistent_workers', None)
    loader = Runner.build_dataloader(asked, seed=0)
    check_built(loader.dataset, trained_classes(checkpoint, path), 'test_dataloader.dataset', f"'{path}'")
    return list(islice(loader, -(-count // (loader.batch_size or 1))))


def detect(cfg: Config, checkpoint: dict, path: str, ema: bool, batches: Sequence[Batch], threshold: float) -> Any:
    """Run the detector of a recipe, with the weights of a checkpoint, on batches; return a list of `DetectedImage`."""
    import torch
    from mmengine.device import get_device

    from openmix.algorithm import algorithm_of
    from openmix.engine.blame import building
    from openmix.engine.checkpoint import put_weights
    from openmix.evaluation.draw_boxes import detected_images
    from openmix.registry import MODELS

    with building(cfg, 'model', cfg.model.type):
        model = algorithm_of(MODELS.build(cfg.model))
    put_weights(model, checkpoint, path, ema)
    model.to(get_device()).eval()
    images: list[DetectedImage] = []
    with torch.no_grad():
        for batch in batches:
            images += detected_images(batch, model.predict(model.data_preprocessor(batch)), threshold)
    return images


@command
def main() -> None:
    parser = CommandParser('Draw the detections of a checkpoint beside the objects of the test images.')
    parser.add_recipe()
    parser.add_argument('checkpoint', help='a file written by tools/train.py')
    parser.add_argument('--images', nargs='+', type=Path, metavar='FILE', help='these images instead of the test ones')
    parser.add_argument(
        '--count', type=int, metavar='N', help=f'how many to show: the first test images (default: {COUNT})'
    )
    parser.add_argument(
        '--threshold', type=float, default=0.5, metavar='SCORE', help='lowest score that is drawn (default: 0.5)'
    )
    parser.add_argument(
        '--out',
        metavar='FILE',
        help='the file: .png, .pdf or .svg (default: show_detections.png in the work folder)',
    )
    parser.add_ema()
    parser.add_cfg_options()
    args = parser.parse_args()
    check_number('--threshold', args.threshold, 0.0, 1.0)
    if args.images and args.count is not None:
        raise InputError('--count chooses test images; leave out --images, or --count')
    count = COUNT if args.count is None else args.count
    check_number('--count', count, 1)
    cfg = load_config(args.config, args.cfg_options)
    work_dir = Path(cfg.get('work_dir') or work_dir_of(args.config))
    out = Path(args.out) if args.out else work_dir / 'show_detections.png'
    check_out('--out', out, *files_of(config_path(args.config)), args.checkpoint, *(args.images or ()))
    events_at = out.parent / 'show_detections'
    check_out('--out', events_at / 'vis_data' / 'events')
    if out.suffix.lower() not in FORMATS:
        raise InputError(f'--out: the picture is one of {", ".join(FORMATS)}, not {brief(out.name)}')

    from mmengine.visualization import Visualizer

    from openmix.engine import launch
    from openmix.engine.answers import check_answers
    from openmix.engine.checkpoint import read_checkpoint
    from openmix.engine.data_check import trained_classes
    from openmix.engine.export import new_file
    from openmix.evaluation.draw import to_array
    from openmix.evaluation.draw_boxes import draw_detections

    cfg = launch.prepare(cfg)
    if cfg.get('test_dataloader') is None:
        raise InputError('the recipe has no test_dataloader, which says how images are read')
    check_answers(cfg, ANSWERS, '', 'show_detections')
    checkpoint = read_checkpoint(args.checkpoint)
    if args.images:
        batches = batches_of_files(args.images, cfg.test_dataloader.dataset.get('pipeline'))
    else:
        batches = test_batches(cfg, checkpoint, args.checkpoint, count)
    images = detect(cfg, checkpoint, args.checkpoint, args.ema, batches, args.threshold)
    classes = trained_classes(checkpoint, args.checkpoint)
    if classes is None:
        raise InputError(f"'{args.checkpoint}' does not say what its classes are called; take one of tools/train.py")
    figure = draw_detections(images if args.images else images[:count], classes)
    with new_file(out) as partial:
        figure.savefig(partial, dpi=150)
    events = Visualizer(vis_backends=[dict(type='TensorboardVisBackend')], save_dir=str(events_at))
    events.add_image('detections', to_array(figure).permute(1, 2, 0).contiguous().numpy())
    events.close()
    print(out)


if __name__ == '__main__':
    main()
