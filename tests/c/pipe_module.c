/* SPDX-License-Identifier: BSD-2-Clause */
/* A TCTI module that writes to a pipe which nobody reads, in every call, as one
 * does whose daemon is gone. It changes no disposition and no mask. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <tss2/tss2_tcti.h>
#include <unistd.h>

#define MAGIC 0x5049504500000000ULL

typedef struct {
    TSS2_TCTI_CONTEXT_COMMON_V2 common;
    int pipe;
} CONTEXT;

/* What a module whose peer is gone answers. */
static TSS2_RC say(TSS2_TCTI_CONTEXT *context)
{
    ssize_t written = write(((CONTEXT *)context)->pipe, "x", 1);
    return written == -1 && errno == EPIPE ? TSS2_TCTI_RC_IO_ERROR
                                           : TSS2_TCTI_RC_GENERAL_FAILURE;
}

static TSS2_RC transmit(TSS2_TCTI_CONTEXT *context, size_t size, const uint8_t *command)
{
    (void)command;
    TSS2_RC rc = say(context);
    /* A long command gets through, so that receive and cancel have their turn. */
    return size > 12 ? TSS2_RC_SUCCESS : rc;
}

static TSS2_RC receive(TSS2_TCTI_CONTEXT *context, size_t *size, uint8_t *response, int32_t timeout)
{
    (void)size;
    (void)response;
    (void)timeout;
    return say(context);
}

static void finalize(TSS2_TCTI_CONTEXT *context)
{
    say(context);
    close(((CONTEXT *)context)->pipe);
}

static TSS2_RC cancel(TSS2_TCTI_CONTEXT *context)
{
    return say(context);
}

static TSS2_RC get_poll_handles(TSS2_TCTI_CONTEXT *context, TSS2_TCTI_POLL_HANDLE *handles,
                                size_t *count)
{
    (void)handles;
    (void)count;
    return say(context);
}

static TSS2_RC set_locality(TSS2_TCTI_CONTEXT *context, uint8_t locality)
{
    (void)locality;
    return say(context);
}

static TSS2_RC make_sticky(TSS2_TCTI_CONTEXT *context, TPM2_HANDLE *handle, uint8_t sticky)
{
    (void)handle;
    (void)sticky;
    return say(context);
}

static TSS2_RC init(TSS2_TCTI_CONTEXT *context, size_t *size, const char *conf)
{
    int ends[2];

    (void)conf;
    if (context == NULL) {
        *size = sizeof(CONTEXT);
        return TSS2_RC_SUCCESS;
    }
    if (pipe(ends) != 0)
        return TSS2_TCTI_RC_GENERAL_FAILURE;
    close(ends[0]);

    CONTEXT *own = (CONTEXT *)context;
    memset(own, 0, sizeof *own);
    TSS2_TCTI_MAGIC(context) = MAGIC;
    TSS2_TCTI_VERSION(context) = 2;
    TSS2_TCTI_TRANSMIT(context) = transmit;
    TSS2_TCTI_RECEIVE(context) = receive;
    TSS2_TCTI_FINALIZE(context) = finalize;
    TSS2_TCTI_CANCEL(context) = cancel;
    TSS2_TCTI_GET_POLL_HANDLES(context) = get_poll_handles;
    TSS2_TCTI_SET_LOCALITY(context) = set_locality;
    TSS2_TCTI_MAKE_STICKY(context) = make_sticky;
    own->pipe = ends[1];
    say(context);
    return TSS2_RC_SUCCESS;
}

const TSS2_TCTI_INFO *Tss2_Tcti_Info(void);

const TSS2_TCTI_INFO *Tss2_Tcti_Info(void)
{
    static const TSS2_TCTI_INFO info = {
        .version = 2,
        .name = "pipe",
        .description = "a module of a test",
        .config_help = "nothing",
        .init = init,
    };
    return &info;
}
