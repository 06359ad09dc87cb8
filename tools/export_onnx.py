"""Export a checkpoint's network to ONNX: tools/export_onnx.py CONFIG CHECKPOINT --out FILE [options]."""

from openmix.arguments import CommandParser, check_out
from openmix.config_files import config_path, files_of
from openmix.entry_point import command


@command
def main() -> None:
    parser = CommandParser('Export the network that a run reports, normalisation included.')
    parser.add_export('.onnx')
    parser.add_argument('--dynamic-batch', action='store_true', help='take batches of any size (default: one image)')
    args = parser.parse_args()
    check_out('--out', args.out, *files_of(config_path(args.config)), args.checkpoint)
    from openmix.engine.export import export_as_asked, to_onnx

    export_as_asked(args, to_onnx(args.dynamic_batch))


if __name__ == '__main__':
    main()
