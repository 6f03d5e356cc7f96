/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Many TPMs in one thread: each argument names one, each is asked for random
 * bytes, and an epoll loop takes the answers in the order in which they come.
 *
 *   cc -o epoll epoll.c $(pkg-config --cflags --libs tss2-esys tss2-tctildr tss2-rc)
 *   ./epoll rusttcti:libtpms rusttcti:libtpms rusttcti:swtpm:port=2321
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <tss2/tss2_esys.h>
#include <tss2/tss2_rc.h>
#include <tss2/tss2_tctildr.h>

struct tpm {
    const char *name;
    TSS2_TCTI_CONTEXT *tcti;
    ESYS_CONTEXT *esys;
    int waiting;
};

static void check(const char *what, TSS2_RC rc)
{
    if (rc == TSS2_RC_SUCCESS)
        return;
    fprintf(stderr, "%s: %s\n", what, Tss2_RC_Decode(rc));
    exit(1);
}

/* Sends the command, and has epoll watch what its TCTI says is to be watched. */
static void ask(struct tpm *tpm, int epoll)
{
    TSS2_TCTI_POLL_HANDLE handles[4];
    size_t count = sizeof(handles) / sizeof(handles[0]);

    check(tpm->name, Tss2_TctiLdr_Initialize(tpm->name, &tpm->tcti));
    check(tpm->name, Esys_Initialize(&tpm->esys, tpm->tcti, NULL));
    check(tpm->name, Esys_SetTimeout(tpm->esys, 0));
    check(tpm->name, Esys_GetRandom_Async(tpm->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, 16));
    check(tpm->name, Tss2_Tcti_GetPollHandles(tpm->tcti, handles, &count));
    for (size_t i = 0; i < count; i++) {
        struct epoll_event event = {.events = (uint32_t)handles[i].events, .data.ptr = tpm};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, handles[i].fd, &event) != 0) {
            perror("epoll_ctl");
            exit(1);
        }
    }
    tpm->waiting = 1;
}

/* Takes the answer if it is there; that never blocks. */
static int answered(struct tpm *tpm)
{
    TPM2B_DIGEST *random = NULL;
    TSS2_RC rc = Esys_GetRandom_Finish(tpm->esys, &random);

    if ((rc & ~TSS2_RC_LAYER_MASK) == TSS2_BASE_RC_TRY_AGAIN)
        return 0;
    check(tpm->name, rc);
    for (UINT16 i = 0; i < random->size; i++)
        printf("%02x", random->buffer[i]);
    printf(" %s\n", tpm->name);
    Esys_Free(random);
    Esys_Finalize(&tpm->esys);
    Tss2_TctiLdr_Finalize(&tpm->tcti);
    tpm->waiting = 0;
    return 1;
}

int main(int argc, char **argv)
{
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    int waiting = argc - 1;
    struct tpm *tpms = calloc((size_t)argc, sizeof(*tpms));

    if (epoll < 0 || tpms == NULL) {
        perror("epoll");
        return 1;
    }
    for (int i = 1; i < argc; i++) {
        tpms[i].name = argv[i];
        ask(&tpms[i], epoll);
    }
    while (waiting > 0) {
        struct epoll_event event;
        if (epoll_wait(epoll, &event, 1, -1) == 1) {
            struct tpm *tpm = event.data.ptr;
            if (tpm->waiting && answered(tpm))
                waiting--;
        }
    }
    free(tpms);
    close(epoll);
    return 0;
}
