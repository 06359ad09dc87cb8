"""Keep the results of a table's finished runs in one file of the repository, and put them back into a work folder.

    python tests/recorded_runs.py record TABLE WORK_DIR     (writes docs/results/runs/TABLE.json anew)
    python tests/recorded_runs.py restore TABLE WORK_DIR    (then `benchmark.py run TABLE --work-dir WORK_DIR` goes on)

A line is one run: its `result.json` without the history, and what was measured of its checkpoint. Tables of pages are made from
these files, see test_recorded_runs.py.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from openmix.benchmark.evaluations import FOLDER
from openmix.benchmark.table import Table, load_table
from openmix.benchmark.trial import Trial
from openmix.benchmark.trials import distinct, trials_of
from openmix.files import write_text
from openmix.json_file import read_object

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


def main(verb: str, name: str, work_dir: Path) -> None:
    table = load_table(name)
    if verb == 'restore':
        print(f'{restore(path_of(name), work_dir)} runs in {work_dir}')
        return
    trials = distinct(trials_of(table, table.cells, work_dir))
    RUNS.mkdir(exist_ok=True)
    write_text(path_of(name), record(table, trials, work_dir))
    print(f'{sum(trial.state() == "done" for trial in trials)} of {len(trials)} runs in {path_of(name)}')


if __name__ == '__main__':
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
