#!/usr/bin/env bash
# What the action runs; by hand: REFERENCE=golden.safetensors OTHER=mine.safetensors .github/actions/verify/verify.sh
# Exits with 0 when nothing differs, 1 when something does, 2 when that cannot be told.
set -uo pipefail

output=${GITHUB_OUTPUT:-/dev/null}
summary=${GITHUB_STEP_SUMMARY:-/dev/null}

# Print the output of a command, here and in the job's summary; exits when the command fails.
report() {
  local text code=0
  text=$("$@" 2>&1) || code=$?
  printf '%s\n' "$text"
  { echo "### \`$1 $2\`"; echo '```'; printf '%s\n' "$text"; echo '```'; } >>"$summary"
  if [ "$code" -ne 0 ]; then
    echo "equal=false" >>"$output"
    exit "$code"
  fi
}

report aimv2-np verify

if [ -n "${REFERENCE:-}${OTHER:-}" ]; then
  if [ -z "${REFERENCE:-}" ] || [ -z "${OTHER:-}" ]; then
    echo "error: reference is '${REFERENCE:-}', other is '${OTHER:-}'; expected both or neither" >&2
    echo "equal=false" >>"$output"
    exit 2
  fi
  options=()
  while IFS= read -r pair; do
    [ -z "$pair" ] || options+=(--map "$pair")
  done <<<"${MAP:-}"
  [ -z "${HTML:-}" ] || options+=(--html "$HTML")
  report aimv2-np compare "$REFERENCE" "$OTHER" ${options[@]+"${options[@]}"}
fi
echo "equal=true" >>"$output"
