/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef TSS2_TCTI_RUSTTCTI_H
#define TSS2_TCTI_RUSTTCTI_H

/* Made from src/lib.rs by `make header`; changes go there. */

#include <stddef.h>
#include <tss2/tss2_common.h>
#include <tss2/tss2_tcti.h>

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Returns this module's name, description, configuration and Init function.
 * Tss2_TctiLdr calls it.
 */
const TSS2_TCTI_INFO *Tss2_Tcti_Info(void);

/**
 * Initialises a context from a whole chain,
 * `{ LAYER [ "," key "=" value ]* ":" } TRANSPORT [ ":" CONF ]`.
 *
 * With a NULL `tctiContext`, `*size` becomes the size that a context needs.
 * Otherwise `tctiContext` is memory of `*size` bytes, aligned as by malloc(). `conf`
 * is the chain; NULL or an empty string is the system's TPM device.
 *
 * Returns TSS2_RC_SUCCESS, or TSS2_TCTI_RC_BAD_REFERENCE (`size` is NULL),
 * TSS2_TCTI_RC_BAD_VALUE (`*size` is too small; the chain has a mistake), or the error
 * of opening the transport. On an error nothing was written to `tctiContext`, and
 * Tss2_Tcti_Rusttcti_LastError() returns the reason.
 */
TSS2_RC Tss2_Tcti_Rusttcti_Init(TSS2_TCTI_CONTEXT *tctiContext,
                                size_t *size,
                                const char *conf);

/**
 * Initialises a context of the transport `device`. `conf` is the path of
 * a TPM device; NULL tries /dev/tpmrm0, /dev/tpm0 and /dev/tcm0.
 *
 * Otherwise as Tss2_Tcti_Rusttcti_Init().
 */
TSS2_RC Tss2_Tcti_Rusttcti_Device_Init(TSS2_TCTI_CONTEXT *tctiContext,
                                       size_t *size,
                                       const char *conf);

/**
 * Initialises a context of the transport `swtpm`. `conf` is
 * `host=HOST,port=PORT` or `path=PATH`; NULL is localhost, port 2321.
 * `persistent=1` keeps the connection open, which shuts other processes out.
 *
 * Otherwise as Tss2_Tcti_Rusttcti_Init().
 */
TSS2_RC Tss2_Tcti_Rusttcti_Swtpm_Init(TSS2_TCTI_CONTEXT *tctiContext,
                                      size_t *size,
                                      const char *conf);

/**
 * Initialises a context of the transport `mssim`. `conf` is
 * `host=HOST,port=PORT` or `path=PATH`; NULL is localhost, port 2321.
 *
 * Otherwise as Tss2_Tcti_Rusttcti_Init().
 */
TSS2_RC Tss2_Tcti_Rusttcti_Mssim_Init(TSS2_TCTI_CONTEXT *tctiContext,
                                      size_t *size,
                                      const char *conf);

/**
 * Initialises a context of the transport `cmd`. `conf` is a command line
 * for `/bin/sh -c`, which reads TPM commands and writes responses.
 *
 * Otherwise as Tss2_Tcti_Rusttcti_Init().
 */
TSS2_RC Tss2_Tcti_Rusttcti_Cmd_Init(TSS2_TCTI_CONTEXT *tctiContext,
                                    size_t *size,
                                    const char *conf);

/**
 * Initialises a context of the transport `libtpms`, a TPM inside this
 * process. `conf` is the path of its state file; NULL is a TPM in memory.
 *
 * Otherwise as Tss2_Tcti_Rusttcti_Init().
 */
TSS2_RC Tss2_Tcti_Rusttcti_Libtpms_Init(TSS2_TCTI_CONTEXT *tctiContext,
                                        size_t *size,
                                        const char *conf);

/**
 * Initialises a context of the transport `spidev`, a TPM on an SPI bus.
 * `conf` is `PATH,speed=HZ,share=1`, in which each part may be left out; NULL is
 * /dev/spidev0.1.
 *
 * Otherwise as Tss2_Tcti_Rusttcti_Init().
 */
TSS2_RC Tss2_Tcti_Rusttcti_Spidev_Init(TSS2_TCTI_CONTEXT *tctiContext,
                                       size_t *size,
                                       const char *conf);

/**
 * Initialises a context of the transport `i2c`, a TPM on an I2C bus.
 * `conf` is `PATH,address=NUMBER,share=1`, in which all but the path may be left
 * out.
 *
 * Otherwise as Tss2_Tcti_Rusttcti_Init().
 */
TSS2_RC Tss2_Tcti_Rusttcti_I2c_Init(TSS2_TCTI_CONTEXT *tctiContext,
                                    size_t *size,
                                    const char *conf);

/**
 * Initialises a context of the transport `null`, which has no TPM and
 * refuses every command. `conf` is ignored.
 *
 * Otherwise as Tss2_Tcti_Rusttcti_Init().
 */
TSS2_RC Tss2_Tcti_Rusttcti_Null_Init(TSS2_TCTI_CONTEXT *tctiContext,
                                     size_t *size,
                                     const char *conf);

/**
 * Power-cycles the TPM behind a context of this module: permanent state stays, all
 * else is lost.
 *
 * Returns TSS2_RC_SUCCESS; TSS2_TCTI_RC_NOT_IMPLEMENTED if the transport does not
 * control its TPM's power; TSS2_TCTI_RC_BAD_SEQUENCE while a response is awaited;
 * TSS2_TCTI_RC_BAD_CONTEXT for a context of another module, such as the one that
 * Tss2_TctiLdr_Initialize() makes around ours.
 */
TSS2_RC Tss2_Tcti_Rusttcti_Reset(TSS2_TCTI_CONTEXT *tctiContext);

/**
 * Returns the error of this thread's last failed call of this module, as a sentence in
 * UTF-8; empty if no call has failed. Never NULL. The text is valid until the thread's
 * next failure.
 */
const char *Tss2_Tcti_Rusttcti_LastError(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* TSS2_TCTI_RUSTTCTI_H */
