#!/bin/sh
# Installs the daemon and the command line into the environment of the Python given last.
# The container image and `make setup` both use it; --editable links the sources instead of copying,
# --gpu takes the ONNX Runtime for NVIDIA GPUs, which replaces the one for processors, and TensorRT.
set -eu
cd "$(dirname "$0")/.."
editable=""
if [ "${1:-}" = "--editable" ]; then editable="-e"; shift; fi
extras="cpu" other="onnxruntime-gpu"
if [ "${1:-}" = "--gpu" ]; then extras="gpu,tensorrt" other="onnxruntime"; shift; fi
python=${1:?usage: deploy/install.sh [--editable] [--gpu] PYTHON}
# A module that was removed would come back from what an older build left behind.
rm -rf protos/build server/build client/build
# -q -q: no warnings (pip has many about its own set-up), but errors and their output.
pip="-m pip --disable-pip-version-check -q -q"
"$python" $pip install -c constraints.txt pip setuptools
# Both packages of ONNX Runtime write into one folder: the other one goes first.
if "$python" $pip show "$other" >/dev/null 2>&1; then
    "$python" $pip uninstall -y onnxruntime onnxruntime-gpu
fi
"$python" $pip install -c constraints.txt --no-build-isolation \
    $editable ./protos $editable "./server[$extras]" $editable "./client[cli,files]"
