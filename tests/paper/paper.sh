# paper.sh BUILD begin | lm CORPUS | pair CORPUS SEED | designs | double | end - the paper's
# experiments at toy scale, cell by cell.  `make paper` calls it, several pairs at a time, one
# thread each.
# Environment: OUT, the folder of results; QUICK=1, CORPORA, SEEDS; PAPER_people and the like,
# options of ./train.
# A cell that is finished, and of these programs, models and corpora, is left as it is; so a run
# that was stopped goes on where it was.
set -eu
build=$1 phase=$2 out=$OUT
export PAPER_THREADS=1
if [ "${QUICK:-}" = 1 ]; then
    quick=1 PAPER_THREADS=2
    PAPER_people="$PAPER_people --steps-lm 1000 --steps 1000 --eval-questions 64"
else
    quick=0
fi

say() { printf '\n== %s\n' "$*" >&2; }
folder() { # of a corpus
    if [ "$1" = people ]; then echo out/paper/people; else echo "data/$1"; fi
}

# model CORPUS SEED NAME OPTIONS [LM]: trains once, with the LM of the model of that name.  The
# stamp says what it was made by; .begun is that of a training which is not at its end.
model() {
    data=$(folder "$1") name=$3 file=$out/models/$3.safetensors lm=/dev/null
    eval "options=\"\${PAPER_$1:-} \$4\""
    [ $# -lt 5 ] || lm=$out/models/$5.safetensors options="$options --lm $out/models/$5.safetensors"
    stamp=$(echo "$options $2" \
        | cat - "$lm" "$build/train" "$data/train.jsonl" "$data/valid.jsonl" | cksum)
    if [ -f "$file" ] && [ "$(cat "$file.stamp" 2> /dev/null)" = "$stamp $(cksum < "$file")" ]; then
        trained
        return
    fi
    if [ -f "$file.last" ] && [ "$(cat "$file.begun" 2> /dev/null)" = "$stamp" ]; then
        say "$name: training goes on; progress: $file.log"
        set -- --resume
    else
        say "$name: training; progress: $file.log"
        rm -f "$file" "$file".*
        echo "$stamp" > "$file.begun"
        # shellcheck disable=SC2086  # the options are words
        set -- --data "$data" --seed "$2" $options
    fi
    began=$(date +%s)
    trap : INT TERM # ./train stops by itself, and the time is noted
    stopped=0
    "$build/train" --out "$file" --threads "$PAPER_THREADS" "$@" > "$file.log" 2>&1 || stopped=$?
    trap - INT TERM
    seconds=$(($(cat "$file.seconds" 2> /dev/null || echo 0) + $(date +%s) - began))
    echo "$seconds" > "$file.seconds"
    if [ "$stopped" != 0 ]; then
        tail -n 1 "$file.log" >&2
        echo "paper: $name: the training stopped; make paper goes on from here" >&2
        exit 1
    fi
    trained
    echo "$stamp $(cksum < "$file")" > "$file.stamp.new"
    mv "$file.stamp.new" "$file.stamp"
    rm -f "$file.begun" "$file.last"
}
trained() { # a cell: how long model() took
    [ "$lm" = /dev/null ] || printf 'paper cell 0000000000000001\nseconds %s\nend\n' \
        "$(cat "$file.seconds")" > "$out/cells/$name.training.txt"
}

# cell PROGRAM NAME CORPUS SEED WHAT: NAME is the model's
cell() { "$build/tests/paper/$1" "$out" "$(folder "$3")" "$2" "$4" "$quick" "$5"; }
cells() { # cells PROGRAM NAME CORPUS SEED WHAT...
    program=$1 named=$2 of=$3 by=$4
    shift 4
    for what in "$@"; do cell "$program" "$named" "$of" "$by" "$what"; done
}

begin() {
    mkdir -p "$out/cells" "$out/models"
    rm -f "$out/index.md" # until all its cells are there
    rm -rf out/paper/people.new # a cut or an older one is replaced, the same one stays
    "$build/run" people --out out/paper/people.new
    diff -rq out/paper/people.new out/paper/people > /dev/null 2>&1 || {
        rm -rf out/paper/people
        mv out/paper/people.new out/paper/people
    }
    rm -rf out/paper/people.new
    for corpus in people wnnames factbook $CORPORA; do
        for split in train valid test; do
            file=$(folder "$corpus")/$split.jsonl
            [ -f "$file" ] && continue
            echo "paper: $file is missing; git checkout data/$corpus brings it back" >&2
            exit 1
        done
    done
}

# The LM of a corpus, which all seeds share, as the paper's are all given one GPT-2.
lm() { # CORPUS
    model "$1" 1 "$1-lm" '--steps 0'
    cell adapt "$1-lm" "$1" 1 adapt-gold
}

once() { # of one seed: finetuning again and again, and other corpora, to which nothing carries over
    cells adapt "$1-$2" "$1" "$2" passes heart
    for other in people wnnames factbook; do
        [ "$other" = "$1" ] && continue
        for method in question uniform mac gold; do
            cells adapt "$1-$2" "$other" "$2" "ood-$method-$other"
        done
    done
}

pair() { # CORPUS SEED: everything but what must run alone
    at="$1-$2 $1 $2"
    model "$1" "$2" "$1-$2" '' "$1-lm"
    # shellcheck disable=SC2086  # $at is three words
    {
        say "$1, seed $2: finetuning on the stream"
        cells adapt $at tune camels rate-uniform rate-salient rate-camels
        for method in none uniform salient camels; do cells adapt $at "adapt-$method"; done
        cells adapt $at keep-uniform keep-salient keep-camels
        say "$1, seed $2: MAC"
        for method in question shuffled mac diverse; do cells adapt $at "adapt-$method"; done
        cells adapt $at keep-mac
        if [ "$2" = "${SEEDS%% *}" ]; then once "$1" "$2"
        else
            rm -f "$out/cells/$1-$2.passes.txt" "$out/cells/$1-$2.heart.txt" \
                "$out/cells/$1-$2.ood-"*.txt
        fi
        say "$1, seed $2: the bank"
        cells limit $at limited-prune-100
        for cut in prune average nearest codes; do
            for percent in 75 50 25 10; do cells limit $at "limited-$cut-$percent"; done
        done
        cells look $at look
        cells bank $at hierarchy-0 hierarchy-2 hierarchy-4 hierarchy-16 hierarchy-64 hierarchy-256 \
            rounds-16 streaming-100 streaming-1000 streaming-10000 unlearning
        say "$1, seed $2: neighbours"
        cells facts $at facts
        cells gate $at gate
        cells rtd $at rtd
        cells keys $at anllm
        cells eul $at eul
        if [ "$1-$2" = "people-${SEEDS%% *}" ]; then # of one corpus and seed
            cells keys $at camelot
            cells codes $at codes
        fi
        cells stream $at all last fifo reservoir ocm slots nearest versions
        say "$1, seed $2: retrieval"
        cells retrieve $at reader retrieve-mac-0 retrieve-bm25-0
        for k in 1 3 5; do cells retrieve $at "retrieve-bm25-$k" "retrieve-both-$k"; done
    }
}

timed() { # CORPUS: alone on the machine, with encoders as drawn, which take as long as trained ones
    say "$1: seconds and memory"
    export PAPER_THREADS=2
    at="$1-lm $1 1"
    # shellcheck disable=SC2086
    {
        for method in uniform salient camels mac mac4 mac64; do cells adapt $at "cost-$method"; done
        cells adapt $at wide-uniform-128 wide-mac-128 wide-uniform-256 wide-mac-256
        cells drop $at drop-0 drop-25 drop-50 drop-75
    }
}

# Short trainings on people, each with one thing changed (P + D stay: the LM's window holds both).
# T 4 and T 8 beside P4, whose T is 16.  Where fewer documents
# have questions, a step takes several batches, or there are more steps, so that as many are asked.
designs() {
    while read -r design options; do
        model people 1 "people-1-$design" "--steps 800 --docs 32 --drop 0 $options" people-lm
        cells adapt "people-1-$design" people 1 adapt-mac adapt-mac16
    done << END
base
drop25 --drop 0.25 --steps 1066
drop50 --drop 0.5 --accumulate 2
drop75 --drop 0.75 --accumulate 4
own --guidance 0 --distill 0 --alike 0 --share-start 0 --group 32
enconly4 --enc_only 1 --enc_L 4
T4 --T 4 --P 4 --D 204
T8 --T 8 --P 4 --D 204
P1 --P 1 --D 207
P4 --P 4 --D 204
B1 --agg_B 1
B4 --agg_B 4
docs8 --docs 8 --accumulate 4
docs128 --docs 128 --drop 0.75
END
}

double() { # BUILD is one with REAL=double, in which rounding hides no difference
    for corpus in $CORPORA; do
        for seed in $SEEDS; do cells bank "$corpus-$seed" "$corpus" "$seed" double-10000; done
    done
}

case $phase in
begin) begin ;;
lm) lm "$3" ;;
pair) pair "$3" "$4" ;;
designs) designs ;;
double) double ;;
end)
    for corpus in $CORPORA; do timed "$corpus"; done
    "$build/tests/paper/page" "$out" "$CORPORA" "$SEEDS"
    ;;
esac
