"""Fork the commands of tools/ that a command starts, where it would import torch and openmix in a new process again."""

from __future__ import annotations

import atexit
import contextlib
import os
import runpy
import signal
import subprocess
import sys
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

TOOLS = Path(__file__).resolve().parent.parent.parent / 'tools'


class Forked(subprocess.Popen):
    """A child process as `subprocess` starts it, with its streams, environment, session and exit code.

    A command of tools/ is forked from this process instead of executed; any other is executed as usual.
    """

    def _execute_child(
        self,
        args: Any,
        executable: Any,
        preexec_fn: Callable[[], None] | None,
        close_fds: bool,
        pass_fds: Any,
        cwd: Any,
        env: Mapping[str, str] | None,
        startupinfo: Any,
        creationflags: Any,
        shell: bool,
        *others: Any,
    ) -> None:
        p2cread, _, _, c2pwrite, _, errwrite, _, _, _, _, _, start_new_session, *_ = others
        first = (args, executable, preexec_fn, close_fds, pass_fds, cwd, env, startupinfo, creationflags, shell)
        if not _is_tool(args):
            super()._execute_child(*first, *others)  # type: ignore[misc]
            return
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        self.pid = os.fork()
        if self.pid:
            self._child_created = True
            self._close_pipe_fds(*others[:6])  # type: ignore[attr-defined]
            return
        code = 255  # what a child ends with that does not come as far as its command
        try:
            if start_new_session:
                os.setsid()
            _connect(p2cread, c2pwrite, errwrite)
            _forget_signals()
            weakref.finalize._registry.clear()  # what the parent removes at its own exit, such as temporary folders
            if preexec_fn is not None:
                preexec_fn()
            os.chdir(cwd or '.')
            if env is not None:
                os.environ.clear()
                os.environ |= env
            code = run_to_exit(list(map(str, args[1:])))
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)


def _is_tool(args: Any) -> bool:
    return (
        isinstance(args, (list, tuple))
        and len(args) > 1
        and str(args[0]) == sys.executable
        and Path(str(args[1])).suffix == '.py'
        and Path(str(args[1])).resolve().parent == TOOLS
    )


def _connect(*streams: int) -> None:
    """Put the child's stdin, stdout and stderr, -1 for the parent's, in their places; close all other files."""
    copies = [stream if stream == -1 else os.dup(stream) for stream in streams]
    for number, copy in enumerate(copies):
        if copy != -1:
            os.dup2(copy, number)
    os.closerange(3, min(os.sysconf('SC_OPEN_MAX'), 1 << 16))
    # Another thread of the parent may have held the locks of its streams.
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout, sys.stderr = (open(number, 'w', buffering=1, closefd=False) for number in (1, 2))  # noqa: SIM115


def _forget_signals() -> None:
    """Reset the handlers of the parent, as an executed program does; what is ignored stays ignored."""
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def run_to_exit(words: list[str]) -> int:
    """Run a command as the main program, and its exit functions; return its exit code."""
    code, sys.argv = 0, words
    try:
        runpy.run_path(words[0], run_name='__main__')
    except SystemExit as left:
        if isinstance(left.code, str):
            print(left.code, file=sys.stderr)
        code = left.code if isinstance(left.code, int) else int(left.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    with contextlib.suppress(Exception):
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return code
