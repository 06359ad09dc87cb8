"""Export a checkpoint's network to ONNX: tools/export_onnx.py CONFIG CHECKPOINT --out FILE [options]."""

import argparse

from openmix.engine.export import add_options, export_as_asked, to_onnx
from openmix.errors import command


@command
def main() -> None:
    parser = argparse.ArgumentParser(description='Export the network that a run reports, normalisation included.')
    add_options(parser, '.onnx')
    parser.add_argument('--dynamic-batch', action='store_true', help='take batches of any size (default: one image)')
    args = parser.parse_args()
    export_as_asked(args, to_onnx(args.dynamic_batch))


if __name__ == '__main__':
    main()
