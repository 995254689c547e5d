#!/usr/bin/env bash
# The whole study on this machine: no network after the installation, no key, no accelerator.
#
#     bash launch/quickstart.sh [flags of `synthdiv study`]
#
# Makes .venv/ if need be, then runs configs/study/quickstart.gin in runs/quickstart/ and ends by
# naming the report. Stopped at any moment and started again, it goes on where it was.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
cd "$ROOT"
prepare quickstart train,eval
exec "$PYTHON_ENV" -m synthdiv.study --config=configs/study/quickstart.gin --jobs=2 \
    --workdir=runs/quickstart "$@"
