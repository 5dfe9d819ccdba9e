/* Makes the Nth call of one kind on files under one folder fail: a disk that is full or breaks at a chosen moment.
 *
 * Loaded with LD_PRELOAD, told by the environment (faults.py sets it):
 *
 *   FAULT_PATH    calls on this folder or below it count
 *   FAULT_CALL    which: write, fsync, rename (and link), create (open that makes a file, mkdir) or any of these;
 *                 or open (of a file or folder that is there), or read
 *   FAULT_N       the Nth of them in the process fails, counted from 1; 0: none does
 *   FAULT_STAYS   1: all later ones fail too, as on a disk that stays full
 *   FAULT_ERRNO   with this error
 *   FAULT_LOG     a file (outside FAULT_PATH) that gets a line "CALL PATH" for each that counts
 *
 * Lance renames its data files by bare system calls, past libc, so replacing libc's functions isn't enough: a seccomp
 * filter turns each such system call into a SIGSYS, whose handler fails it or makes it after all. The filter tells the
 * handler's own calls by their sixth argument, which none of these calls has. A filter outlives exec, where the next
 * program's own copy of this library takes over, so what is started must keep LD_PRELOAD. Linux on x86-64 only.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#if !defined(__x86_64__) || !defined(__linux__)
#error "written for Linux on x86-64"
#endif

#define OURS 0x6c6f6f6b /* the sixth argument of the handler's own calls */

static const char *folder, *call;
static size_t folder_length;
static int error_number, stays, log_file = -1;
static long fails_at;
static long counted;

static long make_call(long number, const long *a)
{
    register long r10 __asm__("r10") = a[3], r8 __asm__("r8") = a[4], r9 __asm__("r9") = OURS;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

/* Plain decimal, without stdio: this runs inside a signal handler. */
static void append_number(char *text, long number)
{
    char digits[24];
    int n = 0;
    do
        digits[n++] = (char)('0' + number % 10);
    while (number /= 10);
    text += strlen(text);
    while (n)
        *text++ = digits[--n];
    *text = 0;
}

/* The path of an open file, or of the folder that AT_FDCWD stands for. */
static void path_of_file(long file, char *path)
{
    char link[64] = "/proc/self/cwd";
    if ((int)file != AT_FDCWD) {
        strcpy(link, "/proc/self/fd/");
        append_number(link, (int)file < 0 ? 0 : (int)file);
    }
    const long a[5] = {(long)link, (long)path, PATH_MAX - 1};
    long length = make_call(SYS_readlink, a);
    path[length < 0 ? 0 : length] = 0;
}

static void path_of_name(long at, long name, char *path)
{
    const char *text = (const char *)name;
    path[0] = 0;
    if (text[0] != '/') {
        path_of_file(at, path);
        strncat(path, "/", PATH_MAX - 1 - strlen(path));
    }
    strncat(path, text, PATH_MAX - 1 - strlen(path));
}

/* Which kind of call this is, and the file it is about. */
static const char *kind_of(long number, const long *a, char *path)
{
    switch (number) {
    case SYS_write: case SYS_pwrite64: case SYS_writev: case SYS_pwritev:
        path_of_file(a[0], path);
        return "write";
    case SYS_fsync: case SYS_fdatasync:
        path_of_file(a[0], path);
        return "fsync";
    case SYS_rename: case SYS_link:
        path_of_name(AT_FDCWD, a[1], path);
        return "rename";
    case SYS_renameat: case SYS_renameat2: case SYS_linkat:
        path_of_name(a[2], a[3], path);
        return "rename";
    case SYS_read: case SYS_pread64: case SYS_readv: case SYS_preadv: case SYS_getdents64:
        path_of_file(a[0], path);
        return "read";
    case SYS_open:
        path_of_name(AT_FDCWD, a[0], path);
        return a[1] & O_CREAT ? "create" : "open";
    case SYS_creat: case SYS_mkdir:
        path_of_name(AT_FDCWD, a[0], path);
        return "create";
    case SYS_openat:
        path_of_name(a[0], a[1], path);
        return a[2] & O_CREAT ? "create" : "open";
    default: /* mkdirat */
        path_of_name(a[0], a[1], path);
        return "create";
    }
}

static int is_to_fail(const char *kind, const char *path)
{
    if ((strcmp(kind, call) && strcmp("any", call)) || strncmp(path, folder, folder_length) ||
        (path[folder_length] != '/' && path[folder_length] != 0))
        return 0;
    if (log_file >= 0) {
        char line[PATH_MAX + 16];
        strcpy(line, kind);
        strcat(line, " ");
        strncat(line, path, PATH_MAX);
        strcat(line, "\n");
        const long a[5] = {log_file, (long)line, (long)strlen(line)};
        make_call(SYS_write, a);
    }
    long n = __atomic_add_fetch(&counted, 1, __ATOMIC_SEQ_CST);
    return fails_at && (n == fails_at || (stays && n > fails_at));
}

static void on_call(int signal_number, siginfo_t *info, void *context)
{
    greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
    const long a[5] = {r[REG_RDI], r[REG_RSI], r[REG_RDX], r[REG_R10], r[REG_R8]};
    char path[PATH_MAX];
    (void)signal_number;
    const char *kind = kind_of(info->si_syscall, a, path);
    r[REG_RAX] = is_to_fail(kind, path) ? -error_number : make_call(info->si_syscall, a);
}

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define TRAP_IF(number) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP)
/* An open traps where its flags, the low half of the given argument, make a file. */
#define TRAP_IF_CREATES(number, argument)                                  \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 4), LOAD(args[argument]), \
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, O_CREAT, 0, 1),               \
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

__attribute__((constructor)) static void begin(void)
{
    static struct sock_filter filter[] = {
        LOAD(arch),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        LOAD(args[5]),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OURS, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        LOAD(nr),
        TRAP_IF(SYS_write), TRAP_IF(SYS_pwrite64), TRAP_IF(SYS_writev), TRAP_IF(SYS_pwritev),
        TRAP_IF(SYS_fsync), TRAP_IF(SYS_fdatasync),
        TRAP_IF(SYS_rename), TRAP_IF(SYS_renameat), TRAP_IF(SYS_renameat2), TRAP_IF(SYS_link), TRAP_IF(SYS_linkat),
        TRAP_IF(SYS_creat), TRAP_IF(SYS_mkdir), TRAP_IF(SYS_mkdirat),
        TRAP_IF_CREATES(SYS_open, 1), TRAP_IF_CREATES(SYS_openat, 2),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    static struct sock_filter reading[] = {
        LOAD(arch),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        LOAD(args[5]),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OURS, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        LOAD(nr),
        TRAP_IF(SYS_open), TRAP_IF(SYS_openat), TRAP_IF(SYS_read), TRAP_IF(SYS_pread64), TRAP_IF(SYS_readv),
        TRAP_IF(SYS_preadv), TRAP_IF(SYS_getdents64),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    struct sigaction action = {.sa_sigaction = on_call, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_RESTART};
    const char *log_name = getenv("FAULT_LOG");

    folder = getenv("FAULT_PATH");
    call = getenv("FAULT_CALL");
    if (!folder || !call)
        return;
    if (!strcmp(call, "open") || !strcmp(call, "read")) {
        program.len = sizeof reading / sizeof *reading;
        program.filter = reading;
    }
    folder_length = strlen(folder);
    fails_at = getenv("FAULT_N") ? atol(getenv("FAULT_N")) : 0;
    stays = getenv("FAULT_STAYS") && atoi(getenv("FAULT_STAYS"));
    error_number = getenv("FAULT_ERRNO") ? atoi(getenv("FAULT_ERRNO")) : ENOSPC;
    if (log_name) {
        const long a[5] = {AT_FDCWD, (long)log_name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644};
        log_file = (int)make_call(SYS_openat, a);
    }
    sigaction(SIGSYS, &action, NULL);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) {
        static const char refused[] = "faults.c: the system refuses a seccomp filter\n";
        const long a[5] = {STDERR_FILENO, (long)refused, sizeof refused - 1};
        make_call(SYS_write, a);
        _exit(125);
    }
}
