# make            ./train and ./run
# make test       all tests, under a minute
# make demo       trains from nothing, remembers, answers: CORPUS=people wnnames factbook elements
# make bench      how fast the parts are; PEER=1: beside PyTorch and OpenBLAS (Debian's packages)
# make fuzz       any bytes into the readers, for FUZZ_SECONDS; needs clang; MAC_FUZZ=b: banks only
# make golden     one small run of everything against tests/golden.txt, whose bits hold everywhere;
#                 RENEW=1 writes that file anew, for a change that is meant to change bits
# make platforms  the same with every compiler, processor and system that is here
# make vectors    writes tests/vectors: numbers to check another implementation against
# make twin        PyTorch checks our vectors (Debian's python3-torch and -numpy)
# make twin-exchange  a trained model goes to PyTorch, is changed there and comes back
# make faults     two programs at once, failing calls, full disks, kills (Linux); WORD=: some rows
# make mutants    breaks the code in one line after another: every time make test must turn red
# make paper      the paper's experiments at toy scale, into out/paper/index.md; QUICK=1: minutes
# make clean
#
# THREADS=0       no pthreads           REAL=double  numbers of 64 bits
# SAN=1           address and undefined-behaviour sanitizers, arena in single blocks
# FAST=1          fused multiply-add: bits then differ between machines
# ARCH=           flags for the processor; none: ARCH=''
CC      = gcc
ARCH    = -march=native
OPT     = -O3
WARN    = -Wall -Wextra -Wpedantic -Wshadow
FLAGS   = -std=c11 -fno-math-errno -fno-trapping-math $(WARN) $(OPT) $(ARCH) -I.
LIBS    = -lm
THREADS = 1
GOLDEN  = 1
ifneq ($(THREADS),0)
FLAGS  += -DMAC_THREADS -pthread
endif
ifeq ($(REAL),double)
FLAGS  += -DMAC_DOUBLE
endif
ifeq ($(SAN),1)
FLAGS  += -g -fsanitize=address,undefined -fno-sanitize-recover=all -DMAC_DEBUG_ARENA
endif
ifeq ($(FUZZ),1)
FLAGS  += -fsanitize=fuzzer-no-link -DMAC_LIBFUZZER
endif
ifeq ($(FAST),1)
FLAGS  += -ffp-contract=fast -DMAC_FAST
else
FLAGS  += -ffp-contract=off
endif

BUILD = $(CC) $(FLAGS) $(CFLAGS)

# A folder per set of flags, so that builds never mix.
B    := build/$(shell printf '%s' '$(CC) $(FLAGS)' | cksum | cut -d' ' -f1)
DATA := $(patsubst data/%.c,$(B)/data_%.o,$(wildcard data/*.c))
CORE := $(B)/tensor.o $(B)/mac.o
PAPER := $(B)/paper_lib.o $(B)/paper_tune.o
EXPERIMENTS := $(patsubst %,$(B)/paper_%,adapt bank drop limit look retrieve page)
TESTS := $(patsubst tests/%.c,$(B)/%,$(wildcard tests/test_*.c))

all: train run

train run: %: $(B)/%
	cp $< $@
$(B)/train $(B)/run: $(B)/%: $(B)/%.o $(CORE) $(DATA)
	@echo '  link $@'; $(BUILD) $^ -o $@ $(LIBS)
$(B)/%.o: %.c mac.h $(wildcard data/*.h) | $(B)
	@echo '  $(CC) $<'; $(BUILD) -c $< -o $@
$(B)/data_%.o: data/%.c mac.h $(wildcard data/*.h) | $(B)
	@echo '  $(CC) $<'; $(BUILD) -c $< -o $@
$(B)/test_%: tests/test_%.c tests/check.h tests/vectors.h mac.h $(CORE) $(DATA)
	@echo '  $(CC) $<'; $(BUILD) $< $(CORE) $(DATA) -o $@ $(LIBS)
$(B)/test_files: tests/test_files.c tests/check.h mac.h $(CORE) $(DATA) # has two of them in itself
	@echo '  $(CC) $<'
	@$(BUILD) $< $(CORE) $(filter-out %_json.o %_safetensors.o,$(DATA)) -o $@ $(LIBS)
$(B)/test_paper: tests/test_paper.c tests/check.h tests/paper.h mac.h $(PAPER) $(CORE) $(DATA)
	@echo '  $(CC) $<'; $(BUILD) $< $(PAPER) $(CORE) $(DATA) -o $@ $(LIBS)
$(B):
	mkdir -p $@

# ---- tests: every program in float, the numbers and the model in double too, then the programs
test: $(TESTS) $(B)/fuzz train run
	@for t in $(TESTS); do $$t $(B) || exit 1; done
ifeq ($(GOLDEN),1)
	@$(MAKE) -s --no-print-directory golden
endif
ifneq ($(REAL),double)
	@$(MAKE) -s --no-print-directory test-double REAL=double
endif
	@TMPDIR=$(B) $(B)/fuzz tests/fuzz/*
	@sh tests/programs.sh
test-numbers: $(B)/test_ops $(B)/test_model $(B)/test_vectors
	@for t in $^; do $$t $(B) || exit 1; done
test-double: test-numbers $(B)/vectors
	@mkdir -p $(B)/new; $(B)/vectors $(B)/new
	@for f in $(B)/new/*; do cmp $$f tests/vectors/$${f##*/} || { echo 'make vectors'; exit 1; }; done

# ---- vectors are made with numbers of 64 bits and rounded to 32; REAL=double: not rounded.
# VECTORS= where they go.
VECTORS = tests/vectors
vectors:
	@$(MAKE) -s --no-print-directory vectors-double \
            WIDTH=$(if $(filter double,$(REAL)),F64) REAL=double
vectors-double: $(B)/vectors
	@mkdir -p $(VECTORS); $< $(VECTORS) $(WIDTH)
$(B)/vectors: tests/vectors.c tests/vectors.h mac.h $(CORE) $(DATA)
	@echo '  $(CC) $<'; $(BUILD) $< $(CORE) $(DATA) -o $@ $(LIBS)
TWIN = /usr/bin/python3 -B tests/reference
twin:
	@$(MAKE) -s --no-print-directory vectors REAL=double VECTORS=out/vectors
	@$(TWIN)/check_torch.py tests/vectors out/vectors
twin-exchange: train run $(B)/exchange
	@$(MAKE) -s --no-print-directory exchange64 REAL=double
	@$(TWIN)/exchange_torch.py $(B)/exchange out/exchange/exchange64 out/exchange
exchange64: $(B)/exchange
	@mkdir -p out/exchange; cp $< out/exchange/exchange64
$(B)/exchange: tests/exchange.c mac.h $(CORE) $(DATA)
	@echo '  $(CC) $<'; $(BUILD) $< $(CORE) $(DATA) -o $@ $(LIBS)

# ---- the readers' seeds are a part of make test; here they grow
FUZZ_SECONDS = 600
fuzz:
	@$(MAKE) -s --no-print-directory fuzz-run CC=clang SAN=1 OPT=-O1 FUZZ=1
fuzz-run: $(B)/fuzz
	@mkdir -p out/fuzz $(B)/scratch
	TMPDIR=$(B)/scratch $(B)/fuzz -max_total_time=$(FUZZ_SECONDS) -max_len=16384 \
	    -malloc_limit_mb=64 -timeout=60 -dict=tests/fuzz.dict -artifact_prefix=out/ \
	    -print_final_stats=1 out/fuzz tests/fuzz
$(B)/fuzz: tests/fuzz.c data/data.h data/json.h mac.h $(CORE) $(DATA)
	@echo '  $(CC) $<'
	@$(BUILD) $(if $(filter 1,$(FUZZ)),-fsanitize=fuzzer) $< $(CORE) $(DATA) -o $@ $(LIBS)

# ---- equal bits everywhere; GOLDEN=0 leaves it out of `make test`, as the mutants must: it notices
# every change of a bit, and would hide what the other tests do not notice
golden: $(B)/golden
ifeq ($(RENEW),1)
	@$(B)/golden --print $(B) > $(B)/golden.txt && cp $(B)/golden.txt tests/golden.txt
else
	@$(B)/golden $(B) 1 2 3 5
endif
$(B)/golden: tests/golden.c mac.h $(CORE) $(DATA)
	@echo '  $(CC) $<'; $(BUILD) $< $(CORE) $(DATA) -o $@ $(LIBS)
platforms:
	@bash tests/platforms.sh

mutants:
	@sh tests/mutants.sh
faults: train run $(B)/fault_shim.so
	@bash tests/faults.sh $(B)/fault_shim.so '$(WORD)'
$(B)/fault_shim.so: tests/fault_shim.c | $(B)
	@echo '  $(CC) $<'; $(CC) -O1 $(WARN) -shared -fPIC $< -o $@ -ldl
bench: $(B)/bench
	@mkdir -p out; rm -f out/bench.jsonl
ifeq ($(PEER),1)
	@/usr/bin/python3 -B tests/reference/bench_peer.py $(B)/bench
else
	@$(B)/bench
endif
$(B)/bench: tests/bench.c tensor.c $(B)/mac.o $(DATA)
	@echo '  $(CC) $<'; $(BUILD) $< $(B)/mac.o $(DATA) -o $@ $(LIBS)

# ---- the main job; TRAIN= takes options of ./train
CORPUS = people
TRAIN  = $(TRAIN_$(CORPUS))
# People need no more than a small model.  wnnames gets ten minutes here, other real text the
# defaults of ./train (TRAIN= asks for them there too).
TRAIN_people = --d 64 --L 2 --H 4 --e 64 --enc_H 4 --enc_ff 256 --agg_H 4 --steps-lm 3000 \
    --steps 1500 --lr 4e-3 --made-names 0 --made-answers 0
TRAIN_wnnames = --T 8 --steps-lm 2000 --steps 1200
# What a person types in the demo, to be learned and asked about; {} stands for one of these a corpus.
TYPED_people    = Lena Moser works as a baker in Oslo. She keeps a pet parrot and plays the cello.
ASKED_people    = What does Lena Moser do for a living?
TYPED_wnnames   = Ada Velmora: Italian painter who founded a school of art in Rome (1901-1964).
ASKED_wnnames   = When was Ada Velmora born?
TYPED_factbook  = Velmora: total population: 61,000. The capital is Port Isold. Climate: temperate.
ASKED_factbook  = What is the capital of Velmora?
TYPED_elements  = velmorium (symbol Vm, atomic number 125, atomic weight 312). Discovered by Isold Karr in 1998.
ASKED_elements  = Who discovered velmorium?
demo: train run
	@sh tests/demo.sh '$(CORPUS)' '$(TYPED_$(CORPUS))' '$(ASKED_$(CORPUS))' $(TRAIN)

# ---- the paper's experiments at toy scale: out/paper/index.md.  QUICK=1: people, one seed, small, into
# out/paper/quick; CORPORA=, SEEDS=: fewer of them; JOBS=: at a time.  Stopped, it goes on where it was.
# people and wnnames train as in the demo, factbook shorter: nine must fit, and others; all seeds
# share the LM of the first.
CORPORA = wnnames factbook people
SEEDS   = 1 2 3
JOBS    = 2
PAPER_people   = $(TRAIN_people)
PAPER_wnnames  = $(TRAIN_wnnames)
PAPER_factbook = --d 64 --H 4 --e 64 --enc_H 4 --enc_ff 256 --agg_H 4 --T 8 --P 4 \
    --steps-lm 2000 --steps 500 --alone 0.5
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
    PAPER_factbook='$(PAPER_factbook)' sh tests/paper.sh $(B)
paper: train run $(EXPERIMENTS)
	@$(PAPER_STEP) begin
	@$(MAKE) -s --no-print-directory -j$(JOBS) $(PAPER_MORE) $(PAPER_PAIRS)
	@$(MAKE) -s --no-print-directory REAL=double paper-double
	@$(PAPER_STEP) end
paper-double: $(B)/paper_bank
	@$(PAPER_STEP) double
paper-lm-%:
	@$(PAPER_STEP) lm $*
$(foreach c,$(CORPORA),$(eval $(filter paper-$c-%,$(PAPER_PAIRS)): paper-lm-$c))
$(PAPER_PAIRS): paper-%:
	@$(PAPER_STEP) pair $(subst -, ,$*)
paper-designs: paper-lm-people
	@$(PAPER_STEP) designs
$(B)/paper_%.o: tests/paper_%.c tests/paper.h mac.h data/data.h | $(B)
	@echo '  $(CC) $<'; $(BUILD) -c $< -o $@
$(EXPERIMENTS): %: %.o $(PAPER) $(CORE) $(DATA)
	@echo '  link $@'; $(BUILD) $^ -o $@ $(LIBS)

clean:
	rm -rf build train run

.PHONY: all test test-numbers test-double fuzz fuzz-run golden platforms vectors vectors-double \
        twin twin-exchange exchange64 mutants faults bench demo paper paper-designs paper-double \
        $(PAPER_PAIRS) clean
