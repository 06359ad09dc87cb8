"""What importing costs: policies and losses load no engine and no compiler, and `--help` of a command no torch."""

import subprocess
import sys
from pathlib import Path

TOOLS = Path(__file__).parent.parent / 'tools'

# The compiler takes 1.1 s of CPU, as long as torch itself, and mmengine's models 0.6 s.
OF_POLICIES = """
import sys
import openmix.losses, openmix.mixups
heavy = ('torch._dynamo', 'sympy', 'mmengine.model', 'mmengine.optim', 'mmengine.runner', 'mmcv', 'timm', 'torchvision',
         'matplotlib', 'sklearn', 'scipy.optimize', 'pandas')
print(*(name for name in heavy if name in sys.modules))
"""
OF_COMMANDS = """
import contextlib, io, runpy, sys
for script in sys.argv[1:]:
    sys.argv = [script, '--help']
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        try:
            runpy.run_path(script, run_name='__main__')
        except SystemExit as stopped:
            assert not stopped.code, script
    assert said.getvalue().startswith('usage: '), script
    print(script, *(name for name in ('torch', 'numpy.random', 'timm', 'mmcv', 'matplotlib') if name in sys.modules))
"""


def said(code, *words):
    call = [sys.executable, '-c', code, *map(str, words)]
    done = subprocess.run(call, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


def test_policies_and_losses_import_without_the_engine_and_the_compiler():
    assert said(OF_POLICIES) == ['']


def test_help_of_every_command_imports_no_torch():
    scripts = [str(path) for path in sorted(TOOLS.glob('*.py'))]
    assert len(scripts) > 15
    assert said(OF_COMMANDS, *scripts) == scripts
