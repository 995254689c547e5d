# Makes and reuses .venv/ at the project's root. Sourced by quickstart.sh and test.sh, which call
#
#     prepare NAME EXTRAS
#
# It installs the package with EXTRAS at the versions locked for this Python's minor, and leaves
# PYTHON_ENV, the environment's interpreter. The stamp of a finished installation is written last:
# an interrupted one is done again, and a finished one is reused for as long as the lock, setup.py,
# pyproject.toml and the interpreter stay what they were.
#
#   PYTHON=/path/to/python3.12   the interpreter to build with; by default that of the environment
#                                which is there, then python3, if it is 3.11 to 3.14
#   SYNTHDIV_VENV=DIR            another place for the environment

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
VENV="${SYNTHDIV_VENV:-$ROOT/.venv}"
PYTHON_ENV="$VENV/bin/python"
unset PYTHONHOME PYTHONPATH
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_USER=0

fail() {
    echo "error: $*" >&2
    exit 2
}

fits() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null
}

# Sets PYTHON to the interpreter itself, past shims and an active environment's link.
find_python() {
    local candidate fitting=
    if [ -n "${PYTHON:-}" ]; then
        fits "$PYTHON" || fail "PYTHON=$PYTHON is not a working Python 3.11 to 3.14"
        fitting="$PYTHON"
    elif [ -e "$VENV/.synthdiv" ] && fits "$PYTHON_ENV"; then
        fitting="$PYTHON_ENV" # the one it was made with, whatever python3 is today
    else
        for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
            if fits "$candidate"; then
                fitting="$candidate"
                break
            fi
        done
    fi
    [ -n "$fitting" ] || fail "synthdiv needs Python 3.11 to 3.14; python3 here is" \
        "$(python3 -V 2>/dev/null || echo missing). Name another: PYTHON=/path/to/python3.12 bash $0"
    PYTHON="$("$fitting" -c 'import os, sys; print(os.path.realpath(sys.executable))')"
}

lock_file() {
    "$PYTHON" -c 'import sys; print("%s/third_party/locks/py%d%d.txt" % (sys.argv[1], *sys.version_info[:2]))' "$ROOT"
}

stamp() {
    "$PYTHON" - "$ROOT" "$VENV" "$(lock_file)" <<'PY'
import hashlib, pathlib, sys
root, venv, lock = map(pathlib.Path, sys.argv[1:])
digest = hashlib.sha256(f"{root}\n{venv}\n{sys.version}\n".encode())
for path in (lock, root / "setup.py", root / "pyproject.toml"):
    digest.update(path.read_bytes())
print(digest.hexdigest())
PY
}

# A new environment, with pip, at VENV.
make_venv() {
    mkdir -p "$VENV" || fail "cannot write $VENV"
    touch "$VENV/.synthdiv"
    if "$PYTHON" -c 'import ensurepip; ensurepip.version()' 2>/dev/null; then
        "$PYTHON" -m venv "$VENV" || fail "$PYTHON -m venv $VENV failed"
    elif "$PYTHON" -m pip --version >/dev/null 2>&1; then
        # Debian without python3-venv, but with python3-pip
        "$PYTHON" -m venv --without-pip "$VENV" &&
            "$PYTHON" -m pip -qq --python "$PYTHON_ENV" install pip </dev/null ||
            fail "$PYTHON cannot make a virtual environment: apt-get install python3-venv"
    else
        fail "$PYTHON cannot make a virtual environment; on Debian and Ubuntu:" \
            "apt-get install python3-venv"
    fi
}

# pip, at the locked versions: quiet in a log, itself on a terminal.
pip_install() {
    local quiet=-qq
    [ -t 2 ] && quiet=
    # shellcheck disable=SC2086
    "$PYTHON_ENV" -m pip install $quiet --constraint "$(lock_file)" "$@" </dev/null
}

prepare() {
    local name="$1" extras="$2" want have
    find_python
    [ -f "$(lock_file)" ] || fail "no lock for this Python: $(lock_file)"
    if command -v flock >/dev/null; then # two scripts started together: one installs
        exec 9<"$ROOT"
        flock 9
    fi
    want="$(stamp)"
    # the test environment has everything that the quickstart's has
    for have in "$name" test; do
        if [ "$(cat "$VENV/.installed-$have" 2>/dev/null)" = "$want" ]; then
            exec 9<&-
            return
        fi
    done
    install "$name" "$extras"
    echo "$want" >"$VENV/.installed-$name"
    exec 9<&-
}

install() {
    local name="$1" extras="$2"
    if [ -e "$VENV" ]; then
        # another Python's, or killed while pip was writing: begin anew
        if [ "$("$PYTHON_ENV" -V 2>&1)" != "$("$PYTHON" -V)" ] || [ -e "$VENV/.installing" ]; then
            [ -e "$VENV/.synthdiv" ] || fail "$VENV is not a finished environment of $("$PYTHON" -V)" \
                "and was not made here: move it, or set SYNTHDIV_VENV"
            rm -rf "$VENV"
        fi
    fi
    "$PYTHON_ENV" -m pip --version >/dev/null 2>&1 || make_venv
    rm -f "$VENV"/.installed-* "$VENV/.passed"
    echo "installing synthdiv[$extras] into $VENV with $("$PYTHON_ENV" -V);" \
        "the first time this takes some minutes" >&2
    touch "$VENV/.installing"
    local status=0
    { pip_install pip setuptools &&
        pip_install --no-build-isolation --editable "$ROOT[$extras]"; } || status=$?
    if [ "$status" != 0 ]; then
        # pip that gives up leaves whole packages; pip that a signal ended may not
        [ "$status" -gt 128 ] || rm -f "$VENV/.installing"
        fail "the installation failed; run the same command again to go on"
    fi
    if [ "$name" = test ]; then
        install_torch
    fi
    rm -f "$VENV/.installing"
}

# The parity tests compare with PyTorch. Its default build is several GB of CUDA, so only the exact
# CPU build is taken, and only where pip's own configuration leads to it.
install_torch() {
    local version
    version="$(sed -n 's/^torch==//p' "$(lock_file)")"
    if ! pip_install "torch==$version+cpu" >/dev/null 2>&1; then
        echo "no CPU build of torch $version where pip looks: the parity tests with PyTorch will" \
            "be skipped. To run them: $PYTHON_ENV -m pip install torch==$version" \
            "(a CPU wheel's path will do)" >&2
    fi
}
