/* SPDX-License-Identifier: BSD-2-Clause */
/* The module's functions, by either way to them: linked (-DLINKED), or dlopen. */
#ifndef MODULE_H
#define MODULE_H

#include <dlfcn.h>
#include <tss2/tss2_tcti_rusttcti.h>

#include "check.h"

#define SONAME "libtss2-tcti-rusttcti.so.0"

#define FUNCTIONS(F) \
    F(Tss2_Tcti_Info) \
    F(Tss2_Tcti_Rusttcti_Init) \
    F(Tss2_Tcti_Rusttcti_Device_Init) \
    F(Tss2_Tcti_Rusttcti_Swtpm_Init) \
    F(Tss2_Tcti_Rusttcti_Mssim_Init) \
    F(Tss2_Tcti_Rusttcti_Cmd_Init) \
    F(Tss2_Tcti_Rusttcti_Libtpms_Init) \
    F(Tss2_Tcti_Rusttcti_Spidev_Init) \
    F(Tss2_Tcti_Rusttcti_I2c_Init) \
    F(Tss2_Tcti_Rusttcti_Null_Init) \
    F(Tss2_Tcti_Rusttcti_Reset) \
    F(Tss2_Tcti_Rusttcti_LastError)

/* One member for each, of the type that the header gives it. */
struct module {
    void *handle;
#define MEMBER(name) __typeof__(name) *name##_;
    FUNCTIONS(MEMBER)
#undef MEMBER
};

static inline void module_open(struct module *module, int flags)
{
#ifdef LINKED
    (void)flags;
    module->handle = NULL;
#define FILL(name) module->name##_ = name;
    FUNCTIONS(FILL)
#undef FILL
#else
    module->handle = dlopen(SONAME, flags);
    if (module->handle == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
#define FILL(name) \
    *(void **)(&module->name##_) = dlsym(module->handle, #name); \
    CHECK(module->name##_ != NULL);
    FUNCTIONS(FILL)
#undef FILL
#endif
}

static inline void module_close(struct module *module)
{
    if (module->handle != NULL)
        CHECK(dlclose(module->handle) == 0);
}

#endif
