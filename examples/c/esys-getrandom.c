/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ESYS over a chain: random bytes from the TPM that the argument names.
 *
 *   cc -o esys-getrandom esys-getrandom.c \
 *      $(pkg-config --cflags --libs tss2-esys tss2-tctildr tss2-rc)
 *   ./esys-getrandom rusttcti:libtpms
 */
#include <stdio.h>

#include <tss2/tss2_esys.h>
#include <tss2/tss2_rc.h>
#include <tss2/tss2_tctildr.h>

static int failed(const char *what, TSS2_RC rc)
{
    if (rc == TSS2_RC_SUCCESS)
        return 0;
    fprintf(stderr, "%s: %s\n", what, Tss2_RC_Decode(rc));
    return 1;
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "rusttcti:libtpms";
    TSS2_TCTI_CONTEXT *tcti = NULL;
    ESYS_CONTEXT *esys = NULL;
    TPM2B_DIGEST *random = NULL;
    int status = 1;

    if (failed(name, Tss2_TctiLdr_Initialize(name, &tcti)))
        return 1;
    if (failed("Esys_Initialize", Esys_Initialize(&esys, tcti, NULL)))
        goto end;
    if (failed("Esys_GetRandom",
               Esys_GetRandom(esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, 16, &random)))
        goto end;

    for (UINT16 i = 0; i < random->size; i++)
        printf("%02x", random->buffer[i]);
    putchar('\n');
    Esys_Free(random);
    status = 0;

end:
    Esys_Finalize(&esys);
    Tss2_TctiLdr_Finalize(&tcti);
    return status;
}
