/* base.h - what everything knows of. */
#ifndef BASE_H
#define BASE_H

typedef struct { const int *id; int n; } Ids;    /* n token ids                               */
#endif
