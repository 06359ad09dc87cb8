"""Texts from any source in an error line cannot control the terminal."""

import os
import pickle
import re
import subprocess
import sys

import pytest
from torch._utils import ExceptionWrapper

from openmix.errors import InputError
from openmix.shipped import tools_path

# A name of a file that clears the screen and is no UTF-8, and a text with a NUL byte, a turn of direction and lines.
NAME = b'r\x1b[2J\xff\n.py'
PROGRAM = "raise ValueError('a\\0\\x1b]0;title\\x07b\\u202ec\\x85d\\ud800e')\n"


def test_a_command_prints_no_character_that_acts(tmp_path):
    recipe = os.path.join(os.fsencode(tmp_path), NAME)
    with open(recipe, 'w') as file:
        file.write(PROGRAM)
    command = [sys.executable, tools_path('print_config.py'), recipe]
    done = subprocess.run(command, capture_output=True, timeout=300, cwd=tmp_path)
    line = done.stderr.decode()
    assert done.returncode == 2
    assert line.endswith('\n')
    assert line[:-1].isprintable(), repr(line)
    assert 'r\\x1b[2J\\udcff\\n.py: ValueError: a\\x00\\x1b]0;title\\x07b\\u202ec' in line
    assert 'd\\ud800e' in line


@pytest.mark.parametrize('text', ['a\nb', 'a\rb', '\0', '\x7f', '\u2028', '\u200f', '\udcff', '\U000e0001'])
def test_what_does_not_print_is_its_escape(text):
    error = InputError(f'{text} ä 漢 😀')
    assert str(error).isprintable()
    assert str(error).endswith(' ä 漢 😀')
    assert str(error).partition(' ')[0].encode('ascii').decode('unicode_escape') == text
    assert str(InputError(str(error))) == str(pickle.loads(pickle.dumps(error))) == str(error)


def test_what_a_worker_raised_is_its_last_line(tmp_path):
    """Torch raises it anew, the trace in its message; the file whose name has a line break stays one line."""
    try:
        raise InputError('no image a\nerror: b\x1b[2J')
    except InputError:
        sent = ExceptionWrapper(where='in DataLoader worker process 0')
    with pytest.raises(InputError) as error:
        sent.reraise()
    lines = str(error.value).splitlines()
    assert len(lines) > 3
    assert all(line.isprintable() for line in lines)
    assert re.fullmatch(r'.*InputError: no image a\\nerror: b\\x1b\[2J', lines[-1])
