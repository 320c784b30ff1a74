/* Writes a log of everything that a process changes below one folder: for tests.cuts.

   Loaded with LD_PRELOAD. CUTS_FOLDER is the folder, CUTS_LOG the log. CUTS_END_AFTER=N ends the process in the
   middle of its change number N, as SIGKILL does; with CUTS_END_IN_FLUSHED=1 only writes that are flushed count.

   A record is written when its call has returned, under one lock: the log has the order in which the changes
   happened. Reads, locks, times and modes are not of interest. A call that the log cannot describe is recorded by
   its name: the reader of the log fails then. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { CREATE = 1, MAKE_FOLDER, WRITE, TRUNCATE, FLUSH, RENAME, UNLINK, REMOVE_FOLDER, MAP, UNKNOWN };
enum { IS_FLUSHED = 1 };

struct head {
    uint8_t op, flags;
    uint16_t path_size, other_size;
    uint64_t inode;
    int64_t offset;
    uint32_t data_size;
} __attribute__((packed));

enum { MAX_FILES = 4096, TRACKED = 1, FLUSHES_WRITES = 2 };

static unsigned char files[MAX_FILES];
static char folder[PATH_MAX];
static size_t folder_size;
static int log_file = -1, end_in_flushed;
static long end_after;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) \
    static __typeof__(&name) real_; \
    if (!real_) real_ = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

__attribute__((constructor)) static void begin(void) {
    const char *given = getenv("CUTS_FOLDER"), *path = getenv("CUTS_LOG"), *count = getenv("CUTS_END_AFTER");
    if (!given || !path || !realpath(given, folder)) return;
    folder_size = strlen(folder);
    end_in_flushed = getenv("CUTS_END_IN_FLUSHED") != NULL;
    end_after = count ? atol(count) : 0;
    int opened = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    /* Out of the way of programs that close or use small numbers. */
    log_file = fcntl(opened, F_DUPFD_CLOEXEC, 900);
    close(opened);
}

static int is_below(const char *path) {
    return log_file >= 0 && !strncmp(path, folder, folder_size) && (path[folder_size] == '/' || !path[folder_size]);
}

static int flags_of(int file) { return file >= 0 && file < MAX_FILES ? files[file] : 0; }

/* The real path of a name that may not exist; "" if its folder does not. */
static void resolve(int at, const char *path, char *resolved) {
    char whole[2 * PATH_MAX], parent[PATH_MAX], link[64];
    if (path[0] == '/') {
        snprintf(whole, sizeof whole, "%s", path);
    } else if (at == AT_FDCWD) {
        if (!getcwd(parent, sizeof parent)) parent[0] = 0;
        snprintf(whole, sizeof whole, "%s/%s", parent, path);
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", at);
        ssize_t size = readlink(link, parent, sizeof parent - 1);
        parent[size < 0 ? 0 : size] = 0;
        snprintf(whole, sizeof whole, "%s/%s", parent, path);
    }
    resolved[0] = 0;
    char *name = strrchr(whole, '/');
    if (!name) return;
    *name++ = 0;
    if (!realpath(whole[0] ? whole : "/", resolved)) { resolved[0] = 0; return; }
    size_t size = strlen(resolved);
    snprintf(resolved + size, PATH_MAX - size, "/%s", name);
}

static void record(int op, int flags, uint64_t inode, int64_t offset, const char *path, const char *other,
                   const struct iovec *data, int count) {
    struct iovec parts[3 + IOV_MAX];
    struct head head = {op, flags, strlen(path), strlen(other), inode, offset, 0};
    if (count > IOV_MAX - 3) abort();
    parts[0] = (struct iovec){&head, sizeof head};
    parts[1] = (struct iovec){(void *)path, head.path_size};
    parts[2] = (struct iovec){(void *)other, head.other_size};
    for (int i = 0; i < count; i++) {
        parts[3 + i] = data[i];
        head.data_size += data[i].iov_len;
    }
    static ssize_t (*real_writev)(int, const struct iovec *, int);
    if (!real_writev) real_writev = (__typeof__(real_writev))dlsym(RTLD_NEXT, "writev");
    ssize_t whole = sizeof head + head.path_size + head.other_size + head.data_size;
    if (real_writev(log_file, parts, 3 + count) != whole) abort();
}

/* Whether the process must end with the change that begins now. Under the lock. */
static int must_end_in(int is_flushed) {
    if (!end_after || (end_in_flushed && !is_flushed)) return 0;
    return !--end_after;
}

static int must_end(void) { return must_end_in(0); }

static uint64_t inode_of(int file) {
    struct stat status;
    return fstat(file, &status) ? 0 : status.st_ino;
}

static void unknown(const char *name, int file) {
    if (!(flags_of(file) & TRACKED)) return;
    pthread_mutex_lock(&lock);
    record(UNKNOWN, 0, inode_of(file), 0, name, "", NULL, 0);
    pthread_mutex_unlock(&lock);
}

/* files and folders */

static int real_openat(int at, const char *path, int flags, mode_t mode) {
    static int (*real_)(int, const char *, int, ...);
    if (!real_) real_ = (__typeof__(real_))dlsym(RTLD_NEXT, "openat");
    return real_(at, path, flags, mode);
}

static int opened(int at, const char *path, int flags, mode_t mode) {
    char where[PATH_MAX];
    if (log_file < 0) return real_openat(at, path, flags, mode);
    resolve(at, path, where);
    struct stat before, status;
    if (!where[0] || (!is_below(where) && strcmp(path, "."))) {
        int other = real_openat(at, path, flags, mode);
        /* The folder itself, or a link to something in it. */
        char link[64], real[PATH_MAX];
        if (other >= 0 && other < MAX_FILES) {
            files[other] = 0;
            snprintf(link, sizeof link, "/proc/self/fd/%d", other);
            ssize_t size = readlink(link, real, sizeof real - 1);
            real[size < 0 ? 0 : size] = 0;
            if (is_below(real)) files[other] = TRACKED;
        }
        return other;
    }
    pthread_mutex_lock(&lock);
    int is_new = (flags & O_CREAT) && stat(where, &before);
    int ends = (is_new || (flags & O_TRUNC)) && must_end();
    int file = real_openat(at, path, flags, mode);
    int error = errno;
    if (file >= 0 && file < MAX_FILES && !fstat(file, &status)) {
        files[file] = TRACKED | (flags & O_DSYNC ? FLUSHES_WRITES : 0);
        if ((flags & O_TMPFILE) == O_TMPFILE) record(UNKNOWN, 0, 0, 0, "O_TMPFILE", "", NULL, 0);
        if (is_new) record(CREATE, 0, status.st_ino, 0, where, "", NULL, 0);
        else if (flags & O_TRUNC && (flags & O_ACCMODE) != O_RDONLY && before.st_size)
            record(TRUNCATE, 0, status.st_ino, 0, "", "", NULL, 0);
    }
    if (ends) _exit(137);
    pthread_mutex_unlock(&lock);
    errno = error;
    return file;
}

#define MODE(flags, last) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { va_list list; va_start(list, last); mode = va_arg(list, mode_t); va_end(list); }

int open(const char *path, int flags, ...) { MODE(flags, flags) return opened(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags, flags) return opened(AT_FDCWD, path, flags, mode); }
int openat(int at, const char *path, int flags, ...) { MODE(flags, flags) return opened(at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { MODE(flags, flags) return opened(at, path, flags, mode); }

int close(int file) {
    REAL(close);
    if (file >= 0 && file == log_file) { errno = EBADF; return -1; }
    if (file >= 0 && file < MAX_FILES) files[file] = 0;
    return real_(file);
}

static int copied(int file, int copy) {
    if (copy >= 0 && copy < MAX_FILES) files[copy] = flags_of(file);
    return copy;
}

int dup(int file) { REAL(dup); return copied(file, real_(file)); }
int dup2(int file, int to) { REAL(dup2); return copied(file, real_(file, to)); }
int dup3(int file, int to, int flags) { REAL(dup3); return copied(file, real_(file, to, flags)); }

/* content */

static ssize_t written(int file, const struct iovec *parts, int count, off_t offset) {
    static ssize_t (*real_pwritev)(int, const struct iovec *, int, off_t);
    static ssize_t (*real_writev)(int, const struct iovec *, int);
    if (!real_pwritev) real_pwritev = (__typeof__(real_pwritev))dlsym(RTLD_NEXT, "pwritev");
    if (!real_writev) real_writev = (__typeof__(real_writev))dlsym(RTLD_NEXT, "writev");
    if (!(flags_of(file) & TRACKED))
        return offset < 0 ? real_writev(file, parts, count) : real_pwritev(file, parts, count, offset);
    pthread_mutex_lock(&lock);
    struct iovec some[IOV_MAX];
    int ends = must_end_in(flags_of(file) & FLUSHES_WRITES);
    memcpy(some, parts, count * sizeof *parts);
    /* A signal ends a write between two pages, not within one. */
    if (ends) { count = 1; if (some[0].iov_len > 4096) some[0].iov_len = some[0].iov_len / 2 & ~4095UL; }
    ssize_t size = offset < 0 ? real_writev(file, some, count) : real_pwritev(file, some, count, offset);
    int error = errno;
    if (size > 0) {
        /* As much as was written. */
        size_t rest = size;
        for (int i = 0; i < count; i++) {
            if (some[i].iov_len > rest) some[i].iov_len = rest;
            rest -= some[i].iov_len;
        }
        off_t begin = offset < 0 ? lseek(file, 0, SEEK_CUR) - size : offset;
        int flushed = flags_of(file) & FLUSHES_WRITES && !ends;
        record(WRITE, flushed ? IS_FLUSHED : 0, inode_of(file), begin, "", "", some, count);
    }
    if (ends) _exit(137);
    pthread_mutex_unlock(&lock);
    errno = error;
    return size;
}

ssize_t write(int file, const void *data, size_t size) {
    REAL(write);
    if (!(flags_of(file) & TRACKED)) return real_(file, data, size);
    struct iovec part = {(void *)data, size};
    return written(file, &part, 1, -1);
}

ssize_t pwrite(int file, const void *data, size_t size, off_t offset) {
    struct iovec part = {(void *)data, size};
    return written(file, &part, 1, offset);
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t offset) { return pwrite(file, data, size, offset); }
ssize_t writev(int file, const struct iovec *parts, int count) { return written(file, parts, count, -1); }
ssize_t pwritev(int file, const struct iovec *parts, int count, off_t offset) {
    return written(file, parts, count, offset);
}
ssize_t pwritev64(int file, const struct iovec *parts, int count, off64_t offset) {
    return written(file, parts, count, offset);
}

int ftruncate(int file, off_t size) {
    REAL(ftruncate);
    if (!(flags_of(file) & TRACKED)) return real_(file, size);
    pthread_mutex_lock(&lock);
    int ends = must_end(), result = real_(file, size), error = errno;
    if (!result) record(TRUNCATE, 0, inode_of(file), size, "", "", NULL, 0);
    if (ends) _exit(137);
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

int ftruncate64(int file, off64_t size) { return ftruncate(file, size); }

static int flushed(int file, int (*real)(int)) {
    struct stat status;
    if (!(flags_of(file) & TRACKED) || fstat(file, &status)) return real(file);
    pthread_mutex_lock(&lock);
    if (must_end()) _exit(137);
    int result = real(file), error = errno;
    if (!result)
        record(FLUSH, 0, status.st_ino, 0, "", "", NULL, 0);
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

int fsync(int file) { REAL(fsync); return flushed(file, real_); }
int fdatasync(int file) { REAL(fdatasync); return flushed(file, real_); }

/* names */

static int renamed(int at, const char *path, int to, const char *other, unsigned flags) {
    REAL(renameat2);
    char from[PATH_MAX], target[PATH_MAX];
    resolve(at, path, from);
    resolve(to, other, target);
    if (!is_below(from) && !is_below(target)) return real_(at, path, to, other, flags);
    pthread_mutex_lock(&lock);
    int ends = must_end(), result = real_(at, path, to, other, flags), error = errno;
    if (!result) record(is_below(from) && is_below(target) && !flags ? RENAME : UNKNOWN, 0, 0, 0, from, target, NULL, 0);
    if (ends) _exit(137);
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

int rename(const char *path, const char *other) { return renamed(AT_FDCWD, path, AT_FDCWD, other, 0); }
int renameat(int at, const char *path, int to, const char *other) { return renamed(at, path, to, other, 0); }
int renameat2(int at, const char *path, int to, const char *other, unsigned flags) {
    return renamed(at, path, to, other, flags);
}

static int removed(int at, const char *path, int flags) {
    REAL(unlinkat);
    char where[PATH_MAX];
    resolve(at, path, where);
    if (!is_below(where)) return real_(at, path, flags);
    pthread_mutex_lock(&lock);
    int ends = must_end(), result = real_(at, path, flags), error = errno;
    if (!result) record(flags & AT_REMOVEDIR ? REMOVE_FOLDER : UNLINK, 0, 0, 0, where, "", NULL, 0);
    if (ends) _exit(137);
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

int unlink(const char *path) { return removed(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return removed(AT_FDCWD, path, AT_REMOVEDIR); }
int remove(const char *path) {
    struct stat status;
    return removed(AT_FDCWD, path, !lstat(path, &status) && S_ISDIR(status.st_mode) ? AT_REMOVEDIR : 0);
}
int unlinkat(int at, const char *path, int flags) { return removed(at, path, flags); }

int mkdirat(int at, const char *path, mode_t mode) {
    REAL(mkdirat);
    char where[PATH_MAX];
    struct stat status;
    resolve(at, path, where);
    if (!is_below(where)) return real_(at, path, mode);
    pthread_mutex_lock(&lock);
    int ends = must_end(), result = real_(at, path, mode), error = errno;
    if (!result && !stat(where, &status)) record(MAKE_FOLDER, 0, status.st_ino, 0, where, "", NULL, 0);
    if (ends) _exit(137);
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

/* what the log cannot describe */

static void *mapped(void *address, size_t size, int access, int flags, int file, off_t offset) {
    static void *(*real_)(void *, size_t, int, int, int, off_t);
    if (!real_) real_ = (__typeof__(real_))dlsym(RTLD_NEXT, "mmap");
    if (file >= 0 && flags_of(file) & TRACKED && access & PROT_WRITE && flags & MAP_SHARED) {
        pthread_mutex_lock(&lock);
        record(MAP, 0, inode_of(file), 0, "", "", NULL, 0);
        pthread_mutex_unlock(&lock);
    }
    return real_(address, size, access, flags, file, offset);
}

void *mmap(void *address, size_t size, int access, int flags, int file, off_t offset) {
    return mapped(address, size, access, flags, file, offset);
}
void *mmap64(void *address, size_t size, int access, int flags, int file, off64_t offset) {
    return mapped(address, size, access, flags, file, offset);
}

int fallocate(int file, int mode, off_t offset, off_t size) {
    REAL(fallocate);
    unknown("fallocate", file);
    return real_(file, mode, offset, size);
}

int posix_fallocate(int file, off_t offset, off_t size) {
    REAL(posix_fallocate);
    unknown("posix_fallocate", file);
    return real_(file, offset, size);
}

ssize_t copy_file_range(int from, off64_t *begin, int file, off64_t *offset, size_t size, unsigned flags) {
    REAL(copy_file_range);
    unknown("copy_file_range", file);
    return real_(from, begin, file, offset, size, flags);
}

int linkat(int at, const char *path, int to, const char *other, int flags) {
    REAL(linkat);
    char where[PATH_MAX];
    resolve(to, other, where);
    if (is_below(where)) record(UNKNOWN, 0, 0, 0, "link", where, NULL, 0);
    return real_(at, path, to, other, flags);
}

int link(const char *path, const char *other) { return linkat(AT_FDCWD, path, AT_FDCWD, other, 0); }

int symlinkat(const char *target, int at, const char *path) {
    REAL(symlinkat);
    char where[PATH_MAX];
    resolve(at, path, where);
    if (is_below(where)) record(UNKNOWN, 0, 0, 0, "symlink", where, NULL, 0);
    return real_(target, at, path);
}

int symlink(const char *target, const char *path) { return symlinkat(target, AT_FDCWD, path); }
