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
check "a training from nothing" train --threads 1 --questions 3 --out "$dir/m"
check "with three threads" train --threads 3 --questions 3 --out "$dir/m3"
check "threads change the model" cmp "$dir/m" "$dir/m3"
./train --data data/elements $small --steps-lm 60 --steps 100 --threads 1 --questions 3 --out "$dir/r" \
    > /dev/null 2> "$dir/err" & # an option that is not its default
pid=$!
for i in 1 2 3 4 5 6 7 8 9 10; do
    sleep 0.1
    kill -INT $pid 2> /dev/null
    grep -q 'stopped at step' "$dir/err" && break
done
wait $pid
check "^C has another status" [ $? = 130 ]
check "to go on after ^C" ./train --resume --out "$dir/r"
check "resume ends with other weights" cmp "$dir/m" "$dir/r"
check "resume ends in another state" cmp "$dir/m.last" "$dir/r.last"

# ---- what a resumed training must not believe, and what a new one must not take away
damage() { LC_ALL=C sed "$1" "$dir/m.last" > "$dir/d.last"; ! cmp -s "$dir/m.last" "$dir/d.last"; }
for change in 's/every":"20"/every":"00"/' 's/every":"20"/every":"2x"/' 's/step":"100"/step":"NaN"/' \
    's/stage":"1"/stage":"2"/' 's/steps":"100"/steps":"   "/'; do
    check "the damage $change" damage "$change"
    refused 1 "d.last" ./train --resume --out "$dir/d"
done
cp "$dir/m.last" "$dir/again.last"
: > "$dir/again.err"
./train --data data/elements $small --steps-lm 1000000 --eval-every 1000000 --out "$dir/again" \
    > /dev/null 2> "$dir/again.err" &
pid=$!
waited=0 # a busy machine takes its time to begin
until grep -q vocabulary "$dir/again.err" || [ $((waited += 1)) = 300 ]; do sleep 0.1; done
kill -KILL $pid
wait $pid 2> /dev/null
check "a new training says that there is an earlier one" grep -q 'holds an earlier training' "$dir/again.err"
check "and keeps its state until it has one" cmp "$dir/m.last" "$dir/again.last"
mkdir "$dir/other data"
head -30 data/elements/train.jsonl > "$dir/other data/train.jsonl"
check "other data are noticed" sh -c "./train --resume --steps=101 --data '$dir/other data' --out '$dir/again' 2>&1 | grep -c 'has other documents' | grep -qx 2"
check "the same data are not" sh -c "./train --resume --out '$dir/m' 2>&1 | grep -c 'other documents' | grep -qx 0"
long=$(printf '%01100d' 0)
refused 2 "too many" ./train --data data/elements --out "$long"
refused 1 "too many" ./train --data "$long" --out "$dir/x"
mkdir -p "$dir/sealed/valid.jsonl"
cp "$dir/other data/train.jsonl" "$dir/sealed"
refused 1 "valid.jsonl" ./train --data "$dir/sealed" --out "$dir/x"
refused 1 "train.jsonl: cannot open" ./train --data "$dir/m" --out "$dir/x"
check "every departure off" train --steps-lm 4 --steps 4 --guidance 0 --distill 0 --share-start 0 --rename 0 \
    --reanswer 0 --cosine 0 --questions 1 --out "$dir/plain"
check "dropout of gradients, accumulation, weight decay" train --steps-lm 4 --steps 4 --drop 0.5 \
    --accumulate 2 --decay 0.01 --group 2 --out "$dir/drop"
# without guidance too, documents without gradient fill the banks
check "eight documents, four with gradient" train --steps-lm 2 --steps 2 --guidance 0 --group 2 --docs 8 --drop 0.5 --out "$dir/eight"
check "four documents" train --steps-lm 2 --steps 2 --guidance 0 --group 2 --docs 4 --drop 0 --out "$dir/four"
check "they read the same banks" sh -c "! cmp -s '$dir/eight' '$dir/four'"
check "no Muon" train --steps-lm 2 --steps 4 --muon 0 --out "$dir/adam"
check "with Muon" train --steps-lm 2 --steps 4 --out "$dir/muon"
cp "$dir/muon" "$dir/muon4" # resumed below
check "Muon changes nothing" sh -c "! cmp -s '$dir/adam' '$dir/muon'"
refused 2 "lm cannot change" ./train --resume --lm "$dir/adam" --out "$dir/muon"
refused 2 "muon cannot change" ./train --resume --muon 0 --out "$dir/muon"
check "what is given with --resume does not count" \
    sh -c "./train --resume --steps 6 --out '$dir/muon' 2>&1 | grep -q 'mac 6/6'"
for made in names answers; do
    check "no made-up $made" train --steps-lm 2 --steps 4 --made-$made 0 --out "$dir/made"
    check "made-up $made change nothing" sh -c "! cmp -s '$dir/made' '$dir/muon4'"
done
for off in guidance distill sharp; do # each of them counts
    check "no $off" train --steps-lm 2 --steps 4 --$off 0 --out "$dir/off"
    check "$off changes nothing" sh -c "! cmp -s '$dir/off' '$dir/muon4'"
done
for gone in alone recite; do
    refused 2 "there is no option --$gone" ./train --data data/elements --out "$dir/x" --$gone 0
done
check "an LM alone" train --steps 0 --out "$dir/lm"
check "another's LM" train --steps 0 --lm "$dir/lm" --out "$dir/lm2"
check "--lm changes the LM" cmp "$dir/lm" "$dir/lm2"
check "another's LM, and trained" train --steps 4 --lm "$dir/lm" --seed 2 --out "$dir/lm3"
refused 1 "P + D + Q + A" train --lm "$dir/lm" --P 3 --out "$dir/x"
refused 1 "is cut short" train --lm README.md --out "$dir/x"
check "official padding" train --steps-lm 2 --steps 2 --pad 48 --out "$dir/pad"
check "the padding is not kept" sh -c "./run inspect '$dir/pad' | grep -q 'pad  *48 '"
refused 2 "too large" ./train --data data/elements --out "$dir/x" --pad 1.5e7
check "the curve was not drawn" grep -q '</svg>' "$dir/m.svg"
check "the end does not say where the curve is" sh -c "train() { ./train --resume --out '$dir/m'; }; train 2>&1 | grep -q 'went: $dir/m.svg'"
check "shares have no axis of their own" grep -q '>share<' "$dir/m.svg"

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
./train --data "$dir/colours" $small --steps-lm 200 --lr-lm 0.01 --steps 800 --lr 0.005 --docs 8 --eval-every 20 \
    --out "$dir/chosen" 2> "$dir/colours.log"
check "select: one document, where that answers more" grep -q 'mac 800/800 .*select 1$' "$dir/colours.log"
check "select: none, where it changes nothing" grep -q 'mac [0-9]*/800 .*all [01][.][0-9]*$' "$dir/colours.log"
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
done
for command in table eval ask chat; do
    check "$command: not as the model file says" cmp "$dir/by.$command" "$dir/byselect1.$command"
    check "$command: --select does nothing" sh -c "! cmp -s '$dir/by.$command' '$dir/byselect0.$command'"
    check "$command: all of them is not none" cmp "$dir/byselect0.$command" "$dir/byselect8.$command"
done
for bad in '"select":"x"' '"select" :""'; do
    LC_ALL=C sed "s/\"select\":\"1\"/$bad/" "$dir/chosen" > "$dir/bad"
    refused 1 'its "select"' ./run ask --model "$dir/bad" --bank "$dir/sb" "How is T1?"
done
refused 2 "whole number" ./run ask --model "$dir/chosen" --bank "$dir/sb" --select x "How is T1?"

# ---- is it in the memory?  The model above knows T1 to T8, if its bank does
head -1 "$dir/colours/valid.jsonl" > "$dir/t1.jsonl"
echo 'T9 is red.' > "$dir/a9.txt"
run learn --model "$dir/chosen" --bank "$dir/t1" "$dir/t1.jsonl" > /dev/null
gate() { run ask --model "$dir/chosen" --bank "$dir/t1" "$@"; }
check "not sure of what it knows" sh -c "./run ask --model '$dir/chosen' --bank '$dir/t1' --json 'How is T1?' | grep -q '\"known\": true'"
gate "How is T5?" > "$dir/guess"
check "sure of what it was never told" sh -c "head -1 '$dir/guess' | grep -q '^not in the memory; a guess: ' && sed -n 2p '$dir/guess' | grep -q '^  sure [0-9.]*%$'"
gate --sure 0 "How is T5?" > "$dir/sure0"
check "--sure 0 refuses" sh -c "! grep -q 'not in the memory' '$dir/sure0'"
check "another guess" sh -c "test \"\$(head -1 '$dir/sure0')\" = \"\$(sed -n '1s/.*guess: //p' '$dir/guess')\""
gate --sure 1 "How is T1?" > "$dir/sure1"
check "--sure 1 does not refuse" grep -q 'not in the memory' "$dir/sure1"
gate --else "$dir/colours/train.jsonl" "How is T5?" "How is T1?" > "$dir/elsewhere"
check "elsewhere" grep -q "^  in $dir/colours/train.jsonl: .*  (T5)$" "$dir/elsewhere"
check "elsewhere what is known" sh -c "test \$(grep -c '^  in ' '$dir/elsewhere') = 1"
check "elsewhere as JSON" sh -c "./run ask --json --model '$dir/chosen' --bank '$dir/t1' --else '$dir/colours/train.jsonl' 'How is T5?' | grep -q '\"known\": false, \"else\": {\"answer\": \".*\", \"id\": \".*\", \"title\": \"T5\"}, \"documents\"'"
check "elsewhere nothing" sh -c "./run ask --model '$dir/chosen' --bank '$dir/t1' --else '$dir/colours/train.jsonl' --sure 1 'Zzz' | grep -q ': nothing$'"
refused 2 "not a number from 0 to 1" gate --sure 1.5 "How is T1?"
refused 2 "not a number from 0 to 1" gate --sure nan "How is T1?"
refused 1 "hierarchy" gate --sure 0.5 --hierarchy 2 "How is T1?"
run eval --model "$dir/chosen" --data "$dir/colours/valid.jsonl" --docs 1 --out "$dir/risk.svg" > "$dir/gated" 2> /dev/null
check "eval: no gate" grep -q '^gate, .* 16 questions  AUROC [01][.]' "$dir/gated"
check "eval: no curve" grep -q 'share wrong' "$dir/risk.svg"
check "table: nothing refused" sh -c "grep 'other documents' '$dir/byselect1.table' | grep -q 'refused [01][.]'"

# ---- the newer word: what differs behind the model's window has the same vectors, and is near
long() { for i in 1 2 3 4 5 6 7 8 9; do printf 'T9 is red, or so we hear, T9 is not red, not at all. '; done; echo "$1"; }
for i in 1 2 3; do long $i > "$dir/long$i.txt"; done
keep() { run learn --model "$dir/chosen" --bank "$dir/$@" 2> /dev/null; }
held() { run list --bank "$dir/$1" 2> /dev/null | cut -f 2 | tr '\n' ' '; }
keep sup "$dir/t1.jsonl" "$dir/long1.txt" > /dev/null
cp "$dir/sup" "$dir/two"
check "--supersede: replaced" sh -c "./run learn --model '$dir/chosen' --bank '$dir/sup' --supersede '$dir/long2.txt' 2>&1 | grep -q '^\"long2\" replaces [0-9a-f]*, \"long1\", which is forgotten for good'"
check "--supersede: the older one first" [ "$(held sup)" = "T1 long2 " ]
keep fresh "$dir/t1.jsonl" "$dir/long2.txt" > /dev/null
check "what is superseded leaves a trace" cmp "$dir/sup" "$dir/fresh"
check "--supersede: once more" sh -c "./run learn --model '$dir/chosen' --bank '$dir/sup' --supersede '$dir/long2.txt' | grep -q '0 of them new, .*replace 0; the bank holds 2'"
keep two "$dir/long2.txt" > /dev/null
check "without --supersede both stay" [ "$(held two)" = "T1 long1 long2 " ]
cp "$dir/two" "$dir/asked"
check "two that are near: a doubt" sh -c "./run learn --model '$dir/chosen' --bank '$dir/two' --supersede --json '$dir/long3.txt' < /dev/null | grep -q '\"replaced\": 0, \"held\": 4'"
if command -v script > /dev/null; then
    printf 'y\nn\n' | script -qc "./run learn --model '$dir/chosen' --bank '$dir/asked' --supersede '$dir/long3.txt'" /dev/null > "$dir/typescript"
    check "a doubt is asked about" grep -q 'newer version of .*long1' "$dir/typescript"
    check "yes and no" [ "$(held asked)" = "T1 long2 long3 " ]
fi
for i in 2 3; do printf '{"id": "%s", "title": "long%s", "text": "%s"}\n' $i $i "$(long $i)"; done > "$dir/longer.jsonl"
keep pair "$dir/long1.txt" "$dir/t1.jsonl" > /dev/null
keep pair --supersede "$dir/longer.jsonl" > /dev/null
check "who has replaced is replaced from the same file" [ "$(held pair)" = "T1 long2 long3 " ]
echo 'Velmora is red, red, red and red.' > "$dir/near.txt"
echo 'Velmora is red and so on.' > "$dir/second.txt"
echo 'Ada is red, red, red and red.' > "$dir/newest.txt"
keep alone "$dir/near.txt" > /dev/null
keep doubt "$dir/near.txt" "$dir/second.txt" > /dev/null
for bank in alone doubt; do keep $bank --supersede "$dir/newest.txt" > /dev/null; done
check "near, and no other" [ "$(held alone)" = "newest " ]
check "near, but another is not much further" [ "$(held doubt)" = "near second newest " ]
printf '{"id": "a", "text": "T1 is red."}\n{"id": "a", "text": "T5 is blue."}\n' > "$dir/sameid.jsonl"
check "one file's stay together" sh -c "./run learn --model '$dir/chosen' --bank '$dir/ids' --supersede '$dir/sameid.jsonl' | grep -q 'replace 0; the bank holds 2'"
printf '{"id": "a", "title": "new", "text": "T7 is pink."}\n' > "$dir/newid.jsonl"
check "the same id" sh -c "./run learn --model '$dir/chosen' --bank '$dir/ids' --supersede '$dir/newid.jsonl' 2> /dev/null | grep -q 'replace 2; the bank holds 1'"
keep half --half "$dir/long1.txt" > /dev/null
check "in half precision" sh -c "./run learn --model '$dir/chosen' --bank '$dir/half' --supersede '$dir/long2.txt' 2> /dev/null | grep -q 'replace 1; the bank holds 1'"
printf '%s\n\n' "$(cat "$dir/long3.txt")" 'U is at U.' | run chat --model "$dir/chosen" --bank "$dir/sup" --supersede > "$dir/chatted" 2> /dev/null
check "chat --supersede" [ "$(held sup | cut -c1-18)" = "T1 T9 is red, or s" ]
keep three "$dir/t1.jsonl" "$dir/long1.txt" "$dir/a9.txt" "$dir/long2.txt" --at-most 3 > /dev/null
check "--at-most: of the nearest two the older" [ "$(held three)" = "T1 a9 long2 " ]
keep three --at-most 1 "$dir/t1.jsonl" > /dev/null
check "--at-most 1" sh -c "./run list --bank '$dir/three' --json | wc -l | grep -q '^ *1$'"
check "--at-most more than there are" sh -c "./run learn --model '$dir/chosen' --bank '$dir/three' --at-most 9 '$dir/t1.jsonl' | grep -q 'holds [12]$'"
# without a gate there is none of this; whose training has ended gets one when it is resumed
mkdir "$dir/bare"
cp data/elements/train.jsonl "$dir/bare"
./train --data "$dir/bare" $small --steps-lm 1 --steps 1 --out "$dir/bare.model" > "$dir/log" 2>&1
for option in "ask --sure 0.5" "ask --else $dir/t1.jsonl" "learn --supersede" "learn --at-most 3"; do
    refused 1 "has no gate" ./run $option --model "$dir/bare.model" --bank "$dir/bare.bank" "$dir/a9.txt"
done
check "no gate, no word of it" sh -c "./run learn --model '$dir/bare.model' --bank '$dir/bare.bank' '$dir/a9.txt' > /dev/null && ! ./run ask --model '$dir/bare.model' --bank '$dir/bare.bank' 'Who?' | grep -q sure"
check "a gate for an older model" sh -c "./train --resume --data data/elements --out '$dir/bare.model' > /dev/null 2>&1 && ./run ask --model '$dir/bare.model' --bank '$dir/bare.bank' 'Who?' | grep -q 'sure [0-9.]*%'"
# with more than 16 documents the threshold falls, and eval prints that of its banks
cp "$dir/bare/train.jsonl" "$dir/bare/valid.jsonl"
./train --resume --data "$dir/bare" --out "$dir/bare.model" > /dev/null 2>&1
threshold() { run eval --model "$dir/bare.model" --data "$dir/bare/valid.jsonl" --docs "$1" 2> /dev/null | sed -n 's/^gate.*; \(less than .*\) sure: .*/\1/p'; }
check "eval: the threshold of its banks" [ "$(threshold 16)" '!=' "$(threshold 36)" ]
check "eval: the same threshold in small ones" [ "$(threshold 16)" = "$(threshold 1)" ]

# ---- the bank
printf 'Velmora is a harbour town in Ardenia.\n' > "$dir/one.txt"
awk 'BEGIN { for (i = 0; i < 900; i++) printf "word%d ", i }' > "$dir/long.txt"
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
LC_ALL=C sed 's/"mac-model-2"/"mac-model"  /' "$dir/m" > "$dir/earlier"
refused 1 "train it anew" ./run ask --model "$dir/earlier" --bank "$dir/b" "Who?"
for penalty in 1x nan; do
    refused 2 "not a number" ./run ask --model "$dir/m" --bank "$dir/b" --penalty $penalty "Who?"
done
refused 2 "beams 4" ./run ask --model "$dir/m" --bank "$dir/b" --beams 4 --groups 3 "Who?"
check "beams and hierarchy" run ask --model "$dir/m" --bank "$dir/b" --beams 3 --hierarchy 4 "Who discovered helium?"
check "groups name no sources" sh -c "./run ask --model '$dir/m' --bank '$dir/b' --json --hierarchy 4 'Who?' | grep -q '\"documents\": \[\]'"
check "chat" sh -c "printf 'Karr was a merchant.\nWho was Karr?\n' | ./run chat --model '$dir/m' --bank '$dir/c' | grep -q '^learned'"
check "an emptied bank answers" sh -c "./run list --bank '$dir/c' | cut -f1 | xargs ./run forget --bank '$dir/c' && ./run ask --model '$dir/m' --bank '$dir/c' 'Who?'"
for memory in mac none shuffled gold bm25; do
    check "eval $memory" run eval --model "$dir/m" --data data/elements/test.jsonl --docs 4 --memory $memory --json --relations --half
done
run eval --model "$dir/m" --data data/elements/test.jsonl --docs 4 \
    --train data/elements/train.jsonl > "$dir/split" 2> /dev/null
check "closed and open relations add up" awk '/bank of/ { all = $5 } /^closed/ { c = $3 }
    /^open/ { o = $3 } END { exit !(all > 0 && c + o == all) }' "$dir/split"
check "table" run table --model "$dir/m" --data data/elements/test.jsonl --out "$dir/em.svg"
check "a corpus without kinds" sh -c "! grep -q '^  ' '$dir/log'"
# two kinds of questions, with answers that such a model gives, other ones with a document in its
# context than without: the scores of the kinds add up in each memory
train --steps-lm 300 --lr-lm 0.01 --steps 1 --eval-every 1000 --out "$dir/reader" > "$dir/log" 2>&1
sed 's/"a": \[[^]]*\]/"a": ["3", "6", "9", "ae", "b", "is", "a b"], "kind": "odd"/g
     s/"odd", "rel": "number"/"even one", "rel": "number"/' data/elements/test.jsonl > "$dir/kinds.jsonl"
run table --model "$dir/reader" --data "$dir/kinds.jsonl" > "$dir/table" 2> /dev/null
check "kinds of questions" awk '{
        for (i = 1; $i != "questions"; i++) {}
        for (f = i; $f != "F1"; f++) {}
        memory = /bank of 1 / ? 1 : /all documents/ ? 2 : /context/ ? 3 : 0
        sign = /^  / ? 1 : -1
        if (sign > 0) rows++; else f1_of[memory] = $(f + 1)
        n[memory] += sign * $(i - 1)
        f1[memory] += sign * $(i - 1) * $(f + 1)
    } END {
        for (m = 1; m <= 3; m++) if (n[m] || f1[m] > 0.2 || f1[m] < -0.2) exit 1
        exit rows != 6 || f1_of[2] == f1_of[3]
    }' "$dir/table"
for memory in none gold bm25; do # BM25 finds some of the right documents
    run eval --model "$dir/reader" --data "$dir/kinds.jsonl" --memory $memory 2> /dev/null |
        sed -n '1s/.*questions//p' > "$dir/with.$memory"
done
check "BM25's documents" sh -c "test -s '$dir/with.bm25' && ! cmp -s '$dir/with.gold' '$dir/with.bm25' && ! cmp -s '$dir/with.none' '$dir/with.bm25'"
check "kinds in the order of the corpus" sh -c "grep '^  ' '$dir/table' | head -1 | grep -q '^  odd, bank of 1 '"
check "kinds as JSON" sh -c "./run table --model '$dir/m' --data '$dir/kinds.jsonl' --json | grep -q '^{\"what\": \"even one, all documents\", \"questions\": 20, '"
check "two files" sh -c "./run eval --model '$dir/m' --data data/elements/test.jsonl --data '$dir/same/train.jsonl' | grep -q ' 127 questions'"
printf '{"id": "twice", "text": "Karr sold salt.", "qas": []}\n{"id": "twice", "text": "Karr sold tin.", "qas": []}\n' > "$dir/twice.jsonl"
check "two of one id" run learn --model "$dir/m" --bank "$dir/t" "$dir/twice.jsonl"
check "forget takes both" sh -c "./run forget --bank '$dir/t' twice | grep -q 'forgot 2; the bank holds 0'"
check "inspect" run inspect "$dir/b"

# ---- one writer at a time: a learn that waits for its file, which it opens when it has the bank
mkfifo "$dir/f.jsonl"
opened() { # the pipe, when the other end is open too; after a minute in any case
    { sleep 60; : < "$dir/f.jsonl"; } > /dev/null 2>&1 &
    guard=$!
    exec 8> "$dir/f.jsonl"
    kill $guard
}
waiting() { # waiting SIGNAL COMMANDS: while it waits, and then that signal for it
    ./run learn --model "$dir/m" --bank "$dir/b" "$dir/f.jsonl" > "$dir/log2" 2>&1 &
    pid=$!
    opened
    $2
    kill -s "$1" $pid
    exec 8>&-
    wait $pid
} 2> /dev/null
others() {
    refused 1 "another program" ./run learn --model "$dir/m" --bank "$dir/b" "$dir/two.txt"
    refused 1 "another program" ./run forget --bank "$dir/b" twice
    check "a chat while another writes" sh -c "echo Karr. | ./run chat --model '$dir/m' --bank '$dir/b' 2>&1 | grep -q 'another program'"
    check "list while another writes" run list --bank "$dir/b"
}
cp "$dir/b" "$dir/b.part" # a file of the user's
waiting TERM others
check "a writer that was stopped leaves its file" test ! -e "$dir/b.mac-part"
check "it has changed the bank" cmp "$dir/b" "$dir/b.before"
waiting KILL :
check "a writer that was killed leaves no file" test -e "$dir/b.mac-part"
chmod 600 "$dir/b"
ln -s b "$dir/b.link"
check "to learn after a kill" run learn --model "$dir/m" --bank "$dir/b.link" "$dir/two.txt"
check "what was killed is not swept" test ! -e "$dir/b.mac-part"
check "a file called .part is written to" cmp "$dir/b.part" "$dir/b.before"
check "a link or a mode is gone" sh -c "test -L '$dir/b.link' && ls -l '$dir/b' | grep -q '^-rw-------'"
changes() { cat "$dir/b.part" > "$dir/b"; head -1 data/elements/test.jsonl >&8; }
waiting CONT changes
check "what was written meanwhile is overwritten" cmp "$dir/b" "$dir/b.part"
check "it is not said" grep -q "by another program" "$dir/log2"
cp "$dir/b.part" "$dir/r444"
chmod 444 "$dir/r444"
refused 1 "reading only" ./run learn --model "$dir/m" --bank "$dir/r444" "$dir/two.txt"
refused 1 "no regular" ./run learn --model "$dir/m" --bank "$dir/f.jsonl" "$dir/two.txt"
refused 1 "no regular" ./run list --bank "$dir/f.jsonl"
check "learn with stderr closed" sh -c "./run learn --model '$dir/m' --bank '$dir/b' '$dir/long.txt' '$dir/two.txt' 2>&-"
check "messages go into the bank" run inspect --check "$dir/b"
reading() { # COMMANDS: while ask has its bank open and waits for its questions
    ./run ask --model "$dir/m" --bank "$dir/b" --data "$dir/f.jsonl" > "$dir/out" 2> "$dir/log2" &
    pid=$!
    opened
    $1
    exec 8>&-
    wait $pid
}
reading changes
check "a bank that was copied over is asked" grep -q 'changed by another' "$dir/log2"
cut_short() { : > "$dir/b"; head -1 data/elements/test.jsonl >&8; }
reading cut_short
check "a bank that was cut is read" grep -q 'by another program' "$dir/log2"
cp "$dir/b.part" "$dir/b"
if (ulimit -f 1) 2> /dev/null; then
    check "a limit of files" sh -c "trap '' XFSZ; ulimit -f 1; ./run learn --model '$dir/m' --bank '$dir/b' '$dir/two.txt' 2>&1 | grep -q 'cannot be written'"
    check "a limit of files, by its signal" sh -c "ulimit -f 1; ./run table --model '$dir/m' --data data/elements/test.jsonl --out '$dir/em.svg' 2>&1 | grep -q 'cannot be written'"
    check "half a bank" cmp "$dir/b" "$dir/b.part"
    check "half a chart" grep -q '</svg>' "$dir/em.svg"
    check "half a file is left" sh -c "! ls '$dir' | grep mac-part"
fi

if (ulimit -s 200) 2> /dev/null; then
    refused 1 "the stack" sh -c "ulimit -s 200; ./run list --bank '$dir/b'"
fi

# ---- what is no number, other sizes, texts of one FNV-1a
first_number() { set -- $(od -An -tu1 -N2 "$1"); echo $(($1 + 256 * $2 + 8)); }
infinite() { # FILE COPY: no number, as 32 bits and as 64
    cp "$1" "$2"
    printf '\000\000\000\000\000\000\360\177' \
        | dd of="$2" bs=1 seek=$(($(first_number "$1") + 64)) conv=notrunc 2> /dev/null
}
infinite "$dir/b" "$dir/inf"
refused 1 "is damaged: entry 1" ./run ask --model "$dir/m" --bank "$dir/inf" "Who?"
refused 1 "is damaged: entry 1" ./run ask --model "$dir/m" --bank "$dir/inf" --hierarchy 4 "Who?"
refused 1 "checksum" ./run forget --bank "$dir/inf" twice
refused 1 "checksum" ./run inspect --check "$dir/inf"
infinite "$dir/m" "$dir/inf.model"
refused 1 "is damaged: tensor" ./run ask --model "$dir/inf.model" --bank "$dir/b" "Who?"
refused 1 "is damaged: tensor" ./run inspect --check "$dir/inf.model"
LC_ALL=C sed 's/\[21,4,16\]/[21,2,32]/' "$dir/b" > "$dir/sizes"
refused 1 "sizes" ./run learn --model "$dir/m" --bank "$dir/sizes" "$dir/two.txt"
printf '!0IC=VloaY is here.' > "$dir/h1.txt"
printf '77kepQFQ8Kl is here.' > "$dir/h2.txt"
check "two texts of one FNV-1a are one" sh -c "./run learn --model '$dir/m' --bank '$dir/h' '$dir/h1.txt' '$dir/h2.txt' | grep -q 'holds 2'"
# ---- text of all kinds: ids, titles and lines that are hostile or unusual, exports, standard input
cat > "$dir/odd.jsonl" << 'END'
{"id": "--half", "title": "a\tb\u001b[2J\nc\u009b\u202e\u00e9", "text": "Odd one."}
{"id": 17, "text": "A number.", "qas": [{"q": "When?", "a": 1984}]}
{"text": "N\u0000L"}
END
check "a row with a NUL is left out" sh -c "./run learn --model '$dir/m' --bank '$dir/o' '$dir/odd.jsonl' 2>&1 | grep -q '1 rows left out.*u0000'"
run list --bank="$dir/o" > "$dir/list" 2> /dev/null
check "list shows one visible line each" sh -c "printf -- '--half\ta?b?[2J?c??\303\251\n17\t\n' | cmp - '$dir/list'"
check "forget what looks like an option" run forget --bank "$dir/o" -- --half
check "standard input" sh -c "./run learn --model '$dir/m' --bank '$dir/o' --format jsonl - < data/elements/test.jsonl | grep -q ' 20 of them new'"
cp data/elements/test.jsonl "$dir/t.ndjson"
check "ndjson" sh -c "./run learn --model '$dir/m' --bank '$dir/o' '$dir/t.ndjson' | grep -q '^learned 20 .* 0 of them new'"
refused 1 "no name that tells" ./run learn --model "$dir/m" --bank "$dir/o" -
refused 1 "no format" ./run learn --model "$dir/m" --bank "$dir/o" --format xml -
: > "$dir/empty.txt"
check "an empty file among others" sh -c "./run learn --model '$dir/m' --bank '$dir/o2' '$dir/empty.txt' '$dir/one.txt' | grep -q '^learned 1 '"
printf ' \n\tKarr sold salt. \r\nWho was Karr? \nWho\330\237\nWho\357\274\237\t\n0123456789012345678901234567890123456789\303\251x\n' > "$dir/lines"
printf 'a\0b\n\377\n' | cat "$dir/lines" - > "$dir/lines2"
check "chat takes questions for questions" sh -c "./run chat --model '$dir/m' --bank '$dir/o3' < '$dir/lines' | grep -c '^learned' | grep -qx 2"
run list --bank "$dir/o3" > "$dir/list" 2> /dev/null
check "chat's titles are whole characters" sh -c "cut -f2 '$dir/list' | tail -1 | grep -qx 0123456789012345678901234567890123456789"
printf 'Karr sold salt.\nKarr sold tin.\n\n/list\nKarr is here.\n/forget %s\n/forget none\n/sources\nWho was Karr?\n/no\nCut' \
    "$(printf 'Karr sold salt.\nKarr sold tin.' > "$dir/two.txt"; run learn --model "$dir/m" --bank "$dir/o4" "$dir/two.txt" > /dev/null; run list --bank "$dir/o4" 2> /dev/null | cut -f1)" > "$dir/lines3"
rm "$dir/o4"
./run chat --model "$dir/m" --bank "$dir/o4" < "$dir/lines3" > "$dir/out" 2> "$dir/err"
check "chat's commands fail" [ $? = 0 ]
check "chat: lines up to a blank one are not one document" sh -c "sed -n 2p '$dir/out' | cut -f2 | grep -qx 'Karr sold salt.'"
check "chat: a command does not end a document" sh -c "sed -n 3p '$dir/out' | grep -qx learned"
check "chat: /forget" sh -c "sed -n 4p '$dir/out' | grep -qx 'forgot 1; the bank holds 1'"
check "chat: what is not held" grep -q 'no document "none": /list shows' "$dir/err"
check "chat: no command" grep -q 'no command /no: /help' "$dir/err"
check "chat: /sources" sh -c "! grep -q '%.* Karr' '$dir/out'"
check "chat: the end of input does not end a document" sh -c "tail -1 '$dir/out' | grep -qx learned && ./run list --bank '$dir/o4' 2> /dev/null | cut -f2 | tail -1 | grep -qx Cut"
for mark in '?' '\330\237' '\357\274\237' '\315\276'; do
    printf "Who was Karr$mark\n" | run chat --model "$dir/m" --bank "$dir/o4" > "$dir/mark" 2> /dev/null
    [ -f "$dir/mark1" ] || cp "$dir/mark" "$dir/mark1"
    check "chat: the mark $mark is no question mark" cmp "$dir/mark" "$dir/mark1"
done
./run chat --model "$dir/m" --bank "$dir/o3" < "$dir/lines2" > "$dir/out" 2> "$dir/err"
check "chat tells by its status what it left out" [ $? = 1 ]
check "chat leaves out what is no text" sh -c "grep -c 'left out' '$dir/err' | grep -qx 2 && ! grep -q '^learned' '$dir/out'"
refused 2 "no option -docs" ./run eval --model "$dir/m" --data data/elements/test.jsonl -docs 4
refused 2 "no use for" ./run eval --model "$dir/m" --data data/elements/test.jsonl 4
refused 2 "no use for" ./run inspect "$dir/b" "$dir/m"
refused 2 "takes no value" ./run list --bank "$dir/b" --json=1
# ---- look: a picture of one answer
for kind in html svg; do
    check "look, $kind" run look --model "$dir/m" --bank "$dir/b" "Who was <Karr> & \"Karr\"?" --data data/elements/test.jsonl --out "$dir/look.$kind"
    check "look, $kind: the question's name" grep -q 'aria-label="Who was &lt;Karr&gt; &amp; &quot;Karr&quot;?"' "$dir/look.$kind"
    check "look, $kind: a part is missing" sh -c "grep -c 'Which documents does\|Where were the\|model look at when\|likely at each' '$dir/look.$kind' | grep -qx 4"
    check "look, $kind: the text of the document" sh -c "! grep -q 'keeps no text' '$dir/look.$kind' && grep -q 'vector 1<' '$dir/look.$kind'"
    check "look, $kind: anything from elsewhere" sh -c "! sed 's,http://www.w3.org/2000/svg,,' '$dir/look.$kind' | grep -q 'http\|src=\|<script'"
done
check "look: words are not explained" grep -q '<dt>prefix</dt>' "$dir/look.html"
check "look without the text" run look --model "$dir/m" --bank "$dir/b" "Who was Karr?" --out "$dir/look.svg"
check "look: it keeps no text" grep -q 'keeps no text' "$dir/look.svg"
printf '{"title": "K", "text": "Karr sold salt."}\n{"title": "Z", "text": "Zoll sold zzz."}\n' > "$dir/look.jsonl"
head -1 "$dir/look.jsonl" > "$dir/look1.jsonl"
check "a bank of one" run learn --model "$dir/m" --bank "$dir/look.b" "$dir/look1.jsonl"
check "look at one document" run look --model "$dir/m" --bank "$dir/look.b" "Who was Karr?" --data "$dir/look.jsonl" --out "$dir/look.svg"
check "look: the text of another" sh -c "! grep -q '>[^<]*z[^<]*</text>' '$dir/look.svg'"
refused 2 "needs a question" ./run look --model "$dir/m" --bank "$dir/b" --out "$dir/look.svg"
refused 1 "no question to look at" ./run look --model "$dir/m" --bank "$dir/b" "" --out "$dir/look.svg"
refused 2 "out is missing" ./run look --model "$dir/m" --bank "$dir/b" "Who was Karr?"
refused 1 "no/such" ./run look --model "$dir/m" --bank "$dir/b" "Who was Karr?" --out "$dir/no/such.svg"
# ---- an option that a command does not use: each of them that has one, a few that it might have
for row in "learn --docs 4" "ask --out x" "list --docs 4" "list --threads 2" "forget --model x" "chat --data x" \
    "eval --top 3" "table --docs 4" "table --memory gold" "inspect --json" "people --threads=2"; do
    set -- $row # the command, its option, perhaps a value
    refused 2 "^run: $1 has no use for ${2%=*}; see run --help$" ./run "$@"
done
# ---- results that reach nobody
if [ -w /dev/full ]; then
    for what in "ask --model $dir/m --bank $dir/b Who?" "list --bank $dir/b" "--help" \
        "table --model $dir/m --data $dir/odd.jsonl" "inspect $dir/b"; do
        ./run $what > /dev/full 2> "$dir/log"
        check "run $what on a full disk" [ $? = 1 ]
    done
    echo "Karr?" | ./run chat --model "$dir/m" --bank "$dir/b" > /dev/full 2> "$dir/log"
    check "run chat on a full disk" [ $? = 1 ]
    ./train --help > /dev/full 2> "$dir/log"
    check "train --help on a full disk" [ $? = 1 ]
fi
{ sleep 0.1; ./run list --bank "$dir/b" 2> "$dir/log"; echo $? > "$dir/status"; } | :
check "a pipe that nobody reads" grep -qx 1 "$dir/status"
{ sleep 0.1; train --steps-lm 2 --steps 2 --out "$dir/deaf" 2>&1; echo $? > "$dir/status"; } | :
check "a training that nobody watches" grep -qx 0 "$dir/status"
check "it has a model" run inspect "$dir/deaf"

# ---- bad input
head -c 1000 "$dir/m" > "$dir/cut"
: > "$dir/empty.txt"
: > "$dir/empty"
printf '\377\376broken' > "$dir/latin.txt"
mkdir "$dir/none"
train --seed 2 --steps-lm 1 --steps 1 --out "$dir/other" > /dev/null 2>&1
refused 2 "there is no option" ./train --data data/elements --out "$dir/x" --wrong 1
refused 2 "no whole number" ./train --data data/elements --out "$dir/x" --steps ten
refused 2 "no whole number" ./train --data data/elements --out "$dir/x" --docs 2.5
refused 2 "no number" ./train --data data/elements --out "$dir/x" --lr nan
refused 2 "power of two" ./train --data data/elements --out "$dir/x" --docs 3
refused 2 "power of two" ./train --data data/elements $small --steps-lm 1 --steps 1 --out "$dir/x" --group 3
refused 2 "missing" ./train --data data/elements
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
check "a long document is cut and counted" sh -c "./run learn --model '$dir/m' --bank '$dir/e' '$dir/long.txt' 2>&1 | grep -q 'was longer'"
if [ -w /dev/full ]; then
    refused 1 "disk full\|cannot be written" ./run learn --model "$dir/m" --bank /dev/full/x "$dir/one.txt"
fi
if command -v bash > /dev/null; then
    for row in 'x | | nothing | cc' 'x | | native' 'y | gcc | native | gcc'; do
        check "platforms.sh passes with the row $row" sh -c "! PLATFORMS='$row' bash tests/golden/platforms.sh x"
    done
fi
# ---- arrows between files run one way: data/ knows neither the model nor its tensors
check "a file of data/ includes mac.h" sh -c "! grep -l '#include.*mac\.h' data/*.[ch]"
printf '%-14s %7d checks, %d failed\n' programs.sh $checks $failed
[ $failed -eq 0 ]
