/* csv.h - rows of a csv file, read as pandas reads them; the cells are decoded inside the
 * caller's buffer, which needs one spare byte after its end. */
#ifndef CSV_H
#define CSV_H

typedef struct {
    char *p, *end;               /* what is left to read                                      */
    int line;                    /* the line p is on, from 1                                  */
    int row_line;                /* where the row starts                                      */
    char **cell;                 /* [n] its cells, each ending in NUL                         */
    int n, cap;
} Csv;

int  csv_next(Csv *c, char *err);/* 1: c holds the next row, 0: there is none, -1: see err    */
void csv_free(Csv *c);
#endif
