"""Keep the results of a table's finished runs in one file of the repository, and make tables of pages from it.

    python tests/recorded_runs.py record TABLE WORK_DIR     (writes docs/results/runs/TABLE.json anew)
    python tests/recorded_runs.py restore TABLE WORK_DIR    (then `benchmark.py run TABLE --work-dir WORK_DIR` goes on)
    python tests/recorded_runs.py pages                     (writes what stands between marks in README and docs anew)

A line of the file is one run: its `result.json` without the history, and what was measured of its checkpoint. In a
page, `<!-- runs of TABLE -->` begins a leaderboard, `<!-- measures of TABLE: ONE; OTHER -->` what was measured of the
checkpoints, and `<!-- end -->` ends it.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from openmix.benchmark.evaluations import FOLDER, column_of, with_evaluations
from openmix.benchmark.records import Record, read_records
from openmix.benchmark.render import gained, measured
from openmix.benchmark.statistics import Gain, gains, over_first_row
from openmix.benchmark.table import Table, load_table
from openmix.benchmark.trial import Trial
from openmix.benchmark.trials import distinct, trials_of
from openmix.errors import InputError
from openmix.files import write_text
from openmix.json_file import read_object

_MARKED = r'(<!-- (?:runs|measures) of ([\w/]+)(?:: (.+?))? -->)\n.*?<!-- end -->'
RUNS = Path(__file__).parent.parent / 'docs/results/runs'


def path_of(table: str) -> Path:
    """Return the file of a table's runs."""
    return RUNS / f'{table.replace("/", "_")}.json'


def record(table: Table, trials: list[Trial], work_dir: Path) -> str:
    """Return the text of the file: a line for each environment and for each finished run."""
    environments: list[Any] = []
    lines = {}
    for trial in trials:
        if trial.state() != 'done':
            continue
        found = read_object(trial.folder / 'result.json') or {}
        environment = found.pop('environment', {})
        if environment not in environments:
            environments.append(environment)
        found |= {'history': [], 'environment': environments.index(environment)}
        measured = {path.name: read_object(path) for path in sorted((trial.folder / FOLDER).glob('*.json'))}
        for one in measured.values():
            one.pop('environment', None)
        lines[str(trial.folder.relative_to(work_dir))] = {'result': found, FOLDER: measured}
    head = f'"table": {json.dumps(table.name)},\n"environments": {json.dumps(environments)}'
    runs = ',\n'.join(f'{json.dumps(name)}: {json.dumps(run)}' for name, run in sorted(lines.items()))
    return f'{{{head},\n"runs": {{\n{runs}\n}}}}\n'


def restore(path: Path, work_dir: Path) -> int:
    """Write the files of recorded runs into a work folder, beside what is there, and return the number of runs."""
    content = json.loads(path.read_text(encoding='utf-8'))
    for name, run in content['runs'].items():
        folder = work_dir / name
        if (folder / 'result.json').exists():
            continue
        (folder / FOLDER).mkdir(parents=True, exist_ok=True)
        result = run['result'] | {'environment': content['environments'][run['result']['environment']]}
        for file, text in run[FOLDER].items():
            write_text(folder / FOLDER / file, json.dumps(text, indent=1) + '\n')
        write_text(folder / 'result.json', json.dumps(result, indent=1) + '\n')
    return len(content['runs'])


def records_of(path: Path, work_dir: Path) -> tuple[Table, list[Record]]:
    """Put recorded runs into an empty work folder, and read them as `benchmark.py show` does.

    Raises:
        InputError: a run is not one of the table as it is now; a page without its number would look finished.
    """
    recorded = restore(path, work_dir)
    table = load_table(json.loads(path.read_text(encoding='utf-8'))['table'])
    trials = trials_of(table, table.cells, work_dir)
    done = sum(trial.state() == 'done' for trial in distinct(trials))
    if done != recorded:
        raise InputError(
            f'{path}: {recorded - done} of {recorded} runs are not those of {table.name} as it is now, so no page is '
            'made from them; restore the runs into a folder, train there what differs, and record them'
        )
    return table, read_records(table.cells, trials)


def leaderboard(table: Table, records: list[Record]) -> str:
    """Write a leaderboard in Markdown: each row's numbers, how far they are from the first row, and the gains."""
    above: dict[tuple[str, str], Gain] = {(gain.row, gain.column): gain for gain in over_first_row(table, records)}
    inside = gains(table, records)
    named = [f'{column} − {over}' for column, over in table.gains.items()]
    heads = [head for column in table.columns for head in (column, f'− {table.rows[0]}')] + named
    lines = [f'| | {" | ".join(heads)} |', f'|---|{"---:|" * len(heads)}']
    places = {(record.cell.row, record.cell.column): record for record in records}
    for row in table.rows:
        words = []
        for column in table.columns:
            record, gain = places.get((row, column)), above.get((row, column))
            words += [measured(record) if record else '', _told(gain)]
        words += [_told(gain) for gain in inside if gain.row == row]
        lines.append(f'| {" | ".join([row, *words, *[""] * (len(heads) - len(words))])} |')
    return '\n'.join(lines)


def measures(table: Table, records: list[Record], names: list[str]) -> str:
    """Write what was measured of the checkpoints in Markdown: for each name every column of the table."""
    places = {(record.cell.row, record.cell.column): record for record in with_evaluations(records)}
    columns = [(name, column) for name in names for column in table.columns]
    lines = [f'| | {" | ".join(f"{name}, {column}" for name, column in columns)} |', f'|---|{"---:|" * len(columns)}']
    for row in table.rows:
        found = [places.get((row, column_of(column, name))) for name, column in columns]
        words = [re.sub(r' \(\d+\)$', '', measured(record)) if record and record.values else '' for record in found]
        lines.append(f'| {" | ".join([row, *words])} |')
    return '\n'.join(lines)


def _told(gain: Gain | None) -> str:
    if gain is None or gain.ours is None:
        return ''
    text = re.sub(r' \(\d+\)$', '', gained(gain))
    sure = gain.half_width is not None and abs(gain.ours) > gain.half_width
    return f'**{text}**' if sure else text


def pages() -> Iterator[tuple[Path, str, str]]:
    """Yield each page that has a leaderboard between marks, its text, and its text with the leaderboards made anew."""
    for page in [RUNS.parents[2] / 'README.md', *sorted(RUNS.parents[1].rglob('*.md'))]:
        text = page.read_text(encoding='utf-8')
        if re.search(_MARKED, text, re.DOTALL):
            yield page, text, re.sub(_MARKED, _made, text, flags=re.DOTALL)


def _made(found: re.Match[str]) -> str:
    mark, table, names = found[1], found[2], found[3]
    with tempfile.TemporaryDirectory() as folder:
        known, records = records_of(path_of(table), Path(folder))
        text = measures(known, records, names.split('; ')) if names else leaderboard(known, records)
    return f'{mark}\n\n{text}\n\n<!-- end -->'


def keep(name: str, work_dir: Path) -> str:
    """Write the file of a table's runs, and return what is in it.

    Raises:
        InputError: no run is finished.
    """
    table = load_table(name)
    trials = distinct(trials_of(table, table.cells, work_dir))
    done = sum(trial.state() == 'done' for trial in trials)
    if not done:
        raise InputError(f'{work_dir} has no finished run of {name}')
    RUNS.mkdir(exist_ok=True)
    write_text(path_of(name), record(table, trials, work_dir))
    return f'{done} of {len(trials)} runs in {path_of(name)}'


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest='verb', required=True)
    verbs.add_parser('pages')
    for verb in ('record', 'restore'):
        of = verbs.add_parser(verb)
        of.add_argument('table', metavar='TABLE')
        of.add_argument('work_dir', type=Path, metavar='WORK_DIR')
    args = parser.parse_args(words)
    if args.verb == 'record':
        print(keep(args.table, args.work_dir))
    elif args.verb == 'restore':
        print(f'{restore(path_of(args.table), args.work_dir)} runs in {args.work_dir}')
    else:
        for page, text in [(page, text) for page, _, text in pages()]:  # all of them are made before one is written
            write_text(page, text)
            print(page)


if __name__ == '__main__':
    try:
        main(sys.argv[1:])
    except InputError as error:
        sys.exit(f'error: {error}')
