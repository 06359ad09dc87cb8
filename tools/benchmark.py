"""Run a published table and print our numbers beside the published ones: tools/benchmark.py VERB [TABLE] [options]."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from mmengine.config import Config
from rich.console import Console

from openmix.arguments import check_out
from openmix.benchmark import plan, progress
from openmix.benchmark.backbones import check_fits
from openmix.benchmark.cell import Cell
from openmix.benchmark.chain import WEIGHTS, with_earlier
from openmix.benchmark.command_line import parse_args
from openmix.benchmark.escape import terminal
from openmix.benchmark.evaluate import check_finished, evaluate_trials
from openmix.benchmark.evaluations import with_evaluations
from openmix.benchmark.folders import layout
from openmix.benchmark.limits import MOST_ITERATIONS, MOST_TRIALS
from openmix.benchmark.made_for import check_own_folder
from openmix.benchmark.merge import read_imports
from openmix.benchmark.outputs import figure_table, report_table, submit_runs
from openmix.benchmark.ranking import rank
from openmix.benchmark.records import Record, read_records
from openmix.benchmark.run import Queue
from openmix.benchmark.same_choice import same_choice
from openmix.benchmark.show import list_tables, records_of, show, show_all, write
from openmix.benchmark.smoke import Smoke
from openmix.benchmark.submit import check_engine, resources_of, submit_table
from openmix.benchmark.table import Table, default_work_dir, load_table, table_path
from openmix.benchmark.times import clock
from openmix.benchmark.training import check_counts
from openmix.benchmark.trial import Trial
from openmix.benchmark.trials import check_readouts, stages, trials_of
from openmix.benchmark.unseen import check_stages
from openmix.benchmark.variant import VARIANTS
from openmix.entry_point import command
from openmix.errors import InputError, check_number
from openmix.measurements import Measurement, corrupted_files_of, hooks_of, measurements_of


def implemented(table: Table, cells: Sequence[Cell]) -> list[Cell]:
    """Return the chosen cells that can run.

    Raises:
        InputError: there is none.
    """
    found = [cell for cell in cells if cell.implemented]
    if not found:
        raise InputError(
            f"table '{table.name}': none of the {len(cells)} chosen cells is implemented yet; "
            'show prints their published numbers'
        )
    return found


def run_table(table: Table, cells: Sequence[Cell], work_dir: Path, args: argparse.Namespace, console: Console) -> int:
    # Checked before torch is imported, so that errors appear at once.
    check_number('retries', args.retries, 0, MOST_TRIALS)
    on_slurm = args.engine == 'slurm' or args.print_sbatch
    check_engine(args, on_slurm)
    if on_slurm:
        resources_of(args)
    else:
        check_counts(args.jobs, args.gpus_per_run)
    left_out = len(cells) - len(implemented(table, cells))
    if left_out:
        out = sys.stderr if args.print_sbatch else sys.stdout  # stdout holds only the script
        print(f'{left_out} cells are not implemented and left out', file=out)
    if args.smoke:
        return smoke_table(cells, console)
    weights = args.weights_dir or WEIGHTS
    trials = trials_of(table, cells, work_dir, args.trials, weights)
    check_readouts(trials)
    check_own_folder(trials)
    check_earlier_stages(trials)
    if on_slurm:
        return submit_table(table, cells, work_dir, args, console)
    failed: list[Trial] = []
    for trials in stages(table, cells, work_dir, args.trials, weights):
        failed += Queue(console, None, args.jobs, args.gpus_per_run, args.retries).run(trials)
    return 1 if failed else 0


def check_earlier_stages(trials: Sequence[Trial]) -> None:
    """Check that earlier stages fit, and train on no images that the cell is evaluated on.

    Raises:
        InputError: one does not.
    """
    if all(trial.earlier is None for trial in trials):
        return
    from openmix.engine.backbone_fit import check_backbones  # imports torch, which takes seconds
    from openmix.engine.data_check import check_unseen

    check_fits(trials, check_backbones)
    for note in check_stages(trials, check_unseen):
        print(f'note: {note}', file=sys.stderr)


def smoke_table(cells: Sequence[Cell], console: Console) -> int:
    """Run a short test of each cell in this process, because starting Python takes longer than the test."""
    from openmix.data.imitation import imitation
    from openmix.engine import launch
    from openmix.engine.initial_weights import InitialWeights

    def train(cfg: Config, weights: Path | None) -> Path:
        given = None if weights is None else InitialWeights.read(weights)
        if given is not None:
            given.put_into(cfg, None)
        return launch.train(launch.prepare(cfg), weights=given)

    failed = total = 0
    with Smoke(train, imitation) as smoke:
        for outcome in smoke.all([cell for cell in cells if cell.implemented]):
            total, failed = total + 1, failed + bool(outcome.error)
            line = f'{outcome.cell.name}: {outcome.error or "ok"} ({outcome.seconds:.1f} s)'
            console.print(terminal(line), soft_wrap=True)
    console.print(f'{total - failed} of {total} cells run')
    return 1 if failed else 0


def parameters(cfg: Config) -> int | None:
    """Count the parameters of a recipe's model, built on the meta device; None if it cannot be built here."""
    from openmix.engine.backbone_fit import built_on_meta

    model = built_on_meta(cfg)
    if model is None:
        return None
    return sum(parameter.numel() for parameter in model.parameters())


def plan_table(
    table: Table, trials: Sequence[Trial], records: Sequence[Record], args: argparse.Namespace, console: Console
) -> None:
    hours = {}
    if args.dry_run is not None:
        check_number('--dry-run: iterations', args.dry_run, 1, MOST_ITERATIONS)
        cells = [trial.cell for trial in with_earlier(trials)] + plan.waiting(table, records)
        for training, found in plan.measure_hours(cells, args.dry_run):
            recipe, policy, length = training
            name = ', '.join(filter(None, (f'{recipe} with {policy}' if policy else recipe, length)))
            if isinstance(found, float):
                hours[training] = found
            said = clock(3600 * found) if isinstance(found, float) else found
            console.print(terminal(f'{name}: {said}'), soft_wrap=True)
    check_readouts(trials)
    check_own_folder(trials)
    check_earlier_stages(trials)
    chain = with_earlier(trials, shown=True)
    show(plan.trial_table(table, chain), console)
    need = plan.needs(table, chain, records, parameters if args.disk else None, hours, args.trials)
    remarks = layout(table.cells, args.work_dir or default_work_dir(table)).remarks()
    for line in [*plan.summary(chain, records, need), f'{table.variant} variant: {VARIANTS[table.variant]}', *remarks]:
        console.print(terminal(line), soft_wrap=True)


def measured(cfg: Config, checkpoint: Path, asked: Sequence[Measurement]) -> dict[str, float]:
    """Measure a checkpoint on the test data of its recipe."""
    from openmix.engine import launch
    from openmix.evaluation.corrupted_files import corrupted_tests

    with TemporaryDirectory() as folder:
        cfg.work_dir, cfg.log_level = folder, 'WARNING'
        cfg = launch.prepare(cfg)
        files = corrupted_files_of(asked)
        also = corrupted_tests(cfg.test_dataloader.dataset.to_dict(), **files)._asdict() if files else {}
        return launch.evaluate(cfg, str(checkpoint), None, hooks=hooks_of(asked), **also)


def evaluate_table(
    table: Table, cells: Sequence[Cell], work_dir: Path, args: argparse.Namespace, console: Console
) -> int:
    asked = measurements_of(args)
    trials = trials_of(table, implemented(table, cells), work_dir, args.trials, args.weights_dir or WEIGHTS)
    check_own_folder(trials)
    options = [word for one in asked for word in one.options]
    check_finished(trials, asked, same_choice('run', sys.argv[2:], options))
    from openmix.engine.environment import commit, environment

    facts = {'commit': commit(), 'environment': environment()}
    say = lambda line: console.print(terminal(line), soft_wrap=True)  # noqa: E731
    try:
        return 1 if evaluate_trials(trials, asked, measured, facts, say) else 0
    except KeyboardInterrupt:
        again = same_choice('evaluate', sys.argv[2:])
        print(f'stopped; what is measured so far is kept, go on with: {again}', file=sys.stderr)
        raise


def serve_table(table: Table, cells: Sequence[Cell], work_dir: Path, args: argparse.Namespace) -> None:
    """Serve the page until the process is stopped."""
    from openmix.benchmark.page import page
    from openmix.benchmark.runs_now import finished, runs_now, states_of
    from openmix.benchmark.serve import HOST, server

    check_number('--port', args.port, 0, 65535)
    folders, submissions = read_imports(args.imports, work_dir)
    records_of(table, cells, work_dir, args.trials, folders, args.weights_dir, submissions)  # refused here, not later

    def now() -> tuple[int, str]:
        trials = with_earlier(trials_of(table, cells, work_dir, args.trials, args.weights_dir or WEIGHTS), shown=True)
        states = states_of(trials)
        return finished(states), runs_now(trials, states, work_dir)

    def whole() -> str:
        found = records_of(table, cells, work_dir, args.trials, folders, args.weights_dir, submissions)
        records = with_evaluations(found)
        return page(table, records, work_dir, now=now())

    with server(args.port, work_dir, whole, now) as found:
        print(f'{table.name} at http://{HOST}:{found.server_address[1]}/; Ctrl-C ends it', flush=True)
        found.serve_forever()


def run_verb(args: argparse.Namespace, console: Console) -> int:
    if args.verb == 'rank':
        tables = [load_table(name) for name in args.tables]
        measured_of = [records_of(table, table.select(args.rows, args.columns)) for table in tables]
        show(rank(tables, measured_of), console)
        return 0
    if args.table is None:
        show_all(args, console)
        return 0
    table = load_table(args.table).as_variant(args.variant)
    table = table.with_options(args.cfg_options, table.select(args.rows, args.columns))
    table = table.with_steps(args.steps, table.select(args.rows, args.columns))
    cells = table.select(args.rows, args.columns)
    work_dir = args.work_dir or default_work_dir(table)
    if args.verb == 'run':
        return run_table(table, cells, work_dir, args, console)
    if args.verb in ('plan', 'status'):
        implemented(table, cells)
        weights = args.weights_dir or WEIGHTS
        trials = trials_of(table, cells, work_dir, args.trials, weights)
        if args.verb == 'status' and args.watch:
            now = lambda: with_earlier(trials_of(table, cells, work_dir, args.trials, weights), shown=True)  # noqa: E731
            progress.watch(table, now, console)
        elif args.verb == 'status':
            show(
                progress.status(table, with_earlier(trials, shown=True), layout(table.cells, work_dir).remarks()),
                console,
            )
        else:
            plan_table(table, trials, read_records(cells, trials), args, console)
        return 0
    if args.verb == 'serve':
        serve_table(table, cells, work_dir, args)
        return 0
    if args.verb == 'evaluate':
        return evaluate_table(table, cells, work_dir, args, console)
    if args.verb == 'figure':
        return figure_table(table, cells, work_dir, args)
    if args.verb == 'submit':
        from openmix.engine.environment import commit

        return submit_runs(table, implemented(table, cells), work_dir, args, commit())
    return report_table(table, cells, work_dir, args, console)


@command
def main() -> None:
    args = parse_args()
    out = vars(args).get('out')
    if out is not None and args.verb != 'figure':  # whose --out is a folder
        table = vars(args).get('table')
        check_out('--out', out, table and table_path(table), *vars(args).get('imports', ()))
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False, markup=False, emoji=False)
    if args.verb == 'list':
        list_tables(console)
    elif args.verb == 'config':
        table = load_table(args.table).as_variant(args.variant)
        table = table.with_options(args.cfg_options, [table.cell(args.row, args.column)])
        table = table.with_steps(args.steps, [table.cell(args.row, args.column)])
        cell = table.cell(args.row, args.column)
        write(cell.config_text(), args.out)
    else:
        try:
            sys.exit(run_verb(args, console))
        except KeyboardInterrupt:
            sys.exit(130)


if __name__ == '__main__':
    main()
