/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A program of OpenSSL's with the provider tpm2 that forks: ten children at once
 * take random numbers from the TPM that their parent opened.
 */
#include <openssl/provider.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHILDREN = 10 };

int main(void)
{
    unsigned char bytes[64];
    int served = 0;
    if (!OSSL_PROVIDER_load(NULL, "tpm2")) {
        fprintf(stderr, "there is no provider tpm2\n");
        return 2;
    }
    for (int i = 0; i < CHILDREN; i++) {
        pid_t child = fork();
        if (child < 0) {
            perror("fork");
            return 2;
        }
        if (child == 0)
            return RAND_bytes(bytes, sizeof bytes) == 1 ? 0 : 1;
    }
    for (int i = 0; i < CHILDREN; i++) {
        int status;
        if (wait(&status) > 0 && status == 0)
            served++;
    }
    /* The parent's own connection is as it was. */
    if (RAND_bytes(bytes, sizeof bytes) != 1)
        fprintf(stderr, "the parent is not served\n");
    printf("%d of %d children were served\n", served, CHILDREN);
    return served != CHILDREN;
}
