/* test_example.c - the example at the head of mac.h, word for word: its lines stand here, and this
 * program looks in mac.h and in its own source whether they still agree.  Run it from the root. */
#include "mac.h"
#include "check.h"
#include <string.h>

static int example(int *length) {
    MacConfig c = mac_config_default();
    c.V = 257;                                         // bytes, and the end of the answer
    Model *m = model_new(&c, 1);                       // 1: the seed
    Tape *tp = tape_new(0);                            // 0: no limit of memory
    Bank *bank = bank_new(m->c.T, m->c.d, model_fingerprint(m));
    int doc[] = {72, 105}, q[] = {87, 104, 111, 63}, answer[8], n;
    Ids d = {doc, 2}, x = {q, 4};
    Tensor *phi = mac_encode(m, tp, &d, 1);            // one forward pass: [T, d]
    if (!phi || bank_add(bank, "hi", "a greeting", 42, phi->data) < 0) return 1;
    mac_answer(m, tp, &x, 1, bank, 8, answer, &n, NULL);
    CHECK(bank->K == 1 && phi->shape[0] == c.T && phi->shape[1] == c.d,
          "the bank holds one document");
    CHECK(tape_error(tp)[0] == 0, "the example fails: %s", tape_error(tp));
    for (int i = 0; i < n; i++) CHECK(answer[i] >= 0 && answer[i] < c.V - 1, "token %d", answer[i]);
    *length = n;
    bank_free(bank);
    tape_free(tp);
    model_free(m);
    return 0;
}

static size_t slurp(const char *path, char *to, size_t cap) {
    FILE *f = fopen(path, "rb");
    size_t n = f ? fread(to, 1, cap - 1, f) : 0;
    CHECK(n > 0 && n < cap - 1, "%s cannot be read: run this from the root of the project", path);
    if (f) fclose(f);
    to[n] = 0;
    return n;
}

static void same_lines(void) {
    static char header[65536], own[16384], line[256];
    static const char before[] = " *     ";
    slurp("mac.h", header, sizeof header);
    slurp("tests/unit/test_example.c", own, sizeof own);
    int lines = 0;
    const char *from = own, *end = strstr(header, "Letters, in code");
    for (char *p = strstr(header, before); p && end && p < end; lines++) {
        size_t n = strcspn(p, "\n");
        snprintf(line, sizeof line, "\n    %.*s\n", (int)(n - strlen(before)), p + strlen(before));
        const char *found = strstr(from, line); /* in this order, nothing between them */
        CHECK(found && (lines == 0 || found == from), "mac.h's line is not in this test: %s",
              line + 1);
        if (found) from = found + strlen(line) - 1;
        p += n + 1;
        if (strncmp(p, before, strlen(before))) p = NULL;
    }
    CHECK(lines == 10, "the example has %d lines", lines);
}

int main(void) {
    int n = -1;
    same_lines();
    CHECK(example(&n) == 0, "the example fails");
    CHECK(n >= 0 && n <= 8, "an answer of %d tokens", n);
    return check_done("test_example");
}
