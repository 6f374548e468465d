#!/bin/sh
# A launcher for nvcc: runs it and writes what ptxas reports (registers, shared memory, spills) to OBJECT.ptxas, not to
# stderr. tests/cuda/resources.py reads these files.
set -u
output='' previous=''
for argument in "$@"; do
    [ "$previous" != -o ] || output=$argument
    previous=$argument
done
if [ -z "$output" ]; then exec "$@"; fi
"$@" 2>"$output.messages"
status=$?
grep -E '^ptxas info|bytes stack frame' "$output.messages" >"$output.ptxas"
grep -v -E '^ptxas info|bytes stack frame|^$' "$output.messages" >&2
rm -f -- "$output.messages"
exit "$status"
