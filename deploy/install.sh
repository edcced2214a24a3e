#!/bin/sh
# Installs the daemon and the command line into the environment of the Python given last.
# The container image and `make setup` both use it; --editable links the sources instead of copying.
set -eu
cd "$(dirname "$0")/.."
editable=""
if [ "${1:-}" = "--editable" ]; then editable="-e"; shift; fi
python=${1:?usage: deploy/install.sh [--editable] PYTHON}
"$python" -m pip --disable-pip-version-check install -q -c constraints.txt pip setuptools
"$python" -m pip --disable-pip-version-check install -q -c constraints.txt --no-build-isolation \
    $editable ./protos $editable ./server $editable "./client[cli,files]"
