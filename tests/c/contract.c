/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a C or C++ caller may rely on, through the installed header:
 *     contract linked|now|lazy|ldr [CHAIN]
 * CHAIN leads to a TPM, of which random bytes are asked. Made to be run under
 * valgrind: all memory is exactly as long as it is said to be.
 */
#include <poll.h>
#include <stdint.h>

#include <tss2/tss2_tctildr.h>

#include "command.h"
#include "module.h"

static const uint8_t get_random[] = {HEADER(TPM2_ST_NO_SESSIONS, 12, TPM2_CC_GetRandom), 0, 16};

#define V1(context) ((TSS2_TCTI_CONTEXT_COMMON_V1 *)(context))
#define V2(context) ((TSS2_TCTI_CONTEXT_COMMON_V2 *)(context))

static void *filled(size_t size)
{
    void *memory = malloc(size);
    CHECK(memory != NULL);
    memset(memory, 0xa5, size);
    return memory;
}

static int untouched(const void *memory, size_t size)
{
    const uint8_t *bytes = (const uint8_t *)memory;
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != 0xa5)
            return 0;
    return 1;
}

static void the_info_is_complete(const struct module *module)
{
    const TSS2_TCTI_INFO *info = module->Tss2_Tcti_Info_();
    CHECK(info != NULL);
    CHECK(info->version == 2);
    CHECK(strcmp(info->name, "rusttcti") == 0);
    CHECK(strlen(info->description) > 0);
    CHECK_HAS(info->config_help, "libtpms");
    CHECK(info->init == module->Tss2_Tcti_Rusttcti_Init_);
}

static void every_init_tells_its_size(const struct module *module)
{
    TSS2_TCTI_INIT_FUNC inits[] = {
        module->Tss2_Tcti_Rusttcti_Init_,         module->Tss2_Tcti_Rusttcti_Device_Init_,
        module->Tss2_Tcti_Rusttcti_Swtpm_Init_,   module->Tss2_Tcti_Rusttcti_Mssim_Init_,
        module->Tss2_Tcti_Rusttcti_Cmd_Init_,     module->Tss2_Tcti_Rusttcti_Libtpms_Init_,
        module->Tss2_Tcti_Rusttcti_Spidev_Init_,  module->Tss2_Tcti_Rusttcti_I2c_Init_,
        module->Tss2_Tcti_Rusttcti_Null_Init_,
    };
    for (size_t i = 0; i < sizeof(inits) / sizeof(inits[0]); i++) {
        size_t size = 0;
        CHECK_RC(inits[i](NULL, &size, NULL), TSS2_RC_SUCCESS);
        CHECK(size >= sizeof(TSS2_TCTI_CONTEXT_COMMON_V2));
        CHECK_RC(inits[i](NULL, NULL, NULL), TSS2_TCTI_RC_BAD_REFERENCE);

        size_t small = size - 1;
        TSS2_TCTI_CONTEXT *memory = (TSS2_TCTI_CONTEXT *)filled(small);
        CHECK_RC(inits[i](memory, NULL, "null"), TSS2_TCTI_RC_BAD_REFERENCE);
        CHECK_RC(inits[i](memory, &small, "null"), TSS2_TCTI_RC_BAD_VALUE);
        CHECK(small == size - 1);
        CHECK(untouched(memory, small));
        free(memory);
    }
}

static void a_mistaken_chain_writes_nothing_and_is_told(const struct module *module)
{
    size_t size = 0;
    CHECK_RC(module->Tss2_Tcti_Rusttcti_Init_(NULL, &size, NULL), TSS2_RC_SUCCESS);
    TSS2_TCTI_CONTEXT *memory = (TSS2_TCTI_CONTEXT *)filled(size);
    CHECK_RC(module->Tss2_Tcti_Rusttcti_Init_(memory, &size, "nonsense:x"),
             TSS2_TCTI_RC_BAD_VALUE);
    CHECK(untouched(memory, size));
    CHECK_HAS(module->Tss2_Tcti_Rusttcti_LastError_(), "nonsense");
    CHECK_HAS(module->Tss2_Tcti_Rusttcti_LastError_(), "swtpm");
    free(memory);
}

/* A context of somebody else's has the public part and nothing behind it. */
static void a_foreign_context_is_refused_by_its_magic(const struct module *module,
                                                      TSS2_TCTI_CONTEXT *ours)
{
    TSS2_TCTI_CONTEXT *foreign = (TSS2_TCTI_CONTEXT *)filled(sizeof(TSS2_TCTI_CONTEXT_COMMON_V2));
    memcpy(foreign, ours, sizeof(TSS2_TCTI_CONTEXT_COMMON_V2));
    V1(foreign)->magic ^= 1;
    uint8_t response[64];
    size_t size = sizeof(response);
    size_t handles = 0;
    TPM2_HANDLE handle = 0x80000000;
    CHECK_RC(V1(ours)->transmit(foreign, sizeof(get_random), get_random),
             TSS2_TCTI_RC_BAD_CONTEXT);
    CHECK_RC(V1(ours)->receive(foreign, &size, response, 0), TSS2_TCTI_RC_BAD_CONTEXT);
    CHECK_RC(V1(ours)->cancel(foreign), TSS2_TCTI_RC_BAD_CONTEXT);
    CHECK_RC(V1(ours)->getPollHandles(foreign, NULL, &handles), TSS2_TCTI_RC_BAD_CONTEXT);
    CHECK_RC(V1(ours)->setLocality(foreign, 0), TSS2_TCTI_RC_BAD_CONTEXT);
    CHECK_RC(V2(ours)->makeSticky(foreign, &handle, 1), TSS2_TCTI_RC_BAD_CONTEXT);
    CHECK_RC(module->Tss2_Tcti_Rusttcti_Reset_(foreign), TSS2_TCTI_RC_BAD_CONTEXT);
    CHECK_HAS(module->Tss2_Tcti_Rusttcti_LastError_(), "magic");
    V1(ours)->finalize(foreign);
    free(foreign);
}

static void a_context_without_a_tpm_keeps_its_state(const struct module *module,
                                                    TSS2_TCTI_CONTEXT *context)
{
    uint8_t response[64];
    uint8_t lying[sizeof(get_random)];
    size_t size = sizeof(response);

    CHECK(V1(context)->version == 2);
    CHECK_RC(V1(context)->receive(context, &size, response, 0), TSS2_TCTI_RC_BAD_SEQUENCE);
    CHECK_RC(V1(context)->cancel(context), TSS2_TCTI_RC_BAD_SEQUENCE);
    CHECK_RC(V1(context)->transmit(context, sizeof(get_random), NULL),
             TSS2_TCTI_RC_BAD_REFERENCE);
    CHECK_RC(V1(context)->transmit(context, 9, get_random), TSS2_TCTI_RC_BAD_VALUE);
    memcpy(lying, get_random, sizeof(lying));
    lying[5]++;
    CHECK_RC(V1(context)->transmit(context, sizeof(lying), lying), TSS2_TCTI_RC_BAD_VALUE);
    CHECK_RC(V1(context)->setLocality(context, 5), TSS2_TCTI_RC_BAD_VALUE);
    CHECK_RC(V1(context)->getPollHandles(context, NULL, NULL), TSS2_TCTI_RC_BAD_REFERENCE);
    CHECK_RC(V2(context)->makeSticky(context, NULL, 1), TSS2_TCTI_RC_BAD_REFERENCE);

    CHECK_RC(V1(context)->transmit(context, sizeof(get_random), get_random),
             TSS2_TCTI_RC_NOT_IMPLEMENTED);
    CHECK_HAS(module->Tss2_Tcti_Rusttcti_LastError_(), "null");
    CHECK_RC(module->Tss2_Tcti_Rusttcti_Reset_(context), TSS2_TCTI_RC_NOT_IMPLEMENTED);
    CHECK_RC(module->Tss2_Tcti_Rusttcti_Reset_(NULL), TSS2_TCTI_RC_BAD_REFERENCE);

    CHECK_RC(V1(context)->transmit(NULL, sizeof(get_random), get_random),
             TSS2_TCTI_RC_BAD_REFERENCE);
    CHECK_RC(V1(context)->receive(NULL, &size, response, 0), TSS2_TCTI_RC_BAD_REFERENCE);
    CHECK_RC(V1(context)->cancel(NULL), TSS2_TCTI_RC_BAD_REFERENCE);
    CHECK_RC(V1(context)->setLocality(NULL, 0), TSS2_TCTI_RC_BAD_REFERENCE);
    V1(context)->finalize(NULL);
}

static void after_finalize_everything_is_out_of_sequence(const struct module *module,
                                                         TSS2_TCTI_CONTEXT *context)
{
    uint8_t response[64];
    size_t size = sizeof(response);
    V1(context)->finalize(context);
    CHECK_RC(V1(context)->transmit(context, sizeof(get_random), get_random),
             TSS2_TCTI_RC_BAD_SEQUENCE);
    CHECK_RC(V1(context)->receive(context, &size, response, 0), TSS2_TCTI_RC_BAD_SEQUENCE);
    CHECK_RC(V1(context)->cancel(context), TSS2_TCTI_RC_BAD_SEQUENCE);
    CHECK_RC(V1(context)->setLocality(context, 0), TSS2_TCTI_RC_BAD_SEQUENCE);
    CHECK_RC(module->Tss2_Tcti_Rusttcti_Reset_(context), TSS2_TCTI_RC_BAD_SEQUENCE);
    V1(context)->finalize(context);
}

/* Through the macros of tss2_tcti.h: also a context of the loader's. */
static void random_bytes_come(TSS2_TCTI_CONTEXT *context)
{
    uint8_t *response = (uint8_t *)filled(28);
    size_t size = 0;
    CHECK_RC(Tss2_Tcti_Transmit(context, sizeof(get_random), get_random), TSS2_RC_SUCCESS);
    CHECK_RC(Tss2_Tcti_Receive(context, &size, NULL, TSS2_TCTI_TIMEOUT_BLOCK), TSS2_RC_SUCCESS);
    CHECK(size >= 28);
    size = 27;
    CHECK_RC(Tss2_Tcti_Receive(context, &size, response, TSS2_TCTI_TIMEOUT_BLOCK),
             TSS2_TCTI_RC_INSUFFICIENT_BUFFER);
    CHECK(size == 28);
    CHECK_RC(Tss2_Tcti_Receive(context, &size, response, TSS2_TCTI_TIMEOUT_BLOCK),
             TSS2_RC_SUCCESS);
    CHECK(size == 28);
    const uint8_t header[] = {0x80, 0x01, 0, 0, 0, 28, 0, 0, 0, 0, 0, 16};
    CHECK(memcmp(response, header, sizeof(header)) == 0);
    CHECK(!untouched(response + 12, 16));
    free(response);
}

static void directly(const char *chain, int flags)
{
    struct module module;
    module_open(&module, flags);
    the_info_is_complete(&module);
    every_init_tells_its_size(&module);
    a_mistaken_chain_writes_nothing_and_is_told(&module);

    size_t size = 0;
    CHECK_RC(module.Tss2_Tcti_Rusttcti_Init_(NULL, &size, NULL), TSS2_RC_SUCCESS);
    TSS2_TCTI_CONTEXT *context = (TSS2_TCTI_CONTEXT *)filled(size);
    CHECK_RC(module.Tss2_Tcti_Rusttcti_Init_(context, &size, "null"), TSS2_RC_SUCCESS);
    a_foreign_context_is_refused_by_its_magic(&module, context);
    a_context_without_a_tpm_keeps_its_state(&module, context);
    after_finalize_everything_is_out_of_sequence(&module, context);

    if (chain != NULL) {
        CHECK_RC(module.Tss2_Tcti_Rusttcti_Init_(context, &size, chain), TSS2_RC_SUCCESS);
        random_bytes_come(context);
        after_finalize_everything_is_out_of_sequence(&module, context);
    }
    free(context);
    module_close(&module);
}

static void through_the_loader(const char *chain)
{
    TSS2_TCTI_INFO *info = NULL;
    CHECK_RC(Tss2_TctiLdr_GetInfo("rusttcti", &info), TSS2_RC_SUCCESS);
    CHECK(strcmp(info->name, "rusttcti") == 0);
    Tss2_TctiLdr_FreeInfo(&info);

    TSS2_TCTI_CONTEXT *context = NULL;
    CHECK_RC(Tss2_TctiLdr_Initialize("rusttcti:null", &context), TSS2_RC_SUCCESS);
    CHECK_RC(Tss2_Tcti_Transmit(context, sizeof(get_random), get_random),
             TSS2_TCTI_RC_NOT_IMPLEMENTED);

    /* The module is loaded already; its last error is this thread's. */
    struct module module;
    module_open(&module, RTLD_NOW);
    CHECK_HAS(module.Tss2_Tcti_Rusttcti_LastError_(), "null");
    /* The loader's context is a shell around ours. */
    CHECK_RC(module.Tss2_Tcti_Rusttcti_Reset_(context), TSS2_TCTI_RC_BAD_CONTEXT);
    module_close(&module);
    Tss2_TctiLdr_Finalize(&context);
    CHECK(context == NULL);

    CHECK(Tss2_TctiLdr_Initialize("rusttcti:nonsense", &context) != TSS2_RC_SUCCESS);
    if (chain != NULL) {
        CHECK_RC(Tss2_TctiLdr_Initialize_Ex("rusttcti", chain, &context), TSS2_RC_SUCCESS);
        random_bytes_come(context);
        Tss2_TctiLdr_Finalize(&context);
    }
}

int main(int argc, char **argv)
{
    CHECK(argc > 1);
    const char *chain = argc > 2 ? argv[2] : NULL;
    if (strcmp(argv[1], "ldr") == 0)
        through_the_loader(chain);
    else if (strcmp(argv[1], "lazy") == 0)
        directly(chain, RTLD_LAZY);
    else
        directly(chain, RTLD_NOW);
    puts("all as promised");
    return 0;
}
