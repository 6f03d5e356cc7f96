/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Preloaded into systemd-cryptsetup: a passphrase is tried on the volume, and
 * no device is made, which would take root's rights over the system's.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>

struct crypt_device;
typedef int activate(struct crypt_device *, const char *, int, const char *, size_t, uint32_t);

activate crypt_activate_by_passphrase;

int crypt_activate_by_passphrase(struct crypt_device *device, const char *name, int slot,
                                 const char *passphrase, size_t size, uint32_t flags)
{
    activate *real;
    (void)name;
    (void)flags;
    *(void **)(&real) = dlsym(RTLD_NEXT, "crypt_activate_by_passphrase");
    int opened = real(device, NULL, slot, passphrase, size, 0);
    fprintf(stderr, "the passphrase opens key slot %d\n", opened);
    return opened;
}
