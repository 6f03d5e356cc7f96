/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Eight threads, each with a context of its own:
 *     threads ROUNDS CHAIN...
 * Made to be run under valgrind.
 */
#include <pthread.h>
#include <stdint.h>

#include "command.h"
#include "module.h"

#define THREADS 8

static const uint8_t get_random[] = {HEADER(TPM2_ST_NO_SESSIONS, 12, TPM2_CC_GetRandom), 0, 10};
/* Takes a TPM long, as its kind goes: the embedded one runs it on a thread. */
static const uint8_t self_test[] = {HEADER(TPM2_ST_NO_SESSIONS, 11, TPM2_CC_SelfTest), 0};

static struct module module;
static long rounds;

static void ask(TSS2_TCTI_CONTEXT *context, const uint8_t *command, size_t length, size_t wanted)
{
    uint8_t response[4096];
    size_t size = sizeof(response);
    TSS2_RC rc = TSS2_TCTI_RC_TRY_AGAIN;

    CHECK_RC(Tss2_Tcti_Transmit(context, length, command), TSS2_RC_SUCCESS);
    while (rc == TSS2_TCTI_RC_TRY_AGAIN)
        rc = Tss2_Tcti_Receive(context, &size, response, 50);
    CHECK_RC(rc, TSS2_RC_SUCCESS);
    CHECK(size == wanted);
    CHECK(response[6] == 0 && response[7] == 0 && response[8] == 0 && response[9] == 0);
}

static void *work(void *chain)
{
    for (long i = 0; i < rounds; i++) {
        size_t size = 0;
        CHECK_RC(module.Tss2_Tcti_Rusttcti_Init_(NULL, &size, NULL), TSS2_RC_SUCCESS);
        TSS2_TCTI_CONTEXT *context = (TSS2_TCTI_CONTEXT *)malloc(size);
        CHECK(context != NULL);
        CHECK_RC(module.Tss2_Tcti_Rusttcti_Init_(context, &size, (const char *)chain),
                 TSS2_RC_SUCCESS);
        ask(context, get_random, sizeof(get_random), 22);
        ask(context, self_test, sizeof(self_test), 10);
        ask(context, get_random, sizeof(get_random), 22);
        /* A failure, whose words are this thread's. */
        CHECK(Tss2_Tcti_Receive(context, &size, NULL, 0) != TSS2_RC_SUCCESS);
        CHECK(module.Tss2_Tcti_Rusttcti_LastError_()[0] != '\0');
        Tss2_Tcti_Finalize(context);
        free(context);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[THREADS];

    CHECK(argc > 2);
    rounds = atol(argv[1]);
    module_open(&module, RTLD_NOW);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, work, argv[2 + i % (argc - 2)]) == 0);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    module_close(&module);
    return 0;
}
