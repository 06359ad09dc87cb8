"""What is not installed is asked for in one line, and nothing is imported beforehand."""

import sys

import pytest

from openmix.errors import InputError


@pytest.mark.parametrize(
    ('name', 'libraries', 'line'),
    [
        ('lightning', ('lightning.pytorch', 'pytorch_lightning'), 'pip install lightning'),
        ('transformers', ('transformers',), 'pip install transformers'),
    ],
)
def test_a_missing_library_is_named(monkeypatch, name, libraries, line):
    for library in libraries:
        monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f'openmix.integrations.{name}', raising=False)
    with pytest.raises(InputError, match=line):
        __import__(f'openmix.integrations.{name}')
