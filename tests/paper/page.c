/* page.c - the finished cells as a page: DIR/index.md and its figures.
 *
 *   page DIR "CORPORA" "SEEDS"
 *
 * paper.sh calls it last, when every cell is there and of these programs.  A table shows the mean
 * over the seeds, and behind +- their standard deviation. */
#include "paper.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MOST 8
static const char *dir, *corpora[MOST], *seeds[MOST];
static int n_corpora, n_seeds, quick;
static FILE *page;

static int words(char *text, const char **word) {
    int n = 0;
    for (char *w = strtok(text, " "); w && n < MOST; w = strtok(NULL, " ")) word[n++] = w;
    return n;
}

/* ==== numbers over the seeds ================================================================= */
typedef struct { double mean, spread; int n; } Stat;

/* The cell of one seed, or of the LM that all seeds share: then it is measured once, as the first
 * seed's. */
static int open_cell(Cell *c, const char *corpus, int seed, const char *what) {
    char path[600];
    snprintf(path, sizeof path, "%s/cells/%s-lm.%s.txt", dir, corpus, what);
    if (cell_read(c, path, 0) == 0) return seed == 0 ? 0 : -1;
    snprintf(path, sizeof path, "%s/cells/%s-%s.%s.txt", dir, corpus, seeds[seed], what);
    return cell_read(c, path, 0);
}

/* value of `key` in the cells `what` of one corpus, divided by that of `by` in the cells `what_by`
 * unless these are NULL. */
static Stat stat_ratio(const char *corpus, const char *what, const char *key, const char *what_by,
                       const char *by) {
    double x[MOST], sum = 0, square = 0;
    int n = 0;
    for (int i = 0; i < n_seeds; i++) {
        Cell c;
        if (open_cell(&c, corpus, i, what) != 0) continue;
        x[n] = cell_get(&c, key);
        if (what_by && open_cell(&c, corpus, i, what_by) != 0) continue;
        if (what_by) x[n] /= cell_get(&c, by);
        sum += x[n++];
    }
    Stat s = {n ? sum / n : (double)NAN, 0, n};
    for (int i = 0; i < n; i++) square += (x[i] - s.mean) * (x[i] - s.mean);
    s.spread = n > 1 ? sqrt(square / (n - 1)) : 0;
    return s;
}

static Stat stat_of(const char *corpus, const char *what, const char *key) {
    return stat_ratio(corpus, what, key, NULL, NULL);
}

static void put_stat(Stat s, int decimals, double scale) {
    if (!s.n) fputs(" - |", page);
    else if (s.n == 1) fprintf(page, " %.*f |", decimals, s.mean * scale);
    else fprintf(page, " %.*f +- %.*f |", decimals, s.mean * scale, decimals, s.spread * scale);
}

static double most_of(const char *corpus, const char *what, const char *key) { /* of all seeds */
    double most = -INFINITY;
    for (int i = 0; i < n_seeds; i++) {
        Cell c;
        if (open_cell(&c, corpus, i, what) != 0) continue;
        double x = cell_get(&c, key);
        if (!(x <= most)) most = x; /* NaN shows */
    }
    return most;
}

/* ==== verdicts: of each corpus, then of all =================================================== */
enum { FAILS = -1, OPEN = 0, HOLDS = 1 };
static struct { const char *corpus[MOST]; int is[MOST], n; } verdict;

/* Is a above b?  Open where they differ by less than the seeds do, or than a hundredth; where one
 * of them was measured once, than a tenth. */
static int above(Stat a, Stat b) {
    double apart = a.mean - b.mean, spread = hypot(a.spread, b.spread);
    if (fabs(apart) <= fmax(spread, a.n > 1 && b.n > 1 ? 0.01 : 0.1)) return OPEN;
    return apart > 0 ? HOLDS : FAILS; /* NaN, which was not measured: fails */
}

static int both(int x, int y) { return x < y ? x : y; }

/* Does MAC answer from its memory?  Where it does not, what becomes of its answers says nothing. */
static int knows(const char *corpus) {
    Stat mac = stat_of(corpus, "adapt-mac", "em");
    return above(mac, stat_of(corpus, "adapt-none", "em")) == HOLDS
           && above(mac, stat_of(corpus, "adapt-shuffled", "em")) == HOLDS;
}

static void judge(const char *corpus, int is) {
    verdict.corpus[verdict.n] = corpus;
    verdict.is[verdict.n++] = is;
}

static void put_verdict(void) { /* the row's end */
    static const struct { int is; const char *text; } words_of[] = {
        {HOLDS, "holds"}, {FAILS, "does not hold"}, {OPEN, "undecided"}};
    int parts = 0;
    fputs(" |", page);
    for (int k = 0; k < 3; k++) {
        int n = 0;
        for (int i = 0; i < verdict.n; i++) n += verdict.is[i] == words_of[k].is;
        if (!n) continue;
        fprintf(page, "%s %s", parts++ ? ";" : "", words_of[k].text);
        for (int i = 0; n < verdict.n && i < verdict.n; i++)
            if (verdict.is[i] == words_of[k].is) fprintf(page, " %s", verdict.corpus[i]);
    }
    fputs(" |\n", page);
    verdict.n = 0;
}

/* "0.123 +- 0.004" */
static const char *shown(Stat s) {
    static char text[8][40];
    static int next;
    char *to = text[next++ % 8];
    snprintf(to, sizeof text[0], s.n > 1 ? "%.3f +- %.3f" : "%.3f", s.mean, s.spread);
    return to;
}

static int there(const char *what) { /* in any corpus */
    for (int i = 0; i < n_corpora; i++)
        if (stat_of(corpora[i], what, "questions").n || stat_of(corpora[i], what, "documents").n
            || stat_of(corpora[i], what, "first").n)
            return 1;
    return 0;
}

static void put_heads(const char *first, const char *const *head, int n) {
    fprintf(page, "\n| %s |", first);
    for (int i = 0; i < n; i++) fprintf(page, " %s |", head[i]);
    fputs("\n|---|", page);
    for (int i = 0; i < n; i++) fputs("---|", page);
    fputs("\n", page);
}

static void put_figure(const char *file, const char *title, const char *x, const char *y,
                       const SvgLine *line, int n) {
    char path[600], err[MAC_ERR];
    snprintf(path, sizeof path, "%s/%s", dir, file);
    if (svg_lines(path, title, x, y, line, n, err) != 0) die("%s", err);
    fprintf(page, "\n![%s](%s)\n", title, file);
}

/* ==== experiment 1 =========================================================================== */
static const struct { const char *cell, *what; int baseline; } rows[] = {
    {"none", "no adaptation", 0}, {"question", "empty memory", 0},
    {"shuffled", "shuffled memory", 0}, {"uniform", "Uniform", 1},
    {"salient", "Salient Spans", 1}, {"camels", "CaMeLS", 1}, {"mac", "MAC, greedy", 0},
    {"diverse", "MAC, diverse beam search", 0}, {"gold", "document in context", 0},
    {NULL, NULL, 0}};
#define ROWS 9

/* The best of the finetuning baselines: its row; -1: none there. */
static int best_baseline(const char *corpus, const char *before, const char *key) {
    int best = -1;
    double most = -1;
    for (int i = 0; rows[i].cell; i++) {
        char cell[40];
        snprintf(cell, sizeof cell, "%s-%s", before, rows[i].cell);
        Stat s = stat_of(corpus, cell, key);
        if (rows[i].baseline && s.n && s.mean > most) most = s.mean, best = i;
    }
    return best;
}

static void claim_adapt(void) {
    static const char *const keys[] = {"em", "f1"}, *const what[] = {"EM", "F1"};
    if (!there("adapt-mac")) return;
    fputs("| MAC answers more than every finetuning baseline after one stream (EM and F1) | "
          "StreamingQA, DistilGPT2: F1 10.18, best baseline (CaMeLS) 5.79 |", page);
    for (int i = 0; i < n_corpora; i++) {
        int is = HOLDS;
        fprintf(page, " %s:", corpora[i]);
        for (int k = 0; k < 2; k++) {
            int best = best_baseline(corpora[i], "adapt", keys[k]);
            if (best < 0) continue;
            char cell[40];
            snprintf(cell, sizeof cell, "adapt-%s", rows[best].cell);
            Stat mac = stat_of(corpora[i], "adapt-mac", keys[k]);
            Stat other = stat_of(corpora[i], cell, keys[k]);
            is = both(is, above(mac, other));
            fprintf(page, " %s %s, best baseline (%s) %s;", what[k], shown(mac), rows[best].what,
                    shown(other));
        }
        judge(corpora[i], is);
    }
    put_verdict();
}

/* Finetuning again and again on the same documents: it learns their text; and answers? */
static void put_passes(const char *corpus) {
    if (!stat_of(corpus, "passes", "documents").n) { fputs("\n", page); return; }
    fprintf(page, "\n\nUniform over the first %.0f documents again and again:\n\n| passes |",
            stat_of(corpus, "passes", "documents").mean);
    for (int pass = 0; pass <= 32; pass += pass ? pass : 1) fprintf(page, " %d |", pass);
    fputs("\n|---|---|---|---|---|---|---|---|", page);
    static const char *const keys[] = {"loss", "f1"}, *const what[] = {"loss of a token of theirs",
                                                                     "F1 of their questions"};
    for (int k = 0; k < 2; k++) {
        fprintf(page, "\n| %s |", what[k]);
        for (int pass = 0; pass <= 32; pass += pass ? pass : 1) {
            char key[40];
            snprintf(key, sizeof key, "%s.%d", keys[k], pass);
            put_stat(stat_of(corpus, "passes", key), 3, 1);
        }
    }
    fputs("\n\nWhere the loss falls and F1 does not rise, it learns the text by heart, word after "
          "word, and not to answer about it.", page);
    fprintf(page, " That finetuning works shows where each text is its document's questions with "
            "their answers: after 32 passes %.0f%% of the questions that begin a text are answered "
            "(prefix EM), of all of them %.0f%%.\n",
            100 * stat_of(corpus, "heart", "begins.prefix").mean,
            100 * stat_of(corpus, "heart", "all.prefix").mean);
}

static void section_adapt(void) {
    static const char *const heads[] = {"EM", "prefix EM", "F1"};
    static const char *const keys[] = {"em", "prefix", "f1"};
    if (!there("adapt-mac")) return;
    fputs("\n## 1. Online adaptation (Table 1)\n\nThe stream is the test split; afterwards all its "
          "questions are asked, without their documents. Uniform, Salient Spans and CaMeLS start "
          "from the same QA-tuned LM, one step of Adam a document; their learning rate is the one "
          "of seven that answers valid (200 documents) best. Empty and shuffled memory are MAC's; "
          "shuffled: each half of the questions asks the documents of the other. Diverse beam "
          "search: 12 beams in 4 groups, penalty 10, as in the official evaluation; all else is "
          "answered greedily.\n", page);
    for (int i = 0; i < n_corpora; i++) {
        char file[60], title[100];
        const char *name[ROWS];
        double f1[ROWS];
        int n = 0;
        fprintf(page, "\n%s, %.0f documents, %.0f questions:\n", corpora[i],
                stat_of(corpora[i], "adapt-mac", "documents").mean,
                stat_of(corpora[i], "adapt-mac", "questions").mean);
        put_heads("method", heads, 3);
        for (int r = 0; rows[r].cell; r++) {
            char cell[40];
            snprintf(cell, sizeof cell, "adapt-%s", rows[r].cell);
            if (!stat_of(corpora[i], cell, "em").n) continue;
            fprintf(page, "| %s |", rows[r].what);
            for (int k = 0; k < 3; k++) put_stat(stat_of(corpora[i], cell, keys[k]), 3, 1);
            fputs("\n", page);
            name[n] = rows[r].what, f1[n++] = stat_of(corpora[i], cell, "f1").mean;
        }
        char path[600], err[MAC_ERR];
        snprintf(file, sizeof file, "adapt-%s.svg", corpora[i]);
        snprintf(path, sizeof path, "%s/%s", dir, file);
        snprintf(title, sizeof title, "F1 after the stream, %s", corpora[i]);
        if (svg_bars(path, title, "F1", name, f1, n, 1, err) != 0) die("%s", err);
        if (above(stat_of(corpora[i], "adapt-gold", "em"), stat_of(corpora[i], "adapt-none", "em"))
            != HOLDS)
            fputs("\nThe LM does not read this corpus, not even with the document before it: "
                  "nothing that stands on it can show much.\n", page);
        fprintf(page, "\n![%s](%s)\n\nLearning rates chosen on valid:", title, file);
        for (int r = 0; rows[r].cell; r++) {
            char cell[40];
            snprintf(cell, sizeof cell, "rate-%s", rows[r].cell);
            if (!stat_of(corpora[i], cell, "rate").n) continue;
            fprintf(page, " %s", rows[r].what);
            for (int k = 0; k < n_seeds; k++) {
                Cell c;
                if (open_cell(&c, corpora[i], k, cell) != 0) continue;
                fprintf(page, " %.3g%s", cell_get(&c, "rate"), k < n_seeds - 1 ? "," : ";");
            }
        }
        put_passes(corpora[i]);
    }
}

/* ==== experiment 2 =========================================================================== */
static const struct { const char *cell, *what; } costs[] = {
    {"uniform", "Uniform"}, {"salient", "Salient Spans"}, {"camels", "CaMeLS"},
    {"mac", "MAC, one at a time"}, {"mac4", "MAC, 4 at a time"}, {"mac64", "MAC, 64 at a time"},
    {NULL, NULL}};
enum { COSTS = 6, FIRST_MAC = 3 };
#define ALL "3" /* the last of the cost_marks */

static double wide_ratio(const char *corpus, int d, const char *key) { /* Uniform's to MAC's */
    char uniform[40], mac[40];
    snprintf(uniform, sizeof uniform, "wide-uniform-%d", d);
    snprintf(mac, sizeof mac, "wide-mac-%d", d);
    return stat_ratio(corpus, uniform, key, mac, key).mean;
}

/* The paper's LM has twice the weights of its encoder (GPT2-XL, T5-Large); our models have not. */
static void put_wide(const char *corpus) {
    static const char *const heads[] = {"LM's weights", "encoder's", "Uniform, seconds",
                                        "MAC, seconds", "times faster", "of the memory"};
    static const int widths[] = {128, 256};
    fputs("\nThe same with LMs of four layers and more width, weights as drawn, the encoder as it "
          "is; 100 documents, one at a time:\n", page);
    put_heads("width", heads, 6);
    for (int i = 0; i < 2; i++) {
        char uniform[40], mac[40];
        snprintf(uniform, sizeof uniform, "wide-uniform-%d", widths[i]);
        snprintf(mac, sizeof mac, "wide-mac-%d", widths[i]);
        fprintf(page, "| %d |", widths[i]);
        put_stat(stat_of(corpus, mac, "lm"), 0, 1);
        put_stat(stat_of(corpus, mac, "encoder"), 0, 1);
        put_stat(stat_of(corpus, uniform, "seconds." ALL), 3, 1);
        put_stat(stat_of(corpus, mac, "seconds." ALL), 3, 1);
        fprintf(page, " %.1f | %.2f |\n", wide_ratio(corpus, widths[i], "seconds." ALL),
                1 / wide_ratio(corpus, widths[i], "bytes." ALL));
    }
}

static void claim_cost(void) {
    if (!there("cost-mac")) return;
    fputs("| MAC adapts at least ten times faster than Uniform, in less memory | GPT2-XL, 1,665 "
          "documents: 2.5 against 28.3 min; 13.5 against 41.3 GB |", page);
    for (int i = 0; i < n_corpora; i++) {
        const char *c = corpora[i], *seconds = "seconds." ALL, *held = "bytes." ALL;
        int is = FAILS;
        fprintf(page, " %s:", c);
        for (int m = FIRST_MAC; m < COSTS; m++) {
            char cell[40];
            snprintf(cell, sizeof cell, "cost-%s", costs[m].cell);
            double times = stat_ratio(c, "cost-uniform", seconds, cell, seconds).mean;
            double bytes = stat_ratio(c, cell, held, "cost-uniform", held).mean;
            if (times >= 10 && bytes < 1) is = HOLDS;
            fprintf(page, " %s %.1f times faster with %.2f of the memory;", costs[m].what, times,
                    bytes);
        }
        judge(c, is);
        fprintf(page, " beside an LM of %.1f times the encoder's size %.0f times with %.2f;",
                stat_ratio(c, "wide-mac-256", "lm", "wide-mac-256", "encoder").mean,
                wide_ratio(c, 256, seconds), 1 / wide_ratio(c, 256, held));
    }
    put_verdict();
}

static Stat cost_at(const char *corpus, const char *method, const char *what, int mark) {
    char cell[40], key[40];
    snprintf(cell, sizeof cell, "cost-%s", method);
    snprintf(key, sizeof key, "%s.%d", what, mark);
    return stat_of(corpus, cell, key);
}

static void section_cost(void) {
    if (!there("cost-mac")) return;
    static const char *const heads[] = {"documents", "seconds", "CPU seconds", "memory, MB",
                                        "of it a step's", "whole process, MB"};
    fputs("\n## 2. Cost of adapting (Figure 2)\n\nEncoders as drawn, two threads, nothing "
          "beside them, a process for each method, the least of three passes over all documents, "
          "noted on the way. Memory: what the method must "
          "hold (weights; for finetuning gradients and Adam's moments too; for MAC the document "
          "encoder and the bank) and the largest step. The whole process also holds the corpus and "
          "everything else that was loaded.\n", page);
    for (int i = 0; i < n_corpora; i++) {
        SvgLine line[MOST], held[MOST];
        double x[MOST][COST_MARKS], y[MOST][COST_MARKS], z[MOST][COST_MARKS];
        char file[60], title[100];
        fprintf(page, "\n%s:\n", corpora[i]);
        put_heads("method", heads, 6);
        for (int m = 0; costs[m].cell; m++) {
            line[m] = (SvgLine){costs[m].what, x[m], y[m], 0};
            held[m] = (SvgLine){costs[m].what, x[m], z[m], 0};
            for (int k = 0; k < COST_MARKS; k++) {
                double n = cost_at(corpora[i], costs[m].cell, "documents", k).mean;
                if (isnan(n)) continue; /* the corpus has not so many */
                fprintf(page, "| %s | %.0f |", costs[m].what, n);
                put_stat(cost_at(corpora[i], costs[m].cell, "seconds", k), 3, 1);
                put_stat(cost_at(corpora[i], costs[m].cell, "cpu", k), 3, 1);
                put_stat(cost_at(corpora[i], costs[m].cell, "bytes", k), 2, 1e-6);
                put_stat(cost_at(corpora[i], costs[m].cell, "step", k), 2, 1e-6);
                put_stat(cost_at(corpora[i], costs[m].cell, "process", k), 0, 1e-6);
                fputs("\n", page);
                x[m][line[m].n] = n;
                z[m][held[m].n++] = cost_at(corpora[i], costs[m].cell, "bytes", k).mean / 1e6;
                y[m][line[m].n++] = cost_at(corpora[i], costs[m].cell, "seconds", k).mean;
            }
        }
        snprintf(file, sizeof file, "cost-%s.svg", corpora[i]);
        snprintf(title, sizeof title, "Time to adapt, %s", corpora[i]);
        put_figure(file, title, "documents", "seconds", line, COSTS);
        snprintf(file, sizeof file, "memory-%s.svg", corpora[i]);
        snprintf(title, sizeof title, "Memory to adapt, %s", corpora[i]);
        put_figure(file, title, "documents", "MB", held, COSTS);
        put_wide(corpora[i]);
    }
}

/* ==== experiment 3 =========================================================================== */
#define LOOKS 7
/* F1 on the first documents in the end, as a share of the start; the mean over the seeds. */
static double kept_in_the_end(const char *corpus, const char *method) {
    char cell[40];
    snprintf(cell, sizeof cell, "keep-%s", method);
    return stat_ratio(corpus, cell, "f1.6", cell, "f1.0").mean;
}

static void claim_keep(void) {
    if (!there("keep-mac")) return;
    fputs("| MAC keeps over 95% of its F1 on the first documents (a baseline that learned nothing "
          "has nothing to lose) | GPT2-XL: 96.2%, CaMeLS 70.8%, Uniform 73%, Salient 67% |", page);
    for (int i = 0; i < n_corpora; i++) {
        double mac = kept_in_the_end(corpora[i], "mac"), most = -1;
        int best = 0;
        for (int r = 0; rows[r].cell; r++) {
            double x = rows[r].baseline ? kept_in_the_end(corpora[i], rows[r].cell) : -1;
            if (x > most) most = x, best = r;
        }
        char cell[40];
        snprintf(cell, sizeof cell, "keep-%s", rows[best].cell);
        judge(corpora[i], !knows(corpora[i]) ? OPEN : mac > 0.95 ? HOLDS : FAILS);
        fprintf(page, " %s: %.1f%% of F1 %.3f, best baseline (%s) %.1f%% of %.3f;", corpora[i],
                100 * mac, stat_of(corpora[i], "keep-mac", "f1.0").mean, rows[best].what,
                100 * most, stat_of(corpora[i], cell, "f1.0").mean);
    }
    put_verdict();
}

static void section_keep(void) {
    if (!there("keep-mac")) return;
    fputs("\n## 3. Retention (Figure 3)\n\nF1 on the first documents' questions while further "
          "documents come in, and in the last column what is left of it in the end. A method that "
          "has learned nothing has nothing to forget: read the first column too.\n", page);
    for (int i = 0; i < n_corpora; i++) {
        SvgLine line[MOST];
        double x[MOST][LOOKS], y[MOST][LOOKS];
        char file[60], title[100], key[40];
        int n = 0;
        fprintf(page, "\n%s, the first %.0f documents:\n\n| method |", corpora[i],
                stat_of(corpora[i], "keep-mac", "first").mean);
        for (int k = 0; k < LOOKS; k++) {
            snprintf(key, sizeof key, "documents.%d", k);
            fprintf(page, " F1 after %.0f |", stat_of(corpora[i], "keep-mac", key).mean);
        }
        fputs(" kept, % |\n|---|---|---|---|---|---|---|---|---|\n", page);
        for (int r = 0; rows[r].cell; r++) {
            char cell[40];
            snprintf(cell, sizeof cell, "keep-%s", rows[r].cell);
            if (!stat_of(corpora[i], cell, "first").n) continue;
            fprintf(page, "| %s |", rows[r].what);
            for (int k = 0; k < LOOKS; k++) {
                snprintf(key, sizeof key, "documents.%d", k);
                x[n][k] = stat_of(corpora[i], cell, key).mean;
                snprintf(key, sizeof key, "f1.%d", k);
                put_stat(stat_of(corpora[i], cell, key), 3, 1);
                y[n][k] = stat_of(corpora[i], cell, key).mean;
            }
            put_stat(stat_ratio(corpora[i], cell, "f1.6", cell, "f1.0"), 1, 100);
            fputs("\n", page);
            line[n] = (SvgLine){rows[r].what, x[n], y[n], LOOKS};
            n++;
        }
        snprintf(file, sizeof file, "keep-%s.svg", corpora[i]);
        snprintf(title, sizeof title, "F1 on the first documents, %s", corpora[i]);
        put_figure(file, title, "documents learned", "F1", line, n);
    }
}

/* ==== experiment 4 =========================================================================== */
static const int groups[] = {0, 2, 4, 16, 64, 256};
#define GROUPS 6

static void claim_hierarchy(void) {
    if (!there("hierarchy-16")) return;
    fputs("| groups of M = 16 keep the accuracy | GPT2-XL, ArchivalQA: 93.2% of it, 65.6% less "
          "memory |", page);
    for (int i = 0; i < n_corpora; i++) {
        const char *c = corpora[i];
        double share = stat_ratio(c, "hierarchy-16", "em", "hierarchy-0", "em").mean;
        double memory = stat_ratio(c, "hierarchy-16", "apart", "hierarchy-0", "apart").mean;
        judge(c, !knows(c) ? OPEN : share >= 0.9 ? HOLDS : FAILS);
        fprintf(page, " %s: %.1f%% of the EM, %.1f%% less memory;", c, 100 * share,
                100 * (1 - memory));
    }
    put_verdict();
}

static void claim_streaming(void) {
    if (!stat_of(corpora[0], "streaming-10000", "difference").n) return;
    fputs("| streaming aggregation: the same numbers to 1e-6 at K = 10,000, flat memory (at most "
          "twice that of K = 1,000) | not in the paper |", page);
    for (int i = 0; i < n_corpora; i++) {
        const char *c = corpora[i];
        double apart = most_of(c, "double-10000", "difference");
        double small = stat_of(c, "streaming-1000", "peak.streaming").mean;
        double large = stat_of(c, "streaming-10000", "peak.streaming").mean;
        judge(c, apart <= 1e-6 && large < 2 * small ? HOLDS : FAILS);
        fprintf(page, " %s: at most %.1e apart in double; in float, which rounds both, %.1e and "
                "%.1e (plain) off; %.0f KB at K = 1,000, %.0f KB at 10,000;", c, apart,
                most_of(c, "streaming-10000", "error.streaming"),
                most_of(c, "streaming-10000", "error.plain"), small / 1e3, large / 1e3);
    }
    put_verdict();
}

/* Memory of aggregating by the size of groups; the first point is that of all documents at once. */
static void put_groups(const char *corpus, double *x, double *y, int n) {
    char file[60], title[100];
    for (int i = 1; i < n; i++) { /* M = K to the end */
        double a = x[i - 1], b = y[i - 1];
        x[i - 1] = x[i], y[i - 1] = y[i], x[i] = a, y[i] = b;
    }
    SvgLine line = {"a group at a time", x, y, n};
    snprintf(file, sizeof file, "groups-%s.svg", corpus);
    snprintf(title, sizeof title, "Memory of aggregating, %s", corpus);
    put_figure(file, title, "log2 of the documents in a group", "KB", &line, 1);
}

/* One head's attention to random banks, streaming and not. */
static void put_streaming(void) {
    static const char *const more[] = {"error, streaming", "error, plain", "between them",
                                       "streaming, KB", "plain, KB", "streaming, ms", "plain, ms"};
    fprintf(page, "\nOne head's attention to random banks of %s' sizes, with all scores in memory "
            "and streaming; errors are against the same sums in double, relative to the largest "
            "number. The plain one's memory is that of the bank's normalised copy and the scores; "
            "the streaming one reads the bank where it lies. They differ by rounding, most of it "
            "the plain one's, which adds up in one long sum: with REAL=double they are %.0e "
            "apart.\n", corpora[0], most_of(corpora[0], "double-10000", "difference"));
    put_heads("documents", more, 7);
    for (int K = 100; K <= 10000; K *= 10) {
        char cell[40];
        snprintf(cell, sizeof cell, "streaming-%d", K);
        fprintf(page, "| %d |", K);
        static const char *const error[] = {"error.streaming", "error.plain", "difference"};
        for (int k = 0; k < 3; k++)
            fprintf(page, " %.1g |", stat_of(corpora[0], cell, error[k]).mean);
        put_stat(stat_of(corpora[0], cell, "peak.streaming"), 0, 1e-3);
        put_stat(stat_of(corpora[0], cell, "peak.plain"), 0, 1e-3);
        put_stat(stat_of(corpora[0], cell, "seconds.streaming"), 2, 1e3);
        put_stat(stat_of(corpora[0], cell, "seconds.plain"), 2, 1e3);
        fputs("\n", page);
    }
}

static void section_hierarchy(void) {
    static const char *const heads[] = {"EM", "F1", "ms a question", "memory, KB",
                                        "of a group at a time, KB"};
    if (!there("hierarchy-16")) return;
    fputs("\n## 4. Hierarchical and streaming aggregation (Figure 5)\n\nA question at a time. "
          "Memory: the most that answering takes beside model and bank, where mac_answer holds all "
          "groups of a round at once; and what aggregation alone takes when they are worked "
          "through one by one, as in the paper, all scores of a group in memory. As in the "
          "official code each round begins with the question's own vectors and reads the results "
          "of the round before as if they were documents. But a result is the question's vectors "
          "plus what was read, alike for all groups, and no document: the aggregator was never "
          "trained to tell such apart (the official code can train for it, and by default does "
          "not). What the two rounds look at stands below each table. Streaming is exact, takes "
          "less time, and memory that does not grow with the bank: groups would be worth it where "
          "their results are kept or sent, as when a bank is spread over machines. Times: one "
          "thread, beside another job.\n", page);
    for (int i = 0; i < n_corpora; i++) {
        fprintf(page, "\n%s, a bank of %.0f documents, %.0f questions spread over them:\n",
                corpora[i], stat_of(corpora[i], "hierarchy-0", "documents").mean,
                stat_of(corpora[i], "hierarchy-0", "questions").mean);
        put_heads("groups", heads, 5);
        double x[GROUPS], y[GROUPS];
        int n = 0;
        for (int k = 0; k < GROUPS; k++) {
            char cell[40];
            snprintf(cell, sizeof cell, "hierarchy-%d", groups[k]);
            double K = stat_of(corpora[i], cell, "documents").mean;
            if (!(groups[k] < K)) continue;
            x[n] = log2(groups[k] ? groups[k] : K);
            y[n++] = 1e-3 * stat_of(corpora[i], cell, "apart").mean;
            if (groups[k]) fprintf(page, "| M = %d |", groups[k]);
            else fprintf(page, "| none: streaming, exact; at a time: M = K = %.0f |", K);
            put_stat(stat_of(corpora[i], cell, "em"), 3, 1);
            put_stat(stat_of(corpora[i], cell, "f1"), 3, 1);
            put_stat(stat_of(corpora[i], cell, "seconds"), 2, 1e3);
            put_stat(stat_of(corpora[i], cell, "peak"), 0, 1e-3);
            put_stat(stat_of(corpora[i], cell, "apart"), 0, 1e-3);
            fputs("\n", page);
        }
        put_groups(corpora[i], x, y, n);
        double groups_n = stat_of(corpora[i], "rounds-16", "groups").mean;
        fprintf(page, "\nThe first %.0f documents in groups of 16: the right one gets %.3f of the "
                "attention in its group (evenly: %.3f), its group then %.3f among %.0f (evenly: "
                "%.3f).\n", stat_of(corpora[i], "rounds-16", "documents").mean,
                stat_of(corpora[i], "rounds-16", "first").mean, 1.0 / 16,
                stat_of(corpora[i], "rounds-16", "second").mean, groups_n, 1 / groups_n);
    }
    put_streaming();
}

/* ==== experiment 5 =========================================================================== */
static void claim_drop(void) {
    if (!there("drop-75")) return;
    fputs("| backpropagation dropout of 75% saves memory in training | LLaMA-2: one document in 32 "
          "GB without, several with it |", page);
    for (int i = 0; i < n_corpora; i++) {
        double share = stat_ratio(corpora[i], "drop-75", "peak", "drop-0", "peak").mean;
        judge(corpora[i], share < 0.75 ? HOLDS : FAILS);
        fprintf(page, " %s: %.2f of a step's memory;", corpora[i], share);
    }
    put_verdict();
}

static void section_drop(void) {
    static const char *const heads[] = {"with a gradient", "a step's memory, MB", "ms a step"};
    if (!there("drop-75")) return;
    fputs("\n## 5. Backpropagation dropout (Figure 4, Table 3)\n\nA step on 32 documents in one "
          "bank, three questions on each that has a gradient; encoders as drawn, two threads, "
          "nothing beside them. What it does to EM: the designs of section 8.\n", page);
    for (int i = 0; i < n_corpora; i++) {
        fprintf(page, "\n%s:\n", corpora[i]);
        put_heads("dropped", heads, 3);
        double x[4], y[4];
        char file[60], title[100];
        for (int percent = 0; percent < 100; percent += 25) {
            char cell[40];
            snprintf(cell, sizeof cell, "drop-%d", percent);
            fprintf(page, "| %d%% |", percent);
            put_stat(stat_of(corpora[i], cell, "gradient"), 0, 1);
            put_stat(stat_of(corpora[i], cell, "peak"), 1, 1e-6);
            put_stat(stat_of(corpora[i], cell, "seconds"), 1, 1e3);
            fputs("\n", page);
            x[percent / 25] = percent;
            y[percent / 25] = stat_of(corpora[i], cell, "peak").mean / 1e6;
        }
        SvgLine line = {"a step", x, y, 4};
        snprintf(file, sizeof file, "drop-%s.svg", corpora[i]);
        snprintf(title, sizeof title, "Memory of a training step, %s", corpora[i]);
        put_figure(file, title, "documents without gradient, %", "MB", &line, 1);
    }
}

/* ==== experiment 6 =========================================================================== */
static void claim_retrieve(void) {
    if (!there("retrieve-both-5")) return;
    fputs("| MAC adds to retrieval (F1 with BM25's best one, three, five documents) | "
          "LLaMA-2, ArchivalQA, five: 74.89 against 71.83 |", page);
    for (int i = 0; i < n_corpora; i++) {
        int least = HOLDS, most = FAILS;
        fprintf(page, " %s:", corpora[i]);
        for (int k = 1; k <= 5; k += 2) {
            char with[40], alone[40];
            snprintf(with, sizeof with, "retrieve-both-%d", k);
            snprintf(alone, sizeof alone, "retrieve-bm25-%d", k);
            Stat x = stat_of(corpora[i], with, "f1"), y = stat_of(corpora[i], alone, "f1");
            int is = above(x, y);
            least = both(least, is), most = is > most ? is : most;
            fprintf(page, " %s against %s%s", shown(x), shown(y), k < 5 ? "," : ";");
        }
        double fit = stat_of(corpora[i], "retrieve-bm25-3", "fit").mean;
        if (fit < 2) fprintf(page, " of three %.1f fit into the window;", fit);
        /* nowhere worse, somewhere better */
        judge(corpora[i], fit < 2 ? OPEN : least == FAILS ? FAILS : most);
    }
    put_verdict();
}

static void section_retrieve(void) {
    static const struct { const char *cell, *what; } ways[] = {
        {"bm25-0", "neither"}, {"mac-0", "MAC alone"}, {"bm25-1", "BM25, the best document"},
        {"bm25-3", "BM25, three"}, {"bm25-5", "BM25, five"}, {"both-1", "BM25, one, and MAC"},
        {"both-3", "BM25, three, and MAC"}, {"both-5", "BM25, five, and MAC"}};
    static const char *const heads[] = {"EM", "F1", "right one found", "documents in the window"};
    static const char *const keys[] = {"em", "f1", "hit", "fit"};
    if (!there("retrieve-both-5")) return;
    fputs("\n## 6. Retrieval (Table 2)\n\nThe LM was taught on train to read up to five documents "
          "that BM25 finds, half of the time behind MAC's prefix, there sometimes none; all rows "
          "use this LM, and ask one question of each document. In these lessons the memory holds "
          "the documents asked about and up to 500 others. Documents beyond the window of D tokens "
          "are left out. Where three do worse than the best alone, the LM has not learned to find "
          "the one that is asked about.\n", page);
    for (int i = 0; i < n_corpora; i++) {
        fprintf(page, "\n%s, taught in %.0f steps:\n", corpora[i],
                stat_of(corpora[i], "reader", "steps").mean);
        put_heads("in the context and the memory", heads, 4);
        for (int r = 0; r < 8; r++) {
            char cell[40];
            snprintf(cell, sizeof cell, "retrieve-%s", ways[r].cell);
            if (!stat_of(corpora[i], cell, "em").n) continue;
            fprintf(page, "| %s |", ways[r].what);
            for (int k = 0; k < 4; k++) put_stat(stat_of(corpora[i], cell, keys[k]), 3 - k / 3, 1);
            fputs("\n", page);
        }
    }
}

/* ==== experiment 7 =========================================================================== */
static const struct { const char *cell, *what; } cuts[] = {
    {"prune", "random pruning"}, {"average", "random averaging"},
    {"nearest", "nearest averaging"}, {"codes", "codebook"}};
enum { CUTS = 4 };
static const int kept[] = {100, 75, 50, 25, 10};

static Stat limited(const char *corpus, int cut, int percent, const char *key) {
    char cell[60];
    snprintf(cell, sizeof cell, "limited-%s-%d", cuts[percent < 100 ? cut : 0].cell, percent);
    return stat_of(corpus, cell, key);
}

static void claim_limited(void) {
    if (!there("limited-nearest-75")) return;
    fputs("| averaging nearest neighbours keeps a limited bank better than random pruning and "
          "random averaging | called well preserving at 1,250 of 1,665 (a figure) |", page);
    for (int i = 0; i < n_corpora; i++) {
        Stat f1[3];
        for (int k = 0; k < 3; k++) f1[k] = limited(corpora[i], k, 75, "f1");
        judge(corpora[i], both(above(f1[2], f1[0]), above(f1[2], f1[1])));
        fprintf(page, " %s, 75%% kept: F1 %s; pruned %s, averaged at random %s;", corpora[i],
                shown(f1[2]), shown(f1[0]), shown(f1[1]));
    }
    put_verdict();
}

static void section_limited(void) {
    if (!there("limited-nearest-75")) return;
    fputs("\n## 7. A bank of limited size (Figure 7)\n\nEM on one question of each document when "
          "only a part of the entries is kept: drawn at random, or averaged in pairs drawn at "
          "random, or in pairs of nearest neighbours (cosine). Codebook, as in MBC, with as many "
          "bytes as these entries would take: but MBC learns it together with MAC, this one is "
          "k-means afterwards, and MAC has never learned to live with it.\n", page);
    for (int i = 0; i < n_corpora; i++) {
        SvgLine line[CUTS];
        double x[5], y[CUTS][5];
        char file[60], title[100];
        fprintf(page, "\n%s:\n\n| entries kept | 100%% | 75%% | 50%% | 25%% | 10%% |\n"
                "|---|---|---|---|---|---|\n| KB |", corpora[i]);
        for (int k = 0; k < 5; k++)
            put_stat(limited(corpora[i], 0, kept[k], "bytes"), 0, 1e-3);
        for (int cut = 0; cut < CUTS; cut++) {
            fprintf(page, "\n| %s |", cuts[cut].what);
            for (int k = 0; k < 5; k++) {
                Stat s = limited(corpora[i], cut, kept[k], "em");
                if (k == 0 && cut == CUTS - 1) s = (Stat){(double)NAN, 0, 0}; /* has none */
                put_stat(s, 3, 1);
                x[k] = kept[k], y[cut][k] = s.mean;
            }
            line[cut] = (SvgLine){cuts[cut].what, x, y[cut], 5};
        }
        fputs("\n", page);
        snprintf(file, sizeof file, "limited-%s.svg", corpora[i]);
        snprintf(title, sizeof title, "A limited bank, %s", corpora[i]);
        put_figure(file, title, "entries kept, %", "EM", line, CUTS);
    }
}

/* ==== experiment 8 =========================================================================== */
static const struct { const char *cell, *what; } designs[] = {
    {"base", "T 8, P 2, agg_B 2, 32 documents a step"},
    {"own", "the paper's own loss (no guidance, no distillation, each token alike), encoders as "
            "drawn, banks of 32 from the start"},
    {"enconly4", "encoder with T learned tokens, 4 layers (as many as encoder and decoder)"},
    {"P1", "P 1"}, {"P4", "P 4"}, {"T4", "P 4, T 4"}, {"T8", "P 4, T 8"}, {"B1", "agg_B 1"},
    {"B4", "agg_B 4"}, {"docs8", "four times 8 documents a step, banks up to 8"},
    {"docs128", "128 documents, 96 without gradient"},
    {"drop25", "25% without a gradient (section 5), 1,066 steps"},
    {"drop50", "50%, twice 32 documents a step"}, {"drop75", "75%, four times 32"},
    {NULL, NULL}};

/* One of the short trainings: there is one seed of them. */
static double design(const char *name, const char *cell, const char *key) {
    Cell c;
    char path[600];
    snprintf(path, sizeof path, "%s/cells/people-1-%s%s.txt", dir, name, cell);
    return cell_read(&c, path, 0) == 0 ? cell_get(&c, key) : (double)NAN;
}

static int designed(void) { /* they are part of people's runs */
    int people = 0;
    for (int i = 0; i < n_corpora; i++) people |= !strcmp(corpora[i], "people");
    return people && !isnan(design("base", ".adapt-mac", "em"));
}

static void claim_designs(void) {
    if (!designed()) return;
    double decoder = design("base", ".adapt-mac", "em");
    double none = design("enconly4", ".adapt-mac", "em");
    fprintf(page, "| an encoder-decoder amortizes better than an encoder with learned tokens | "
            "GPT2-XL: better (a table that is an image) | people, a short training, one run: EM "
            "%.3f against %.3f |", decoder, none);
    judge("people", fabs(decoder - none) < 0.1 ? OPEN : decoder > none ? HOLDS : FAILS);
    put_verdict();
}

static void section_designs(void) {
    static const char *const heads[] = {"EM, banks of 16", "EM, all documents",
                                        "seconds of training, one thread"};
    if (!designed()) return;
    fputs("\nDesigns: people, seed 1, 800 steps each, the first row's settings but for what is "
          "named. One run of each: small differences say nothing. With P 1 half of the eight "
          "vectors find a place in the prefix, so T is varied beside P 4. Where fewer documents "
          "have questions, a step takes several batches, or there are more steps, so that as many "
          "are asked.\n", page);
    put_heads("design", heads, 3);
    for (int i = 0; designs[i].cell; i++)
        fprintf(page, "| %s | %.3f | %.3f | %.0f |\n", designs[i].what,
                design(designs[i].cell, ".adapt-mac16", "em"),
                design(designs[i].cell, ".adapt-mac", "em"),
                design(designs[i].cell, ".training", "seconds"));
}

static const char *const tests[] = {"people", "wnnames", "factbook"};

/* F1 on another corpus' test, or on the own one. */
static Stat on_test(const char *corpus, int test, const char *method) {
    char cell[40];
    int own = !strcmp(corpus, tests[test]);
    snprintf(cell, sizeof cell, own ? "adapt-%s" : "ood-%s-%s", method, tests[test]);
    return stat_of(corpus, cell, "f1");
}

static void claim_elsewhere(void) {
    if (!there("adapt-mac")) return;
    fputs("| adapted to a corpus it was not trained on, MAC beats finetuning (F1) | StreamingQA to "
          "SQuAD and ArchivalQA, GPT2-XL: above CaMeLS (a table that is an image) |", page);
    for (int i = 0; i < n_corpora; i++) {
        int least = HOLDS;
        fprintf(page, " from %s:", corpora[i]);
        for (int k = 0; k < 3; k++) {
            if (!strcmp(corpora[i], tests[k])) continue;
            Stat mac = on_test(corpora[i], k, "mac"), tuned = on_test(corpora[i], k, "uniform");
            least = both(least, above(mac, tuned));
            fprintf(page, " to %s %s, Uniform %s;", tests[k], shown(mac), shown(tuned));
        }
        judge(corpora[i], least);
    }
    put_verdict();
}

static void section_elsewhere(void) {
    static const char *const methods[] = {"mac", "question", "uniform", "gold"};
    static const char *const what[] = {"MAC", "MAC, empty memory", "Uniform",
                                       "document in context"};
    fputs("\n## 8. Other corpora, other designs\n\nTrained on one corpus, adapted to another's "
          "test: F1. The tokenizer is the first corpus', in which another's texts are longer; what "
          "is longer than the window is cut. Uniform has the learning rate that was chosen on the "
          "first corpus. Other corpora: the first seed only. Where not even the document in the "
          "context is read, no memory can help.\n", page);
    put_heads("trained on, method", tests, 3);
    for (int i = 0; i < n_corpora; i++)
        for (int m = 0; m < 4; m++) {
            fprintf(page, "| %s, %s |", corpora[i], what[m]);
            for (int k = 0; k < 3; k++) put_stat(on_test(corpora[i], k, methods[m]), 3, 1);
            fputs("\n", page);
        }
    section_designs();
}

/* ==== experiment 9 =========================================================================== */
/* Of n questions each: the same up to three standard errors of their difference. */
static int same_share(double a, double b, double n) {
    double p = (a + b) / 2;
    return fabs(a - b) <= 3 * sqrt(2 * p * (1 - p) / n);
}

static void claim_unlearning(void) {
    if (!there("adapt-mac") || !stat_of(corpora[0], "unlearning", "equal").n) return;
    fputs("| a forgotten document is gone, the others stay | not in the paper |", page);
    for (int i = 0; i < n_corpora; i++) {
        const char *c = corpora[i], *cell = "unlearning";
        double equal = stat_of(c, cell, "equal").mean;
        double before = stat_of(c, cell, "before.forgotten.em").mean;
        double after = stat_of(c, cell, "after.forgotten.em").mean;
        double nothing = stat_of(c, cell, "nothing.forgotten.em").mean;
        double kept_before = stat_of(c, cell, "before.others.em").mean;
        double kept_after = stat_of(c, cell, "after.others.em").mean;
        double others = stat_of(c, "adapt-shuffled", "em").mean; /* guessed from what remains */
        double n = stat_of(c, cell, "nothing.forgotten.questions").mean * n_seeds;
        int gone = equal == 1
                   && (same_share(after, nothing, n) || same_share(after, others, n))
                   && kept_after > kept_before - 0.01; /* more: fewer documents compete */
        int known = !same_share(before, nothing, n); /* what nobody knew cannot be forgotten */
        judge(c, !gone ? FAILS : known ? HOLDS : OPEN);
        fprintf(page, " %s: EM %.3f to %.3f (question only %.3f, with other documents %.3f), "
                "others %.3f to %.3f, file %s;", c, before, after, nothing, others, kept_before,
                kept_after, equal == 1 ? "as if never learned" : "differs");
    }
    put_verdict();
}

static void section_unlearning(void) {
    static const char *const heads[] = {"EM, forgotten", "EM, others"};
    static const char *const when[] = {"before", "after", "nothing"};
    static const char *const what[] = {"before", "after forgetting", "empty memory"};
    if (!stat_of(corpora[0], "unlearning", "equal").n) return;
    fputs("\n## 9. Unlearning\n\nEvery tenth document of the stream is forgotten. The saved bank "
          "is compared, byte by byte, with one that never held them. With fewer documents to "
          "choose from, the others may be answered a little better.\n", page);
    for (int i = 0; i < n_corpora; i++) {
        fprintf(page, "\n%s, %.0f documents forgotten in", corpora[i],
                stat_of(corpora[i], "unlearning", "forgotten").mean);
        fprintf(page, " %.4f s; ", stat_of(corpora[i], "unlearning", "seconds").mean);
        fprintf(page, "training the model anew, without its LM, took %.0f s of one "
                "thread, beside other work:\n",
                stat_of(corpora[i], "training", "seconds").mean);
        put_heads("questions asked", heads, 2);
        for (int k = 0; k < 3; k++) {
            char key[60];
            fprintf(page, "| %s |", what[k]);
            snprintf(key, sizeof key, "%s.forgotten.em", when[k]);
            put_stat(stat_of(corpora[i], "unlearning", key), 3, 1);
            snprintf(key, sizeof key, "%s.others.em", when[k]);
            put_stat(stat_of(corpora[i], "unlearning", key), 3, 1);
            fputs("\n", page);
        }
    }
}

/* ==== experiment 10 ========================================================================== */
static Stat looked(const char *corpus, int rank) {
    char key[40];
    snprintf(key, sizeof key, "rank.%d", rank);
    return stat_of(corpus, "look", key);
}

static double looked_each(const char *corpus, int rank) { /* a document of that rank */
    int to = look_ranks[rank].to, last = (int)stat_of(corpus, "look", "documents").mean - 1;
    return looked(corpus, rank).mean / ((to < last ? to : last) - look_ranks[rank].from + 1);
}

static void claim_look(void) {
    if (!stat_of(corpora[0], "look", "documents").n) return;
    fputs("| attention goes to the right document, the rest of it rather to similar ones | "
          "GPT2-Large, 5 others: on the right one among random ones, spread over BM25's neighbours "
          "(a figure) |", page);
    for (int i = 0; i < n_corpora; i++) {
        double right = looked_each(corpora[i], 0), near = looked_each(corpora[i], 1);
        double far = looked_each(corpora[i], LOOK_RANKS - 1);
        judge(corpora[i], !knows(corpora[i]) ? OPEN : right > near && near > far ? HOLDS : FAILS);
        fprintf(page, " %s: %.3f on the right one, %.4f on the most similar, %.5f on a dissimilar "
                "one;", corpora[i], right, near, far);
    }
    put_verdict();
}

/* The questions of the map, whose text stands in the corpus only. */
static void put_map(const char *corpus) {
    char path[600], file[60], title[120], err[MAC_ERR], key[40];
    char number[LOOK_COLUMNS][20], row[LOOK_ROWS][20];
    const char *columns[LOOK_COLUMNS], *names[LOOK_ROWS];
    double share[LOOK_ROWS * LOOK_COLUMNS];
    Corpus test = {0};
    Cell c;
    snprintf(path, sizeof path, "%s/cells/%s-%s.look.txt", dir, corpus, seeds[0]);
    if (cell_read(&c, path, 0) != 0) return;
    snprintf(path, sizeof path, strcmp(corpus, "people") ? "data/%s/test.jsonl"
                                                         : "out/paper/%s/test.jsonl", corpus);
    if (corpus_read(&test, path, err) != 0) die("%s", err);
    for (int k = 0; k < LOOK_COLUMNS; k++) {
        if (k == 0) snprintf(number[k], sizeof number[k], "right");
        else if (k == LOOK_COLUMNS - 1) snprintf(number[k], sizeof number[k], "all further");
        else snprintf(number[k], sizeof number[k], "%d", k);
        columns[k] = number[k];
    }
    for (int r = 0; r < LOOK_ROWS; r++) {
        snprintf(row[r], sizeof row[r], "question %d", r + 1);
        names[r] = row[r];
        for (int k = 0; k < LOOK_COLUMNS; k++) {
            snprintf(key, sizeof key, "map.%d.%d", r, k);
            share[r * LOOK_COLUMNS + k] = cell_get(&c, key) / 100;
        }
    }
    snprintf(file, sizeof file, "look-%s.svg", corpus);
    snprintf(path, sizeof path, "%s/%s", dir, file);
    snprintf(title, sizeof title, "Attention of five questions on the documents, %s, seed %s",
             corpus, seeds[0]);
    SvgPage *figure = page_begin(path, title, err);
    if (!figure) die("%s", err);
    page_say(figure, title, 15);
    page_say(figure, "Columns: the documents, the most similar to the right one first.", 12);
    page_scale(figure);
    page_heat(figure, &(SvgHeat){names, columns, LOOK_ROWS, LOOK_COLUMNS, 0, 40, 30, share});
    if (page_end(figure, NULL, err) != 0) die("%s", err);
    fprintf(page, "\n![%s](%s)\n\n", title, file);
    for (int r = 0; r < LOOK_ROWS; r++) {
        snprintf(key, sizeof key, "question.%d", r);
        int qa = (int)cell_get(&c, key);
        if (qa >= 0 && qa < test.n_qas)
            fprintf(page, "%d. %s (%s)\n", r + 1, test.qas[qa].q, test.qas[qa].target);
    }
    corpus_free(&test);
}

static void section_look(void) {
    const char *heads[LOOK_RANKS];
    if (!stat_of(corpora[0], "look", "documents").n) return;
    for (int r = 0; r < LOOK_RANKS; r++) heads[r] = look_ranks[r].name;
    fputs("\n## 10. Where the memory looks\n\nAttention (the mean over blocks, heads and vectors) "
          "with all documents in the bank, the mean over all test questions. Other documents "
          "are ranked by how similar their texts are to the right one's (BM25, its text as the "
          "question): what a document of that rank gets, and in the second row all of them "
          "together.\n", page);
    for (int i = 0; i < n_corpora; i++) {
        double K = stat_of(corpora[i], "look", "documents").mean;
        fprintf(page, "\n%s, %.0f documents (spread evenly, each would get %.5f):\n", corpora[i], K,
                1 / K);
        put_heads("% of attention", heads, LOOK_RANKS);
        fputs("| each |", page);
        for (int r = 0; r < LOOK_RANKS; r++)
            fprintf(page, " %.3f |", 100 * looked_each(corpora[i], r));
        fputs("\n| together |", page);
        for (int r = 0; r < LOOK_RANKS; r++) put_stat(looked(corpora[i], r), 2, 100);
        fputs("\n", page);
        put_map(corpora[i]);
    }
}

/* ==== neighbours ============================================================================= */
/* Not of the paper: what others do with the same documents and the same LM. */
static void section_neighbours(void) {
    static const struct { const char *cell, *key, *from, *bytes, *what; } kinds[] = {
        {"adapt-mac", "em", "facts", "bytes.mac", "MAC"},
        {"gate", "sure.100", "facts", "bytes.text", "text: the LM reads what BM25 finds"},
        {"facts", "near.em", "facts", "bytes",
         "rows of subject, relation, object (MemLLM, RET-LLM)"},
        {"gate", "sure.60", NULL, NULL, "MAC with half of the documents, 60% of the questions sent "
                                        "on to BM25 (UniWeb)"},
        {"anllm", "bm25.em", "anllm", "one.bytes", "keys and values of a few anchors, of the "
                                                   "document that BM25 finds (AnLLM)"},
        {"camelot", "em", "camelot", "bytes", "keys and values of tokens in slots (CAMELoT)"},
        {"rtd", "em", "rtd", "bytes", "nearest states vote for the next token (RTD)"},
        {"rtd", "alone.em", NULL, NULL, "the LM alone"}};
    if (!there("facts") && !there("gate") && !there("rtd")) return;
    fputs("\n## 11. Neighbours\n\nOther ways to answer about the test's documents, with the same "
          "LM. Bytes are what is kept of a document, the mean.\n", page);
    for (int i = 0; i < n_corpora; i++) {
        const char *c = corpora[i];
        fprintf(page, "\n%s:\n\n| what is kept | EM | bytes |\n|---|---|---|\n", c);
        for (int r = 0; r < 8; r++) {
            if (!stat_of(c, kinds[r].cell, kinds[r].key).n) continue;
            fprintf(page, "| %s |", kinds[r].what);
            put_stat(stat_of(c, kinds[r].cell, kinds[r].key), 3, 1);
            Stat bytes = kinds[r].from ? stat_of(c, kinds[r].from, kinds[r].bytes)
                                       : (Stat){0, 0, 0};
            if (bytes.n) fprintf(page, " %.0f |\n", bytes.mean);
            else fputs(" |\n", page);
        }
    }
}

/* ---- four systems: what each claims, and whether it holds here ---- */
static double mean_of(const char *corpus, const char *cell, const char *key) {
    return stat_of(corpus, cell, key).mean;
}

static int anllm_holds(const char *c) { /* NaN, which was not measured, holds nowhere */
    return mean_of(c, "anllm", "one.em") >= 0.95 * mean_of(c, "anllm", "all.em") ? HOLDS : FAILS;
}

static void anllm_here(const char *c) {
    fprintf(page, " %s: %.3f of the right document's anchors, %.3f of all its keys; of four "
            "documents' anchors %.3f, of sixteen %.3f; without lessons %.3f;", c,
            mean_of(c, "anllm", "one.em"), mean_of(c, "anllm", "all.em"),
            mean_of(c, "anllm", "four.em"), mean_of(c, "anllm", "sixteen.em"),
            mean_of(c, "anllm", "untaught.em"));
}

static int eul_holds(const char *c) {
    double apart = mean_of(c, "eul", "eul.forgotten")
                   - mean_of(c, "eul", "retrained.forgotten");
    double lost = mean_of(c, "eul", "retrained.retained") - mean_of(c, "eul", "eul.retained");
    double time = stat_ratio(c, "eul", "eul.seconds", "eul", "retrained.seconds").mean;
    return fabs(apart) <= 0.03 && lost <= 0.01 && time <= 1.0 / 3 ? HOLDS : FAILS;
}

static void eul_here(const char *c) {
    static const char *const who[] = {"known", "eul", "retrained"};
    static const char *const what[] = {"before", "after", "retrained"};
    fprintf(page, " %s:", c);
    for (int i = 0; i < 3; i++) {
        char key[40];
        snprintf(key, sizeof key, "%s.forgotten", who[i]);
        fprintf(page, " %s %.3f of the forgotten", what[i], mean_of(c, "eul", key));
        snprintf(key, sizeof key, "%s.retained", who[i]);
        fprintf(page, " and %.3f of the retained,", mean_of(c, "eul", key));
    }
    fprintf(page, " in %.1f seconds instead of %.1f; half of the forgotten taught again brings "
            "back %.3f of the other half, %.3f where it was never known. Documents forgotten from "
            "MAC's bank: %.3f to %.3f, the others %.3f to %.3f, in %.4f seconds;",
            mean_of(c, "eul", "eul.seconds"), mean_of(c, "eul", "retrained.seconds"),
            mean_of(c, "eul", "eul.again"), mean_of(c, "eul", "retrained.again"),
            mean_of(c, "unlearning", "before.forgotten.em"),
            mean_of(c, "unlearning", "after.forgotten.em"),
            mean_of(c, "unlearning", "before.others.em"),
            mean_of(c, "unlearning", "after.others.em"), mean_of(c, "unlearning", "seconds"));
}

static int codes_hold(const char *c) {
    return mean_of(c, "codes", "deleted.concept") <= mean_of(c, "codes", "redacted.concept") + 0.05
           && mean_of(c, "codes", "deleted.same") >= mean_of(c, "codes", "coded.same") - 0.02
           && mean_of(c, "codes", "deleted.others") >= mean_of(c, "codes", "coded.others") - 0.02
           ? HOLDS : FAILS;
}

static void codes_here(const char *c) {
    static const char *const who[] = {"whole", "coded", "deleted", "random", "redacted"};
    static const char *const what[] = {"MAC", "through the codebook", "without the concept's codes",
                                       "without other codes", "texts redacted instead"};
    fprintf(page, " %s, of the concept, other facts of its documents, other documents:", c);
    for (int i = 0; i < 5; i++) {
        static const char *const kinds[] = {"concept", "same", "others"};
        fprintf(page, " %s", what[i]);
        for (int k = 0; k < 3; k++) {
            char key[40];
            snprintf(key, sizeof key, "%s.%s", who[i], kinds[k]);
            fprintf(page, " %.3f%s", mean_of(c, "codes", key), k < 2 ? "," : ";");
        }
    }
}

static int camelot_holds(const char *c) { /* where it is at home: a token's loss */
    double loss = mean_of(c, "camelot", "loss.slots");
    return loss < mean_of(c, "camelot", "loss.window") - 0.01
           && loss < mean_of(c, "camelot", "loss.oldest") - 0.01 ? HOLDS : FAILS;
}

static void camelot_here(const char *c) {
    fprintf(page, " %s: loss of a token in windows of 16 %.3f, with slots %.3f, with slots that "
            "never merge %.3f, documents whole %.3f; but EM %.3f, with a slot for each token %.3f, "
            "with the right document's alone %.3f;", c, mean_of(c, "camelot", "loss.window"),
            mean_of(c, "camelot", "loss.slots"), mean_of(c, "camelot", "loss.oldest"),
            mean_of(c, "camelot", "loss.whole"), mean_of(c, "camelot", "em"),
            mean_of(c, "camelot", "all.em"), mean_of(c, "camelot", "one.em"));
}

static const struct {
    const char *cell, *name, *claim, *paper, *em, *bytes, *seconds;
    int (*holds)(const char *corpus);
    void (*here)(const char *corpus);
} systems[] = {
    {"anllm", "AnLLM", "anchors' keys and values say what the whole text says",
     "LLaMA-2: up to 99% fewer keys, up to 3.5 times as fast, small loss", "one.em", "one.bytes",
     "seconds", anllm_holds, anllm_here},
    {"eul", "EUL", "new layers unlearn as well as retraining, and faster",
     "T5: forgotten 65.7 of 100 (retrained 92.5), 5.6 times as fast", "eul.forgotten", NULL,
     "eul.seconds", eul_holds, eul_here},
    {"codes", "CodeUnlearn", "codes of a concept are deleted, and little else is lost",
     "T5-small, translation: the topic's scores fall, others hardly", "deleted.concept", NULL,
     "took", codes_hold, codes_here},
    {"camelot", "CAMELoT", "slots of averaged tokens stand for a long context",
     "LLaMA-2: perplexity down by up to 29.7%", "em", "bytes", "took", camelot_holds,
     camelot_here}};

static void claim_systems(void) {
    for (int r = 0; r < 4; r++) {
        if (!there(systems[r].cell)) continue;
        fprintf(page, "| %s: %s | %s |", systems[r].name, systems[r].claim, systems[r].paper);
        for (int i = 0; i < n_corpora; i++) {
            if (!stat_of(corpora[i], systems[r].cell, systems[r].em).n) continue;
            judge(corpora[i], systems[r].holds(corpora[i]));
            systems[r].here(corpora[i]);
        }
        put_verdict();
    }
}

static void section_systems(void) {
    static const char *const heads[] = {"claims", "the paper reports", "EM here",
                                        "bytes kept a document", "seconds", "here"};
    if (!there("anllm")) return;
    fputs("\n### Four systems\n\nAnLLM's EM is with the right document given, the seconds are "
          "those of its lessons. EUL's is of what was to be forgotten, and so is CodeUnlearn's, of "
          "the concept's questions: the less, the better.\n", page);
    for (int i = 0; i < n_corpora; i++) {
        fprintf(page, "\n%s:\n", corpora[i]);
        put_heads("system", heads, 6);
        for (int r = 0; r < 4; r++) {
            Stat em = stat_of(corpora[i], systems[r].cell, systems[r].em);
            if (!em.n) continue;
            fprintf(page, "| %s | %s | %s |", systems[r].name, systems[r].claim, systems[r].paper);
            put_stat(em, 3, 1);
            if (!systems[r].bytes) fputs(" |", page);
            else put_stat(stat_of(corpora[i], systems[r].cell, systems[r].bytes), 0, 1);
            put_stat(stat_of(corpora[i], systems[r].cell, systems[r].seconds), 1, 1);
            fputs(systems[r].holds(corpora[i]) == HOLDS ? " holds:" : " does not hold:", page);
            systems[r].here(corpora[i]);
            fputs(" |\n", page);
        }
    }
}

/* facts.c: an explicit memory. */
static void section_facts(void) {
    static const struct { const char *key, *what; } ways[] = {
        {"exact.em", "the very subject"}, {"near.em", "the subject that is spelled most alike"},
        {"gold.em", "the document in the context of the LM that writes facts"}};
    if (!there("facts")) return;
    fputs("\n### Facts (MemLLM, RET-LLM)\n\nThe LM is taught to write what it "
          "reads as rows, subject, relation, object, and to say which row a question asks for. "
          "Subject and object are spans of words of the text. Neither titles nor answers of test "
          "documents are used but for scores. *Right*: facts that a question of their document "
          "confirms; *found*: questions whose fact was written. *Whose*: of each relation and "
          "answer, all subjects, F1 of the sets. *Changed*: a newer version of each document is "
          "written too, with some answers exchanged, and the last row written counts.\n", page);
    for (int i = 0; i < n_corpora; i++) {
        const char *c = corpora[i];
        fprintf(page, "\n%s:\n\n| looked up by | EM |\n|---|---|\n", c);
        for (int r = 0; r < 3; r++) {
            fprintf(page, "| %s |", ways[r].what);
            put_stat(stat_of(c, "facts", ways[r].key), 3, 1);
            fputs("\n", page);
        }
        fputs("\n| right | found | whose | changed: the new "
              "answer, the old one | other facts |\n|---|---|---|---|---|\n|", page);
        put_stat(stat_of(c, "facts", "precision"), 3, 1);
        put_stat(stat_of(c, "facts", "recall"), 3, 1);
        put_stat(stat_of(c, "facts", "reverse"), 3, 1);
        fprintf(page, " %.3f, %.3f |", stat_of(c, "facts", "changed.new").mean,
                stat_of(c, "facts", "changed.old").mean);
        put_stat(stat_of(c, "facts", "others"), 3, 1);
        fputs("\n", page);
    }
}

/* gate.c: half of the documents are held, the least sure questions go to BM25. */
static void section_gate(void) {
    static const struct { const char *key, *what; } orders[] = {
        {"sure", "by the gate"}, {"likely", "by the answer's probability, as UniWeb"},
        {"oracle", "what is not held first"}};
    if (!there("gate")) return;
    fputs("\n### When to look elsewhere (UniWeb)\n\nThe bank holds half of the "
          "documents. Of all questions the share that the model is least sure of goes to the LM "
          "with the document that BM25 finds among all. EM:\n", page);
    for (int i = 0; i < n_corpora; i++) {
        const char *c = corpora[i];
        double none = stat_of(c, "gate", "sure.0").mean, all = stat_of(c, "gate", "sure.100").mean;
        fprintf(page, "\n%s; told what is held from what is not, AUROC: the gate %.3f, the "
                "answer's probability %.3f.\n\n| sent on | 0 | 20%% | 40%% | 60%% | 80%% | 100%% |"
                "\n|---|---|---|---|---|---|---|\n", c, stat_of(c, "gate", "auroc.sure").mean,
                stat_of(c, "gate", "auroc.likely").mean);
        for (int r = 0; r < 3; r++) {
            fprintf(page, "| %s |", orders[r].what);
            for (int percent = 0; percent <= 100; percent += 20) {
                char key[40];
                snprintf(key, sizeof key, "%s.%d", orders[r].key, percent);
                put_stat(stat_of(c, "gate", key), 3, 1);
            }
            fputs("\n", page);
        }
        fputs("| at random |", page);
        for (int k = 0; k <= 5; k++) fprintf(page, " %.3f |", none + (all - none) * k / 5);
        fputs("\n", page);
    }
}

/* stream.c: a stream that repeats itself, and a bank that holds a document of each. */
static void section_stream(void) {
    static const struct { const char *cell, *what; } policies[] = {
        {"stream-all", "no limit"}, {"stream-last", "the last versions alone"},
        {"stream-versions", "the older of two about the same (`--at-most`)"},
        {"stream-nearest", "the older of the two nearest, by all vectors"},
        {"stream-slots", "averaged on arrival (CAMELoT)"}, {"stream-fifo", "the oldest"},
        {"stream-reservoir", "one at random"},
        {"stream-ocm", "what is most like all others (OCM)"}};
    static const char *const heads[] = {"EM of the last versions", "last versions held", "entries"};
    static const char *const keys[] = {"em", "held", "entries"};
    if (!there("stream-versions")) return;
    fputs("\n### What to drop of a stream that repeats itself (OCM, CAMELoT)\n\nEach document "
          "comes one to eight times, every time with other facts. The bank has one place for "
          "each.\n", page);
    for (int i = 0; i < n_corpora; i++) {
        fprintf(page, "\n%s:\n", corpora[i]);
        put_heads("what is dropped", heads, 3);
        for (int r = 0; r < 8; r++) {
            fprintf(page, "| %s |", policies[r].what);
            for (int k = 0; k < 3; k++)
                put_stat(stat_of(corpora[i], policies[r].cell, keys[k]), k < 2 ? 3 : 0, 1);
            fputs("\n", page);
        }
    }
}

static void put_head(void) {
    fprintf(page, "# The paper's experiments, at toy scale\n\nMade by `make paper`; %d seed%s. "
            "Paper: arXiv 2403.04317. Each table cell is the mean over the seeds, +- their "
            "standard deviation; what needs only the LM, which all seeds share, is measured "
            "once (the document in the context, costs). Undecided: the seeds differ by more, the "
            "difference is below 0.01 (one run: 0.1), or MAC does not answer from its memory there "
            "at all. MAC is trained with what the paper does not have, guidance of a finder, "
            "distillation of the LM's keys and values, a shared start, Muon, answers read from the "
            "documents selected first (NOTES.md, Where we depart); without them: section 8, the "
            "paper's own loss.%s The order of a stream is the seed's. Options of the trainings:"
            "\n\n",
            n_seeds, n_seeds > 1 ? "s" : "",
            quick ? " QUICK=1: one small training, the first 120 documents of the test split; this "
                    "shows that everything works, and no more." : "");
    for (int i = 0; i < n_corpora; i++) {
        char name[100];
        snprintf(name, sizeof name, "PAPER_%s", corpora[i]);
        fprintf(page, "    %-9s %s\n", corpora[i], getenv(name) ? getenv(name) : "");
    }
    fputs("\n| claim | paper | ours | verdict |\n|---|---|---|---|\n", page);
}

int main(int argc, char **argv) {
    char path[600], beside[610];
    program_begin("paper");
    if (argc != 4) die("usage: page DIR CORPORA SEEDS");
    dir = argv[1];
    n_corpora = words(argv[2], corpora), n_seeds = words(argv[3], seeds);
    quick = getenv("QUICK") && !strcmp(getenv("QUICK"), "1");
    if (!n_corpora || !n_seeds) die("no corpora or no seeds");
    snprintf(path, sizeof path, "%s/index.md", dir);
    snprintf(beside, sizeof beside, "%s.new", path);
    page = need(fopen(beside, "w"));
    put_head();
    claim_adapt(), claim_cost(), claim_keep(), claim_hierarchy(), claim_streaming();
    claim_drop(), claim_retrieve(), claim_limited(), claim_elsewhere(), claim_designs();
    claim_unlearning(), claim_look(), claim_systems();
    section_adapt(), section_cost(), section_keep(), section_hierarchy();
    section_drop(), section_retrieve(), section_limited(), section_elsewhere();
    section_unlearning(), section_look();
    section_neighbours(), section_systems(), section_facts(), section_gate(), section_stream();
    if (ferror(page) || fclose(page) != 0 || rename(beside, path) != 0)
        die("%s: cannot be written", path);
    printf("%s\n", path);
    return 0;
}
