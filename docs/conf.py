"""Sphinx settings of the documentation: make docs."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from openmix import __version__

project = 'openmix'
author = 'The openmix contributors'
copyright = author
release = __version__
extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon']
# In docstrings single backticks are code.
default_role = 'code'
autodoc_member_order = 'bysource'
autodoc_typehints = 'none'
myst_enable_extensions = ['dollarmath']
myst_heading_anchors = 3
exclude_patterns = ['_build']
html_theme = 'furo'
html_title = 'openmix'
