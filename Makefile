# make            ./train and ./run
# make test       all tests, a minute, after building them, another
# make demo       trains from nothing, remembers, answers: CORPUS=people wnnames factbook elements
# make page       the whole program in one page of a browser, with the demo's model: out/page;
#                 needs the packages of platforms.sh's wasm
# make page-test  does in headless Chromium what a person does there; QUICK=1: without the demo
# make bench      how fast the parts are; PEER=1: beside PyTorch and OpenBLAS (Debian's packages)
# make fuzz       any bytes into the readers, for FUZZ_SECONDS; needs clang; MAC_FUZZ=b: banks only
# make golden     one small run of everything against tests/golden/golden.txt, whose bits hold
#                 everywhere; RENEW=1 writes it anew, for a change that is meant to change bits
# make platforms  the same with every compiler, processor and system that is here
# make vectors    writes tests/vectors: numbers to check another implementation against
# make conform    checks another implementation, PROGRAM="its command line", against them
# make twin       PyTorch checks our vectors (Debian's python3-torch and -numpy)
# make readings   would they notice a page read wrongly?  (PyTorch, too)
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
#
# How the tests are built and run is in tests/rules.mk.
CC      = gcc
ARCH    = -march=native
OPT     = -O3
WARN    = -Wall -Wextra -Wpedantic -Wshadow -Wno-missing-field-initializers
FLAGS   = -std=c11 -fno-math-errno -fno-trapping-math $(WARN) $(OPT) $(ARCH) -I.
LIBS    = -lm
THREADS = 1
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
BUILD   = $(CC) $(FLAGS) $(CFLAGS)

# A folder per set of flags, so that builds never mix; what is made of a file lies there at the same
# place as the file here.
B    := build/$(shell printf '%s' '$(CC) $(FLAGS)' | cksum | cut -d' ' -f1)
DATA := $(patsubst %.c,$(B)/%.o,$(wildcard data/*.c))
CORE := $(B)/tensor.o $(B)/mac.o

all: train run
train run: %: $(B)/%
	cp $< $@

# Every file of C becomes an object, and every program is one object, mac.c, tensor.c and data/;
# tests/rules.mk names what a program needs besides, or WITHOUT which of them it goes.
$(B)/%.o: %.c mac.h $(wildcard data/*.h)
	@mkdir -p $(@D); echo '  $(CC) $<'; $(BUILD) -c $< -o $@
$(B)/%: $(B)/%.o $(CORE) $(DATA)
	@echo '  link $@'; $(BUILD) $(filter-out $(WITHOUT),$^) -o $@ $(LIBS)
.SECONDARY:

# ---- the main job; TRAIN= takes options of ./train
CORPUS = people
TRAIN  = $(TRAIN_$(CORPUS))
# People need no more than a small model.  wnnames is trained shortly here, other real text by the
# defaults of ./train (TRAIN= asks for them there too).
TRAIN_people  = --d 64 --L 2 --H 4 --e 64 --enc_ff 256 --T 32 --agg_H 4 --pre_ff 128 \
    --steps-lm 1500 --steps 1300 --lr 6e-3 --made-answers 0.5
TRAIN_wnnames = --steps-lm 1300 --steps 1400
# What a person types in the demo, to be learned and asked about.
TYPED_people    = Lena Moser works as a baker in Oslo. She keeps a pet parrot and plays the cello.
ASKED_people    = What does Lena Moser do for a living?
TYPED_wnnames   = Ada Velmora: Italian painter who founded a school of art in Rome (1901-1964).
ASKED_wnnames   = When was Ada Velmora born?
TYPED_factbook  = Velmora: total population: 61,000. The capital is Port Isold. Climate: temperate.
ASKED_factbook  = What is the capital of Velmora?
TYPED_elements  = velmorium (symbol Vm, atomic number 125, atomic weight 312). Discovered by \
    Isold Karr in 1998.
ASKED_elements  = Who discovered velmorium?
demo: train run
	@sh tests/demo.sh '$(CORPUS)' '$(TYPED_$(CORPUS))' '$(ASKED_$(CORPUS))' $(TRAIN)

clean:
	rm -rf build train run
.PHONY: all demo clean

include tests/rules.mk
