# programs.sh - train and run as their users call them: a smoke training, resume, threads, the bank,
# and every kind of bad input.  Ends with a line of counts; exit 1 when a check failed.
dir=$(mktemp -d "${TMPDIR:-/tmp}/mac_programs.XXXXXX") || exit 1
trap 'rm -rf "$dir"' EXIT
checks=0 failed=0
export ASAN_OPTIONS=detect_leaks=0 # a program that gives up with a sentence need not free first
check() { # check WHAT COMMAND...: the command must succeed
    what=$1
    shift
    checks=$((checks + 1))
    "$@" > "$dir/log" 2>&1 && return
    failed=$((failed + 1))
    echo "programs.sh: $what"
    head -3 "$dir/log"
}
refused() { # refused STATUS WORDS COMMAND...: fails with STATUS, in one sentence that holds WORDS
    status=$1 words=$2
    shift 2
    checks=$((checks + 1))
    "$@" > "$dir/out" 2> "$dir/log" < /dev/null
    got=$?
    if [ $got -ne "$status" ] || ! grep -q -- "$words" "$dir/log" || [ "$(wc -l < "$dir/log")" -gt 2 ]; then
        failed=$((failed + 1))
        echo "programs.sh: exit $got instead of $status, or not \"$words\": $*"
        head -3 "$dir/log"
    fi
}
small="--vocab 400 --d 16 --e 16 --H 2 --L 1 --enc_L 1 --enc_H 2 --enc_dh 8 --enc_ff 32 --T 4 --P 2
       --agg_B 1 --agg_H 2 --agg_dh 8 --pre_ff 16 --docs 4 --batch-lm 4 --eval-every 20 --eval-questions 8"
run() { ./run "$@"; }

# ---- training: any number of threads, and resume after an interruption, give the same file
train() { ./train --data data/elements $small --steps-lm 60 --steps 100 "$@"; }
check "a training from nothing" train --threads 1 --echo 1 --out "$dir/m"
check "with three threads" train --threads 3 --echo 1 --out "$dir/m3"
check "threads change the model" cmp "$dir/m" "$dir/m3"
train --threads 1 --echo 1 --out "$dir/r" > /dev/null 2>&1 & # an option that is not its default
pid=$!
sleep 0.4
kill -INT $pid 2> /dev/null
wait $pid
check "to go on after ^C" ./train --resume --out "$dir/r"
check "resume ends with other weights" cmp "$dir/m" "$dir/r"
check "resume ends in another state" cmp "$dir/m.last" "$dir/r.last"
check "every departure off" train --steps-lm 4 --steps 4 --guidance 0 --share-start 0 --rename 0 \
    --reanswer 0 --cosine 0 --questions 1 --out "$dir/plain"
check "dropout of gradients, accumulation, weight decay" train --steps-lm 4 --steps 4 --drop 0.5 \
    --accumulate 2 --decay 0.01 --group 2 --harder 0 --out "$dir/drop"
for pace in 0.5 0.75; do # a bank of two documents after two of the four steps, or three
    check "pace $pace" train --steps-lm 2 --steps 4 --harder 0 --alone 0 --pace $pace \
        --out "$dir/p$pace"
done
check "the pace of banks is not kept" sh -c "! cmp -s '$dir/p0.5' '$dir/p0.75'"
check "what is given with --resume does not count" \
    sh -c "./train --resume --steps 6 --out '$dir/p0.5' 2>&1 | grep -q 'mac 6/6'"
# without guidance, all that --alone can change is when the encoders are made alike again
for alone in 0.5 1; do
    check "alone $alone" train --steps-lm 2 --steps 4 --guidance 0 --alone $alone --out "$dir/a$alone"
    check "alone $alone, apart" train --steps-lm 2 --steps 4 --guidance 0 --alone $alone \
        --share-start 0 --out "$dir/b$alone"
done
check "they are not made alike again" sh -c "! cmp -s '$dir/a0.5' '$dir/a1'"
check "they are, without --share-start" cmp "$dir/b0.5" "$dir/b1"
for echo in 0 1; do
    check "echo $echo" train --steps-lm 2 --steps 4 --echo $echo --out "$dir/e$echo"
    check "echo $echo, guided" train --steps-lm 2 --steps 4 --alone 0 --echo $echo --out "$dir/g$echo"
done
check "questions are not recited" sh -c "! cmp -s '$dir/e0' '$dir/e1'"
check "questions are recited when the guidance has begun" cmp "$dir/g0" "$dir/g1"
check "an LM alone" train --steps 0 --out "$dir/lm"
check "another's LM" train --steps 0 --lm "$dir/lm" --out "$dir/lm2"
check "--lm changes the LM" cmp "$dir/lm" "$dir/lm2"
check "another's LM, and trained" train --steps 4 --lm "$dir/lm" --seed 2 --out "$dir/lm3"
refused 1 "P + D + Q + A" train --lm "$dir/lm" --P 3 --out "$dir/x"
refused 1 "is cut short" train --lm README.md --out "$dir/x"
check "official padding" train --steps-lm 2 --steps 2 --pad 48 --out "$dir/pad"
check "the padding is not kept" sh -c "./run inspect '$dir/pad' | grep -q 'pad  *48 '"
refused 2 "too large" ./train --data data/elements --out "$dir/x" --pad 1.5e7
losses() { sed -n 's/^\(mac .*loss [0-9.]*\)  EM.*/\1/p' "$1"; } # as they were at validations
for factor in 1 2; do
    train --steps-lm 2 --steps 40 --eval-every 5 --alone 0.5 --sharper $factor --out "$dir/f$factor" \
        2> "$dir/f$factor.log" > /dev/null
    losses "$dir/f$factor.log" > "$dir/f$factor.losses"
done
check "validations were to print losses" grep -q 'loss' "$dir/f1.losses"
check "a sharper attention in validations changes the training" cmp "$dir/f1.losses" "$dir/f2.losses"
check "the curve was not drawn" grep -q '</svg>' "$dir/m.svg"

# ---- a corpus whose every answer is the same: three documents to validate are enough to see it read
mkdir "$dir/same"
for i in 1 2 3; do
    printf '{"title": "T%s", "text": "T%s is here.", "qas": [{"q": "Is T%s here?", "a": ["yes"]}]}\n' $i $i $i
done | tee "$dir/same/train.jsonl" > "$dir/same/valid.jsonl"
./train --data "$dir/same" $small --vocab 300 --steps-lm 60 --lr-lm 0.01 --warmup 1 --steps 0 --out "$dir/s" > "$dir/reads" 2>&1
check "the LM reads three documents, and ends" grep -q 'gold 1.000' "$dir/reads"

# ---- select: a corpus whose documents are easily found, and answers easily mixed up
mkdir "$dir/colours"
i=0
for colour in red blue green white black pink brown grey; do
    i=$((i + 1))
    printf '{"title": "T%s", "text": "T%s is %s.", "qas": [{"q": "How is T%s?", "a": ["%s"]}]}\n' $i $i $colour $i $colour
done | tee "$dir/colours/train.jsonl" > "$dir/colours/valid.jsonl"
./train --data "$dir/colours" $small --steps-lm 200 --lr-lm 0.01 --steps 800 --lr 0.005 --docs 8 --eval-every 100 \
    --out "$dir/chosen" 2> "$dir/colours.log"
check "select: one document, where that answers more" grep -q 'mac 800/800 .*select 1$' "$dir/colours.log"
check "select: none, where it changes nothing" grep -q 'mac 100/800 .*all 0.125$' "$dir/colours.log"
check "the model file does not say it" sh -c "./run inspect '$dir/chosen' | grep -q 'select  *1 '"
check "to resume what has ended" ./train --resume --out "$dir/chosen"
check "resume forgets it" sh -c "./run inspect '$dir/chosen.last' | grep -q 'select  *1 '"
run learn --model "$dir/chosen" --bank "$dir/sb" "$dir/colours/valid.jsonl" > /dev/null
for more in "" "--select 0" "--select 1" "--select 8"; do
    to="$dir/by$(echo "$more" | tr -d ' -')"
    run table --model "$dir/chosen" --data "$dir/colours/valid.jsonl" $more > "$to.table" 2> /dev/null
    run eval --model "$dir/chosen" --data "$dir/colours/valid.jsonl" $more 2> /dev/null | head -1 > "$to.eval"
    run ask --model "$dir/chosen" --bank "$dir/sb" --data "$dir/colours/valid.jsonl" --limit 8 --json $more > "$to.ask"
    printf 'How is T%s?\n' 1 2 3 4 5 6 7 8 | run chat --model "$dir/chosen" --bank "$dir/sb" $more > "$to.chat" 2> /dev/null
    sed 's/.*"documents"//' "$to.ask" > "$to.sources"
done
for command in table eval ask chat; do
    check "$command: not as the model file says" cmp "$dir/by.$command" "$dir/byselect1.$command"
    check "$command: --select does nothing" sh -c "! cmp -s '$dir/by.$command' '$dir/byselect0.$command'"
    check "$command: all of them is not none" cmp "$dir/byselect0.$command" "$dir/byselect8.$command"
done
check "select changes the sources" cmp "$dir/byselect0.sources" "$dir/byselect1.sources"
for bad in '"select":"x"' '"select" :""'; do
    LC_ALL=C sed "s/\"select\":\"1\"/$bad/" "$dir/chosen" > "$dir/bad"
    refused 1 'its "select"' ./run ask --model "$dir/bad" --bank "$dir/sb" "How is T1?"
done
refused 2 "whole number" ./run ask --model "$dir/chosen" --bank "$dir/sb" --select x "How is T1?"

# ---- the bank
printf 'Velmora is a harbour town in Ardenia.\n' > "$dir/one.txt"
printf 'Port Isold has a lighthouse.\n\nKarr was a merchant.\n' > "$dir/two.txt"
check "learn" run learn --model "$dir/m" --bank "$dir/b" data/elements/test.jsonl "$dir/one.txt"
cp "$dir/b" "$dir/b.before"
check "learn paragraphs" run learn --model "$dir/m" --bank "$dir/b" --paragraphs "$dir/two.txt"
check "two paragraphs are two documents" sh -c "[ \$(./run list --bank '$dir/b' | wc -l) = 23 ]"
check "equal texts are stored once" sh -c "./run learn --model '$dir/m' --bank '$dir/b' '$dir/one.txt' | grep -q ' 0 of them new'"
check "forget" sh -c "./run list --bank '$dir/b' | tail -2 | cut -f1 | xargs ./run forget --bank '$dir/b'"
check "forgotten is as never learned" cmp "$dir/b" "$dir/b.before"
run ask --model "$dir/m" --bank "$dir/b" --json "Who discovered helium?" > "$dir/json"
check "ask prints JSON" grep -q '^{"question": "Who discovered helium?", "answer": ".*"documents": \[{"weight"' "$dir/json"
check "one beam is greedy" sh -c "[ \"\$(./run ask --model '$dir/m' --bank '$dir/b' 'Who?')\" = \"\$(./run ask --beams 1 --model '$dir/m' --bank '$dir/b' 'Who?')\" ]"
check "beams in groups" run ask --model "$dir/m" --bank "$dir/b" --beams 4 --groups 2 --penalty 10 "Who discovered helium?"
check "beams without a question" sh -c "./run ask --model '$dir/m' --bank '$dir/b' --json --beams 4 '' | grep -q '\"answer\": \"\"'"
refused 1 "too many" ./run ask --model "$dir/m" --bank "$dir/b" --beams 900000000 "Who?"
refused 2 "not a number" ./run ask --model "$dir/m" --bank "$dir/b" --penalty 1x "Who?"
refused 2 "beams 4" ./run ask --model "$dir/m" --bank "$dir/b" --beams 4 --groups 3 "Who?"
check "beams and hierarchy" run ask --model "$dir/m" --bank "$dir/b" --beams 3 --hierarchy 4 "Who discovered helium?"
check "groups name no sources" sh -c "./run ask --model '$dir/m' --bank '$dir/b' --json --hierarchy 4 'Who?' | grep -q '\"documents\": \[\]'"
check "chat" sh -c "printf 'Karr was a merchant.\nWho was Karr?\n' | ./run chat --model '$dir/m' --bank '$dir/c' | grep -q '^learned'"
check "an emptied bank answers" sh -c "./run list --bank '$dir/c' | cut -f1 | xargs ./run forget --bank '$dir/c' && ./run ask --model '$dir/m' --bank '$dir/c' 'Who?'"
for memory in mac none shuffled gold; do
    check "eval $memory" run eval --model "$dir/m" --data data/elements/test.jsonl --docs 4 --memory $memory --json --relations --half
done
run eval --model "$dir/m" --data data/elements/test.jsonl --docs 4 \
    --train data/elements/train.jsonl > "$dir/split" 2> /dev/null
check "closed and open relations add up" awk '/bank of/ { all = $5 } /^closed/ { c = $3 }
    /^open/ { o = $3 } END { exit !(all > 0 && c + o == all) }' "$dir/split"
check "table" run table --model "$dir/m" --data data/elements/test.jsonl --out "$dir/em.svg"
printf '{"id": "twice", "text": "Karr sold salt.", "qas": []}\n{"id": "twice", "text": "Karr sold tin.", "qas": []}\n' > "$dir/twice.jsonl"
check "two of one id" run learn --model "$dir/m" --bank "$dir/t" "$dir/twice.jsonl"
check "forget takes both" sh -c "./run forget --bank '$dir/t' twice | grep -q 'forgot 2; the bank holds 0'"
check "inspect" run inspect "$dir/b"

# ---- bad input
head -c 1000 "$dir/m" > "$dir/cut"
: > "$dir/empty.txt"
: > "$dir/empty"
printf '\377\376broken' > "$dir/latin.txt"
mkdir "$dir/none"
train --seed 2 --steps-lm 1 --steps 1 --out "$dir/other" > /dev/null 2>&1
refused 2 "there is no option" ./train --data data/elements --out "$dir/x" --wrong 1
refused 2 "no number" ./train --data data/elements --out "$dir/x" --steps ten
refused 2 "power of two" ./train --data data/elements --out "$dir/x" --docs 3
refused 2 "power of two" ./train --data data/elements $small --steps-lm 1 --steps 1 --out "$dir/x" --group 3
refused 2 "missing" ./train --data data/elements
refused 2 "sharper must be a power of two" ./train --data data/elements --out "$dir/x" --sharper 3
refused 1 "no train.jsonl" ./train --data "$dir/none" --out "$dir/x"
refused 1 "not a multiple" ./train --data data/elements --out "$dir/x" --d 10 --H 4
refused 1 "nothing to resume" ./train --resume --out "$dir/x"
refused 2 "sizes are the resumed" ./train --resume --out "$dir/r" --d 16
refused 1 "such a folder" ./train --data data/elements $small --steps-lm 1 --steps 1 --out "$dir/no/x"
refused 2 "no command" ./run wrong
check "--help behind a command" sh -c "./run eval --help | grep -q usage"
refused 2 "is missing" ./run ask "Who?"
refused 2 "needs a value" ./run ask --model
refused 1 "cannot be opened" ./run ask --model "$dir/absent" --bank "$dir/b" "Who?"
refused 1 "cut short\|shorter\|beyond" ./run ask --model "$dir/cut" --bank "$dir/b" "Who?"
refused 1 "not a safetensors file" ./run ask --model "$dir/empty" --bank "$dir/b" "Who?"
refused 1 "a memory bank" ./run ask --model "$dir/b" --bank "$dir/b" "Who?"
refused 1 "not a memory bank" ./run ask --model "$dir/m" --bank "$dir/m" "Who?"
refused 1 "another model" ./run ask --model "$dir/other" --bank "$dir/b" "Who?"
refused 1 "cannot be opened" ./run list --bank "$dir/absent"
refused 1 "no document" ./run forget --bank "$dir/b" absent
refused 1 "mpty" ./run learn --model "$dir/m" --bank "$dir/d" "$dir/empty.txt"
refused 1 "UTF-8" ./run learn --model "$dir/m" --bank "$dir/d" "$dir/latin.txt"
refused 1 "such a folder" ./run learn --model "$dir/m" --bank "$dir/no/d" "$dir/one.txt"
refused 1 "no question" ./run eval --model "$dir/m" --data "$dir/one.txt"
refused 2 "not one of" ./run eval --model "$dir/m" --data data/elements/test.jsonl --memory all
check "a refused learn leaves no bank" test ! -e "$dir/d"
awk 'BEGIN { for (i = 0; i < 900; i++) printf "word%d ", i }' > "$dir/long.txt"
check "a long document is cut and counted" sh -c "./run learn --model '$dir/m' --bank '$dir/e' '$dir/long.txt' 2>&1 | grep -q 'was longer'"
if [ -w /dev/full ]; then
    refused 1 "disk full\|cannot be written" ./run learn --model "$dir/m" --bank /dev/full/x "$dir/one.txt"
fi
# ---- NOTES.md: every function and test that it names is there
for name in $(grep -o '`[a-z0-9_]*`' NOTES.md | tr -d '`' | grep '_' | sort -u); do
    check "NOTES.md names $name, which is nowhere" grep -qw -- "$name" mac.h tensor.c mac.c train.c run.c \
        tests/test_*.c data/data.h
done
printf '%-14s %7d checks, %d failed\n' programs.sh $checks $failed
[ $failed -eq 0 ]
