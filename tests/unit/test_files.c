/* test_files.c - tensors in files: what others write is read, ours is what the format says, and
 * what is damaged is refused with a sentence that names the file, before much memory is asked for.
 * The argument is a folder for scratch files, "." when there is none. */
#if defined(__unix__) || defined(__APPLE__)
#define _POSIX_C_SOURCE 200809L
#include <dirent.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#define HAVE_FOLDERS
#endif
#include <stdlib.h>

/* The readers are compiled in here, so that every allocation of theirs can be counted, and made to
 * fail: the one that finds fail_in at 1. */
static size_t allocated;
static int fail_in;
static int fails(size_t n) {
    allocated += n;
    return fail_in && --fail_in == 0;
}
static void *counted_malloc(size_t n) { return fails(n) ? NULL : malloc(n); }
static void *counted_calloc(size_t n, size_t one) { return fails(n * one) ? NULL : calloc(n, one); }
static void *counted_realloc(void *p, size_t n) { return fails(n) ? NULL : realloc(p, n); }
#define malloc counted_malloc
#define calloc counted_calloc
#define realloc counted_realloc
#include "data/safetensors.c"
#include "data/json.c"
#undef malloc
#undef calloc
#undef realloc

#include "mac.h"
#include "check.h"
#include <math.h>
#include <string.h>

static const char *scratch = ".";
static char path[300], path2[300], err[MAC_ERR];

static void put(const char *to, const void *bytes, size_t n) {
    remove(to); /* replacing a file in place makes some systems wait for the disk */
    FILE *f = fopen(to, "wb");
    CHECK(f && fwrite(bytes, 1, n, f) == n, "%s cannot be written", to);
    if (f) fclose(f);
}

/* The file at `path` loses all bytes from the n-th on; they were put there as `bytes`. */
static void shorten(const void *bytes, size_t n) {
#ifdef HAVE_FOLDERS
    (void)bytes;
    CHECK(truncate(path, (off_t)n) == 0, "%s cannot be cut", path);
#else
    put(path, bytes, n);
#endif
}

static size_t get(const char *from, unsigned char *to, size_t cap) {
    FILE *f = fopen(from, "rb");
    size_t n = f ? fread(to, 1, cap, f) : 0;
    if (f) fclose(f);
    return n;
}

/* A file by hand: the length of the header, little-endian, the header, the data. */
static size_t by_hand(unsigned char *to, const char *header, const void *data, size_t n) {
    size_t len = strlen(header);
    for (int i = 0; i < 8; i++) to[i] = (unsigned char)((unsigned long long)len >> (8 * i));
    memcpy(to + 8, header, len);
    if (n) memcpy(to + 8 + len, data, n);
    return 8 + len + n;
}

static void put_by_hand(const char *header, const void *data, size_t n) {
    static unsigned char bytes[1 << 17];
    put(path, bytes, by_hand(bytes, header, data, n));
}

/* err is one sentence, which names the file and what else it must, and no lack of memory. */
static int sentence(const char *names) {
    int plain = 1;
    for (const char *c = err; *c; c++) plain = plain && (unsigned char)*c >= ' ' && *c != 127;
    return plain && strstr(err, "test_files") && strlen(err) > strlen(path) + 10
        && strstr(err, names) && !strstr(err, "out of memory");
}

/* The file at `path` must not open, and little be allocated before that is known: for each byte of
 * a header a dozen, and the first block of JSON nodes. */
static void refused_naming(const char *what, const char *names) {
    static unsigned char bytes[1 << 17];
    size_t most = 12 * get(path, bytes, sizeof bytes) + sizeof(StFile) + sizeof(struct JsonBlock)
                + 1000;
    err[0] = 0;
    allocated = 0;
    StFile *f = st_open(path, err);
    CHECK(!f && sentence(names), "%s: \"%s\"", what, err);
    CHECK(allocated <= most, "%s: %zu bytes are allocated, not %zu", what, allocated, most);
    st_close(f);
}

static void refused(const char *what) { refused_naming(what, ""); }

/* ==== a file that another program wrote ====================================================== */
static const unsigned char hand_data[] = {
    0x00, 0x00, 0x80, 0x3f, 0x00, 0x00, 0x20, 0xc0,     /* 1, -2.5 as F32                     */
    0xcd, 0xcc, 0xcc, 0x3d, 0x01, 0x00, 0x00, 0x00,     /* 0.1f, the least subnormal          */
    0x18, 0x2d, 0x44, 0x54, 0xfb, 0x21, 0x09, 0x40,     /* pi as F64                          */
    0x00, 0x00, 0x28, 0x42, 7, 0, 255};                 /* 42 as F32 without dimensions, U8   */
static const char hand_header[] =
    " {\"__metadata__\" : {\"k\\u00e9y\":\"a \\\"b\\\" \\\\ \\n \\u20ac\",\"two\":\"2\"},\n"
    "\"m\\/x\":{\"dtype\":\"F32\",\"shape\":[2, 2],\"data_offsets\":[0,16]},"
    "\"bytes\":{\"dtype\":\"U8\",\"data_offsets\":[28,31],\"shape\":[3]},"
    "\"pi\":{\"shape\":[1],\"data_offsets\":[16,24],\"dtype\":\"F64\"},"
    "\"none\":{\"dtype\":\"F32\",\"shape\":[0,4],\"data_offsets\":[24,24]},"
    "\"scalar\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[24,28]}}   ";

static void test_foreign(void) {
    put_by_hand(hand_header, hand_data, sizeof hand_data);
    StFile *f = st_open(path, err);
    CHECK(f != NULL, "by hand: %s", err);
    if (!f) return;
    const char *euro = st_meta(f, "k\xc3\xa9y"), *two = st_meta(f, "two"), *dtype = "";
    CHECK(euro && !strcmp(euro, "a \"b\" \\ \n \xe2\x82\xac"), "escapes: %s", euro ? euro : "none");
    CHECK(two && !strcmp(two, "2") && !st_meta(f, "three"), "metadata");
    real x[4] = {0}, pi = 0, scalar = 0;
    unsigned char u[3] = {0};
    CHECK(st_count(f) == 5 && st_size(f, "m/x") == 4 && st_size(f, "none") == 0
              && st_size(f, "scalar") == 1 && st_size(f, "bytes") == 3
              && st_size(f, "absent") == -1,
          "sizes");
    CHECK(st_read(f, "m/x", x, 4, err) == 0 && x[0] == 1 && x[1] == (real)-2.5
              && (float)x[2] == 0.1f && (double)x[3] == ldexp(1, -149),
          "F32: %g %g %g %g", (double)x[0], (double)x[1], (double)x[2], (double)x[3]);
    CHECK(st_read(f, "pi", &pi, 1, err) == 0 && pi == (real)3.14159265358979323846, "F64: %.17g",
          (double)pi);
    CHECK(st_read(f, "scalar", &scalar, 1, err) == 0 && scalar == 42, "scalar: %g", (double)scalar);
    CHECK(st_read(f, "none", x, 0, err) == 0, "an empty tensor: %s", err);
    CHECK(st_read_bytes(f, "bytes", u, 3, err) == 0 && u[0] == 7 && u[1] == 0 && u[2] == 255, "U8");
    int ndim = 0, seen = 0;
    const int64_t *shape = NULL;
    for (int i = 0; i < st_count(f); i++) {
        const char *name = st_info(f, i, &dtype, &ndim, &shape);
        seen += !strcmp(name, "m/x") && !strcmp(dtype, "F32") && ndim == 2 && shape[0] == 2
                && shape[1] == 2;
        seen += !strcmp(name, "scalar") && ndim == 0;
        seen += !strcmp(name, "bytes") && !strcmp(dtype, "U8") && ndim == 1 && shape[0] == 3;
    }
    CHECK(seen == 3, "info");
    CHECK(st_read(f, "m/x", x, 3, err) == -1 && strstr(err, "m/x") && strstr(err, "test_files"),
          "3 of 4: %s", err);
    CHECK(st_read(f, "absent", x, 1, err) == -1 && strstr(err, "absent"), "absent: %s", err);
    CHECK(st_read(f, "bytes", x, 3, err) == -1 && strstr(err, "U8"), "U8 as numbers: %s", err);
    CHECK(st_read_bytes(f, "m/x", u, 4, err) == -1 && strstr(err, "F32"), "numbers as U8: %s", err);
    st_close(f);
    put_by_hand("{\"x\":{\"dtype\":\"F8_E4M3\",\"shape\":[1,1,1,1,2],\"data_offsets\":[0,2]}}",
                hand_data, 2);
    f = st_open(path, err);
    CHECK(f && st_size(f, "x") == 2 && st_read(f, "x", x, 2, err) == -1 && strstr(err, "F8_E4M3"),
          "what can only be shown: %s", err);
    st_close(f);
    st_close(NULL);
}

/* ==== damaged files ========================================================================== */
#define AT(offsets) "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":" offsets "}}"
#define ONE "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}"
static const struct { const char *what, *header; } bad_headers[] = {
    {"bytes that are no UTF-8", "{\"\xff\":{}}"},
    {"a byte order mark", "\xef\xbb\xbf{" ONE "}"},
    {"metadata twice", "{\"__metadata__\":{},\"__metadata__\":{}," ONE "}"},
    {"a key of metadata twice",
     "{\"__metadata__\":{\"k\":\"1\",\"j\":\"\",\"k\":\"1\"}," ONE "}"},
    {"metadata in metadata", "{\"__metadata__\":{\"k\":{\"k\":\"1\"}}," ONE "}"},
    {"metadata that are a list", "{\"__metadata__\":[\"k\"]," ONE "}"},
    {"the same name, escaped",
     "{" ONE ",\"\\u0061\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[8,8]}}"},
    {"a name with line ends", "{\"a\\n\\u001b[2J\":1}"},
    {"an exponent", AT("[0,8e0]")},
    {"a leading zero", AT("[0,08]")},
    {"minus zero", AT("[-0,8]")},
    {"an offset that is a text", AT("[0,\"8\"]")},
    {"offsets that are an object", AT("{\"0\":0,\"8\":8}")},
    {"a product that overflows to 2",
     "{\"a\":{\"dtype\":\"U8\",\"shape\":[9223372036854775807,2],\"data_offsets\":[0,8]}}"},
    {"a shape of 2^63", "{\"a\":{\"dtype\":\"F32\",\"shape\":[9223372036854775808],"
                        "\"data_offsets\":[0,8]}}"},
    {"bytes that overflow to 8", "{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387906],"
                                 "\"data_offsets\":[0,8]}}"},
    {"nothing times much", "{\"a\":{\"dtype\":\"F32\",\"shape\":[0,9223372036854775807],"
                           "\"data_offsets\":[0,8]}}"},
    {"not JSON", "GGUF what is this"},
    {"empty header", ""},
    {"an array", "[1,2]"},
    {"unfinished", "{" ONE},
    {"garbage behind the header", "{" ONE "} x"},
    {"two objects", "{" ONE "}{" ONE "}"},
    {"a comma too many", "{" ONE ",}"},
    {"no colon", "{\"a\" {\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}"},
    {"no quotes", "{a:{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}"},
    {"an unknown escape", "{\"\\q\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}"},
    {"half an escape", "{\"\\u00\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}"},
    {"half a pair", "{\"\\ud800\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}"},
    {"NUL in a name", "{\"\\u0000\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}"},
    {"an open string", "{\"a"},
    {"a backslash at the end", "{\"a\\"},
    {"the same name twice",
     "{" ONE ",\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[8,8]}}"},
    {"overlap", "{" ONE ",\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}"},
    {"a gap", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
              "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[6,8]}}"},
    {"a late start", AT("[4,8]")},
    {"beyond the end", AT("[0,12]")},
    {"an end before the start", AT("[8,0]")},
    {"less than the file", AT("[0,4]")},
    {"negative offsets", AT("[-8,0]")},
    {"a fraction", AT("[0,8.0]")},
    {"huge offsets", AT("[0,18446744073709551624]")},
    {"one offset", AT("[8]")},
    {"three offsets", AT("[0,4,8]")},
    {"an unknown dtype", "{\"a\":{\"dtype\":\"F99\",\"shape\":[2],\"data_offsets\":[0,8]}}"},
    {"another dtype", "{\"a\":{\"dtype\":\"F64\",\"shape\":[2],\"data_offsets\":[0,8]}}"},
    {"a long dtype", "{\"a\":{\"dtype\":\"F32F32F32F32\",\"shape\":[2],\"data_offsets\":[0,8]}}"},
    {"another shape", "{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}"},
    {"a negative shape", "{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}"},
    {"an absurd shape",
     "{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4,2],\"data_offsets\":[0,8]}}"},
    {"many dimensions",
     "{\"a\":{\"dtype\":\"F32\",\"shape\":[2,1,1,1,1,1,1,1,1],\"data_offsets\":[0,8]}}"},
    {"a nested shape", "{\"a\":{\"dtype\":\"F32\",\"shape\":[[2]],\"data_offsets\":[0,8]}}"},
    {"no dtype", "{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}"},
    {"dtype twice",
     "{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}"},
    {"something else", "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"x\":1}}"},
    {"a number as metadata", "{\"__metadata__\":{\"a\":1}," ONE "}"},
    {"a tensor that is a string", "{\"a\":\"F32\"}"}};

static void test_damaged(void) {
    static unsigned char bytes[1 << 17];
    char deep[40000] = "{\"a\":";
    for (size_t i = 0; i < sizeof bad_headers / sizeof *bad_headers; i++) {
        put_by_hand(bad_headers[i].header, hand_data, 8);
        refused(bad_headers[i].what);
    }
    memset(deep + 5, '{', sizeof deep - 6);
    put_by_hand(deep, hand_data, 8);
    refused("deep JSON");
    memset(deep + 5, '[', sizeof deep - 6);
    put_by_hand(deep, hand_data, 8);
    refused("deep arrays");
    for (size_t i = 0; i + 7 < sizeof deep; i++) deep[6 + i] = "0,"[i % 2];
    put_by_hand(deep, hand_data, 8);
    refused_naming("more values than a header has", "more values");
    put_by_hand("{" ONE "}", hand_data, 9);
    refused("trailing garbage");
    size_t n = by_hand(bytes, "{" ONE "}", hand_data, 8);
    put(path, bytes, n);
    StFile *f = st_open(path, err);
    CHECK(f != NULL, "the undamaged file: %s", err);
    st_close(f);
    for (int i = 0; i < 8; i++) { /* absurd lengths of the header */
        unsigned char keep = bytes[i];
        bytes[i] = 0xff;
        put(path, bytes, n);
        refused("an absurd length");
        bytes[i] = keep;
    }
    remove(path);
    refused("no file at all");
}

/* Every length short of the whole. */
static void test_truncated(void) {
    static unsigned char bytes[4096];
    size_t n = by_hand(bytes, hand_header, hand_data, sizeof hand_data);
    put(path, bytes, n);
    while (n-- > 0) {
        shorten(bytes, n);
        refused("truncated");
    }
}

/* Names of tensors and fields are in the sentence. */
static void test_named(void) {
    static const struct { const char *names, *dtype, *shape, *offsets; } bad[] = {
        {"tensor \"w.x\" has the unknown dtype \"F99\"", "\"F99\"", "[2]", "[0,8]"},
        {"tensor \"w.x\" has the unknown dtype", "32", "[2]", "[0,8]"},
        {"tensor \"w.x\": its shape", "\"F32\"", "[-2]", "[0,8]"},
        {"tensor \"w.x\": its shape", "\"F32\"", "2", "[0,8]"},
        {"tensor \"w.x\": its shape does not fit its data_offsets", "\"F32\"", "[3]", "[0,8]"},
        {"tensor \"w.x\": its data_offsets", "\"F32\"", "[2]", "[0]"},
        {"tensor \"w.x\": its data_offsets", "\"F32\"", "[2]", "[0,16]"},
        {"tensor \"w.x\" has the field \"shape\" twice", "\"F32\",\"shape\":[2]", "[2]",
         "[0,8]"},
        {"tensor \"w.x\" has the field \"y\"", "\"F32\",\"y\":[2]", "[2]", "[0,8]"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char header[300];
        snprintf(header, sizeof header,
                 "{\"w.x\":{\"dtype\":%s,\"shape\":%s,\"data_offsets\":%s}}", bad[i].dtype,
                 bad[i].shape, bad[i].offsets);
        put_by_hand(header, hand_data, 8);
        refused_naming(header, bad[i].names);
    }
    put_by_hand("{\"w.x\":{\"dtype\":\"F32\",\"shape\":[2]}}", hand_data, 8);
    refused_naming("a field is missing", "tensor \"w.x\" has no data_offsets");
    put_by_hand("{\"__metadata__\":{\"k\":[]}," ONE "}", hand_data, 8);
    refused_naming("metadata", "__metadata__ \"k\"");
}

/* Numbers at an odd place are read, but not handed out in place. */
static void test_unaligned(void) {
    real x[2] = {0};
    for (int pad = 0; pad < 8; pad++) {
        char header[300];
        unsigned char data[9] = {7};
        memcpy(data + 1, hand_data, 8);
        snprintf(header, sizeof header,
                 "{\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
                 "\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[1,9]}}%.*s",
                 pad, "        ");
        put_by_hand(header, data, 9);
        StFile *f = st_open(path, err);
        CHECK(f && st_read(f, "x", x, 2, err) == 0 && x[0] == 1 && x[1] == (real)-2.5,
              "unaligned: %s", err);
        void *at = f ? st_map(f, "x") : NULL;
        CHECK((uintptr_t)at % sizeof(real) == 0 && (!at || !memcmp(at, hand_data, 8)),
              "unaligned numbers in place");
        st_close(f);
    }
}

/* Without memory, whichever allocation fails: refused, and nothing is lost or written. */
static void test_no_memory(void) {
    for (int writing = 0; writing < 2; writing++)
        for (int k = 1, done = 0; !done; k++) {
            StWriter *w = NULL;
            StFile *f = NULL;
            real x[2] = {1, 2};
            put_by_hand(hand_header, hand_data, sizeof hand_data);
            err[0] = 0;
            fail_in = k;
            if (writing) {
                w = st_new();
                st_add_meta(w, "k", "v"), st_add_meta(w, "k", "w");
                st_add(w, "x", x, 1, (int[]){2}), st_add_bytes(w, "b", "y", 1);
                done = st_write(w, path, err) == 0;
            } else done = (f = st_open(path, err)) != NULL;
            done = done && fail_in > 0;
            fail_in = 0;
            CHECK(done || (strstr(err, "test_files") && strstr(err, "out of memory")),
                  "allocation %d fails: \"%s\"", k, err);
            st_close(f);
            f = st_open(path, err);
            CHECK(f && st_count(f) == (done && writing ? 2 : 5), "what stood there: %s", err);
            st_close(f);
            CHECK(k < 50, "no end of allocations");
            if (k == 50) return;
        }
}

/* Any byte of the header changed: refused, or read to its end without harm. */
static void test_changed_bytes(void) {
    static unsigned char bytes[4096];
    static const unsigned char other[] = {0, '"', '\\', '{', '}', '9', ',', 0xff};
    size_t n = by_hand(bytes, hand_header, hand_data, sizeof hand_data);
    int opened = 0, wrong = 0;
    for (size_t i = 0; i < n - sizeof hand_data; i++)
        for (size_t k = 0; k < sizeof other; k++) {
            unsigned char keep = bytes[i];
            bytes[i] = other[k];
            put(path, bytes, n);
            bytes[i] = keep;
            err[0] = 0;
            StFile *f = st_open(path, err);
            wrong += !f && !strstr(err, "test_files");
            for (int e = 0; f && e < st_count(f); e++) {
                real x[64];
                const char *dtype, *name;
                const int64_t *shape;
                int ndim;
                name = st_info(f, e, &dtype, &ndim, &shape);
                wrong += st_size(f, name) < 0 || st_size(f, name) > 31;
                if (st_size(f, name) <= 31)
                    wrong += st_read(f, name, x, st_size(f, name), err) < -1;
            }
            opened += f != NULL;
            st_close(f);
        }
    CHECK(wrong == 0 && opened > 10, "%d changed headers opened, %d harmed", opened, wrong);
}

/* ==== what we write ========================================================================== */
#ifdef MAC_DOUBLE
#define DTYPE "F64"
static const unsigned char written[] = {
    0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0, 0, 0, 0, 0, 0, 0x04, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0x80,
    0, 0, 0, 0, 0, 0, 0xf0, 0x7f, 0, 0, 0, 0, 0, 0, 0xf8, 0x7f, 1, 0, 0, 0, 0, 0, 0, 0};
#else
#define DTYPE "F32"
static const unsigned char written[] = {
    0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc0, 0, 0, 0, 0x80,
    0, 0, 0x80, 0x7f, 0, 0, 0xc0, 0x7f, 1, 0, 0, 0};
#endif

static void test_written(void) {
    real x[6] = {1, (real)-2.5, (real)-0.0, (real)INFINITY, (real)NAN, 0};
    x[5] = sizeof(real) == 8 ? (real)ldexp(1, -1074) : (real)ldexp(1, -149);
    unsigned char file[4096];
    char want[200], *header = (char *)file + 8;
    StWriter *w = st_new();
    st_add_meta(w, "key", "a \"quoted\"\n\\ value");
    st_add(w, "x.y", x, 2, (int[]){3, 2});
    st_add_bytes(w, "some bytes", "mac", 3);
    st_add(w, "none", x, 2, (int[]){0, 7});
    CHECK(st_write(w, path, err) == 0, "write: %s", err);
    size_t n = get(path, file, sizeof file), len = 0;
    for (int i = 7; i >= 0; i--) len = len << 8 | file[i];
    CHECK(n > 8 && len % 8 == 0 && n == 8 + len + sizeof written + 3, "%d bytes, header of %d",
          (int)n, (int)len);
    CHECK(!memcmp(file + 8 + len, written, sizeof written),
          "the numbers are not little-endian " DTYPE);
    CHECK(!memcmp(file + 8 + len + sizeof written, "mac", 3), "the bytes");
    header[len] = 0;
    int size = (int)sizeof written;
    CHECK(header[0] == '{'
              && strspn(strrchr(header, '}') + 1, " ") == strlen(strrchr(header, '}') + 1),
          "header");
    CHECK(strstr(header, "\"__metadata__\":{\"key\":\"a \\\"quoted\\\"\\u000a\\\\ value\"}"),
          "metadata: %s", header);
    snprintf(want, sizeof want,
             "\"x.y\":{\"dtype\":\"" DTYPE "\",\"shape\":[3,2],\"data_offsets\":[0,%d]}", size);
    CHECK(strstr(header, want), "%s is not in %s", want, header);
    snprintf(want, sizeof want,
             "\"some bytes\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[%d,%d]}", size,
             size + 3);
    CHECK(strstr(header, want), "%s is not in %s", want, header);
    StFile *f = st_open(path, err);
    real y[6] = {0};
    char text[4] = "";
    CHECK(f && st_read(f, "x.y", y, 6, err) == 0
              && st_read_bytes(f, "some bytes", text, 3, err) == 0,
          "%s", err);
    CHECK(y[0] == 1 && y[1] == (real)-2.5 && y[2] == 0 && signbit(y[2]) && isinf(y[3])
              && y[5] == x[5],
          "numbers");
    CHECK(isnan(y[4]), "a NaN came back as %g", (double)y[4]);
    CHECK(!strcmp(text, "mac") && f && !strcmp(st_meta(f, "key"), "a \"quoted\"\n\\ value"),
          "text");
    st_close(f);
}

static void test_long_tensor(void) { /* longer than any buffer, its length not a multiple */
    enum { N = 5003 };
    static real x[N], y[N];
    uint64_t r = 4;
    for (int i = 0; i < N; i++) x[i] = rng_normal(&r);
    StWriter *w = st_new();
    st_add_bytes(w, "odd", "x", 1);
    st_add(w, "long", x, 1, (int[]){N});
    CHECK(st_write(w, path, err) == 0, "write: %s", err);
    StFile *f = st_open(path, err);
    CHECK(f && st_read(f, "long", y, N, err) == 0 && !memcmp(x, y, sizeof x), "%d numbers: %s", N,
          err);
    st_close(f);
}

/* ==== a write that fails leaves what stood there ============================================= */
static int write_one(const char *to, real value) {
    StWriter *w = st_new();
    st_add(w, "one", &value, 1, (int[]){1});
    err[0] = 0;
    return st_write(w, to, err);
}

static void still_there(const char *why) {
    real x = 0;
    StFile *f = st_open(path, err);
    CHECK(f && st_read(f, "one", &x, 1, err) == 0 && x == 5, "%s: the old file is gone: %s", why,
          err);
    st_close(f);
}

/* A name longer than any message: the file is there and nowhere else. */
static void test_long_path(void) {
    char at[700] = "";
    for (int i = 0; i < 300; i++) strcat(at, i % 2 ? "/" : ".");
    strcat(at, path);
    if (path[0] == '/') memset(at, '/', 300);
    if (strlen(at) >= FILENAME_MAX) return; /* Windows: 260 */
    CHECK(write_one(path, 4) == 0 && write_one(at, 5) == 0, "a long name: %s", err);
    still_there("a long name");
    remove(path);
    StFile *f = st_open(at, err);
    CHECK(!f && err[0], "a long name");
    st_close(f);
}

static void test_unwritable(void) {
    char at[400];
    CHECK(write_one(path, 5) == 0, "write: %s", err);
    still_there("written");
    snprintf(at, sizeof at, "%s/no such folder/x", scratch);
    CHECK(write_one(at, 1) == -1 && strstr(err, "no such folder"), "no folder: \"%s\"", err);
#ifdef HAVE_FOLDERS
    snprintf(at, sizeof at, "%s.mac-part", path); /* where a new version is written first */
    CHECK(mkdir(at, 0700) == 0, "mkdir");
    CHECK(write_one(path, 6) == -1 && strstr(err, "test_files"), "no way to write: \"%s\"", err);
    still_there("a folder in the way");
    CHECK(rmdir(at) == 0 && symlink(path2, at) == 0, "symlink");
    CHECK(write_one(path, 6) == -1 && strstr(err, "test_files"), "a link: \"%s\"", err);
    still_there("a link in the way");
    CHECK(remove(at) == 0 && access(path2, F_OK) != 0, "the link is followed");
    CHECK(mkdir(path2, 0700) == 0, "mkdir");
    CHECK(write_one(path2, 6) == -1 && strstr(err, "no regular"), "onto a folder: \"%s\"", err);
    CHECK(!st_open(path2, err) && strstr(err, "no regular"), "a folder: \"%s\"", err);
    CHECK(rmdir(path2) == 0 && mkfifo(path2, 0600) == 0, "mkfifo"); /* which must not wait */
    CHECK(write_one(path2, 6) == -1 && strstr(err, "no regular"), "onto a pipe: \"%s\"", err);
    CHECK(!st_open(path2, err) && strstr(err, "no regular"), "a pipe: \"%s\"", err);
    CHECK(remove(path2) == 0, "remove");
#endif
    CHECK(write_one(path, 5) == 0, "write: %s", err);
    still_there("again");
    CHECK(st_write(NULL, path, err) == -1 && err[0], "nothing to write");
    still_there("nothing");
}

/* ==== one writer at a time; what is replaced keeps its mode, a link stays one ================ */
#ifdef HAVE_FOLDERS
static char *self;

static int another_program(char *does) { /* 1: it could do it; see main */
    pid_t child = fork();
    int status = 0;
    if (child == 0) execl(self, self, does, path, (char *)NULL);
    CHECK(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status), "fork");
    return WEXITSTATUS(status) == 0;
}

static void test_one_writer(void) {
    char part[400], link[400];
    struct stat s;
    FILE *f = NULL;
    snprintf(part, sizeof part, "%s.mac-part", path), snprintf(link, sizeof link, "%s.link", path);
    CHECK(write_one(path, 5) == 0 && file_lock(path, err) == 0, "lock: %s", err);
    CHECK(!another_program("--write") && !another_program("--lock"), "two writers");
    CHECK(access(part, F_OK) == 0, "the other's lock was taken for one left behind");
    still_there("locked");
    CHECK(file_lock(path, err) == -1 && strstr(err, "another program"), "locked twice");
    CHECK(write_one(path, 5) == 0 && access(part, F_OK) != 0, "under its lock: %s", err);
    CHECK(another_program("--lock") && access(part, F_OK) == 0, "no lock was left");
    CHECK(write_one(path, 5) == 0 && access(part, F_OK) != 0, "what was left stays: %s", err);
    CHECK(file_lock(path, err) == 0 && truncate(path, 3) == 0, "lock");
    CHECK(write_one(path, 6) == -1 && strstr(err, "changed by another"), "changed: \"%s\"", err);
    CHECK(stat(path, &s) == 0 && s.st_size == 3 && access(part, F_OK) != 0, "it was replaced");
    CHECK(remove(path) == 0 && file_lock(path, err) == 0 && (f = fopen(path, "wb")), "lock");
    if (f) fclose(f);
    CHECK(write_one(path, 6) == -1 && strstr(err, "changed by another"), "come: \"%s\"", err);

    CHECK(chmod(path, 0640) == 0 && symlink("test_files.tmp", link) == 0, "symlink");
    CHECK(write_one(link, 5) == 0 && stat(path, &s) == 0 && (s.st_mode & 07777) == 0640, "mode");
    CHECK(lstat(link, &s) == 0 && S_ISLNK(s.st_mode), "the link is replaced");
    still_there("by a link");
    CHECK(chmod(path, 0444) == 0 && write_one(path, 6) == -1 && strstr(err, "reading only"),
          "0444");
    CHECK(chmod(path, 0644) == 0 && remove(link) == 0, "chmod");
    still_there("0444");
    CHECK(symlink("nothing", link) == 0 && write_one(link, 6) == -1, "onto a link to nothing");
    CHECK(remove(link) == 0 && file_absent(link) && !file_absent(path), "absent");
}
#endif

/* ==== parameters ============================================================================= */
static void some_params(Params *ps, int wide, uint64_t seed) {
    *ps = (Params){NULL, 0};
    param_new(ps, "plain.weight", 2, 2, wide), param_new(ps, "group.%d.weight", 3, 3, 2, 4);
    param_new(ps, "group.%d.bias", 2, 3, 5), param_new(ps, "frozen", 1, 3);
    for (int i = 0; i < ps->n; i++) {
        Param *p = ps->p[i];
        size_t n = param_count(ps, p->name);
        for (size_t j = 0; j < n; j++)
            p->t.data[j] = rng_normal(&seed), p->m[j] = rng_normal(&seed),
            p->v[j] = rng_uniform(&seed);
    }
    param_freeze(ps, "frozen", 1);
}

static int params_equal(const Params *a, const Params *b, int moments) {
    int same = 1;
    for (int i = 0; i < a->n; i++) {
        const Param *p = a->p[i], *q = b->p[i];
        size_t n = param_count(a, p->name) * sizeof(real);
        same = same && !memcmp(p->t.data, q->t.data, n);
        if (p->m && moments) same = same && !memcmp(p->m, q->m, n) && !memcmp(p->v, q->v, n);
    }
    return same;
}

static void test_params(void) {
    Params a, b, wide;
    some_params(&a, 3, 1), some_params(&b, 3, 2), some_params(&wide, 6, 3);
    for (int moments = 0; moments < 2; moments++) {
        StWriter *w = st_new();
        CHECK(params_save(&a, w, moments) == 0 && st_write(w, path, err) == 0, "save: %s", err);
        StFile *f = st_open(path, err);
        CHECK(f && params_load(&b, f, moments, err) == 0, "load: %s", err);
        CHECK(params_equal(&a, &b, moments), "parameters come back changed, moments %d", moments);
        CHECK(st_size(f, "group.1.weight") == 8 && st_size(f, "group.2.bias") == 5
                  && st_size(f, "group.3.bias") == -1 && st_size(f, "group.%d.bias") == -1,
              "names of a group");
        real part[8];
        CHECK(st_read(f, "group.1.weight", part, 8, err) == 0
                  && !memcmp(part, param_find(&a, "group.%d.weight")->data + 8, sizeof part),
              "one of a group");
        CHECK((st_size(f, "adam.v.group.0.bias") == 5) == moments
                  && st_size(f, "adam.m.frozen") == -1,
              "moments");
        CHECK(params_load(&wide, f, 0, err) == -1 && strstr(err, "plain.weight")
                  && strstr(err, "test_files"),
              "another shape: \"%s\"", err);
        if (!moments)
            CHECK(params_load(&b, f, 1, err) == -1 && strstr(err, "adam."), "no moments: \"%s\"",
                  err);
        st_close(f);
        params_free(&b), some_params(&b, 3, 2);
    }
    Tensor *t = param_find(&b, "plain.weight");
    t->shape[0] = 3, t->shape[1] = 2;
    StFile *f = st_open(path, err);
    CHECK(f && params_load(&b, f, 0, err) == -1 && strstr(err, "plain.weight"),
          "transposed: \"%s\"", err);
    st_close(f);
    params_free(&a), params_free(&b), params_free(&wide);
}

/* ==== models and banks ======================================================================= */
static MacConfig tiny(void) {
    return (MacConfig){.V = 5, .S = 12, .d = 4, .L = 1, .H = 1, .e = 3, .enc_L = 1, .enc_H = 1,
                       .enc_dh = 2, .enc_ff = 3, .T = 2, .P = 1, .agg_B = 1, .agg_H = 1,
                       .agg_dh = 2, .pre_ff = 2, .D = 4, .Q = 4, .A = 3};
}

static int model_refused(void) {
    err[0] = 0;
    StFile *f = st_open(path, err);
    Model *m = f ? model_load(f, err) : NULL;
    int refusal = !m && sentence("");
    model_free(m);
    st_close(f);
    return refusal;
}

/* Sizes that would ask for much memory, or overflow, are found before anything is built. */
static void test_absurd_model(void) {
    static const struct { const char *key, *value, *more, *says; } bad[] = {
        {"V", "200000", "V", "more weights than it holds"},
        {"L", "65536", "L", "number of its tensors"},
        {"agg_B", "65536", "agg_B", "number of its tensors"},
        {"P", "1048576", "S", "must not exceed"},
        {"agg_H", "1048576", "agg_dh", "must not exceed"},
        {"enc_H", "1048576", "enc_dh", "must not exceed"}};
    MacConfig c = tiny();
    Model *m = model_new(&c, 1);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        StWriter *w = st_new();
        model_save(m, w, 0);
        st_add_meta(w, bad[i].key, bad[i].value), st_add_meta(w, bad[i].more, bad[i].value);
        CHECK(st_write(w, path, err) == 0, "write: %s", err);
        CHECK(model_refused() && sentence(bad[i].says), "%s: \"%s\"", bad[i].key, err);
    }
    model_free(m);
}

/* A model file in which one size is another: it must not fit. */
static void test_model_file(void) {
    static const char *const key[] = {"V", "d", "T", "enc_ff", "S", "H", "D", "format", "L",
                                      "agg_B", "P", "enc_dh", "agg_H", "V", "A", "Q", NULL};
    static const char *const value[] = {"6",   "8", "3", "0", "-1", "3", "99999999999999999999",
                                        "mac", "1048576", "1048576", "1048576", "1048576",
                                        "1048576", "5 ", "0x3", "4294967300", NULL};
    MacConfig c = tiny();
    Model *m = model_new(&c, 1);
    for (int i = -1; i < 0 || key[i]; i++) {
        StWriter *w = st_new();
        model_save(m, w, 0);
        if (i >= 0) st_add_meta(w, key[i], value[i]); /* the last one counts */
        CHECK(st_write(w, path, err) == 0, "write: %s", err);
        CHECK(model_refused() == (i >= 0), "a model with %s = %s", i < 0 ? "all" : key[i],
              i < 0 ? "right" : value[i]);
        CHECK(i < 0 || sentence(""), "%s = %s: \"%s\"", key[i], value[i], err);
        err[0] = 0;
        if (i < 0) {
            Bank *b = bank_load(path, err);
            CHECK(!b && strstr(err, "test_files"), "a model as a bank: \"%s\"", err);
            bank_free(b);
        }
    }
    StWriter *w = st_new();
    model_save(m, w, 1);
    CHECK(st_write(w, path, err) == 0, "write: %s", err);
    StFile *f = st_open(path, err);
    Model *back = f ? model_load(f, err) : NULL;
    CHECK(back && params_load(&back->ps, f, 1, err) == 0, "a model with moments: %s", err);
    model_free(back), st_close(f), model_free(m);
}

/* Gates that are no gates. */
static void test_gate_file(void) {
    static const struct { const char *what, *says; int ndim, R, T, d, fit, odd; } gates[] = {
        {"right", "", 3, 2, 2, 4, 4, 0},          {"other vectors", "shape", 3, 2, 4, 2, 4, 0},
        {"flat", "shape", 1, 16, 1, 1, 4, 0},     {"half a stranger", "expected", 3, 1, 1, 4, 4, 0},
        {"no stranger", "expected", 3, 0, 2, 4, 4, 0},
        {"no strangers", "expected", 0, 0, 0, 0, 4, 0},
        {"no fit", "gate.fit", 3, 2, 2, 4, 0, 0}, {"too long a fit", "shape", 3, 2, 2, 4, 5, 0},
        {"NaN", "is damaged", 3, 2, 2, 4, 4, 1},
        {"NaN as threshold", "is damaged", 3, 2, 2, 4, 4, 2},
        {"no vectors", "of 2 vectors", 3, 2, 2, 4, 4, 3},
        {"three", "of 2 vectors", 3, 2, 2, 4, 4, 4},
        {"the third of two", "not below T", 3, 2, 2, 4, 4, 5},
        {"one before", "not below T", 3, 2, 2, 4, 4, 6}};
    MacConfig c = tiny();
    Model *m = model_new(&c, 1);
    CHECK(m->c.T == 2 && m->c.d == 4, "sizes of the test");
    for (size_t i = 0; i < sizeof gates / sizeof *gates; i++) {
        real phi[16] = {1, 2, 3}, fit[5] = {1, 0, (real)0.5, 1}, t[3] = {0, 1, 1};
        if (gates[i].odd == 1) phi[5] = (real)NAN;
        if (gates[i].odd == 2) fit[2] = (real)NAN;
        if (gates[i].odd == 5) t[1] = 2;
        if (gates[i].odd == 6) t[0] = -1;
        StWriter *w = st_new();
        model_save(m, w, 0);
        if (gates[i].ndim)
            st_add(w, "gate.strangers", phi, gates[i].ndim,
                   (int[]){gates[i].R, gates[i].T, gates[i].d});
        if (gates[i].fit) st_add(w, "gate.fit", fit, 1, (int[]){gates[i].fit});
        if (gates[i].odd != 3) st_add(w, "gate.vectors", t, 1, (int[]){gates[i].odd == 4 ? 3 : 2});
        CHECK(st_write(w, path, err) == 0, "write: %s", err);
        err[0] = 0;
        CHECK(model_refused() == (i > 0) && (i == 0 || sentence(gates[i].says)),
              "a gate, %s: \"%s\"", gates[i].what, err);
    }
    real old[3] = {1, 0, (real)0.5};
    StWriter *w = st_new();
    model_save(m, w, 0);
    st_add(w, "gate.strangers", (real[8]){1, 2}, 3, (int[]){1, 2, 4});
    st_add(w, "gate.vectors", (real[1]){1}, 1, (int[]){1});
    st_add(w, "gate.fit", old, 1, (int[]){3});
    CHECK(st_write(w, path, err) == 0, "write: %s", err);
    StFile *f = st_open(path, err);
    Model *back = f ? model_load(f, err) : NULL;
    CHECK(back && back->gate.R == 0, "a gate of three numbers is none: \"%s\"", err);
    st_close(f), model_free(back), model_free(m);
}

static void bank_refused(const char *what) {
    err[0] = 0;
    Bank *b = bank_load(path, err);
    CHECK(!b && sentence(""), "%s: \"%s\"", what, err);
    bank_free(b);
}

/* Banks made by hand: [K,T,d] vectors, and text for the entries. */
static void odd_bank(const char *what, const char *format, int ndim, int K, const char *text, int n,
                     int fits) {
    static const real phi[32];
    StWriter *w = st_new();
    st_add_meta(w, "format", format);
    st_add_meta(w, "model", "00000000000000ff");
    st_add(w, "phi", phi, ndim, (int[]){K, 2, 4});
    st_add_bytes(w, "entries", text, n);
    CHECK(st_write(w, path, err) == 0, "write: %s", err);
    if (!fits) bank_refused(what);
    Bank *b = fits ? bank_load(path, err) : NULL;
    CHECK(!fits || (b && b->K == K && b->model == 255 && b->T == 2 && b->d == 4), "%s: %s", what,
          err);
    bank_free(b);
}

/* A bank whose vectors are something else, and lie at an odd place behind the entries; those that
 * fit are zeros, whatever byte of the file they begin at. */
static void odd_bank_dtype(const char *dtype, int size, int fits) {
    static const unsigned char zeros[2 * 2 * 4 * 8];
    static const char text[] = "a\0A\0000000000000000001\0b\0B\0000000000000000002";
    StWriter *w = st_new();
    real x[16];
    st_add_meta(w, "format", "mac-bank"), st_add_meta(w, "model", "00000000000000ff");
    st_add_bytes(w, "entries", text, (int)sizeof text);
    st_add_as(w, "phi", dtype, NULL, 3, (int[]){2, 2, 4});
    CHECK(st_begin(w, path, err) == 0, "write: %s", err);
    st_put(w, text, sizeof text), st_put(w, zeros, (size_t)(16 * size));
    CHECK(st_end(w, err) == 0, "write: %s", err);
    if (!fits) bank_refused(dtype);
    CHECK(fits || strstr(err, "\"phi\""), "vectors of %s: \"%s\"", dtype, err);
    Bank *b = fits ? bank_load(path, err) : NULL;
    CHECK(!fits || b, "vectors of %s: %s", dtype, err);
    if (b) bank_read(b, 0, 2, x);
    for (int k = 0; b && k < 16; k++) CHECK(x[k] == 0, "vectors of %s", dtype);
    bank_free(b);
}

/* ==== every field of the header in turn ====================================================== */
/* The file `bytes` with header[at .. at+len) replaced by `by`, and the length of the header. */
static void put_changed(const unsigned char *bytes, size_t n, size_t at, size_t len,
                        const char *by) {
    static unsigned char to[1 << 16];
    size_t header = (size_t)from_le(bytes, 8) - len + strlen(by), rest = 8 + at + len;
    CHECK(n + strlen(by) < sizeof to, "the file is too large for this test");
    for (int i = 0; i < 8; i++) to[i] = (unsigned char)((uint64_t)header >> (8 * i));
    memcpy(to + 8, bytes + 8, at);
    memcpy(to + 8 + at, by, strlen(by));
    memcpy(to + 8 + at + strlen(by), bytes + rest, n - rest);
    put(path, to, n - len + strlen(by));
}

/* Every number and every string of a model's or bank's header is replaced, and `loads` must say no
 * in one sentence.  The tensors' own numbers must be found wrong before the file is believed. */
static void every_field(const char *what, int (*loads)(void)) {
    static const char *const numbers[] = {"-1", "4294967296", "1e1", "99999999999999999999999",
                                          "4611686018427387905", "[]", "\"1\"", "null"};
    static const char *const strings[] = {"\"zz\"", "\"\"", "1", "{}", "\"\\u0001\""};
    static unsigned char bytes[1 << 16];
    size_t n = get(path, bytes, sizeof bytes), end = 8 + (size_t)from_le(bytes, 8), len;
    int fields = 0;
    CHECK(loads(), "%s: unchanged, \"%s\"", what, err);
    for (size_t at = 8; at < end; at += len) {
        int number = bytes[at] >= '0' && bytes[at] <= '9', string = bytes[at] == '"';
        len = 1;
        if (!number && !string) continue;
        while (number ? bytes[at + len] >= '0' && bytes[at + len] <= '9' : bytes[at + len] != '"')
            len++;
        len += (size_t)string;
        fields++;
        for (int k = 0; k < (number ? 8 : 5); k++) {
            const char *by = number ? numbers[k] : strings[k];
            put_changed(bytes, n, at - 8, len, by);
            err[0] = 0;
            allocated = 0;
            CHECK(!loads() && sentence(number ? "tensor \"" : ""), "%s: %.*s is %s: \"%s\"", what,
                  (int)len, (const char *)bytes + at, by, err);
            CHECK(allocated < 12 * n + 20000, "%s: %zu bytes allocated", what, allocated);
        }
    }
    CHECK(fields > 10, "%s has %d fields", what, fields);
}

/* All that a loaded bank holds is read. */
static int bank_loads(void) {
    real x[64];
    BankEntry e;
    Bank *b = bank_load(path, err);
    size_t sum = 0;
    for (const char *at = NULL; b && (at = bank_next(b, at, &e));) sum += strlen(e.title);
    for (int k = 0; b && k < b->K && b->T * b->d <= 64; k++) bank_read(b, k, 1, x);
    bank_free(b);
    return b != NULL && sum < 1 << 16;
}

static int model_loads(void) { return !model_refused(); }

static void test_every_field(void) {
    MacConfig c = tiny();
    Model *m = model_new(&c, 1);
    StWriter *w = st_new();
    model_save(m, w, 0);
    CHECK(st_write(w, path, err) == 0, "write: %s", err);
    every_field("a model", model_loads);
    for (int half = 0; half < 2; half++) {
        Bank *b = bank_new(c.T, c.d, 1);
        real phi[8] = {1, 2, 3, 4, 5, 6, 7, 8};
        b->half = half;
        CHECK(bank_add(b, "one", "1", 11, phi) == 1 && bank_add(b, "two", "2", 22, phi) == 1
                  && bank_save(b, path, err) == 0, "bank: %s", err);
        every_field("a bank", bank_loads);
        bank_free(b);
    }
    model_free(m);
}

/* Any byte of a bank changed, its numbers and texts too: refused, or read without harm. */
static void test_changed_bank(void) {
    static const unsigned char other[] = {0, '"', '9', 0xff};
    static unsigned char bytes[1 << 12];
    int wrong = 0, opened = 0;
    MacConfig c = tiny();
    Bank *b = bank_new(c.T, c.d, 1), *whole;
    real phi[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    CHECK(bank_add(b, "one", "1", 11, phi) == 1 && bank_save(b, path, err) == 0, "bank: %s", err);
    bank_free(b);
    whole = bank_load_whole(path, err);
    CHECK(whole != NULL, "a bank as it was written: %s", err);
    bank_free(whole);
    size_t n = get(path, bytes, sizeof bytes), data = 8 + (size_t)from_le(bytes, 8);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < sizeof other; k++) {
            unsigned char keep_it = bytes[i];
            bytes[i] = other[k];
            put(path, bytes, n);
            int changed = bytes[i] != keep_it;
            bytes[i] = keep_it;
            err[0] = 0;
            if (bank_loads()) opened++;
            else wrong += !sentence("");
            whole = bank_load_whole(path, err);
            wrong += whole ? i >= data && changed : !sentence("");
            bank_free(whole);
        }
    CHECK(wrong == 0 && opened > 10, "%d changed banks opened, %d refused without a word", opened,
          wrong);
}

/* What a bank is asked before it is used: made by this model, of its sizes, numbers only? */
static void test_bank_fits(void) {
    static const char *const texts[] = {"", "Velmora", "12345678",
                                        "Velmora is a harbour town in Ardenia."};
    static const uint64_t keys[] = {0x1e924b9d737700d7u, 0xb8dd8cf9f1d7573du, 0x5de7ecc4ba81e998u,
                                    0x724ad36b9c5a3d20u}; /* by a SipHash in Python */
    MacConfig c = tiny();
    Bank *b = bank_new(c.T, c.d, 1);
    real phi[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    for (int i = 0; i < 4; i++)
        CHECK(bank_key(b, texts[i]) == keys[i], "SipHash of \"%s\"", texts[i]);
    b->tokens = 7;
    CHECK(bank_add(b, "one", "1", 1, phi) == 1 && bank_save(b, path, err) == 0, "bank: %s", err);
    bank_free(b);
    b = bank_load(path, err);
    CHECK(b && !b->weak && b->tokens == 7, "what it was made with is lost: %s", err);
    CHECK(!bank_misfit(b, c.T, c.d, 1, 7), "its own model does not fit");
    CHECK(bank_misfit(b, c.T, c.d, 2, 7) && bank_misfit(b, c.T, c.d, 1, 8),
          "another model or tokenizer fits");
    CHECK(bank_misfit(b, 1, 8, 1, 7) != NULL, "other sizes fit");
    CHECK(bank_check(b, path, err) == 0, "numbers: %s", err);
    for (int i = 0; i < 2; i++) {
        phi[7] = i ? (real)INFINITY : (real)NAN;
        CHECK(bank_add(b, "two", "2", 2, phi) == 1 && bank_check(b, path, err) == -1
                  && sentence("entry 2, \"two\""), "what is no number: \"%s\"", err);
        CHECK(bank_remove(b, "two") == 0, "remove");
    }
    bank_free(b);
}

static void test_forget(void) {
    MacConfig c = tiny();
    Bank *b = bank_new(c.T, c.d, 1);
    const char *absent;
    real phi[8] = {0}, back[8 * 20];
    for (int i = 0; i < 20; i++) { /* two of each id */
        char id[16];
        snprintf(id, sizeof id, "d%d", i / 2);
        phi[0] = (real)i;
        CHECK(bank_add(b, id, "", (uint64_t)i + 1, phi) == 1, "add");
    }
    CHECK(bank_forget(b, (const char *[]){"d3", "d9", "dx", "d3"}, 4, &absent) == -1 && absent
              && !strcmp(absent, "dx") && b->K == 20, "an absent id");
    CHECK(bank_forget(b, (const char *[]){"d9", "d3", "d0", "d3"}, 4, &absent) == 0 && b->K == 14,
          "three ids of two each");
    bank_read(b, 0, 14, back);
    BankEntry e;
    int k = 0;
    for (const char *at = NULL; (at = bank_next(b, at, &e)); k++) {
        int was = 2 * (e.id[1] - '0') + k % 2;
        CHECK(e.id[1] != '3' && e.id[1] != '9' && e.id[1] != '0', "%s stays", e.id);
        CHECK(back[8 * k] == (real)was && e.hash == (uint64_t)was + 1, "%s is another", e.id);
    }
    CHECK(k == 14, "%d entries", k);
    bank_free(b);
}

/* The file at `path` is cut shorter and shorter: at every byte where it is small, else at 400
 * places of its header and 400 behind it. */
static void cut_everywhere(void) {
    static unsigned char bytes[1 << 20];
    size_t n = get(path, bytes, sizeof bytes), header = 8 + (size_t)from_le(bytes, 8);
    size_t early = n < 32768 ? 1 : header / 400 + 1, late = n < 32768 ? 1 : n / 400 + 1;
    CHECK(n > 8 && header <= n, "no file to cut");
    while (n-- > 0) {
        if (n % (n > header ? late : early)) continue;
        shorten(bytes, n);
        err[0] = 0;
        StFile *f = st_open(path, err);
        CHECK(!f && sentence(""), "cut to %zu bytes: \"%s\"", n, err);
        st_close(f);
    }
}

static void copy_file(const char *from) {
    static unsigned char bytes[1 << 20];
    put(path, bytes, get(from, bytes, sizeof bytes));
}

static void test_cut_files(void) {
    MacConfig c = tiny();
    Model *m = model_new(&c, 1);
    StWriter *w = st_new();
    model_save(m, w, 0);
    CHECK(st_write(w, path, err) == 0, "write: %s", err);
    model_free(m);
    cut_everywhere();
#ifdef HAVE_FOLDERS
    DIR *folder = opendir("tests/vectors"); /* files that others wrote, where there are some */
    for (struct dirent *e; folder && (e = readdir(folder));) {
        char from[400];
        if (!strstr(e->d_name, ".safetensors")) continue;
        snprintf(from, sizeof from, "tests/vectors/%.300s", e->d_name);
        copy_file(from);
        cut_everywhere();
    }
    if (folder) closedir(folder);
#endif
}

static void test_bank_file(void) {
    static const char two[] = "a\0A\0000000000000000001\0b\0B\0000000000000000002";
    static const char twisted[] = "a\0A\0000000000000000001\0b\0B\000000000000000000g";
    static unsigned char bytes[8192];
    int n = (int)sizeof two;
    odd_bank("two entries", "mac-bank", 3, 2, two, n, 1);
    CHECK(model_refused() && strstr(err, "bank"), "a bank as a model: \"%s\"", err);
    for (size_t size = get(path, bytes, sizeof bytes); size-- > 0;) {
        shorten(bytes, size);
        bank_refused("a truncated bank");
    }
    odd_bank_dtype("F16", 2, 1), odd_bank_dtype(DTYPE, (int)sizeof(real), 1);
    odd_bank_dtype("U8", 1, 0), odd_bank_dtype("I8", 1, 0), odd_bank_dtype("BF16", 2, 0);
    odd_bank_dtype("I32", 4, 0), odd_bank_dtype("U64", 8, 0);
    odd_bank("no entries", "mac-bank", 3, 0, two, 0, 1);
    odd_bank("another format", "mac-model", 3, 2, two, n, 0);
    odd_bank("two dimensions", "mac-bank", 2, 2, two, n, 0);
    odd_bank("an entry too few", "mac-bank", 3, 3, two, n, 0);
    odd_bank("an entry without end", "mac-bank", 3, 2, two, n - 1, 0);
    odd_bank("a hash that is none", "mac-bank", 3, 2, twisted, n, 0);
    put_by_hand(hand_header, hand_data, sizeof hand_data);
    bank_refused("a foreign file");
    CHECK(model_refused() && strstr(err, "foreign"), "a foreign file as a model: \"%s\"", err);
    remove(path);
    bank_refused("no bank at all");
    MacConfig c = tiny();
    Bank *b = bank_new(c.T, c.d, 1);
    snprintf(path2, sizeof path2, "%s/no such folder/test_files", scratch);
    CHECK(bank_save(b, path2, err) == -1 && strstr(err, "no such folder"), "bank_save: \"%s\"",
          err);
    bank_free(b);
}

/* No file here is large: what asks for 64 MB because of one fails.  (AddressSanitizer keeps more
 * address space than that, so it is told itself.) */
#if defined(__SANITIZE_ADDRESS__)
#define ADDRESS_SANITIZER
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ADDRESS_SANITIZER
#endif
#endif
#ifdef ADDRESS_SANITIZER
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "max_allocation_size_mb=64"; }
#endif
static void limit_memory(void) {
#if defined(HAVE_FOLDERS) && !defined(ADDRESS_SANITIZER)
    struct rlimit limit = {(rlim_t)64 << 20, (rlim_t)64 << 20};
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0, "setrlimit");
#endif
}

/* Parameters that get no gradient for want of memory are not taken for frozen. */
static void test_unfreeze(void) {
#if defined(HAVE_FOLDERS) && !defined(ADDRESS_SANITIZER)
    Params ps = {NULL, 0};
    CHECK(param_new(&ps, "large", 1, (10 << 20) / (int)sizeof(real)) != NULL, "param_new");
    CHECK(param_freeze(&ps, "", 1) == 0 && param_freeze(&ps, "", 0) == 0, "there is memory");
    CHECK(param_freeze(&ps, "", 1) == 0, "freeze");
    void *rest[64];
    int n = 0;
    while (n < 64 && (rest[n] = malloc(1 << 20))) n++;
    CHECK(n < 64 && param_freeze(&ps, "", 0) == -1, "no gradient, and no word");
    while (n > 0) free(rest[--n]);
    params_free(&ps);
#endif
}

int main(int argc, char **argv) {
#ifdef HAVE_FOLDERS
    self = argv[0];
    if (argc > 2) { /* another program: writes the file, or dies while it has locked it */
        if (!strcmp(argv[1], "--write")) return write_one(argv[2], 6) != 0;
        _exit(file_lock(argv[2], err) != 0);
    }
#endif
    if (argc > 1) scratch = argv[1];
    limit_memory();
    snprintf(path, sizeof path, "%s/test_files.tmp", scratch);
    snprintf(path2, sizeof path2, "%s/test_files.tmp2", scratch);
    test_foreign();
    test_damaged();
    test_truncated();
    test_changed_bytes();
    test_named();
    test_unaligned();
    test_no_memory();
    test_written();
    test_long_tensor();
    test_long_path();
    test_unwritable();
#ifdef HAVE_FOLDERS
    test_one_writer();
#endif
    test_params();
    test_model_file();
    test_gate_file();
    test_absurd_model();
    test_bank_file();
    test_every_field();
    test_changed_bank();
    test_bank_fits();
    test_forget();
    test_unfreeze();
    test_cut_files();
    remove(path);
    return check_done("test_files");
}
