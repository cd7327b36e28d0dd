#!/usr/bin/env bash
# What a machine with an NVIDIA GPU is asked for: that everything is right, how fast it is, and what failed once more.
#   tests/benchmarks/run_gpu.sh [--quick] [correctness|benchmark|again]... [-- OPTIONS OF compare_gpu]
# Without a word all three. --quick: each of them within ten minutes; docs/gpu.md says how to use such a half hour.
# PYTHON names the interpreter (default: .venv/bin/python where it is, else python3), which has CuPy, PyTorch for CUDA,
# Transformers and pytest; what it lacks may lie as wheels in .wheels/. Nothing else is installed.
# Writes logs and results to $OUT, else to docs/benchmarks and its logs/; exits with 0 when all of it ran and passed,
# with 1 when something did not, with 2 when nothing can run.
set -euo pipefail
cd "$(dirname "$0")/../.."

if [ -z "${PYTHON:-}" ]; then
  if [ -x .venv/bin/python ]; then PYTHON=.venv/bin/python; else PYTHON=python3; fi
fi
export PYTHON PYTHONPATH=$PWD PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1

if compgen -G '.wheels/*.whl' >/dev/null; then
  site=$(mktemp -d)
  trap 'rm -rf "$site"' EXIT
  "$PYTHON" -m pip install --quiet --no-index --no-deps --no-compile --target "$site" .wheels/*.whl || exit 2
  PYTHONPATH=$PWD:$site
fi
"$PYTHON" -m tests.benchmarks.gpu_calls "$@"
