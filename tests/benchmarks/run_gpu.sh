#!/usr/bin/env bash
# The whole run on a machine with an NVIDIA GPU: tests, then benchmarks, then reports. Installs nothing.
#   tests/benchmarks/run_gpu.sh [OPTIONS OF compare_gpu]      for example: --dtypes bfloat16 --cases 'large-224*'
# PYTHON names the interpreter (default: .venv/bin/python), which has the extras test, oracle and cuda12 or cuda13.
# Writes docs/benchmarks/<device>.json and .md, and logs beside them; exits with 1 when a test failed.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 2
python=${PYTHON:-.venv/bin/python}
logs=${LOGS:-docs/benchmarks/logs}
export PYTHONPATH=$PWD

step() { printf '\n== %s\n' "$1"; }

step "What is here"
mkdir -p "$logs"
"$python" -m aimv2_np info --backends | tee "$logs/backends.txt"
"$python" - <<'PYTHON' || exit 2
import sys

from aimv2_np.backends import devices

try:
    devices.find_cupy("bfloat16")
    import pytest, torch, transformers
except (ImportError, RuntimeError) as error:
    sys.exit(f"cannot run: {error}")
if not torch.cuda.is_available():
    sys.exit("cannot run: this PyTorch sees no GPU; install one for CUDA")
PYTHON

failed=0
step "Tests on the GPU"
"$python" -m pytest -q -m gpu --require-gpu tests 2>&1 | tee "$logs/tests.txt" || failed=1

step "aimv2-np bench"
for dtype in bfloat16 float16 float32; do
  "$python" -m aimv2_np bench large-224 3B-224 --backend cupy --dtype "$dtype" --batch 1 8 64 --json \
    >"$logs/bench-$dtype.json" || failed=1
done

step "Against Transformers, torch.compile and timm"
"$python" -m tests.benchmarks.compare_gpu --write "$@" 2>&1 | tee "$logs/compare.txt" || failed=1

step "Done"
if [ "$failed" = 0 ]; then echo "all passed; see docs/benchmarks"; else echo "something failed; see $logs" >&2; fi
exit "$failed"
