/* csv.c - the csv that pandas writes and reads: commas, "quoted cells" with "" for a quote and
 * with line breaks inside, rows ended by LF, CRLF or CR, blank lines skipped.  Like pandas, a
 * quote inside an unquoted cell is a plain character and text after a closing quote is kept. */
#include "csv.h"
#include "base.h"
#include <stdio.h>
#include <stdlib.h>

/* Reads one cell to out, which is never ahead of what is read.  Returns what ended it: ',', '\n'
 * for every kind of line end, 0 at the end of the file, or -1 for a quote never closed. */
static int read_cell(Csv *c, char *out) {
    char *in = c->p;
    if (in < c->end && *in == '"') {
        for (in++;; in++) {
            if (in == c->end) return -1;
            if (*in == '"' && (in + 1 == c->end || in[1] != '"')) break;
            if (*in == '"') in++;
            if (*in == '\n' || (*in == '\r' && in + 1 < c->end && in[1] != '\n')) c->line++;
            *out++ = *in;
        }
        in++;
    }
    while (in < c->end && *in != ',' && *in != '\n' && *in != '\r') *out++ = *in++;
    int ended = 0;
    if (in < c->end) {
        if (*in == '\r' && in + 1 < c->end && in[1] == '\n') in++;
        ended = *in == ',' ? ',' : '\n';
        in++;
    }
    c->line += ended == '\n';
    *out = 0;
    c->p = in;
    return ended;
}

int csv_next(Csv *c, char *err) {
    int ended = ',';
    for (; c->p < c->end && (*c->p == '\n' || *c->p == '\r'); c->p++)
        c->line += *c->p == '\n' || c->p + 1 == c->end || c->p[1] != '\n';
    c->row_line = c->line;
    c->n = 0;
    if (c->p == c->end) return 0;
    while (ended == ',') {
        if (c->n == c->cap) {
            int cap = 2 * c->cap + 16;
            char **cell = realloc(c->cell, (size_t)cap * sizeof *cell);
            if (!cell) {
                snprintf(err, MAC_ERR, "line %d: out of memory", c->line);
                return -1;
            }
            c->cell = cell;
            c->cap = cap;
        }
        int line = c->line;
        c->cell[c->n++] = c->p;
        ended = read_cell(c, c->p);
        if (ended < 0) {
            snprintf(err, MAC_ERR, "line %d: end of file inside a quoted field that starts here,"
                     " expected a closing \"", line);
            return -1;
        }
    }
    return 1;
}

void csv_free(Csv *c) {
    free(c->cell);
    c->cell = NULL;
    c->n = c->cap = 0;
}
