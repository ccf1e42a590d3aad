# make            ./train and ./run
# make test       all tests, under a minute
# make demo       trains from nothing, remembers, answers: CORPUS=people wnnames factbook elements
# make bench      how fast the parts are
# make mutants    breaks the code in one line after another: every time make test must turn red
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
ifneq ($(THREADS),0)
FLAGS  += -DMAC_THREADS -pthread
endif
ifeq ($(REAL),double)
FLAGS  += -DMAC_DOUBLE
endif
ifeq ($(SAN),1)
FLAGS  += -g -fsanitize=address,undefined -fno-sanitize-recover=all -DMAC_DEBUG_ARENA
endif
ifeq ($(FAST),1)
FLAGS  += -ffp-contract=fast
else
FLAGS  += -ffp-contract=off
endif

# A folder per set of flags, so that builds never mix.
B    := build/$(shell printf '%s' '$(CC) $(FLAGS)' | cksum | cut -d' ' -f1)
DATA := $(patsubst data/%.c,$(B)/data_%.o,$(wildcard data/*.c))
CORE := $(B)/tensor.o $(B)/mac.o
TESTS := $(patsubst tests/%.c,$(B)/%,$(wildcard tests/test_*.c))

all: train run

train run: %: $(B)/%
	cp $< $@
$(B)/train $(B)/run: $(B)/%: $(B)/%.o $(CORE) $(DATA)
	$(CC) $(FLAGS) $(CFLAGS) $^ -o $@ $(LIBS)
$(B)/%.o: %.c mac.h data/data.h | $(B)
	$(CC) $(FLAGS) $(CFLAGS) -c $< -o $@
$(B)/data_%.o: data/%.c $(wildcard data/*.h) | $(B)
	$(CC) $(FLAGS) $(CFLAGS) -c $< -o $@
$(B)/test_%: tests/test_%.c tests/check.h $(CORE) $(DATA)
	$(CC) $(FLAGS) $(CFLAGS) $< $(CORE) $(DATA) -o $@ $(LIBS)
$(B):
	mkdir -p $@

clean:
	rm -rf build train run

.PHONY: all clean
