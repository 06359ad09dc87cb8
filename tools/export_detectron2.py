"""Write a backbone for detectors of other projects: tools/export_detectron2.py CHECKPOINT --out FILE."""

from __future__ import annotations

from pathlib import Path

from openmix.arguments import CommandParser, check_out
from openmix.entry_point import command
from openmix.errors import InputError, brief

SUFFIXES = ('.pkl', '.pth')


@command
def main() -> None:
    parser = CommandParser(
        'Write the ResNet backbone of a checkpoint for detectron2, or with the names of torchvision.'
    )
    parser.add_argument('checkpoint', type=Path, help='a file written by tools/train.py, of any algorithm')
    help_text = "the file: .pkl with detectron2's names, .pth with torchvision's, as mmdetection reads them"
    parser.add_argument('--out', type=Path, required=True, metavar='FILE', help=help_text)
    args = parser.parse_args()
    check_out('--out', args.out, args.checkpoint)
    if args.out.suffix not in SUFFIXES:
        raise InputError(f'--out: the file is one of {", ".join(SUFFIXES)}, not {brief(args.out.name)}')

    from openmix.engine.backbone_export import export_backbone

    count = export_backbone(args.checkpoint, args.out)
    print(f'{args.out}: {count} tensors')


if __name__ == '__main__':
    main()
