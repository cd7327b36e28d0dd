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
  # Add an option once for each line of a text that is not empty.
  each() {
    local value
    while IFS= read -r value; do
      [ -z "$value" ] || options+=("$1" "$value")
    done <<<"$2"
  }
  each --map "${MAP:-}"
  each --rtol "${RTOL:-}"
  each --require "${REQUIRE:-}"
  [ -z "${MODEL:-}" ] || options+=(--model "$MODEL")
  [ -z "${DTYPE:-}" ] || options+=(--dtype "$DTYPE")
  [ "${PARTIAL:-}" != true ] || options+=(--partial)
  [ -z "${HTML:-}" ] || options+=(--html "$HTML")
  report aimv2-np compare "$REFERENCE" "$OTHER" ${options[@]+"${options[@]}"}
fi
echo "equal=true" >>"$output"
