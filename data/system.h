/* system.h - what a program asks the system for the person in front of it. */
#ifndef SYSTEM_H
#define SYSTEM_H
#include <stddef.h>

double mac_seconds(void);                        /* since some moment: only differences count    */
size_t mac_peak_memory(void);                    /* bytes of this process so far, 0: not known   */
int    mac_terminal(void);                       /* 1 when stderr is shown to a person           */
#endif
