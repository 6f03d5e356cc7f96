/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Load, use, unload, again and again, with nothing left behind:
 *     cycles now|lazy|ldr ROUNDS CHAIN
 */
#include <dirent.h>

#include <tss2/tss2_tctildr.h>

#include "command.h"
#include "module.h"

struct footprint {
    long mappings, descriptors, threads, resident_kib;
    int loaded;
};

static long entries(const char *folder)
{
    long count = 0;
    DIR *dir = opendir(folder);
    CHECK(dir != NULL);
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count;
}

static struct footprint footprint(void)
{
    struct footprint now = {0, 0, 0, 0, 0};
    char line[4096];
    FILE *file = fopen("/proc/self/maps", "r");
    CHECK(file != NULL);
    while (fgets(line, sizeof(line), file) != NULL) {
        now.mappings++;
        if (strstr(line, "rusttcti.so") != NULL || strstr(line, "libtpms") != NULL)
            now.loaded = 1;
    }
    fclose(file);
    file = fopen("/proc/self/status", "r");
    CHECK(file != NULL);
    while (fgets(line, sizeof(line), file) != NULL)
        sscanf(line, "VmRSS: %ld", &now.resident_kib);
    fclose(file);
    now.descriptors = entries("/proc/self/fd");
    now.threads = entries("/proc/self/task");
    return now;
}

static void use(TSS2_TCTI_CONTEXT *context)
{
    static const unsigned char get_random[] = {HEADER(TPM2_ST_NO_SESSIONS, 12, TPM2_CC_GetRandom), 0, 16};
    unsigned char response[4096];
    size_t size = sizeof(response);
    /* What it answers is another test's: here it only has to be used. */
    if (Tss2_Tcti_Transmit(context, sizeof(get_random), get_random) == TSS2_RC_SUCCESS)
        CHECK_RC(Tss2_Tcti_Receive(context, &size, response, -1), TSS2_RC_SUCCESS);
}

static void cycle(const char *way, const char *chain)
{
    TSS2_TCTI_CONTEXT *context = NULL;
    if (strcmp(way, "ldr") == 0) {
        CHECK_RC(Tss2_TctiLdr_Initialize_Ex("rusttcti", chain, &context), TSS2_RC_SUCCESS);
        use(context);
        Tss2_TctiLdr_Finalize(&context);
        return;
    }
    struct module module;
    size_t size = 0;
    module_open(&module, strcmp(way, "lazy") == 0 ? RTLD_LAZY : RTLD_NOW);
    CHECK_RC(module.Tss2_Tcti_Rusttcti_Init_(NULL, &size, NULL), TSS2_RC_SUCCESS);
    context = (TSS2_TCTI_CONTEXT *)malloc(size);
    CHECK(context != NULL);
    CHECK_RC(module.Tss2_Tcti_Rusttcti_Init_(context, &size, chain), TSS2_RC_SUCCESS);
    use(context);
    Tss2_Tcti_Finalize(context);
    free(context);
    module_close(&module);
}

int main(int argc, char **argv)
{
    CHECK(argc == 4);
    long rounds = atol(argv[2]);
    CHECK(rounds >= 10);
    for (long i = 0; i < rounds / 10; i++)
        cycle(argv[1], argv[3]);
    struct footprint before = footprint();
    for (long i = 0; i < rounds; i++)
        cycle(argv[1], argv[3]);
    struct footprint after = footprint();

    printf("%ld rounds: mappings %ld to %ld, descriptors %ld to %ld, threads %ld to %ld, "
           "resident %ld to %ld KiB\n",
           rounds, before.mappings, after.mappings, before.descriptors, after.descriptors,
           before.threads, after.threads, before.resident_kib, after.resident_kib);
    CHECK(!after.loaded);
    CHECK(after.mappings <= before.mappings);
    CHECK(after.descriptors == before.descriptors);
    CHECK(after.threads == before.threads);
    CHECK(after.resident_kib <= before.resident_kib + 512);
    return 0;
}
