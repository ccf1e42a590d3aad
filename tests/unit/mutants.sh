# mutants.sh - do the tests notice?  Breaks one line of a copy of the project after another; the
# tests must fail each time.  Prints a line per mutant; exit 1 when one survives or when its sed
# expression does not change exactly one line (then the code has moved on: adapt it).
#   sh tests/unit/mutants.sh            all of them, about twenty minutes
#   sh tests/unit/mutants.sh adam       those whose description has this word
#   TEST='make -s test' sh tests/unit/mutants.sh      another command that must turn red
TEST=${TEST:-make -s test OPT=-O1 GOLDEN=0}
FIRST=${FIRST:-make -s test-numbers OPT=-O1} # the part of it that most often notices, to save time
only=${1:-}
dir=$(mktemp -d "${TMPDIR:-/tmp}/mac_mutants.XXXXXX") || exit 1
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
cp -R Makefile ./*.c ./*.h data tests "$dir" || exit 1
for more in NOTES.md README.md LICENSE; do
    if [ -f $more ]; then cp $more "$dir"; fi
done
cd "$dir" || exit 1
limit=""
if command -v timeout > /dev/null; then limit="timeout 600"; fi
tried=0 caught=0

# mutant FILE SED_EXPRESSION WHAT
mutant() {
    case $3 in *"$only"*) ;; *) return ;; esac
    tried=$((tried + 1))
    cp "$1" original
    sed "$2" original > "$1"
    lines=$(diff original "$1" | grep -c '^>')
    if [ "$lines" -ne 1 ]; then
        echo "BROKEN   $1: $3 ($lines lines changed, not 1)"
    elif $limit $FIRST > log 2>&1 && $limit $TEST > log 2>&1; then
        echo "SURVIVED $1: $3"
    else
        caught=$((caught + 1))
        echo "caught   $1: $3"
    fi
    cp original "$1"
}

if ! $TEST > log 2>&1; then
    echo "the tests fail without any mutant:"
    tail -5 log
    exit 1
fi

# exact math and random numbers
mutant tensor.c 's/y = (1 + p) \* power_of_two(k \//y = (1 - p) * power_of_two(k \//' "exp: a sign"
mutant tensor.c 's/ef \* LN2_HI + (2 \* s/ef * LN2_LO + (2 * s/' "log: the wrong half of ln 2"
mutant tensor.c 's/tiny ? MANTISSA + 2 : 0/tiny ? MANTISSA + 1 : 0/' "log: subnormals"
mutant tensor.c 's/em1 \/ (em1 + 2)/em1 \/ (em1 + 1)/' "tanh: a constant"
mutant tensor.c 's/0.0009465953444820368663/0.0009465963444820368663/' "erf: one mistyped digit"
mutant tensor.c 's/return q & 2 ? -y : y/return q \& 1 ? -y : y/' "sin: the wrong quadrant"
mutant tensor.c 's/real_sqrt(-2 \* real_log/real_sqrt(-1 * real_log/' "normal: its variance"
mutant data/base.h 's/z ^ (z >> 27)/z ^ (z >> 26)/' "splitmix64: a shift"
mutant tensor.c 's/m\[l + w\] > m\[l\] ? m/m[l + w] < m[l] ? m/' "softmax: the minimum"
mutant tensor.c 's/return x >= WEIGHT_MIN ? y : /return y; return /' "softmax: denormal numbers to come"

# threads, tape
mutant tensor.c 's/? end : lo + pool.grain, t)/? end : lo + pool.grain - 1, t)/' \
    "threads: a piece too short"
mutant tensor.c 's/for (int k = 0; k < pool.threads; k++) {/for (int k = 0; k < 1; k++) {/' \
    "threads: nobody helps the others"
mutant tensor.c 's/if (tp->held + bytes > tp->peak) tp->peak/if (0) tp->peak/' \
    "arena: the peak"
mutant tensor.c 's/bytes > tp->limit || tp->held > tp->limit - bytes/bytes > tp->limit/' \
    "arena: the limit"
mutant tensor.c 's/    tp->done = 1;/    tp->done = 0;/' "tape: backward twice"
mutant tensor.c 's/int i = tp->n_nodes - 1; i >= 0; i--/int i = 0; i < tp->n_nodes; i++/' \
    "tape: backward runs forward"
mutant tensor.c 's/if (!tp->error\[0\]) {/if (1) {/' "tape: the last error instead of the first"

# matmul and ops
mutant tensor.c 's/Mat b = mat_col(mat_row(B, k), j)/Mat b = mat_col(B, j)/' \
    "matmul: every panel is the first"
mutant tensor.c 's/Mat a = mat_row(mat_col(A, k), i)/Mat a = mat_col(A, k)/' \
    "matmul: every block of rows is the first"
mutant tensor.c 's/mat_row(A, i0), mat_col(B, j0), from/mat_row(A, i0), B, from/' \
    "matmul: threads' columns"
mutant tensor.c '/void linear_bias_job/,/^}/s/r = 0; r < s->R; r++/r = s->R - 1; r >= 0; r--/' \
    "linear: bias summed from below"
mutant tensor.c 's/^    if (b && b->grad) {/    if (b \&\& b->grad \&\& s.in_out) {/' \
    "linear: a bias gradient is skipped"
mutant tensor.c 's/{1, \*(real \*)nd->saved}/{1, 1}/' "add: its scale in the gradient"
mutant tensor.c '/^static void rows_backward_job/,/^}/s/to\[c\] += dy\[c\]/to[c] = dy[c]/' \
    "rows: = for += where rows repeat"
mutant tensor.c '/^static void rows_backward_job/,/^}/s/if (!to) continue/if (!to) return/' \
    "rows: stops at a frozen source"
mutant tensor.c 's/(size_t)(first + c)\] +=/(size_t)c] +=/' "cols: the offset"
mutant tensor.c 's/ \/ (real)s->N + s->eps)/ \/ (real)s->N)/' "norm: eps"
mutant tensor.c 's/g\[i\] \* dy\[i\] - u_mean - z\[i\]/g[i] * dy[i] - z[i]/' \
    "layernorm: a mean in the gradient"
mutant tensor.c 's/(real)0.044715/(real)0.044751/' "gelu: a mistyped constant"
mutant tensor.c 's/s->out\[i\] += s->dy\[i\] \* act_slope/s->out[i] = s->dy[i] * act_slope/' \
    "act: = for +="
mutant tensor.c 's/y\[i\] \* (dy\[i\] - dot)/y[i] * (dy[i] + dot)/' \
    "softmax: a sign in the gradient"
mutant tensor.c 's/p\[s->target\[r\]\] -= s->w\[r\]/p[s->target[r]] -= 1/' \
    "cross-entropy: the weight of a row"
mutant tensor.c 's/x->grad\[i\] -= nd->out->grad\[0\]/x->grad[i] += nd->out->grad[0]/' \
    "neglog: a sign"

# attention
mutant tensor.c 's/n >= far\[b + 1\]/n > far[b + 1]/' "T5 bucket: an edge"
mutant tensor.c 's/!causal && relative > 0 ? 16 : 0/!causal \&\& relative < 0 ? 16 : 0/' \
    "T5 bucket: the side"
mutant tensor.c 's/kn - qn + i + 1 < kn ? kn - qn + i + 1/kn - qn + i + 1 < kn ? kn - qn + i/' \
    "attention: the mask is off by one"
mutant tensor.c 's/d\[j\] \*= a->scale/d[j] *= 1/' "attention: the scale in the gradient"
mutant tensor.c 's/\* a->H + h\] += d\[j\]/* a->H + h] = d[j]/' "attention: = for += in the bias"
mutant tensor.c 's/dmass\[(a->q0\[b\] + i) \* a->H + h\]/dmass[(a->q0[b] + i) * a->H]/' \
    "attention: heads in the mass gradient"
mutant tensor.c 's/d\[a->t0\[b\] - a->k0\[b\] + t\] += dmass/d[a->t0[b] + t] += dmass/' \
    "attention: rows of the mass gradient"

# Adam, files
mutant tensor.c 's/root + o.eps/root/' "adam: eps"
mutant tensor.c 's/1 \/ real_sqrt(1 - real_power(o->beta2, o->step))/1/' "adam: bias correction"
mutant tensor.c 's/real keep = 1 - o.lr \* o.decay, /real keep = 1 - o.decay, /' "adam: decay without the rate"
mutant tensor.c 's/(int)n)), keep = 1 - o->lr \*/(int)n)), keep = 1 -/' "muon: decay without the rate"
mutant tensor.c 's/norm > o->clip ? o->clip \/ norm/norm > o->clip ? o->clip/' "adam: clipping"
mutant tensor.c 's/int finite = norm < INFINITY/int finite = 1/' "adam: a NaN goes through"
mutant data/augment.c 's/\& 0xC0) == 0x80) at++/\& 0xC0) == 0xC1) at++/' "names: a letter is cut"
mutant data/augment.c 's/if (!rng_chance(rng, made)) return a/return a/' "names: none is made up"
mutant data/safetensors.c 's/(e->begin != at || /(/' "files: gaps and overlaps"
mutant data/safetensors.c 's/(int i = n - 1; i >= 0; i--) x = x << 8/(int i = 0; i < n; i++) x = x << 8/' \
    "files: byte order"
mutant tensor.c 's/data\[k\] + (size_t)g \* part/data[k]/' \
    "files: every one of a group is the first"
mutant data/safetensors.c 's/if (!name_order(&f->by_name\[i - 1\], &f->by_name\[i\]))/if (0)/' \
    "files: a name twice"
mutant data/safetensors.c 's/if (!as_is \&\& (f->data_at + e->begin) % sizeof(real)) return NULL;//' \
    "files: numbers at odd places are mapped"
mutant data/safetensors.c 's/n > INT64_MAX \/ 16 \/ e->shape/n > INT64_MAX \/ e->shape/' \
    "files: a size that overflows in bytes"
mutant data/json.c 's/s->pool->limit && s->pool->n == s->pool->limit/0/' \
    "files: a header of very many values"
mutant data/bank.c 's/ || (strcmp(dtype, "F16") && strcmp(dtype, "F32") && strcmp(dtype, "F64")))/)/' \
    "bank: its vectors are bytes"
mutant mac.c 's/layers > st_count(f) || c.agg_B > st_count(f)/0/' \
    "model: more layers than tensors are built"
mutant data/safetensors.c 's/rbits bits = QUIET_NAN/rbits bits = 0/' \
    "files: NaN is written as a number"

mutant data/file.c 's/    if (fcntl(fd, F_SETLK, &whole) != 0) {/    if (0) {/' "files: two writers"
mutant data/file.c 's/    if (state_of(&s) != o->was) return 0;//' "files: what came meanwhile is replaced"
mutant data/file.c 's/if (o->made) unlink(o->part)/(void)o/' "files: a signal leaves one behind"
mutant data/file.c 's/    if (!(s.st_mode & 0222) ||.*/    if (0)/' "files: one for reading is replaced"
mutant data/file.c 's/return stat(path, &s) != 0 && errno == ENOENT/return stat(path, \&s) == 0/' \
    "files: a bank that is there is absent"
mutant data/safetensors.c 's/return strcmp(said, text) ?/return 0 ?/' "files: any checksum is right"
mutant data/bank.c 's/if (b->T != T || b->d != d)/if (0)/' "bank: its sizes are not compared"
mutant data/bank.c 's/if (b->weak) return text_hash(text);/return text_hash(text);/' "bank: its hash is FNV-1a"
mutant tensor.c 's/if (!freeze && !(p->t.grad && p->m && p->v)) bad = -1;//' "freeze: no memory, no word"
mutant data/safetensors.c 's/if (to\[i\] - to\[i\] != 0)/if (0)/' "files: NaN in a model"

# the model
mutant mac.c 's/: P + read + i - doc;/: read + i - doc;/' "LM: positions do not begin at P"
mutant mac.c 's/: P + read + i - doc;/: P + read + i;/' "LM: a question's positions count its document"
mutant mac.c 's/m->c.S - doc + i :/m->c.S - n + i :/' "LM: a document ends elsewhere"
mutant mac.c 's/? x\[b\].n - x\[b\].doc : 0/? x[b].n : 0/' "LM: a cache counts its document as read"
mutant mac.c 's/2 \* l + which) \* B + b/2 * l + 1 - which) * B + b/' "prefix: keys for values"
mutant mac.c 's/use < n \/ T + (t < n % T)/use < n \/ T + (t >= T - n % T)/' \
    "prefix: the last vectors once more"
mutant mac.c 's/asked\[i\] + b->q\[i\].n, 1, (size_t)(b->qa\[i\].n/asked[i] + b->q[i].n + 1, 1, (size_t)(b->qa[i].n - 1/' \
    "LM loss: skips the first token of the answer"
mutant mac.c 's/1 \/ (real)(B \* (n - first))/1 \/ (real)B/' "LM loss: the mean of a sequence"
mutant mac.c 's/cache->read\[b\] += x\[b\].n/cache->read[b] = x[b].n/' "cache: tokens read"
mutant mac.c 's/self.causal = 1/self.causal = 0/' \
    "T5: the decoder sees ahead"
mutant mac.c 's/h, &all, &text)/h, \&all, \&all)/' "padding: the encoder reads it"
mutant mac.c 's/l > 0 ? &self : &once/\&once/' "T5: later layers see one text"
mutant mac.c 's/y = op_rows(tp, y, NULL, prompt, n)/y = op_rows(tp, w->prompts, NULL, prompt, n)/' \
    "T5: the first layer looks at no vector before"
mutant mac.c 's/t5_decoder(m, tp, w, h, &all)/t5_decoder(m, tp, w, h, \&text)/' "padding: the decoder does not"
mutant tensor.c '/^static void attn_forward_head/,/^}/s/ahead = a->causal ? kn - qn : 0/ahead = kn - qn/' \
    "attention: where the positions of padded queries begin"
mutant mac.c 's/return op_rmsnorm(tp, h, w->norm)/return op_add(tp, h, h, 0)/' \
    "T5: no norm after the encoder"
mutant mac.c 's/last\[b \* T + t\] = at,/last[b * T + t] = all.first[b] + t,/' "T5: without a decoder, the first states"
mutant mac.c 's/idx\[j \* I + i\] = i \* J + j/idx[j * I + i] = j * I + i/' \
    "token networks: rows not transposed"
mutant mac.c 's/return 1 \/ (real)sqrt((double)m->c.agg_dh)/return 1/' "aggregator: the scale"
mutant mac.c '/^static Tensor \*agg_block/,/^}/s/tp, phi, w->norm_c)/tp, phi, w->norm)/' \
    "aggregator: the norm of the bank"
mutant mac.c '/^static Tensor \*batch_banks/,/^}/s/encode_dropped(/mac_encode(/' \
    "batch: dropped documents get gradient"
mutant mac.c '/^static Tensor \*encode_dropped/,/^}/s/tape_release(tp, mark);//' \
    "batch: dropped documents keep their memory"
mutant tensor.c 's/^    tp->n_nodes = m.n_nodes;//' "tape: what was released is still on it"
mutant tensor.c 's/tp->current->used = m.used;/tp->current->used += 0;/' "tape: nothing is released"
mutant tensor.c 's/WEAVE(x\[i\], x\[i + VL \/ 2\], HIGH)/WEAVE(x[i], x[i + VL \/ 2], LOW)/' \
    "matmul: the transposition"

# the finder, guidance, distillation
mutant mac.c 's/first\[b\] = b \* m->c.T;/first[b] = b * m->c.T + m->c.T - 1;/' "finder: asks with the last vector"
mutant mac.c 's/return (m->c.agg_H + 1) \/ 2;/return m->c.agg_H;/' "finder: all heads"
mutant mac.c 's/return (m->c.agg_H + 1) \/ 2;/return (m->c.agg_H + 2) \/ 3;/' "finder: a third of the heads"
mutant mac.c '/^static Tensor \*finder_mass/,/^}/s/tp, phi, w->norm_c)/tp, phi, w->norm)/' \
    "finder: the norm of the bank"
mutant mac.c 's/op_neglog(tp, term), b->guidance)/op_neglog(tp, term), 1)/' "guidance: its weight"
mutant mac.c 's/op_neglog(tp, term), b->guidance)/op_neglog(tp, term), -b->guidance)/' "guidance: its sign"
mutant mac.c 's/phi, b->n_docs, answer.gold/phi, b->bank_size, answer.gold/' "guidance: not among all documents"
mutant mac.c 's/if (find) bad = finder_stream(m, tp, &some, n, bank, received, sure/if (find) bad = !bank_aggregate(m, tp, \&some, n, bank, received/' \
    "select: by all heads"
mutant mac.c 's/received\[i\] = sum \/ (real)F;/received[i] = sum;/' \
    "select: the sum of the finder's heads"
mutant mac.c 's/(n + 1 < m->c.P ? n + 1 :/(n < m->c.P ? n :/' "distill: not the token after the answer"
mutant mac.c 's/longest + before\[i\] + p)/longest + p)/' "distill: what stands before the answer"
mutant mac.c 's/(p \* n + k) \* B + i;/(p * n + k) * B;/' "distill: all rows of the first question"
mutant mac.c 's/\*before + m->c.A};/last - at + *before};/' "distill: the passage ends the window"
mutant mac.c 's/int first = m->c.L > 1 ? 2 : 0;/int first = 0;/' "distill: the first layer too"
mutant mac.c 's/k % 2 ? c->v\[k \/ 2\] : c->k/k % 2 ? c->k[k \/ 2] : c->v/' "distill: keys for values"
mutant mac.c 's/at < BEFORE ? at : BEFORE/at/' "distill: all of the document before the answer"
mutant mac.c 's/loss = op_add(tp, loss, term, b->distill)/loss = op_add(tp, loss, term, 1)/' "distill: its weight"
mutant tensor.c 's/real scale = 2 \* nd->out->grad/real scale = nd->out->grad/' "square error: 2 in the gradient"
mutant tensor.c 's/^    loss->data\[0\] \/= s->size;//' "square error: not divided"
mutant tensor.c 's/if (!(s->size > 0 && s->size - s->size == 0))/if (0)/' "square error: NaN and zeros"

# bank and answers
mutant tensor.c 's/m\[r\] = top\[r\], l\[r\] \*= sum\[r\]/m[r] = top[r]/' "stream: the sum forgets to shrink"
mutant tensor.c 's/\*p = c->p + (size_t)j \* (size_t)R, inv = c->inv\[j\]/*p = c->p + (size_t)j * (size_t)R, inv = 1/' \
    "stream: scores without sigma"
mutant tensor.c 's/p\[r\] = weight_exp(p\[r\] - top\[r\])/p[r] = real_exp(p[r] - top[r])/' \
    "stream: denormal numbers to come"
mutant tensor.c 's/if (!s->Wk) center_rows(out, out/if (0) center_rows(out, out/' "stream: the mean stays"
mutant tensor.c 's/s.slab = slab > 4 \* s.chunk/s.slab = pool_size() > 1/' "stream: slabs by threads"
mutant tensor.c 's/real scale = real_exp(slab\[at\] - m)/real scale = real_exp(m - slab[at])/' \
    "stream: slabs weighed upside down"
mutant tensor.c 's/R = (end_g < last ? end_g : last) - r/R = last - r/' "stream: turns cross groups"
mutant mac.c 's/int all = K + (sure ? m->gate.R : 0)/int all = K + 0 * m->gate.R/' "gate: no strangers"
mutant mac.c 's/(size_t)(k + own - s->bank->K) \* per/(size_t)(own == 0) * per/' \
    "gate: the first strangers in every chunk"
mutant mac.c 's/of = held ? g : (g + 1) % G/of = held ? g : g/' "gate: nothing is asked in vain"
mutant mac.c 's/sigmoid((real)(slope \* x + shift))/sigmoid((real)(slope * x - shift))/' "gate: the shift's sign"
mutant mac.c 's/select_documents(all, T, F, kept);/for (int i = 0; i < F; i++) kept[i] = i;/' \
    "gate: the first vectors of strangers"
mutant mac.c 's/row \&\& l == m->c.L - 1/row \&\& l == 0/' "lm: other rows end in the first layer"
mutant mac.c 's/all\[t\] \* (real)(2 \* heads)/all[t] * (real)(8 * heads)/' "gate: vectors that receive little"
mutant mac.c 's/return share\[n \/ 20\]/return share[n \/ 10]/' "gate: a tenth is refused"
mutant mac.c 's/sum += is, least = is < least ? is : least/sum += is, least = is/' \
    "gate: the last head's share"
mutant mac.c 's/gate_fit(&m->gate, \&fitted)/gate_fit(\&m->gate, \&c)/' "gate: the bank of all is fitted too"
mutant mac.c 's/fall \/ exact_log((real)b->n_docs \/ EASY_BANK)/fall/' "gate: falls as if n were 16 e"
mutant mac.c 's/sigmoid(logit(fit\[GATE_THRESHOLD\]) - fallen)/sigmoid(logit(fit[GATE_THRESHOLD]) + fallen)/' "threshold: rises"
mutant mac.c 's/if (st_size(f, "gate.fit") == 3) return 0;//' "gate: an older one is damage"
mutant run.c 's/^    set_threshold(K);$/    set_threshold(1);/' "eval: one threshold for all"
mutant mac.c 's/st_size(f, "gate.strangers"), per/st_size(f, "gate.stranger"), per/' "gate: not loaded"
mutant mac.c 's/(in_place ? f : (int)g->t\[f\]) \* d/f * d/' "versions: the first vectors"
mutant mac.c 's/nearest = is < nearest ? is : nearest;/nearest = is;/' "versions: the last stranger"
mutant run.c 's/(near == 1 \&\& ratio/(near \&\& ratio/' "supersede: two that are near"
mutant run.c 's/ || ratio\[k\] < 3 \* least;/;/' "supersede: the second nearest does not count"
mutant run.c 's/held_before -= replaced - cut;//' "supersede: one file's replace each other"
mutant run.c 's/: older\[best\]; \/\* the last/: best; \/* the last/' "at most: the newer goes"
mutant run.c 's/known = !gated || (double)sure >= threshold/known = !gated || (double)sure <= threshold/' \
    "run: sure of the unknown"
mutant run.c 's/if (others) ask_in_vain/if (0) ask_in_vain/' "eval: nothing is asked in vain"
mutant run.c 's/if (cases\[i\].known == known) n++, below/if (cases[i].known != known) n++, below/' \
    "eval: refused of the others"
mutant data/score.c 's/(unknown + tie\[0\] \/ 2.0)/(unknown + tie[0])/' "AUROC: ties count"
mutant mac.c 's/bank_read(bank, doc\[i\], 1/bank_read(bank, i, 1/' "select: the first documents"
mutant mac.c 's/if (n == N \&\& !(x\[k\] > x\[at\[n - 1\]\])) continue;/if (n == N \&\& !(x[k] >= x[at[n - 1]])) continue;/' \
    "select: the later of two alike"
mutant mac.c 's/qsort(doc, (size_t)N, sizeof \*doc, by_number)/(void)by_number/' \
    "select: the heaviest first, not in the bank's order"
mutant train.c 's/opt.guidance > 0 || opt.group > 1;/opt.guidance > 0;/' "batch: no banks of dropped documents"
mutant train.c 's/if (is > \*em) \*em = is/if (is >= *em) *em = is/' "train: select: the most of two alike"
mutant data/safetensors.c 's/0xfff + (u >> 13 & 1)/0x1000/' "half: ties go up"
mutant data/bank.c 's/    st_rows(w, 0, b->K);/    st_rows(w, 0, b->K - (b->K > 3));/' "bank: a document lost"
mutant data/bank.c 's/if (!seen_add(b, hash)) return 0/if (seen_add(b, hash), 0) return 0/' \
    "bank: equal documents twice"
mutant data/bank.c 's/memmove(phi + stay \* row, phi + i \* row, row)/(void)phi/' \
    "bank: remove leaves the vectors"
mutant mac.c 's/own ? b \* K : 0/own ? 0 : 0/' \
    "hierarchy: all questions read the first one's groups"
mutant mac.c '/^static int answer_greedy/,/^}/s/best == V - 1/best == V/' \
    "answer: EOS does not end it"
mutant mac.c 's/old->data + (size_t)parent\[b\] \* row/old->data + (size_t)b * row/' \
    "beams: the cache of another"
mutant mac.c 's/c\[i\].token == eos/c[i].token == eos - 1/' "beams: EOS"
mutant mac.c 's/s->chosen\[c\[i\].token\]++/s->chosen[c[i].token] = 1/' "beams: chosen twice counts once"
mutant mac.c 's/s->ended\[group\]++, beam_end/s->ended[0]++, beam_end/' "beams: the first group ends"
mutant mac.c '/t model_fingerprint/,/^}/s/j = 0, n = tensor_size(t); j < n/j = 0, n = 1; j < n/' \
    "fingerprint: the first weights only"

# data
mutant data/tokenizer.c 's/m->id < best.id)/(best.id == INT_MAX || m->id > best.id))/' \
    "tokenizer: the last merge first"
mutant data/tokenizer.c 's/> best->count || p->a < best->a/> best->count || p->a > best->a/' \
    "tokenizer: ties"
mutant data/json.c 's/return p\[0\] == 0xC2/return p[0] == 0xC3/' "shown: control characters beyond ASCII"
mutant data/corpus.c 's/if (has_nul(q)) return/if (0) return/' "corpus: an answer with a NUL"
mutant data/corpus.c 's/strchr(s, ._.)) != NULL/strchr(s, 1)) != NULL/' "corpus: underscores of titles"
mutant run.c 's/fflush(stdout) != 0 || ferror(stdout)/fflush(stdout) > 0/' "run: results that reached nobody"
mutant data/program.c 's/\*x >= least && \*x <= most/1/' "train: a state that says anything"
mutant data/score.c "s/c\[2\] == 'e'/c[2] == 'o'/" "score: articles stay"
mutant data/score.c 's/&& !(behind/|| !(behind/' "score: every sigma is a last one"
mutant data/score.c 's/== 0x130)/== 0x131)/' "score: the capital I with a dot"
mutant data/score.c 's/(c > .z. && c <= .~.)/0/' "score: some punctuation stays"
mutant data/score.c 's/strncmp(p, gold, strlen(gold)) == 0/strcmp(p, gold) == 0/' \
    "score: prefix match"

mutant mac.c 's/copy_named(m, "aggregator.mlps.", m, "mlps.")/copy_named(m, "aggregator.mlps.", m, "mlps.0")/' \
    "shared start: MLPs of their own"
mutant mac.c 's/w->q.w->data\[i\] \*= sharp;/w->q.w->data[i];/' "shared start: not sharp"
mutant mac.c 's/finder = (size_t)(finder_heads(m)/finder = (size_t)(m->c.agg_H/' "shared start: all heads"
mutant mac.c 's/was = i - m->c.P + from->c.P/was = i/' "taking over an LM: positions stay"
mutant train.c "s/    model_copy_lm(t->model, from);/    (void)model_copy_lm;/" "train: --lm takes nothing"
mutant data/augment.c 's/!(is_small(text\[i\]) && text/!(text/' "names: also what begins a sentence"
mutant data/augment.c 's/rng_chance(rng, 0.25) \&\& some_m/some_m/' "names: all are mentions"
mutant data/bm25.c 's/0.25 + 0.75 \* share/0.75 + 0.25 * share/' "bm25: length"
mutant tests/paper/tune.c 's/(2 \* step)/step/' "CaMeLS: twice the difference"
mutant tests/paper/tune.c 's/w\[i\] = salient\[i + 1\]/w[i] = salient[i]/' "Salient Spans: off by one"
mutant tests/paper/facts.c 's/if (!strncmp(l, s, (size_t)n + 1)) return 0;/if (0) return 0;/' \
    "facts: a relation twice"
mutant tests/paper/facts.c 's/if (is >= least) least/if (is > least) least/' "facts: the oldest"
mutant mac.c 's/if (!o->allow || o->allow(/if (1 || o->allow(/' "answers: of what is not allowed"
mutant tests/paper/open.c 's/row + doc - ends,/row,/' "anchors: a lesson reads the document"
mutant tests/paper/open.c 's/(i % V == 0) - p->data/(i % V == 0) + p->data/' "shares: sign"
mutant tests/paper/open.c 's/s->time\[i\] < s->time\[to\]/s->time[i] > s->time[to]/' "slots: newest goes"
mutant tests/paper/lib.c 's/(hash == made_by || made_by == 0)/1/' "paper: stale cells are taken"

mutant data/score.c 's/4 \* rel->em > rel->n/4 * rel->em >= rel->n/' "score: a quarter opens"
mutant data/people.c 's/ || home_of(word) != home / /' "people: made-up words of test in training"
mutant data/people.c 's/{test_first, test_last, forms, /{fillers, fillers, forms, /' \
    "people: names of test in training"
mutant data/people.c 's/split == VALID ? rng_below(rng, 4) : 2/2/' "people: no namesakes in valid"
mutant data/augment.c 's/int last = rng_chance(rng, 0.5);/int last = 1;/' "namesakes: only the last word"
mutant mac.c 's/q\[odd\] = gain \* exact_sin/q[odd] = -gain * exact_sin/' "start: the LM looks ahead"
mutant mac.c 's/turn \*= (real)dh \/ (real)(dh + 8)/turn *= 1/' "start: points that turn alike"
mutant mac.c 's/return c->H > 1 \&\& c->L > 1;/return c->H > 1;/' "start: one layer looks back"
mutant mac.c 's/j \* 3 \* d + 2 \* d + i\] \* lm->ln1/j * 3 * d + d + i] * lm->ln1/' "start: the LM's keys are handed on"
mutant mac.c 's/lm->attn_out.w->data\[i \* d + j\] \* scale/lm->attn_out.w->data[i * d + j]/' \
    "start: what the LM hands on is small"
mutant mac.c 's/h + 1 < m->c.enc_H \&\& h < 7/h < 0/' "start: no head looks at a place"
mutant mac.c 's/ \&\& h < 7; h++/ \&\& h < 15; h++/' "start: places of many tokens"
mutant tensor.c 's/norm > (real)1e-15 ? x/norm > 0 ? x/' "muon: a gradient of nearly nothing"
mutant data/people.c 's/held ? held_forms : forms/forms/' "people: no sentences of test's own"
mutant run.c 's/kinds\[i == 2 ? 0 : i - 5\]/kinds[i == 2 ? 0 : 8 - i]/' "table: kinds of another memory"

mutant tensor.c 's/(real)3.4445 \* x/(real)3.4 * x/' "muon: another polynomial"
mutant tensor.c 's/x\[i\] = g\[i\] \* scale + o->muon/x[i] = o->muon/' "muon: no look ahead"
mutant tensor.c 's/(real)0.2 \* real_sqrt((real)longer)/(real)0.2 * real_sqrt((real)r)/' "muon: of the shorter side"
mutant mac.c 's/p->matrix = p->t.ndim == 2 .*/p->matrix = 0;/' "muon: no matrix"
mutant tensor.c 's/at += each)/at += tensor_size(\&p->t))/' "muon: the first of a group alone"
mutant mac.c 's/W->data\[i \* in + j\] = i == j/W->data[i * in + j] = 0/' "start: nothing arrives"
mutant mac.c 's/in\[(h + i) \* d + i\] = -1/in[(h + i) * d + i] = 1/' "start: half of the state"
mutant mac.c 's/lm->ln1.w->data\[j\] - (i == j)/lm->ln1.w->data[j]/' "start: the state counts twice"
mutant mac.c 's/first = (1 + g % 2) \* d;/first = (2 - g % 2) * d;/' "start: keys are values"
mutant data/augment.c 's/if (is_digit(\*s)) \*s = .*/if (0) {}/' "invented: numbers keep their digits"
mutant data/augment.c 's/rng_chance(&own, p_made)/0/' "invented: no answer is made up"
mutant data/augment.c 's/rng_chance(rng, 0.5)) respell/1) respell/' "names: all are respelled"
mutant data/augment.c 's/rng_chance(rng, 0.2)/rng_chance(rng, 0.1)/' "careless: too seldom"
mutant data/prompt.c 's/is_small(\*q)) \*q = .*/0) {}/' "question: small as it was typed"
mutant data/prompt.c "s/if (ends_in_word(q, n)).*//" "question: without its mark"

mutant tensor.c 's/attn_backward || n-- > 0) continue/attn_backward || n-- > 1) continue/' \
    "look: the attention before"
mutant mac.c 's/tape_attention(tp, mark, l, 0, h, n - look->steps + s)/tape_attention(tp, mark, l, 0, h, s)/' \
    "look: the question's tokens for the answer's"
mutant mac.c 's/tape_attention(tp, mark, L + 2 \* l + 1, 0, h, t)/tape_attention(tp, mark, L + 2 * l, 0, h, t)/' \
    "look: the decoder looks at itself"
mutant mac.c 's/if (apart) s.B = R \* H;/if (apart) s.B = R;/' "look: heads together"
mutant mac.c 's/\&x, 1, with ? prefix : NULL, NULL)/\&x, 1, prefix, NULL)/' "look: always with the memory"
mutant mac.c 's/received\[look->doc\[i\]\];/received[i];/' "look: what the first documents received"
mutant data/svg.c 's/log10(share \* 1000) \/ 3 : 0/share : 0/' "page: small weights are not seen"
mutant data/svg.c "s/else if (s\[i\] == '\"') .*//" "svg: quotes end an attribute"
mutant data/svg.c 's/lines\[i\].share ? \&share_axis : \&y/\&y/' "svg: shares on the losses' axis"
mutant run.c 's/strcpy(s + n - len, "?");//' "chat: a question mark that no model knows"
mutant run.c 's/if (bank_key(b, c.docs\[i\].text) == e->hash) found = i;/found = i;/' "look: another text"

echo "mutants: $tried tried, $caught caught"
[ "$tried" -eq "$caught" ]
