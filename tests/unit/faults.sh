#!/usr/bin/env bash
# faults.sh SHIM [WORD] - files under two programs, failing calls, ended memory, full disks and kills.
# After each point a file is what it was or what it was to become, never another; exit 0 means the
# second; what fails says so in one sentence; nothing is left behind but by SIGKILL, and that the
# next writer sweeps.  Prints a table; exit 1 when a row has failures.  WORD: rows that hold it.
#   STRIDE=7          only every seventh point
#   ROUNDS=500        of two writers at once            BIN=dir   other programs than ./run and ./train
set -u
shim=$1 only=${2:-} bin=${BIN:-.} rounds=${ROUNDS:-500} stride=${STRIDE:-1} all_failed=0
dir=$(mktemp -d "${TMPDIR:-/tmp}/mac_faults.XXXXXX") || exit 1
trap 'rm -rf "$dir"' EXIT
w=$dir/work
export FAULT_SKIP=model # the model: its reads fail in a row of their own
files=",open,read,write,fsync,rename,close,mmap,stat,lock," # not unlink: what cannot be removed stays
endings="${files}unlink,"
small="--vocab 300 --d 8 --e 8 --H 2 --L 1 --enc_L 1 --enc_H 2 --enc_dh 8 --enc_ff 32 --T 2 --P 2
       --agg_B 1 --agg_H 2 --agg_dh 8 --pre_ff 16 --docs 4 --batch-lm 4 --eval-every 20 --threads 1
       --eval-questions 8"

# ---- what is done, each to the files in $w
learn()  { "$@" "$bin/run" learn --threads 1 --model "$dir/model" --bank "$w/B" "$dir/more.jsonl"; }
one()    { "$@" "$bin/run" learn --threads 1 --model "$dir/model" --bank "$w/B" "$dir/line"; }
other()  { "$@" "$bin/run" learn --threads 1 --model "$dir/model" --bank "$w/B" "$dir/other.jsonl"; }
forget() { "$@" "$bin/run" forget --bank "$w/B" p-train-3 p-train-7; }
chat()   { "$@" "$bin/run" chat --threads 1 --model "$dir/model" --bank "$w/B" < "$dir/line"; }
eval_()  { "$@" "$bin/run" eval --threads 1 --limit 9 --model "$dir/model" --data "$dir/more.jsonl"; }
table()  { "$@" "$bin/run" table --threads 1 --limit 9 --model "$dir/model" --data "$dir/more.jsonl" --out "$w/E"; }
train()  { "$@" "$bin/train" --resume --steps 23 --eval-every 2 --out "$w/model"; }
of_learn=B of_one=B of_other=B of_forget=B of_chat=B of_eval_=B of_table=E of_train="model model.last model.svg"
fresh() { rm -rf "$w"; mkdir "$w"; cp "$dir/old/"* "$w"; }

prepare() {
    mkdir "$dir/old" "$dir/data" "$dir/new"
    "$bin/run" people --out "$dir/data" --docs 40
    head -250 "$dir/data/test.jsonl" > "$dir/more.jsonl"
    tail -250 "$dir/data/test.jsonl" > "$dir/other.jsonl"
    echo 'Karr was a merchant.' > "$dir/line"
    echo 'an old chart' > "$dir/old/E"
    { # a program of its own that does one of them
        echo "bin=$bin dir=$dir w=$w"
        declare -f learn other forget chat eval_
        echo '$1 env > "$dir/out2" 2>&1; echo $? > "$dir/status"'
    } > "$dir/one.sh"
    head -9 "$dir/data/valid.jsonl" > "$dir/few"
    cp "$dir/few" "$dir/data/valid.jsonl"
    "$bin/train" --data "$dir/data" $small --steps-lm 5 --steps 20 --out "$dir/old/model"
    cp "$dir/old/model" "$dir/model"
    echo 'an old chart' > "$dir/old/model.svg"
    "$bin/run" learn --threads 1 --model "$dir/model" --bank "$dir/old/B" "$dir/data/train.jsonl"
}

new() { # OP: what it makes where nothing goes wrong, into $dir/new/OP
    [ -d "$dir/new/$1" ] && return
    fresh
    $1 env > "$dir/log" 2>&1 || { echo "faults.sh: $1 fails by itself"; cat "$dir/log"; exit 1; }
    cp -r "$w" "$dir/new/$1"
}

row() { # WHAT POINTS OLD NEW FAILURES
    printf '| %-44s | %6s | %6s | %6s | %8s |\n' "$@"
    case $5 in 0|failures) ;; *) all_failed=1; head -3 "$dir/why" ;; esac
}

# After OP ended with $status: counts it as old, new, or as a failure.
judge() { # OP ENDING
    local f why="" as_new=1 of extra
    of=$(eval "echo \$of_$1")
    for f in $of; do
        cmp -s "$w/$f" "$dir/new/$1/$f" && continue
        as_new=0
        cmp -s "$w/$f" "$dir/old/$f" || [ $1 = train ] || why="$f is neither old nor new"
    done
    extra=$(cd "$w" && ls -A | grep -vxE 'B|E|model|model\.last|model\.svg')
    case $2.$status in
    kill.137) extra="" ;;
    term.143|term.130|*.0) ;;
    *.1) [ "$(grep -cE '(^|[^a-z])(run|train): ' "$dir/err")" = 1 ] || why="no sentence" ;;
    *) why="exit $status" ;;
    esac
    [ $status -ne 0 ] || [ $as_new = 1 ] || why="exit 0, and not new"
    [ -z "$extra" ] || why="left behind: $extra"
    # the next one makes all well, from a state between too
    [ $as_new = 1 ] && [ -z "$why" ] || case $1.$2 in train.[1-9]*|*.kill|*.term)
        $1 env > "$dir/log" 2>&1
        [ $? -eq 0 ] || [ "$1" = forget ] || why="not again: $(tail -1 "$dir/log")"
        for f in $of; do cmp -s "$w/$f" "$dir/new/$1/$f" || why="$f is not made well again"; done
        extra=$(cd "$w" && ls -A | grep -vxE 'B|E|model|model\.last|model\.svg')
        [ -z "$extra" ] || why="not swept: $extra" ;;
    esac
    if [ -n "$why" ]; then
        failed=$((failed + 1))
        echo "    $point: $why; $(tail -1 "$dir/err")" >> "$dir/why"
    elif [ $as_new = 1 ]; then is_new=$((is_new + 1)); else is_old=$((is_old + 1)); fi
}

begin() { is_old=0 is_new=0 failed=0; : > "$dir/why"; }
wanted() { case $1 in *"$only"*) return 0 ;; esac; return 1; }

sweep() { # OP KINDS DOES WHAT: each call in turn
    local n count
    wanted "$1: $4" || return
    new "$1"; fresh; begin
    $1 env LD_PRELOAD="$shim" FAULT_KINDS="$2" FAULT_COUNT="$dir/count" > "$dir/log" 2>&1
    count=$(cat "$dir/count")
    for ((n = 1; n <= count; n += stride)); do
        fresh
        $1 env LD_PRELOAD="$shim" FAULT_KINDS="$2" FAULT_DOES="$3" FAULT_AT=$n > "$dir/out" 2> "$dir/err"
        status=$? point="$n of $count"
        judge "$1" "$3"
    done
    row "$1: $4" "$((is_old + is_new + failed))" $is_old $is_new $failed
}

disk() { # OP STEP: a disk of every size
    local size=0
    wanted "$1: disk" || return
    new "$1"; begin
    for status in 1; do :; done
    while [ $status -ne 0 ] && [ $size -lt 9000000 ]; do
        fresh
        $1 env LD_PRELOAD="$shim" FAULT_KINDS=",none," FAULT_DISK=$size > "$dir/out" 2> "$dir/err"
        status=$? point="$size bytes"
        judge "$1" disk
        size=$((size + $2))
    done
    row "$1: disk of 0 to $size bytes" $((size / $2)) $is_old $is_new $failed
}

limit() { # OP STEP: files of every size, by the shell's limit (SIGXFSZ)
    local size=0
    wanted "$1: ulimit" || return
    new "$1"; begin
    for status in 1; do :; done
    while [ $status -ne 0 ] && [ $size -lt 9000 ]; do
        fresh
        said=$( (ulimit -f $size; $1 env 2>&1 > /dev/null) 2> /dev/null)
        status=$? point="$size KB"
        echo "$said" > "$dir/err"
        judge "$1" limit
        size=$((size + $2))
    done
    row "$1: ulimit -f 0 to $size" $((size / $2)) $is_old $is_new $failed
}

# ---- two at once
after() { # OP OP: what the second makes of what the first made, into $dir/new/FIRST.SECOND
    [ -d "$dir/new/$1.$2" ] && return
    new "$1"
    rm -rf "$w"; cp -r "$dir/new/$1" "$w"
    $2 env > "$dir/log" 2>&1
    cp -r "$w" "$dir/new/$1.$2"
}

together() { # OP STATUS OP STATUS: the bank is what those that said yes have made, in some order
    local yes=""
    [ "$2" -ne 0 ] || [ "$1" = eval_ ] || yes=$1
    [ "$4" -ne 0 ] || [ "$3" = eval_ ] || yes="$yes $3"
    case $(echo $yes | wc -w) in
    0) cmp -s "$w/B" "$dir/old/B" ;;
    1) cmp -s "$w/B" "$dir/new/${yes// /}/B" ;;
    2) cmp -s "$w/B" "$dir/new/$1.$3/B" || cmp -s "$w/B" "$dir/new/$3.$1/B" ;;
    esac && case $2$4 in 00|01|10|11) ;; *) false ;; esac && [ "$(ls -A "$w" | wc -l)" = 5 ]
}

interleaved() { # OP OP: the second as a whole at each call of the first
    local n count a b
    wanted "$1, $2 within" || return
    after "$1" "$2"; after "$2" "$1"; fresh; begin
    $1 env LD_PRELOAD="$shim" FAULT_KINDS="$files" FAULT_COUNT="$dir/count" > "$dir/log" 2>&1
    count=$(cat "$dir/count")
    for ((n = 1; n <= count; n++)); do
        fresh
        FAULT_RUN="bash $dir/one.sh $2" $1 env LD_PRELOAD="$shim" \
            FAULT_KINDS="$files" FAULT_DOES=run FAULT_AT=$n > "$dir/out" 2> "$dir/err"
        a=$? b=$(cat "$dir/status")
        if together "$1" $a "$2" "$b"; then
            if [ $a$b = 00 ]; then is_new=$((is_new + 1)); else is_old=$((is_old + 1)); fi
        else failed=$((failed + 1)); echo "    at $n of $count: exits $a and $b" >> "$dir/why"; fi
    done
    row "$1, $2 within (old: one refused)" "$count" $is_old $is_new $failed
}

two_writers() {
    local i a b ops=(learn other forget chat eval_) order
    wanted "two at once" || return
    for a in "${ops[@]}"; do for b in "${ops[@]}"; do after "$a" "$b"; done; done
    begin
    order=$(awk -v n="$rounds" 'BEGIN { srand(25); for (i = 0; i < n; i++)
        print int(rand() * 5), int(rand() * 5), int(rand() * 20) / 1000 }')
    while read -r a b pause; do
        a=${ops[a]} b=${ops[b]}
        fresh
        { sleep "$pause"; $a env > "$dir/out" 2>&1; echo $? > "$dir/status"; } &
        $b env > "$dir/out2" 2>&1
        status=$?
        wait $!
        if together "$a" "$(cat "$dir/status")" "$b" $status; then
            if [ "$(cat "$dir/status")$status" = 00 ]; then is_new=$((is_new + 1))
            else is_old=$((is_old + 1)); fi
        else
            failed=$((failed + 1))
            echo "    $a and $b: exits $(cat "$dir/status") and $status" >> "$dir/why"
        fi
    done <<< "$order"
    row "two at once (old: one refused)" "$rounds" $is_old $is_new $failed
}

prepare > "$dir/log" 2>&1 || { cat "$dir/log"; exit 1; }
row what points old new failures
row ------- --- --- --- failures
two_writers
for a in learn forget chat; do for b in learn other forget; do interleaved $a $b; done; done
for op in learn forget chat table train; do
    for error in 28:ENOSPC 5:EIO 4:EINTR 13:EACCES 12:ENOMEM; do
        of=$files # a lock that says EACCES is another's: what it locks is not ours to remove
        [ $error != 13:EACCES ] || of=${files/,lock,/,}
        sweep $op "$of" ${error%:*} "each call, ${error#*:}"
    done
    FAULT_SKIP=none sweep $op ",read," 5 "each read, EIO"
    [ $op = learn ] || sweep $op ",malloc," 012 "each allocation"
    sweep $op "$endings" kill "killed at each call"
    sweep $op "$endings" term "SIGTERM at each call"
done
sweep one ",malloc," 012 "each allocation"
disk learn 997; disk forget 997; disk table 97; disk train 9973
limit learn 1; limit forget 1; limit train 20
exit $all_failed
