"""Test what the Dockerfile builds from; the image itself needs docker and a network."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
ADMITTED = {line[1:] for line in (ROOT / '.dockerignore').read_text().splitlines() if line.startswith('!')}


def test_the_image_gets_all_that_the_installation_reads():
    setup = (ROOT / 'setup.py').read_text()
    read = set(re.findall(r"ROOT / '([\w.]+)'", setup)) | set(re.findall(r"'openmix\.\w+': '(\w+)'", setup))
    grafted = re.findall(r'^(?:graft|include) (.*)$', (ROOT / 'MANIFEST.in').read_text(), re.MULTILINE)
    assert {'requirements.txt', 'README.md', 'openmix', 'configs', 'tools'} <= read
    needed = read | {name for line in grafted for name in line.split()} | {'setup.py', 'pyproject.toml', 'MANIFEST.in'}
    assert needed == ADMITTED
    assert all((ROOT / name).exists() for name in ADMITTED)


def test_its_command_is_one_that_is_installed():
    lines = (ROOT / 'Dockerfile').read_text()
    (command,) = re.findall(r'^ENTRYPOINT \["(\w+)"\]$', lines, re.MULTILINE)
    assert f"'console_scripts': ['{command} = openmix.__main__:main']" in (ROOT / 'setup.py').read_text()
    (version,) = re.findall(r'^FROM python:3\.(\d+)-slim$', lines, re.MULTILINE)
    assert 10 <= int(version) <= 13
