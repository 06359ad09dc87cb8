"""Run commands as real processes: start them, signal them, check how they end and which processes they leave.

Importing torch and openmix takes seconds. A `Nursery` is a process that has imported them; it forks one process per
command, which runs the command and then exits like a regular Python process.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent.parent
TOOLS = ROOT / 'tools'
ENVIRONMENT = os.environ | {'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1', 'PYTHONUNBUFFERED': '1'}
_SECONDS = 300  # for a whole command on a loaded machine; it matters only if a test fails
ENVIRONMENT |= {'PYTHON': sys.executable, 'GLOO_SOCKET_IFNAME': 'lo'}


def members(session: int) -> list[int]:
    """List the processes of a session, without zombies."""
    found = []
    for stat in Path('/proc').glob('[0-9]*/stat'):
        try:
            # The command's name, in brackets, may hold anything.
            state, _, _, of_session, *_ = stat.read_text().rpartition(')')[2].split()
        except OSError:
            continue  # it ended meanwhile
        if int(of_session) == session and state not in 'ZX':
            found.append(int(stat.parent.name))
    return found


def naming(text: object) -> list[int]:
    """List the processes whose command line contains a text, such as a folder."""
    found = []
    for words in Path('/proc').glob('[0-9]*/cmdline'):
        try:
            if str(text).encode() in words.read_bytes():
                found.append(int(words.parent.name))
        except OSError:
            continue
    return found


def until(condition: Callable[[], object], seconds: float) -> bool:
    """Wait until a condition is true; return false after a timeout in seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


@dataclass
class Command:
    """A process that leads a session of its own.

    Attributes:
        poll: its exit code, negative for the signal that killed it; None while it runs.
    """

    pid: int
    log: Path
    poll: Callable[[], int | None]

    @property
    def said(self) -> str:
        return self.log.read_text(errors='replace')

    def wait_for(self, text: str, seconds: float = 120) -> None:
        """Wait until the output contains a text."""
        assert until(lambda: text in self.said or self.poll() is not None, seconds), self.said[-3000:]
        assert text in self.said, self.said[-3000:]

    def to_all(self, number: int) -> None:
        """Signal the whole process group, as a terminal does."""
        os.killpg(self.pid, number)

    def ends(self, seconds: float) -> int | None:
        """Wait for the end; return the exit code, or None if the command still runs after the timeout."""
        until(lambda: self.poll() is not None, seconds)
        return self.poll()

    def left(self, seconds: float = 15) -> list[int]:
        """List the other processes of the session that still run some seconds after the command."""
        until(lambda: not set(members(self.pid)) - {self.pid}, seconds)
        return sorted(set(members(self.pid)) - {self.pid})

    def clear(self) -> None:
        """Kill all remaining processes of the session."""
        for pid in members(self.pid):
            os.kill(pid, signal.SIGKILL)
        until(lambda: self.poll() is not None, 10)


def start(words: Sequence[object], log: Path, program: str = sys.executable) -> Command:
    """Start a command in a new process."""
    with open(log, 'wb') as out:
        process = subprocess.Popen(
            [program, *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=ENVIRONMENT,
            start_new_session=True,
        )
    return Command(process.pid, log, process.poll)


class Nursery:
    """A process with the slow imports done, which forks commands."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
        )

    def start(
        self, words: Sequence[object], log: Path, imitate: dict | None = None, root: Path | None = None
    ) -> Command:
        """Start a command of tools/.

        Args:
            words: file name and arguments of the command.
            log: file for its output.
            imitate: registry dict of a data set; a stand-in for it is written to `root` first.
            root: an empty folder.
        """
        return self._start(words, log, log, imitate=imitate, root=str(root))

    def run(
        self, words: Sequence[object], cwd: Path = ROOT, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of tools/ to its end, as `subprocess.run` does.

        Args:
            words: file name and arguments of the command.
            cwd: the current folder of the command.
            env: environment variables on top of those of the tests; what is in PYTHONPATH is found first.
        """
        with TemporaryDirectory() as folder:
            out, errors = Path(folder) / 'out', Path(folder) / 'errors'
            command = self._start(words, out, errors, cwd=str(cwd), env={**os.environ, **(env or {})})
            try:
                code = command.ends(_SECONDS)
                assert code is not None, f'{words} still runs after {_SECONDS} s: {errors.read_text()[-3000:]}'
            finally:
                command.clear()
            return subprocess.CompletedProcess([*words], code, out.read_text(), errors.read_text())

    def _start(self, words: Sequence[object], log: Path, errors: Path, **more: object) -> Command:
        for file in {log, errors}:
            file.touch()
        pid = self._ask({'words': [str(word) for word in words], 'log': str(log), 'errors': str(errors)} | more)
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
    if (added := request.get('env', {}).get('PYTHONPATH')) is not None:
        sys.path[:0] = added.split(os.pathsep)
    os.chdir(request.get('cwd', '.'))
    sys.argv = [str(TOOLS / request['words'][0]), *request['words'][1:]]
    imitate = request.get('imitate')
    with nullcontext() if imitate is None else imitation(imitate, Path(request['root'])):
        runpy.run_path(sys.argv[0], run_name='__main__')


def _main() -> None:

    import openmix.data
    import openmix.engine.launch
    import openmix.evaluation
    import openmix.models  # noqa: F401

    gc.freeze()  # a collection in a child would copy the memory of all that is imported
    # As in a fresh process: whoever reaped the nursery's children would take their exit codes from it.
    if (request := _next_command()) is not None:
        _become(request)


if __name__ == '__main__':
    _main()
