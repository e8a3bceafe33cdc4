/* The C face of XrdCl that Rust sees: opaque handles, plain structs, callbacks.
 *
 * Rules that hold for every asynchronous entry:
 *  - `done` is called exactly once, on any thread, also when the request could not be submitted (then on the
 *    caller's thread, before the entry returns);
 *  - everything that the reply points to lives only until `done` returns;
 *  - a handle must stay alive until `done` of its last request was called, and must never be deleted in `done`;
 *  - buffers given to read and write belong to the library until `done` is called;
 *  - `timeout` is in whole seconds; 0 means the environment's default;
 *  - no C++ exception leaves an entry.
 */
#ifndef XROOTD_SYS_SHIM_H
#define XROOTD_SYS_SHIM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct xrds_file xrds_file;
typedef struct xrds_fs xrds_fs;

/* What XrdCl says of a request: bits of `status` 0x1 error, 0x3 fatal; `code` is XrdCl's, `server_errno` the
 * server's kXR code when `code` is 400, an operating system errno when it is 402 or 12. */
typedef struct {
  uint16_t status;
  uint16_t code;
  uint32_t server_errno;
  const char *message; /* never NULL */
} xrds_status;

typedef struct {
  uint64_t size;
  uint64_t mtime; /* seconds since 1970 */
  uint32_t flags; /* kXR_stat flags: 1 x bit, 2 directory, 4 other, 8 offline, 16 readable, 32 writable, 64 POSC */
  const char *id;
} xrds_stat;

/* A directory's entry (`type` and `access` are 0), or a location (`name` is its address, `stat` is NULL;
 * `type`: 0 manager online, 1 manager pending, 2 server online, 3 server pending; `access`: 0 read, 1 read/write). */
typedef struct {
  const char *name;
  const char *host;
  const xrds_stat *stat;
  int32_t type;
  int32_t access;
} xrds_entry;

/* What came with a good answer; what an operation does not give is NULL and 0. */
typedef struct {
  const xrds_stat *stat;
  const char *data;
  size_t data_len;
  const xrds_entry *entries;
  size_t entries_len;
  uint64_t transferred; /* bytes that a read put into the caller's buffer */
  const char *answered_by; /* URL of the last server on the way, or NULL; also set when the status is an error */
} xrds_reply;

typedef void (*xrds_done)(void *ctx, const xrds_status *status, const xrds_reply *reply);

/* -- environment ------------------------------------------------------------------------------------------------ */

/* The version of the headers that this was compiled with, as XrdVNUMBER (50503 for 5.5.3). */
uint32_t xrds_version(void);
/* 1 when taken, 0 when the user's own XRD_<NAME> variable stands above it, -1 on an exception. */
int xrds_env_put_int(const char *name, int value);
/* 1 when known. */
int xrds_env_get_int(const char *name, int *value);
/* Stops XrdCl's threads; nothing may be submitted afterwards. 1 when it stopped. */
int xrds_stop(void);
/* Has the kernel schedule the calling thread, and every thread that it starts, as SCHED_BATCH. 1 when it does. */
int xrds_give_way(void);
/* "host:port" of a URL as XrdCl itself understands it; the length, 0 when the URL is not valid or `cap` too small. */
size_t xrds_url_host_id(const char *url, char *out, size_t cap);
/* Lays `url`'s pieces as XrdCl sees them into `out`, one per line: protocol, host, port, path, cgi; the length, or 0. */
size_t xrds_url_split(const char *url, char *out, size_t cap);
/* The host name that an IPv4 or IPv6 address goes by (reverse DNS; blocks); the length, 0 when it has none. */
size_t xrds_host_name(const char *address, char *out, size_t cap);

/* -- file system ------------------------------------------------------------------------------------------------ */

xrds_fs *xrds_fs_new(const char *url);
void xrds_fs_delete(xrds_fs *fs);
void xrds_fs_stat(xrds_fs *fs, const char *path, uint32_t timeout, xrds_done done, void *ctx);
void xrds_fs_mv(xrds_fs *fs, const char *from, const char *to, uint32_t timeout, xrds_done done, void *ctx);
void xrds_fs_rm(xrds_fs *fs, const char *path, uint32_t timeout, xrds_done done, void *ctx);
void xrds_fs_mkdir(xrds_fs *fs, const char *path, int parents, uint32_t mode, uint32_t timeout, xrds_done done,
                   void *ctx);
void xrds_fs_rmdir(xrds_fs *fs, const char *path, uint32_t timeout, xrds_done done, void *ctx);
void xrds_fs_chmod(xrds_fs *fs, const char *path, uint32_t mode, uint32_t timeout, xrds_done done, void *ctx);
void xrds_fs_dirlist(xrds_fs *fs, const char *path, int with_stat, uint32_t timeout, xrds_done done, void *ctx);
void xrds_fs_locate(xrds_fs *fs, const char *path, uint32_t flags, int deep, uint32_t timeout, xrds_done done,
                    void *ctx);
/* `code` is kXR_query's: 3 checksum, 5 space, 7 configuration, 1 statistics. */
void xrds_fs_query(xrds_fs *fs, uint32_t code, const char *arg, size_t arg_len, uint32_t timeout, xrds_done done,
                   void *ctx);
void xrds_fs_ping(xrds_fs *fs, uint32_t timeout, xrds_done done, void *ctx);

/* -- file ------------------------------------------------------------------------------------------------------- */

xrds_file *xrds_file_new(void);
/* Closes an open file first, and waits for that: only for a file that is not open, or never on a hurried thread. */
void xrds_file_delete(xrds_file *file);
int xrds_file_is_open(const xrds_file *file);
void xrds_file_open(xrds_file *file, const char *url, uint32_t flags, uint32_t mode, uint32_t timeout, xrds_done done,
                    void *ctx);
void xrds_file_close(xrds_file *file, uint32_t timeout, xrds_done done, void *ctx);
void xrds_file_stat(xrds_file *file, int force, uint32_t timeout, xrds_done done, void *ctx);
void xrds_file_read(xrds_file *file, uint64_t offset, uint32_t size, void *buffer, uint32_t timeout, xrds_done done,
                    void *ctx);
void xrds_file_write(xrds_file *file, uint64_t offset, uint32_t size, const void *buffer, uint32_t timeout,
                     xrds_done done, void *ctx);
void xrds_file_sync(xrds_file *file, uint32_t timeout, xrds_done done, void *ctx);
void xrds_file_truncate(xrds_file *file, uint64_t size, uint32_t timeout, xrds_done done, void *ctx);
void xrds_file_fcntl(xrds_file *file, const char *arg, size_t arg_len, uint32_t timeout, xrds_done done, void *ctx);
/* The property's length, which may exceed what was written to `out`; -1 when there is none of that name. */
int64_t xrds_file_property(const xrds_file *file, const char *name, char *out, size_t cap);
/* 1 when taken. */
int xrds_file_set_property(xrds_file *file, const char *name, const char *value);

#ifdef __cplusplus
}
#endif

#endif
