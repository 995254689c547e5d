#!/usr/bin/env bash
# Passes the tests.
#
#     bash launch/test.sh [arguments of pytest]
#     bash launch/test.sh --again     even if nothing changed since they last passed
#
# Makes .venv/ with the test extras if need be. Without arguments it runs the default tests (neither
# slow nor gpu); when no file of the project has changed since those last passed, it says so and
# ends. With arguments it runs what they name: `bash launch/test.sh -m slow`.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
cd "$ROOT"
prepare test dev
unset PYTHONDONTWRITEBYTECODE # tests start Python a hundred times

again=
if [ "${1:-}" = --again ]; then
    again=yes
    shift
fi

# One worker a core, while each has 4 GiB.
workers="$("$PYTHON_ENV" - <<'PY'
import os
cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**32
print(max(1, min(cores, memory, 8)))
PY
)"

if [ $# -gt 0 ]; then
    exec "$PYTHON_ENV" -m pytest "$@"
fi

# What the tests read: every file of the project, and the environment.
tree="$("$PYTHON_ENV" - "$ROOT" "$(stamp)" <<'PY'
import hashlib, os, pathlib, sys
root = pathlib.Path(sys.argv[1])
digest = hashlib.sha256(sys.argv[2].encode())
skip = {".git", ".venv", "runs", "__pycache__", ".pytest_cache", ".ruff_cache",
        ".import_linter_cache", ".grimp_cache", ".mypy_cache", ".hypothesis", "build", "dist",
        "site"}
for directory, names, files in os.walk(root):
    names[:] = sorted(n for n in names if n not in skip and not n.endswith(".egg-info"))
    for name in sorted(files):
        path = pathlib.Path(directory, name)
        digest.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
print(digest.hexdigest())
PY
)"
passed="$VENV/.passed"
if [ -z "$again" ] && [ "$(cat "$passed" 2>/dev/null)" = "$tree" ]; then
    echo "nothing has changed since the tests passed ($(date -r "$passed" '+%F %R'));" \
        "bash launch/test.sh --again runs them anyway"
    exit 0
fi
rm -f "$passed"
"$PYTHON_ENV" -m pytest -n "$workers" --dist loadfile --no-loadscope-reorder --durations 10
echo "$tree" >"$passed"
