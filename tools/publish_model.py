"""Strip a checkpoint to what others need, named by its content: tools/publish_model.py CHECKPOINT [options]."""

import argparse
import hashlib
import io
from pathlib import Path

import torch

from openmix import __version__
from openmix.engine.checkpoint import read_checkpoint, weights_of
from openmix.errors import command
from openmix.files import appearing

# Of a run's meta what says how the weights came about; the rest is about the machine, or long.
KEPT = ('epoch', 'iter', 'seed', 'recipe', 'best', 'dataset_meta', 'mmengine_version', 'time')


def publish(path: Path, ema: bool, folder: Path) -> Path:
    """Write `<stem>-<first 8 of its SHA-256>.pth` with the weights and what is known of them; returns the file.

    The same weights give the same name.

    Raises:
        InputError: no such checkpoint, or no moving average in it.
    """
    checkpoint = read_checkpoint(path)
    weights = weights_of(checkpoint, path, ema)
    meta = {key: value for key, value in (checkpoint.get('meta') or {}).items() if key in KEPT}
    meta |= {'openmix': __version__, 'weights': 'moving average' if ema else 'raw'}
    content = io.BytesIO()  # torch writes a file's own name into it, which would change the digest
    torch.save({'meta': meta, 'state_dict': {key: value.clone() for key, value in weights.items()}}, content)
    published = folder / f'{path.stem}-{hashlib.sha256(content.getvalue()).hexdigest()[:8]}.pth'
    folder.mkdir(parents=True, exist_ok=True)
    with appearing(published) as partial:
        partial.write_bytes(content.getvalue())
    return published


@command
def main() -> None:
    parser = argparse.ArgumentParser(description='Strip a checkpoint to its weights and what is known of them.')
    parser.add_argument('checkpoint', type=Path, help='a file written by tools/train.py')
    parser.add_argument('--ema', action='store_true', help='the moving average of the weights, not the raw ones')
    parser.add_argument('--out', type=Path, metavar='DIR', help='where to (default: beside the checkpoint)')
    args = parser.parse_args()
    print(publish(args.checkpoint, args.ema, args.out or args.checkpoint.parent))


if __name__ == '__main__':
    main()
