# paper.sh BUILD - the paper's experiments at toy scale, cell by cell; `make paper`.
# Environment: QUICK=1, CORPORA, SEEDS, TRAIN_people and the like (options of ./train).
# A cell that is finished, and of these programs, models and corpora, is left as it is; so a run
# that was stopped goes on where it was.
set -eu
build=$1
if [ "${QUICK:-}" = 1 ]; then
    quick=1 out=out/paper/quick CORPORA=people SEEDS=1
    # the guidance begins when answers have: at the default share they would not within so few steps
    TRAIN_people="$TRAIN_people --steps-lm 1000 --steps 2000 --alone 0.5 --eval-questions 64"
else
    quick=0 out=out/paper
fi
mkdir -p "$out/cells" "$out/models"
rm -f "$out/index.md" # until all its cells are there

say() { printf '\n== %s\n' "$*" >&2; }
folder() { # of a corpus
    if [ "$1" = people ]; then echo out/paper/people; else echo "data/$1"; fi
}

# model CORPUS SEED NAME OPTIONS: trains once.  The stamp says what it was made by; .begun is that
# of a training which may be gone on with.
model() {
    data=$(folder "$1") name=$3 file=$out/models/$3.safetensors
    eval "options=\"\${TRAIN_$1:-} \$4\""
    stamp=$(echo "$options $2" \
        | cat - "$build/train" "$data/train.jsonl" "$data/valid.jsonl" | cksum)
    if [ -f "$file" ] && [ "$(cat "$file.stamp" 2> /dev/null)" = "$stamp $(cksum < "$file")" ]; then
        return
    fi
    if [ -f "$file.last" ] && [ "$(cat "$file.begun" 2> /dev/null)" = "$stamp" ]; then
        say "$name: training goes on"
        set -- --resume
    else
        say "$name: training"
        rm -f "$file" "$file".*
        echo "$stamp" > "$file.begun"
        # shellcheck disable=SC2086  # the options are words
        set -- --data "$data" --seed "$2" $options
    fi
    began=$(date +%s)
    trap : INT TERM # ./train stops by itself, and the time is noted
    stopped=0
    "$build/train" --out "$file" "$@" >&2 || stopped=$?
    trap - INT TERM
    seconds=$(($(cat "$file.seconds" 2> /dev/null || echo 0) + $(date +%s) - began))
    echo "$seconds" > "$file.seconds"
    [ "$stopped" = 0 ] || { echo "paper: stopped; make paper goes on from here" >&2; exit 130; }
    printf 'paper cell 0000000000000001\nseconds %s\nend\n' "$seconds" \
        > "$out/cells/$name.training.txt"
    echo "$stamp $(cksum < "$file")" > "$file.stamp.new"
    mv "$file.stamp.new" "$file.stamp"
}

# cell PROGRAM CORPUS SEED WHAT [NAME of the model]
cell() { "$build/paper_$1" "$out" "$(folder "$2")" "${5:-$2-$3}" "$3" "$quick" "$4"; }
adapt() { cell adapt "$@"; }
bank() { cell bank "$@"; }
limit() { cell limit "$@"; }
retrieve() { cell retrieve "$@"; }

counts='100 200 400 1000000'
[ "$quick" = 0 ] || counts='50 100 1000000'
for corpus in $CORPORA; do
    if [ "$corpus" = people ]; then
        [ -f out/paper/people/test.jsonl ] || "$build/run" people --out out/paper/people
    fi
    for split in train valid test; do
        file=$(folder "$corpus")/$split.jsonl
        [ -f "$file" ] && continue
        echo "paper: $file is missing; git checkout data/$corpus brings it back" >&2
        exit 1
    done
    for seed in $SEEDS; do
        model "$corpus" "$seed" "$corpus-$seed" ''
        say "$corpus, seed $seed: finetuning on the stream, and MAC"
        adapt "$corpus" "$seed" tune
        adapt "$corpus" "$seed" camels
        for method in uniform salient camels; do adapt "$corpus" "$seed" "rate-$method"; done
        for method in none question shuffled uniform salient camels mac gold; do
            adapt "$corpus" "$seed" "adapt-$method"
        done
        for method in uniform salient camels mac; do adapt "$corpus" "$seed" "keep-$method"; done
        for method in uniform salient camels mac mac64; do
            for n in $counts; do adapt "$corpus" "$seed" "cost-$method-$n"; done
        done
        say "$corpus, seed $seed: the bank"
        for M in 0 2 4 16 64 256; do bank "$corpus" "$seed" "hierarchy-$M"; done
        for K in 100 1000 10000; do bank "$corpus" "$seed" "streaming-$K"; done
        for cut in prune average nearest slots codes; do
            for percent in 75 50 25 10; do limit "$corpus" "$seed" "limited-$cut-$percent"; done
        done
        bank "$corpus" "$seed" unlearning
        for percent in 0 25 50 75; do cell drop "$corpus" "$seed" "drop-$percent"; done
        if [ "$corpus" = people ] && [ "$seed" = 1 ] && [ "$quick" = 0 ]; then
            for percent in 0 25 50 75; do # short trainings, four more of them
                model people 1 "people-1-drop$percent" "--steps 2500 --drop 0.$percent"
                cell adapt people 1 adapt-mac "people-1-drop$percent"
            done
        fi
        say "$corpus, seed $seed: retrieval"
        retrieve "$corpus" "$seed" reader
        retrieve "$corpus" "$seed" retrieve-mac-0
        for k in 0 1 3 5; do retrieve "$corpus" "$seed" "retrieve-bm25-$k"; done
        for k in 1 3 5; do retrieve "$corpus" "$seed" "retrieve-both-$k"; done
    done
done
"$build/paper_page" "$out" "$CORPORA" "$SEEDS"
