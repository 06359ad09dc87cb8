"""What every command does around its `main`: streams, signals, error lines and exit codes."""

from __future__ import annotations

import atexit
import functools
import gc
import io
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from openmix.errors import NO_ROOM, InputError, Stopped, in_worker, printable

# As it exits, the interpreter would search all objects for cycles several times, with torch for a second.
atexit.register(gc.freeze)


def open_streams() -> None:
    """Make stdin, stdout and stderr usable: open closed ones on /dev/null, and escape characters that do not encode.

    The file descriptor of a closed stream would be reused by the next file that is opened, and prints would go there.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = open(1, 'w', encoding='utf-8')  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, 'w', encoding='utf-8')  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors='backslashreplace')


def _reader_is_gone() -> bool:
    """Return true if stdout is a pipe whose reader has closed it."""
    asked = select.poll()
    asked.register(sys.stdout, select.POLLOUT)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in asked.poll(0))


def _check_current_folder() -> None:
    """Raise an `InputError` if the current folder has been deleted, where relative paths do not work."""
    try:
        os.getcwd()
    except OSError as error:
        raise InputError(f'the current folder cannot be used: {error.strerror}; change to one that is there') from error


def _tell(line: str) -> None:
    """Print a line to stderr; ignore errors of writing, as the exit code still reports the failure."""
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)


def _tell_of_thread(failed: threading.ExceptHookArgs) -> None:
    """Print a failed read or write of a thread as one line; writers of logs raise it in the main thread too."""
    if isinstance(failed.exc_value, OSError):
        _tell(f'while writing in the background: {printable(str(failed.exc_value))}')
    else:
        threading.__excepthook__(failed)


class _Signalled(BaseException):
    """A signal asks the command to end; unlike `SystemExit`, nothing takes it for the end of a recipe's program."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def _unwinding() -> Iterator[None]:
    """Raise `_Signalled` on SIGTERM and SIGHUP in the block, so that temporary files are removed and locks released.

    In distributed training a process may wait for others in native code, where Python handles no signal; there the
    default action stays, which ends the process at once. A signal that is ignored, as under `nohup`, stays ignored.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        raise _Signalled(number)

    alone = threading.current_thread() is threading.main_thread() and os.environ.get('WORLD_SIZE', '1') in ('', '1')
    heard = [one for one in (signal.SIGTERM, signal.SIGHUP) if alone and signal.getsignal(one) is signal.SIG_DFL]
    for number in heard:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in heard:
            signal.signal(number, signal.SIG_DFL)


def command(main: Callable[[], int | None]) -> Callable[[], None]:
    """Wrap a command's `main` so that errors become one line on stderr and an exit code.

    An `InputError` gives exit code 2, Ctrl-C 130. SIGTERM and SIGHUP give 143 and 129, after temporary files are
    removed. Characters that the terminal's encoding lacks are printed escaped. If the reader of stdout closes it, as in
    `| head`, the command ends with the code of SIGPIPE, as other programs do.
    """

    @functools.wraps(main)
    def run() -> None:
        open_streams()
        threading.excepthook = _tell_of_thread
        try:
            _check_current_folder()
            with _unwinding():
                code = main()
            if code:
                sys.exit(code)
            sys.stdout.flush()
        except BrokenPipeError:
            if not _reader_is_gone():
                raise
            # So that flushing the rest of the output at exit does not fail again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(128 + signal.SIGPIPE)
        except InputError as error:
            inner = in_worker(error)
            line = (str(error) if inner is None else inner[1]).strip().splitlines()[-1]
            _tell(f'error: {line}')
            sys.exit(2)
        except Stopped as stopped:
            _tell(str(stopped))
            sys.exit(stopped.code)
        except KeyboardInterrupt:
            _tell('interrupted')
            sys.exit(128 + signal.SIGINT)
        except _Signalled as signalled:
            _tell('terminated' if signalled.number == signal.SIGTERM else 'hung up')
            sys.exit(128 + signalled.number)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            where = f" for '{printable(error.filename)}'" if error.filename else ''
            _tell(f'error: {error.strerror}{where}; what was written before is kept')
            sys.exit(2)

    return run
