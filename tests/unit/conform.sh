# conform.sh - make conform's program, on its own code, on an answer written here by hand, and on
# programs that break off, hang, or write something else.  sh tests/unit/conform.sh FOLDER_OF_BUILD
dir=$(mktemp -d "${TMPDIR:-/tmp}/mac_conform.XXXXXX") || exit 1
trap 'rm -rf "$dir"' EXIT
checks=0 failed=0
limit=60 # seconds that a program has: a busy machine takes its time
asked() { # asked STATUS WORDS ONLY PROGRAM: ends with STATUS and says WORDS of these cases
    checks=$((checks + 1))
    "$build/conform" "$dir" "$4" $limit "$3" "tests/vectors/$file" > "$dir/said" 2>&1
    got=$?
    if [ $got -ne "$1" ] || ! grep -q -- "$2" "$dir/said"; then
        failed=$((failed + 1))
        echo "conform.sh: exit $got instead of $1, or not \"$2\": $4"
        head -3 "$dir/said"
    fi
}
build=$1/tests/vectors
own="$build/answer $dir"
file=tiny.safetensors
asked 0 '^| 2 | 1 | 1 |' expand/ "$own"
file=program.safetensors
asked 0 '^| 8 | 5 | 5 | 5 | 0.0e+00 |' hash/ "$own"
file=ops.safetensors
asked 0 '^6 of 6 cases are right$' linear/ "$own"
asked 1 '^0 of 0' no/such/case "$own"

# ---- linear/one by hand: y, dx, dW, db, 4 bytes each
tensor() { printf '"%s":{"dtype":"%s","shape":[%s],"data_offsets":[%d,%d]},' "$@"; }
reply() { # reply HEADER BYTES: its length in two bytes, and six that are 0
    n=$((${#1} + 1))
    printf "\\$(printf %o $((n % 256)))\\$((n / 256))\\0\\0\\0\\0\\0\\0{%s}%b" "${1%,}" "$2"
}
written() { # written STATUS WORDS Y DY BYTES: the tensors y and db, the bytes behind them
    reply "$3$(tensor dx F32 1,1 4 8; tensor dW F32 1,1 8 12)$4" "$5" > "$dir/reply"
    asked "$1" "$2" linear/one "cat '$dir/reply'"
}
y='\0325\0176\0356\077' rest='\051\0341\031\0276\072\0356\013\077\0127\014\075\0277'
y_is=$(tensor y F32 1,1 0 4) db_is=$(tensor db F32 1 12 16)
written 0 '^1 of 1' "$y_is" "$db_is" "$y$rest"
written 0 '^1 of 1' "$(tensor y F32 '' 0 4)" "$db_is" "$y$rest"
written 1 '| nan | .* y\[0\] is nan, 1.86324561 was expected' "$y_is" "$db_is" "\\0\\0\\0300\\0177$rest"
written 1 'y\[0\] is inf' "$y_is" "$db_is" "\\0\\0\\0200\\0177$rest"
written 1 'y\[0\] is -1.86' "$y_is" "$db_is" "\\0325\\0176\\0356\\0277$rest"
written 1 'y is I32, neither' "$(tensor y I32 1,1 0 4)" "$db_is" "$y$rest"
written 1 'db does not have the shape' "$y_is" "$(tensor db F32 2 12 20)" "$y$rest$y"
asked 1 'y does not have the shape' linear/no_bias "$own | LC_ALL=C sed 's/\[3,4\]/[4,3]/'"
written 1 'it has no y' "$(tensor Y F32 1,1 0 4)" "$db_is" "$y$rest"
written 1 'has more, which is not' "$y_is" "$db_is$(tensor more F32 1 16 20)" "$y$rest$y"
written 1 'beyond the end' "$y_is" "$db_is" "$y"
written 1 'its answer' "$y_is" "$db_is" "$y$rest$rest"

# ---- no tensors at all
asked 1 'linear/one of ops.safetensors: it ended with status 3 |' linear/one 'exit 3'
asked 1 'by signal 11' linear/one 'kill -SEGV $$'
mkfifo "$dir/pipe"
limit=0.25 # these two never end
asked 1 'within 0.25 seconds' linear/one "{ read -r line < '$dir/pipe'; : > '$dir/left'; } & sleep 50"
exec 8<> "$dir/pipe"
echo go >&8
sleep 0.2 # what was left behind would go on now
[ ! -e "$dir/left" ] || { failed=$((failed + 1)); echo "conform.sh: what the program started is left"; }
asked 1 'within 0.25 seconds' linear/one 'trap "" TERM INT; sleep 50'
limit=60
asked 1 'more than 16777216 bytes' linear/one 'yes'
asked 1 'begins ""' linear/one 'true'
asked 1 'begins "y = 1.86' linear/one 'echo y = 1.86'
asked 1 '^0 of 6' linear/ "exec 0< /dev/null; $own"
asked 0 '^6 of 6' linear/ "$own < '$dir/1.case' > '$dir/again'; $own"
printf '%-14s %7d checks, %d failed\n' conform.sh $checks $failed
exit $((failed > 0 || checks < 15))
