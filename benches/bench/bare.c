/* SPDX-License-Identifier: BSD-2-Clause */
/* What the transports are held against: the same work with nothing around it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <libtpms/tpm_error.h>
#include <libtpms/tpm_library.h>
#include <libtpms/tpm_nvfilename.h>

static const unsigned char startup[] = {0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x44, 0, 0};
static const unsigned char get_random[] = {0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x7b, 0, 16};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

/* Sockets: to port on loopback, or to path where port is 0. */

static int dial(const char *path, int port)
{
    int fd;
    if (port) {
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
        int one = 1;
        in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *)&in, sizeof(in)))
            return -1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    } else {
        struct sockaddr_un un = {.sun_family = AF_UNIX};
        strncpy(un.sun_path, path, sizeof(un.sun_path) - 1);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *)&un, sizeof(un)))
            return -1;
    }
    return fd;
}

static int round_trip(int fd)
{
    unsigned char response[4096];
    if (write(fd, get_random, sizeof(get_random)) != sizeof(get_random))
        return -1;
    return read(fd, response, sizeof(response)) == 28 ? 0 : -1;
}

/* Nanoseconds for each of n commands over one connection; negative on failure. */
double bare_persistent(const char *path, int port, unsigned n)
{
    double start, time;
    unsigned i;
    int fd = dial(path, port);
    if (fd < 0)
        return -1;
    start = now();
    for (i = 0; i < n; i++)
        if (round_trip(fd))
            break;
    time = now() - start;
    close(fd);
    return i == n ? time / n : -1;
}

/* The same with a connection for each. */
double bare_reconnecting(const char *path, int port, unsigned n)
{
    double start = now();
    unsigned i;
    for (i = 0; i < n; i++) {
        int fd = dial(path, port);
        if (fd < 0 || round_trip(fd))
            return -1;
        close(fd);
    }
    return (now() - start) / n;
}

/* libtpms, called directly: a private copy of the library, state in memory. */

static TPM_RESULT fine(void) { return TPM_SUCCESS; }
static TPM_RESULT no_data(unsigned char **data, uint32_t *length, uint32_t n, const char *name)
{
    (void)data; (void)length; (void)n; (void)name;
    return TPM_RETRY;
}
static TPM_RESULT store(const unsigned char *data, uint32_t length, uint32_t n, const char *name)
{
    (void)data; (void)length; (void)n; (void)name;
    return TPM_SUCCESS;
}
static TPM_RESULT forget(uint32_t n, const char *name, TPM_BOOL must_exist)
{
    (void)n; (void)name; (void)must_exist;
    return TPM_SUCCESS;
}
static TPM_RESULT locality(TPM_MODIFIER_INDICATOR *to, uint32_t n)
{
    (void)n;
    *to = 0;
    return TPM_SUCCESS;
}
static TPM_RESULT presence(TPM_BOOL *to, uint32_t n)
{
    (void)n;
    *to = 0;
    return TPM_SUCCESS;
}

struct direct {
    void *library;
    TPM_RESULT (*process)(unsigned char **, uint32_t *, uint32_t *, unsigned char *, uint32_t);
    void (*terminate)(void);
    unsigned char *response;
    uint32_t size, capacity;
};

static int process(struct direct *tpm, const unsigned char *command, uint32_t size)
{
    TPM_RESULT result = tpm->process(&tpm->response, &tpm->size, &tpm->capacity,
                                     (unsigned char *)command, size);
    return result || tpm->size < 10 || memcmp(tpm->response + 6, "\0\0\0\0", 4) ? -1 : 0;
}

void direct_close(struct direct *tpm)
{
    tpm->terminate();
    free(tpm->response);
    dlclose(tpm->library);
    free(tpm);
}

/* A memfd with the library's bytes, and with a soname of its own: otherwise who
   asks for libtpms.so.0 next is given this one. */
static int copy_of(const char *file)
{
    static const char name[] = "\0libtpms.so.0";
    int from = open(file, O_RDONLY | O_CLOEXEC), copy = memfd_create("libtpms", MFD_CLOEXEC);
    off_t size = lseek(from, 0, SEEK_END), done = 0;
    char *bytes = malloc(size), *at = bytes;

    if (from < 0 || copy < 0 || pread(from, bytes, size, 0) != size)
        return -1;
    close(from);
    while ((at = memmem(at, bytes + size - at, name, sizeof(name))))
        at[sizeof(name) - 2] = '-';
    while (done < size) {
        ssize_t written = write(copy, bytes + done, size - done);
        if (written <= 0)
            return -1;
        done += written;
    }
    free(bytes);
    return copy;
}

struct direct *direct_open(const char *file)
{
    struct libtpms_callbacks callbacks = {
        .sizeOfStruct = sizeof(callbacks), .tpm_nvram_init = fine, .tpm_nvram_loaddata = no_data,
        .tpm_nvram_storedata = store, .tpm_nvram_deletename = forget, .tpm_io_init = fine,
        .tpm_io_getlocality = locality, .tpm_io_getphysicalpresence = presence,
    };
    struct direct *tpm = calloc(1, sizeof(*tpm));
    int copy = copy_of(file);
    char path[64];
    TPM_RESULT (*choose)(TPMLIB_TPMVersion);
    TPM_RESULT (*callback)(struct libtpms_callbacks *);
    TPM_RESULT (*init)(void);

    if (!tpm || copy < 0)
        return NULL;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", copy);
    tpm->library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    close(copy);
    if (!tpm->library) {
        fprintf(stderr, "%s\n", dlerror());
        return NULL;
    }
    *(void **)&choose = dlsym(tpm->library, "TPMLIB_ChooseTPMVersion");
    *(void **)&callback = dlsym(tpm->library, "TPMLIB_RegisterCallbacks");
    *(void **)&init = dlsym(tpm->library, "TPMLIB_MainInit");
    *(void **)&tpm->process = dlsym(tpm->library, "TPMLIB_Process");
    *(void **)&tpm->terminate = dlsym(tpm->library, "TPMLIB_Terminate");
    if (choose(TPMLIB_TPM_VERSION_2) || callback(&callbacks) || init() ||
        process(tpm, startup, sizeof(startup)))
        return NULL;
    return tpm;
}

/* Nanoseconds for each of n commands. */
double direct_rounds(struct direct *tpm, unsigned n)
{
    double start = now();
    unsigned i;
    for (i = 0; i < n; i++)
        if (process(tpm, get_random, sizeof(get_random)))
            return -1;
    return (now() - start) / n;
}

/* Nanoseconds from nothing to the first response, and back to nothing. */
double direct_whole(const char *file)
{
    double start = now();
    struct direct *tpm = direct_open(file);
    if (!tpm || process(tpm, get_random, sizeof(get_random)))
        return -1;
    direct_close(tpm);
    return now() - start;
}
