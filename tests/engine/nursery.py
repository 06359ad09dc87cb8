"""A process with the slow imports done, which forks commands of tools/.

Importing torch and openmix takes seconds. The nursery has imported them; it forks one process per command, which runs
the command and then exits like a regular Python process.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from forked import Forked, run_to_exit
from processes import ENVIRONMENT, ROOT, SECONDS, TOOLS, Command, free_port


class Nursery:
    """A process with the slow imports done, which forks commands."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
        )

    def start(
        self,
        words: Sequence[object],
        log: Path,
        imitate: dict | None = None,
        root: Path | None = None,
        cwd: Path = ROOT,
        env: Mapping[str, str] | None = None,
    ) -> Command:
        """Start a command of tools/.

        Args:
            words: file name and arguments of the command.
            log: file for its output.
            imitate: registry dict of a data set; a stand-in for it is written to `root` first.
            root: an empty folder.
            cwd: the current folder of the command.
            env: environment variables, see `run`.
        """
        known = dict(cwd=str(cwd), env=env, quick_exit=False)
        return self._start(words, log, log, imitate=imitate, root=str(root), **known)

    def run(
        self, words: Sequence[object], cwd: Path = ROOT, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of tools/ to its end, as `subprocess.run` does.

        The exit functions are called, but the interpreter is not taken down: that would copy the memory of all that
        the nursery has imported, which takes as long as a small command.

        Args:
            words: file name and arguments of the command.
            cwd: the current folder of the command.
            env: environment variables on top of those of the tests; what is in PYTHONPATH is found first.
        """
        with tempfile.TemporaryDirectory() as folder:
            out, errors = Path(folder) / 'out', Path(folder) / 'errors'
            command = self._start(words, out, errors, cwd=str(cwd), env=env, quick_exit=True)
            try:
                code = command.ends(SECONDS)
                assert code is not None, f'{words} still runs after {SECONDS} s: {errors.read_text()[-3000:]}'
            finally:
                command.clear()
            return subprocess.CompletedProcess([*words], code, out.read_text(), errors.read_text())

    def ranks(
        self, processes: int, words: Sequence[object], log: Path, env: Mapping[str, str] | None = None
    ) -> list[Command]:
        """Start a command in several processes that find each other, as a launcher does; rank r writes to `log`.r."""
        met = {'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': free_port()}
        met |= {'WORLD_SIZE': str(processes), 'LOCAL_WORLD_SIZE': str(processes)}
        return [
            self.start(
                [*words, '--launcher', 'pytorch'],
                log.with_name(f'{log.name}.{rank}'),
                env={**(env or {}), **met, 'RANK': str(rank), 'LOCAL_RANK': str(rank)},
            )
            for rank in range(processes)
        ]

    @contextmanager
    def on_one_core(self) -> Iterator[None]:
        """Give the commands that are started in the block one core."""
        pid = self._process.pid
        cores = os.sched_getaffinity(pid)
        os.sched_setaffinity(pid, {min(cores)})
        try:
            yield
        finally:
            os.sched_setaffinity(pid, cores)

    @contextmanager
    def on_a_full_disk(self, size: int) -> Iterator[None]:
        """Let the commands that are started in the block write no more than `size` bytes to a file."""
        pid, kind = self._process.pid, resource.RLIMIT_FSIZE
        usual = resource.prlimit(pid, kind)
        resource.prlimit(pid, kind, (size, usual[1]))
        try:
            yield
        finally:
            resource.prlimit(pid, kind, usual)

    def _start(
        self, words: Sequence[object], log: Path, errors: Path, env: Mapping[str, str] | None, **more: object
    ) -> Command:
        for file in {log, errors}:
            file.touch()
        request = {'words': [str(word) for word in words], 'log': str(log), 'errors': str(errors)}
        pid = self._ask({**request, 'env': {**os.environ, **(env or {})}, **more})
        assert pid is not None
        return Command(pid, log, lambda: self._ask({'poll': pid}))

    def _ask(self, request: dict) -> int | None:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(request) + '\n')
        stdin.flush()
        return json.loads(stdout.readline())

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def _next_command() -> dict | None:
    """Serve requests; return the command to run in the forked process, and None in the nursery at the end."""
    codes: dict[int, int] = {}
    for line in sys.stdin:
        request = json.loads(line)
        if (asked := request.get('poll')) is not None:
            if asked not in codes and (done := os.waitpid(asked, os.WNOHANG))[0]:
                codes[asked] = os.waitstatus_to_exitcode(done[1])
            print(json.dumps(codes.get(asked)), flush=True)
            continue
        pid = os.fork()
        if pid == 0:
            return request
        print(pid, flush=True)
    return None


def _become(request: dict) -> None:
    """Run a command in this process."""
    from openmix.data.imitation import imitation

    subprocess.Popen = Forked  # type: ignore[misc]
    os.setsid()
    # Python takes over Ctrl-C only where it is not ignored, as it is in what a shell starts in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Nor does a command under nohup hear the hang-up: what started the tests does not decide what they show.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    for file, number in ((os.devnull, 0), (request['log'], 1), (request['errors'], 2)):
        opened = os.open(file, os.O_RDWR | os.O_APPEND)
        os.dup2(opened, number)
        os.close(opened)
    os.environ |= request.get('env', {})
    tempfile.tempdir = None  # it is that of TMPDIR at the first look
    if (added := request.get('env', {}).get('PYTHONPATH')) is not None:
        sys.path[:0] = added.split(os.pathsep)
    os.chdir(request.get('cwd', '.'))
    sys.argv = [str(TOOLS / request['words'][0]), *request['words'][1:]]
    if request['quick_exit']:
        os._exit(run_to_exit(sys.argv))
    imitate = request.get('imitate')
    with nullcontext() if imitate is None else imitation(imitate, Path(request['root'])):
        runpy.run_path(sys.argv[0], run_name='__main__')


def read_declarations() -> None:
    """Read what classes of openmix declare, which every command on recipes reads once."""
    from openmix.declared import _classes

    for folder in ('data', 'losses', 'mixups', 'models'):
        _classes(folder)


def _main() -> None:
    import sklearn.datasets  # noqa: F401  this and the next one are imported by trainings

    import openmix.data
    import openmix.engine.launch
    import openmix.evaluation
    import openmix.models  # noqa: F401

    runpy.run_path(str(TOOLS / 'benchmark.py'), run_name='imported')
    read_declarations()

    gc.freeze()  # a collection in a child would copy the memory of all that is imported
    # As in a fresh process: whoever reaped the nursery's children would take their exit codes from it.
    if (request := _next_command()) is not None:
        _become(request)


if __name__ == '__main__':
    _main()
