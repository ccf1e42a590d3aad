/* system.h - what a program asks the system for the person in front of it. */
#ifndef SYSTEM_H
#define SYSTEM_H
#include <stddef.h>

double mac_seconds(void);                        /* since some moment: only differences count    */
size_t mac_peak_memory(void);                    /* bytes of this process so far, 0: not known   */
int    mac_terminal(int fd);                     /* 1 when a person is there: 0 stdin, 2 stderr  */
#endif
