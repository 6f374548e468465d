#!/bin/sh
# A launcher of nvcc: runs it, and puts what ptxas says of registers, shared memory and spills into OBJECT.ptxas beside the
# object instead of on the screen. tests/cuda/resources.py reads it.
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
