"""List what a recipe can name, and recipes and tables: tools/list.py [KIND ...] [--match TEXT]."""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from openmix.arguments import CommandParser
from openmix.entry_point import command
from openmix.errors import InputError, check_choice, printable


@dataclass(frozen=True)
class Entry:
    """A name and what it is for.

    Attributes:
        name: as recipes and commands take it.
        purpose: one line.
        library: the package that it is from.
        error: why its file cannot be read.
    """

    name: str
    purpose: str = ''
    library: str = 'openmix'
    error: str = ''


def first_sentence(text: str | None) -> str:
    """Return the first sentence of a docstring, or its first paragraph if that has no full stop, on one line."""
    paragraph = ' '.join(inspect.cleandoc(text or '').partition('\n\n')[0].split())
    # A capital follows the full stop of a sentence, and not that of "Eq. 1" or "He et al. (2016)".
    return re.split(r'\. (?=[A-Z])', paragraph)[0].removesuffix('.')


def registered(name: str, belongs: Callable[[Any], bool] | None = None) -> Iterator[Entry]:
    """Yield what one of openmix's registries has, mmengine's parts included where openmix accepts them."""
    from openmix import registry

    of = vars(registry)[name]
    for key in sorted(registry.known_to(of), key=str.lower):
        try:
            found = registry.find(of, key)
        except InputError:  # a part of mmengine that does not fit
            continue
        if belongs is None or belongs(found):
            alias = inspect.isclass(found) and found.__name__ != key
            purpose = f'another name of {found.__name__}' if alias else first_sentence(found.__doc__)
            yield Entry(key, purpose, found.__module__.partition('.')[0])


def of_models(kind: str) -> Iterator[Entry]:
    """Yield the registered algorithms, the backbones, or the other parts of models."""
    from openmix.algorithm import Algorithm
    from openmix.registry import HOOKS

    def belongs(found: Any) -> bool:
        if inspect.isclass(found) and issubclass(found, Algorithm):
            return kind == 'algorithms'
        of_mmengine = found.__module__.startswith('mmengine.')  # base classes
        return not of_mmengine and kind == ('backbones' if '.backbones.' in found.__module__ else 'parts')

    HOOKS.import_from_location()  # with a hook comes the moving average that it builds
    return registered('MODELS', belongs)


def recipes() -> Iterator[Entry]:
    """Yield the recipes below `configs/`, which are read and not run; in YAML the first comment is the purpose."""
    from openmix.shipped import configs_dir

    for path in sorted(configs_dir().rglob('*.*')):
        name = path.relative_to(configs_dir()).as_posix()
        if name.startswith(('_base_/', 'tables/')) or path.suffix not in ('.py', '.yaml', '.yml'):
            continue
        try:
            source = path.read_text(encoding='utf-8')
            told = (
                ast.get_docstring(ast.parse(source)) if path.suffix == '.py' else source.partition('\n')[0].strip('# ')
            )
            yield Entry(name, first_sentence(told))
        except (OSError, SyntaxError, ValueError) as error:
            yield Entry(name, error=f'{path}: {error}')


def tables() -> Iterator[Entry]:
    """Yield the tables below `configs/tables`, with their titles."""
    from openmix.benchmark.table import load_table, table_names

    for name in table_names():
        try:
            yield Entry(name, load_table(name).title)
        except InputError as error:
            yield Entry(name, error=str(error))


def of_timm() -> Iterator[Entry]:
    """Yield timm's models, with the tags of their weights."""
    import timm

    tags: defaultdict[str, list[str]] = defaultdict(list)
    for full in timm.list_pretrained():
        name, _, tag = full.partition('.')
        tags[name].append(tag)
    for name in timm.list_models():
        yield Entry(name, ', '.join(tags[name]), 'timm')


def of_torchvision() -> Iterator[Entry]:
    """Yield torchvision's classifiers, with the names of their weights."""
    import torchvision
    from torchvision.models import get_model_weights, list_models

    for name in list_models(module=torchvision.models):
        yield Entry(name, ', '.join(get_model_weights(name).__members__), 'torchvision')


# By kind: what it is, and its entries.
KINDS: dict[str, tuple[str, Callable[[], Iterator[Entry]]]] = {
    'policies': ('model.policy, mixup methods', lambda: registered('MIXUPS')),
    'losses': ('model.head.loss', lambda: registered('LOSSES')),
    'algorithms': ('model, how a network is trained', lambda: of_models('algorithms')),
    'backbones': ('model.backbone', lambda: of_models('backbones')),
    'parts': ('heads, preprocessors and other parts of a model', lambda: of_models('parts')),
    'datasets': ('train_dataloader.dataset', lambda: registered('DATASETS')),
    'metrics': ('val_evaluator', lambda: registered('METRICS')),
    'hooks': ('custom_hooks and default_hooks', lambda: registered('HOOKS')),
    'recipes': ('what tools/train.py takes', recipes),
    'tables': ('what tools/benchmark.py takes', tables),
    'timm': ('names of TimmBackbone, with the tags of weights', of_timm),
    'torchvision': ('names of TorchvisionBackbone, with the names of weights', of_torchvision),
}
# Hundreds of names, of models that are not openmix's: listed where they are asked for.
ON_DEMAND = ('timm', 'torchvision')


def parse_args() -> Any:
    kinds = '\n'.join(f'  {kind:<12} {told}' for kind, (told, _) in KINDS.items())
    parser = CommandParser(f'List what a recipe can name, and recipes and tables.\n\nkinds:\n{kinds}')
    told = f'only these kinds (default: all but {" and ".join(ON_DEMAND)}; with --match all)'
    parser.add_words('kinds', KINDS, metavar='KIND', help=told)
    told = 'only what has this text in its name or purpose, in upper or lower case'
    parser.add_argument('--match', metavar='TEXT', help=told)
    parser.add_argument('--format', choices=('text', 'json'), default='text', help='of the output (default: text)')
    return parser.parse_args()


def show(kind: str, entries: list[Entry]) -> None:
    """Print the entries of a kind under a headline."""
    print(f'{kind} ({len(entries)}): {KINDS[kind][0]}')
    width = min(max(len(entry.name) for entry in entries), 60)
    for entry in entries:
        library = f' [{entry.library}]' if entry.library not in ('openmix', kind) else ''
        print(f'  {printable(entry.name):<{width}}  {printable(entry.purpose)}{library}'.rstrip())
    print()


@command
def main() -> int:
    args = parse_args()
    for kind in args.kinds:
        check_choice('the kind', kind, KINDS)
    chosen = args.kinds or [kind for kind in KINDS if args.match or kind not in ON_DEMAND]
    # Imported late, because the registered parts need torch.
    from openmix.import_folder import past_failures

    errors: list[str] = []
    found: dict[str, list[Entry]] = {}
    with past_failures() as failures:
        for kind in dict.fromkeys(chosen):
            entries = list(KINDS[kind][1]())
            errors += [entry.error for entry in entries if entry.error]
            text = (args.match or '').lower()
            found[kind] = [one for one in entries if text in one.name.lower() or text in one.purpose.lower()]
    if not any(found.values()) and args.match:
        raise InputError(f'nothing of {", ".join(chosen)} has {args.match!r} in its name or purpose')
    if args.format == 'json':
        rows = [{'kind': kind, **vars(entry)} for kind, entries in found.items() for entry in entries]
        print(json.dumps(rows, indent=1))
    else:
        for kind, entries in found.items():
            if entries:
                show(kind, entries)
    for line in dict.fromkeys([*map(str, failures), *errors]):
        print(f'error: {printable(line)}', file=sys.stderr)
    return 1 if failures or errors else 0


if __name__ == '__main__':
    main()
