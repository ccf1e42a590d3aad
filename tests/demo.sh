# demo.sh CORPUS TYPED ASKED [train options] - the main job, from nothing to answers; `make demo`.
set -eu
corpus=$1 typed=$2 asked=$3
shift 3
out=out/$corpus
data=data/$corpus
say() { printf '\n== %s\n' "$*"; }
mkdir -p "$out"
if [ "$corpus" = people ]; then
    data=$out/data
    ./run people --out "$data"
fi
typed_corpus=data/$corpus/typed.jsonl # documents as people type them, where there are some
if [ ! -f "$data/train.jsonl" ]; then
    echo "demo: there is no corpus $data; CORPUS is people, wnnames, factbook or elements" >&2
    exit 2
fi
model=$out/model.safetensors bank=$out/bank.safetensors
rm -f "$bank"

say "Training on $data/train.jsonl from nothing (curve: $model.svg)"
./train --data "$data" --out "$model" "$@"

say "Documents never trained on go into the memory, by forward passes alone"
./run learn --model "$model" --bank "$bank" "$data/test.jsonl"

say "Answers to all their questions, with the controls (chart: $out/em.svg)"
if [ -f "$typed_corpus" ]; then
    ./run table --model "$model" --data "$data/test.jsonl" --data "$typed_corpus" --out "$out/em.svg"
else
    ./run table --model "$model" --data "$data/test.jsonl" --out "$out/em.svg"
fi

say "Five questions to the bank of all of them"
./run ask --model "$model" --bank "$bank" --data "$data/test.jsonl" --limit 5

say "A document typed by hand: $typed"
printf '%s\n' "$typed" > "$out/typed.txt"
./run learn --model "$model" --bank "$bank" "$out/typed.txt"
echo "$asked"
./run ask --model "$model" --bank "$bank" "$asked"

say "The same question once it is forgotten"
id=$(./run list --bank "$bank" | awk -F '\t' '$2 == "typed" { print $1 }')
./run forget --bank "$bank" "$id"
./run ask --model "$model" --bank "$bank" "$asked"
