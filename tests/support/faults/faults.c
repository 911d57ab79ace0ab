/* Makes calls of a program fail: a library for LD_PRELOAD.
 *
 * FAULT_CALL (write, read, fsync, rename, link, symlink, mkdir, open, ftruncate) fails the time FAULT_NUMBER that it is made
 * on something below FAULT_BELOW, with FAULT_ERROR, and each later time too if FAULT_LASTS is 1. Then the file
 * FAULT_TOLD is made. Calls that a program makes past the C library are not seen. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_int calls;

static int error_number(void) {
    const char *name = getenv("FAULT_ERROR");
    if (!name) return EIO;
    if (!strcmp(name, "ENOSPC")) return ENOSPC;
    if (!strcmp(name, "EMFILE")) return EMFILE;
    if (!strcmp(name, "EMLINK")) return EMLINK;
    return EIO;
}

/* Whether this call on this path is to fail. */
static int fails(const char *call, const char *path) {
    const char *wanted = getenv("FAULT_CALL"), *below = getenv("FAULT_BELOW"), *number = getenv("FAULT_NUMBER");
    if (!wanted || !below || !number || !path || strcmp(wanted, call) || strncmp(path, below, strlen(below))) return 0;
    int count = atomic_fetch_add(&calls, 1) + 1, first = atoi(number);
    const char *lasts = getenv("FAULT_LASTS");
    if (count < first || (count > first && !(lasts && *lasts == '1'))) return 0;
    const char *told = getenv("FAULT_TOLD");
    if (told) {
        int fd = (int)syscall(SYS_openat, AT_FDCWD, told, O_CREAT | O_WRONLY, 0644);
        if (fd >= 0) syscall(SYS_close, fd);
    }
    errno = error_number();
    return 1;
}

static int fd_fails(const char *call, int fd) {
    const char *wanted = getenv("FAULT_CALL");
    if (!wanted || strcmp(wanted, call)) return 0;
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return fails(call, path);
}

#define REAL(type, name, ...) ((type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *bytes, size_t count) {
    return fd_fails("write", fd) ? -1 : REAL(ssize_t, write, int, const void *, size_t)(fd, bytes, count);
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    return fd_fails("write", fd) ? -1 : REAL(ssize_t, writev, int, const struct iovec *, int)(fd, parts, count);
}
ssize_t read(int fd, void *bytes, size_t count) {
    return fd_fails("read", fd) ? -1 : REAL(ssize_t, read, int, void *, size_t)(fd, bytes, count);
}
int fsync(int fd) { return fd_fails("fsync", fd) ? -1 : REAL(int, fsync, int)(fd); }
int fdatasync(int fd) { return fd_fails("fsync", fd) ? -1 : REAL(int, fdatasync, int)(fd); }
int ftruncate(int fd, off_t size) { return fd_fails("ftruncate", fd) ? -1 : REAL(int, ftruncate, int, off_t)(fd, size); }
int ftruncate64(int fd, off64_t size) {
    return fd_fails("ftruncate", fd) ? -1 : REAL(int, ftruncate64, int, off64_t)(fd, size);
}
int rename(const char *from, const char *to) {
    return fails("rename", to) ? -1 : REAL(int, rename, const char *, const char *)(from, to);
}
int link(const char *from, const char *to) {
    return fails("link", to) ? -1 : REAL(int, link, const char *, const char *)(from, to);
}
int linkat(int a, const char *from, int b, const char *to, int flags) {
    return fails("link", to) ? -1 : REAL(int, linkat, int, const char *, int, const char *, int)(a, from, b, to, flags);
}
int symlink(const char *target, const char *path) {
    return fails("symlink", path) ? -1 : REAL(int, symlink, const char *, const char *)(target, path);
}
int mkdir(const char *path, mode_t mode) {
    return fails("mkdir", path) ? -1 : REAL(int, mkdir, const char *, mode_t)(path, mode);
}

static mode_t mode_of(int flags, va_list more) {
    return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(more, mode_t) : 0;
}
int open64(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = mode_of(flags, more);
    va_end(more);
    return fails("open", path) ? -1 : REAL(int, open64, const char *, int, ...)(path, flags, mode);
}
int open(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = mode_of(flags, more);
    va_end(more);
    return fails("open", path) ? -1 : REAL(int, open, const char *, int, ...)(path, flags, mode);
}
