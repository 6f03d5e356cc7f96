/* SPDX-License-Identifier: BSD-2-Clause */
/* Checks that say what failed, and where; C and C++. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            exit(1); \
        } \
    } while (0)

#define CHECK_RC(call, wanted) \
    do { \
        unsigned long rc_ = (unsigned long)(call); \
        if (rc_ != (unsigned long)(wanted)) { \
            fprintf(stderr, "%s:%d: %s is 0x%lx, not " #wanted "\n", __FILE__, __LINE__, \
                    #call, rc_); \
            exit(1); \
        } \
    } while (0)

#define CHECK_HAS(text, part) \
    do { \
        const char *text_ = (text); \
        if (text_ == NULL || strstr(text_, (part)) == NULL) { \
            fprintf(stderr, "%s:%d: \"%s\" does not say \"%s\"\n", __FILE__, __LINE__, \
                    text_ ? text_ : "(NULL)", (part)); \
            exit(1); \
        } \
    } while (0)

#endif
