"""Skip tests that unpack archives on a Python that does so without checks."""

import tarfile

import pytest

unpacks = pytest.mark.skipif(
    not hasattr(tarfile, 'data_filter'), reason='unpacking needs Python 3.10.12, 3.11.4 or newer, or it is refused'
)
