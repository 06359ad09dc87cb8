"""Export a checkpoint's network to TorchScript: tools/export_torchscript.py CONFIG CHECKPOINT --out FILE [options]."""

from openmix.arguments import CommandParser, check_out
from openmix.config_files import config_path, files_of
from openmix.entry_point import command


@command
def main() -> None:
    parser = CommandParser('Export the network that a run reports, normalisation included.')
    parser.add_export('.pt')
    args = parser.parse_args()
    check_out('--out', args.out, *files_of(config_path(args.config)), args.checkpoint)
    from openmix.engine.export import export_as_asked, to_torchscript

    export_as_asked(args, to_torchscript)


if __name__ == '__main__':
    main()
