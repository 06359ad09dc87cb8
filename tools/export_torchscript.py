"""Export a checkpoint's network to TorchScript: tools/export_torchscript.py CONFIG CHECKPOINT --out FILE [options]."""

import argparse

from openmix.engine.export import add_options, export_as_asked, to_torchscript
from openmix.errors import command


@command
def main() -> None:
    parser = argparse.ArgumentParser(description='Export the network that a run reports, normalisation included.')
    add_options(parser, '.pt')
    export_as_asked(parser.parse_args(), to_torchscript)


if __name__ == '__main__':
    main()
