# rules.mk - how the tests are built and run.  The Makefile includes it, says what a person types,
# and has the two rules by which everything is compiled and linked.
UNIT    := $(patsubst %.c,$(B)/%,$(sort $(wildcard tests/unit/test_*.c)))
NUMBERS := $(B)/tests/unit/test_ops $(B)/tests/unit/test_model $(B)/tests/vectors/test_vectors
TESTS   := $(UNIT) $(B)/tests/paper/test_paper $(B)/tests/vectors/test_vectors
VECTOR  := $(B)/tests/vectors/vectors
FUZZER  := $(B)/tests/fuzz/fuzz
CONFORM := $(B)/tests/vectors/conform $(B)/tests/vectors/answer
AGAIN    = $(MAKE) -s --no-print-directory

# What those two rules cannot know: headers of tests/, sources that a file includes, objects
# that a program shares with others or brings itself.
$(patsubst %.c,$(B)/%.o,$(wildcard tests/*/*.c)): $(wildcard tests/*/*.h)
# test_files has two of the readers in itself, so that it can count what they allocate.
$(B)/tests/unit/test_files.o: data/json.c data/safetensors.c
$(B)/tests/paper/test_paper.o: tests/paper/facts.c
$(B)/tests/vectors/batches.o: train.c
$(B)/tests/vectors/test_vectors $(VECTOR) $(CONFORM): $(B)/tests/vectors/batches.o
$(B)/tests/unit/test_files: WITHOUT = %/json.o %/safetensors.o
$(B)/tests/bench/bench.o: tensor.c
$(B)/tests/bench/bench: WITHOUT = %/tensor.o
$(FUZZER): LIBS += $(if $(filter 1,$(FUZZ)),-fsanitize=fuzzer)

# ---- tests: every program in float, the numbers and the model in double too, then the programs.
# GOLDEN=0 leaves the golden run out, as the mutants must: it notices every change of a bit, and
# would hide what the other tests do not notice.
GOLDEN = 1
test: $(TESTS) $(FUZZER) $(CONFORM) train run
	@for t in $(TESTS); do $$t $(B) || exit 1; done
ifeq ($(GOLDEN),1)
	@$(AGAIN) golden
endif
ifneq ($(REAL),double)
	@$(AGAIN) test-double REAL=double
endif
	@TMPDIR=$(B) $(FUZZER) tests/fuzz/seeds/*
	@sh tests/unit/pages.sh
	@sh tests/unit/conform.sh $(B)
	@sh tests/unit/programs.sh
test-numbers: $(NUMBERS)
	@for t in $^; do $$t $(B) || exit 1; done
test-double: test-numbers $(VECTOR)
	@mkdir -p $(B)/new; $(VECTOR) $(B)/new
	@for f in $(B)/new/*; do cmp $$f tests/vectors/$${f##*/} || { echo 'make vectors'; exit 1; }; done
mutants:
	@sh tests/unit/mutants.sh
faults: train run $(B)/tests/unit/fault_shim.so
	@bash tests/unit/faults.sh $(B)/tests/unit/fault_shim.so '$(WORD)'
$(B)/%.so: %.c
	@mkdir -p $(@D); echo '  $(CC) $<'; $(CC) -O1 $(WARN) -shared -fPIC $< -o $@ -ldl

# ---- vectors are made with numbers of 64 bits and rounded to 32; REAL=double: not rounded.
# VECTORS= where they go.
VECTORS = tests/vectors
TWIN    = /usr/bin/python3 -B tests/reference
vectors:
	@$(AGAIN) vectors-double WIDTH=$(if $(filter double,$(REAL)),F64) REAL=double
ifneq ($(REAL),double)
	@$(AGAIN) vectors-bits
endif
vectors-bits: $(B)/tests/vectors/test_vectors
	@$< --bits $(VECTORS)
vectors-double: $(VECTOR)
	@mkdir -p $(VECTORS); $< $(VECTORS) $(WIDTH)
# Another implementation against them all, see tests/vectors/CONFORM.md: PROGRAM= a command line, by
# default our own; LIMIT= seconds for a case, ONLY= what those that run have in "level N kind/name".
export PROGRAM ?= $(B)/tests/vectors/answer out/conform
LIMIT = 10
conform: $(CONFORM)
	@mkdir -p out/conform
	@$< out/conform "$$PROGRAM" '$(LIMIT)' '$(ONLY)' tests/vectors/*.safetensors
twin:
	@$(AGAIN) vectors REAL=double VECTORS=out/vectors
	@$(TWIN)/check_torch.py tests/vectors out/vectors
readings:
	@$(TWIN)/readings.py
twin-exchange: train run $(B)/tests/reference/exchange
	@$(AGAIN) exchange64 REAL=double
	@$(TWIN)/exchange_torch.py $(B)/tests/reference/exchange out/exchange/exchange64 out/exchange
exchange64: $(B)/tests/reference/exchange
	@mkdir -p out/exchange; cp $< out/exchange/exchange64

# ---- the readers' seeds are a part of make test; here they grow
FUZZ_SECONDS = 600
fuzz:
	@$(AGAIN) fuzz-run CC=clang SAN=1 OPT=-O1 FUZZ=1
fuzz-run: $(FUZZER)
	@mkdir -p out/fuzz $(B)/scratch
	TMPDIR=$(B)/scratch $(FUZZER) -max_total_time=$(FUZZ_SECONDS) -max_len=16384 \
	    -malloc_limit_mb=64 -timeout=60 -dict=tests/fuzz/fuzz.dict -artifact_prefix=out/ \
	    -print_final_stats=1 out/fuzz tests/fuzz/seeds

# ---- equal bits everywhere
golden: $(B)/tests/golden/golden
ifeq ($(RENEW),1)
	@$< --print $(B) > $(B)/golden.txt && cp $(B)/golden.txt tests/golden/golden.txt
else
	@$< $(B) 1 2 3 5
endif
platforms:
	@bash tests/golden/platforms.sh

bench: $(B)/tests/bench/bench
	@mkdir -p out; rm -f out/bench.jsonl
	@$(if $(filter 1,$(PEER)),/usr/bin/python3 -B tests/bench/bench_peer.py $< --only,$<) '$(ONLY)'

# ---- the whole program in one page of a browser: out/page/index.html, with the model and the test
# documents of make demo.  QUICK=1: with a model of seconds, in out/page/quick.
PAGE       = out/page
PAGE_MODEL = out/people/model.safetensors
PAGE_TESTS = out/people/data/test.jsonl
WASM       = build/wasm/run
ifeq ($(QUICK),1)
PAGE       = out/page/quick
PAGE_MODEL = $(PAGE)/trained.safetensors
PAGE_TESTS = $(PAGE)/few.jsonl
page: $(PAGE_MODEL)
$(PAGE_MODEL): train run
	@mkdir -p $(PAGE); ./run people --out $(PAGE)/data --docs 100
	@head -n 60 $(PAGE)/data/test.jsonl > $(PAGE_TESTS)
	@./train --data $(PAGE)/data --out $@ --d 32 --L 1 --H 2 --e 32 --T 8 --steps-lm 30 --steps 10
endif
page: run
	@$(AGAIN) B=build/wasm CC='clang --target=wasm32-wasi' ARCH=-msimd128 THREADS=0 \
	    LIBS='-lm -Wl,-z,stack-size=1048576' $(WASM)
	@TYPED='$(TYPED_people)' ASKED='$(ASKED_people)' \
	    node tests/page/build.mjs $(PAGE_MODEL) $(PAGE_TESTS) $(WASM) $(PAGE)
page-test: page
	@node tests/page/test_page.mjs $(PAGE) $(PAGE_TESTS)

# ---- the paper's experiments at toy scale: out/paper/index.md.  QUICK=1: people, one seed, small,
# into out/paper/quick; CORPORA=, SEEDS=: fewer of them; JOBS=: at a time.  Stopped, it goes on
# where it was.  people and wnnames train as in the demo, factbook shorter: nine must fit, and
# others; all seeds share the LM of the first.
CORPORA = wnnames factbook people
SEEDS   = 1 2 3
JOBS    = 2
PAPER_people   = $(TRAIN_people)
PAPER_wnnames  = $(TRAIN_wnnames)
PAPER_factbook = $(TRAIN_wnnames)
PAPER_PAIRS  = $(foreach c,$(CORPORA),$(foreach s,$(SEEDS),paper-$(c)-$(s)))
PAPER_MORE   = $(if $(filter people,$(CORPORA)),paper-designs)
PAPER_OUT    = out/paper
ifeq ($(QUICK),1)
override CORPORA = people
override SEEDS   = 1
PAPER_MORE =
PAPER_OUT  = out/paper/quick
endif
PAPER_STEP   = QUICK='$(QUICK)' OUT='$(PAPER_OUT)' CORPORA='$(CORPORA)' SEEDS='$(SEEDS)' \
    PAPER_people='$(PAPER_people)' PAPER_wnnames='$(PAPER_wnnames)' \
    PAPER_factbook='$(PAPER_factbook)' sh tests/paper/paper.sh $(B)
EXPERIMENTS := $(patsubst %,$(B)/tests/paper/%,adapt bank codes drop eul facts gate keys limit \
    look retrieve rtd stream page)
$(EXPERIMENTS) $(B)/tests/paper/test_paper: \
    $(B)/tests/paper/lib.o $(B)/tests/paper/open.o $(B)/tests/paper/tune.o
paper: $(B)/train $(B)/run $(EXPERIMENTS)
	@$(PAPER_STEP) begin
	@$(AGAIN) -j$(JOBS) $(PAPER_MORE) $(PAPER_PAIRS)
	@$(AGAIN) REAL=double paper-double
	@$(PAPER_STEP) end
paper-double: $(B)/tests/paper/bank
	@$(PAPER_STEP) double
paper-lm-%:
	@$(PAPER_STEP) lm $*
$(foreach c,$(CORPORA),$(eval $(filter paper-$c-%,$(PAPER_PAIRS)): paper-lm-$c))
$(PAPER_PAIRS): paper-%:
	@$(PAPER_STEP) pair $(subst -, ,$*)
paper-designs: paper-lm-people
	@$(PAPER_STEP) designs

.PHONY: test test-numbers test-double mutants faults vectors vectors-double vectors-bits conform \
        twin readings twin-exchange exchange64 fuzz fuzz-run golden platforms bench page page-test paper \
        paper-designs paper-double $(PAPER_PAIRS)
