#!/usr/bin/env bash
# Runs the tests in a fresh environment: tests/environments.sh PYTHON oldest|newest [DIR] [arguments of pytest]
#
# 'oldest' installs every dependency that setup.py declares, extras included, at its floor; 'newest' at the newest
# release that pip finds. DIR (a new folder below /tmp by default, removed afterwards) keeps the environment; one that
# is there is used as it is. Ends with one line: versions and counts.
set -euo pipefail
[ $# -ge 2 ] && { [ "$2" = oldest ] || [ "$2" = newest ]; } || { sed -n 2,6p "$0" >&2; exit 2; }
python=$1 which=$2
shift 2
root=$(cd "$(dirname "$0")/.." && pwd)
if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then
  dir=$1
  shift
else
  dir=$(mktemp -d)
  trap 'rm -rf "$dir"' EXIT
fi
if [ ! -e "$dir/installed" ]; then
  "$python" -m venv "$dir"
  constraints=()
  if [ "$which" = oldest ]; then
    # Every 'name>=version' is 'name==version'. Not of what only installs and runs the tests.
    { cat "$root/requirements.txt"; grep -oE "'[A-Za-z0-9_.-]+>=[0-9.]+'" "$root/setup.py" | tr -d "'"; } |
      grep -E '^[A-Za-z0-9_.-]+>=' | grep -vE '^(setuptools|pytest|sphinx|myst|furo)' |
      sed -E 's/>=([0-9.]+).*/==\1/' | sort -u > "$dir/constraints.txt"
    constraints=(--constraint "$dir/constraints.txt")
  fi
  "$dir/bin/python" -m pip install --quiet "${constraints[@]}" --editable "$root[test]"
  touch "$dir/installed"
fi
cd "$root"
code=0
OMP_NUM_THREADS=1 "$dir/bin/python" -m pytest -p no:cacheprovider "$@" | tee "$dir/tests.txt" || code=$?
versions=$("$dir/bin/python" - <<'PROGRAM'
import platform
from importlib.metadata import version

names = ('torch', 'torchvision', 'timm', 'mmengine', 'numpy', 'pillow', 'opencv-python', 'scipy')
print(f'Python {platform.python_version()}', *(f'{name} {version(name)}' for name in names), sep=', ')
PROGRAM
)
echo "$which: $versions: $(tail -1 "$dir/tests.txt")"
exit "$code"
