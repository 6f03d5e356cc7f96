/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Programs that end without finalizing, as many do:
 *     unfinalized WAY CHAIN
 * Each extends PCR 16 twice by 32 bytes of 1.
 */
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "command.h"
#include "module.h"

static const unsigned char extend[65] = {
    HEADER(TPM2_ST_SESSIONS, 65, TPM2_CC_PCR_Extend),
    0, 0, 0, 16,                               /* PCR 16 */
    0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0,  /* an empty password */
    0, 0, 0, 1, 0, 0x0b,                       /* one digest, SHA-256 */
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

/* TPM2_CreatePrimary in the null hierarchy: an RSA storage key of 2048 bits. */
static const unsigned char create[67] = {
    HEADER(TPM2_ST_SESSIONS, 67, TPM2_CC_CreatePrimary), BYTES32(TPM2_RH_NULL),
    0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0,
    0, 4, 0, 0, 0, 0, 0, 26, 0, 1, 0, 11, 0, 3, 0, 0x72, 0, 0, 0, 6, 0, 128, 0, 0x43,
    0, 16, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};

static TSS2_TCTI_CONTEXT *context;
static struct module module;

static void begin(const char *chain)
{
    size_t size = 0;
    module_open(&module, RTLD_NOW);
    CHECK_RC(module.Tss2_Tcti_Rusttcti_Init_(NULL, &size, NULL), TSS2_RC_SUCCESS);
    context = (TSS2_TCTI_CONTEXT *)malloc(size);
    CHECK(context != NULL);
    CHECK_RC(module.Tss2_Tcti_Rusttcti_Init_(context, &size, chain), TSS2_RC_SUCCESS);
}

static void run(const unsigned char *command, size_t length)
{
    unsigned char response[4096];
    size_t size = sizeof(response);
    CHECK_RC(Tss2_Tcti_Transmit(context, length, command), TSS2_RC_SUCCESS);
    CHECK_RC(Tss2_Tcti_Receive(context, &size, response, -1), TSS2_RC_SUCCESS);
    CHECK(size >= 10 && memcmp(response + 6, "\0\0\0\0", 4) == 0);
}

static void extend_again(void)
{
    run(extend, sizeof(extend));
}

static void last_words(void)
{
    extend_again();
    Tss2_Tcti_Finalize(context);
}

static void child_exits(pid_t child)
{
    int status = 0;
    CHECK(child >= 0);
    if (child == 0)
        exit(0);
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(int argc, char **argv)
{
    CHECK(argc == 3);
    const char *way = argv[1];
    if (strcmp(way, "handler") == 0) {
        /* Registered before anything of ours: it runs after that. */
        CHECK(atexit(last_words) == 0);
    }
    begin(argv[2]);
    extend_again();

    if (strcmp(way, "handler") == 0)
        exit(0);
    if (strcmp(way, "unload") == 0) {
        /* As systemd does it. */
        memset(context, 0xa5, 64);
        free(context);
        module_close(&module);
        begin(argv[2]);
    } else if (strcmp(way, "worker-unload") == 0) {
        run(create, sizeof(create));
        free(context);
        module_close(&module);
        begin(argv[2]);
    } else if (strcmp(way, "worker") == 0) {
        run(create, sizeof(create));
    } else if (strcmp(way, "children") == 0) {
        child_exits(fork());
        child_exits((pid_t)syscall(SYS_fork));
    }
    extend_again();

    if (strcmp(way, "busy") == 0) {
        CHECK_RC(Tss2_Tcti_Transmit(context, sizeof(create), create), TSS2_RC_SUCCESS);
    } else if (strcmp(way, "openssl") == 0) {
        void *libcrypto = dlopen("libcrypto.so.3", RTLD_NOW | RTLD_NOLOAD);
        CHECK(libcrypto != NULL);
        void (*cleanup)(void);
        *(void **)(&cleanup) = dlsym(libcrypto, "OPENSSL_cleanup");
        CHECK(cleanup != NULL);
        cleanup();
    }
    return 0;
}
