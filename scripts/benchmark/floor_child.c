/* The child: from the clone to the exec. Every call is one that the bundle asks
 * the kernel for; after pivot_root paths are short and trusted (the floor's
 * root filesystem is its own, a runtime's is not). */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "floor.h"

/* linux/mount.h clashes with sys/mount.h, so mount_setattr(2)'s structure is repeated. */
struct mount_attributes {
    uint64_t set, clear, propagation, user_namespace;
};

static const struct {
    const char *path;
    unsigned major, minor;
} nodes[] = {
    {"/dev/null", 1, 3},   {"/dev/zero", 1, 5},    {"/dev/full", 1, 7},
    {"/dev/random", 1, 8}, {"/dev/urandom", 1, 9}, {"/dev/tty", 5, 0},
};

static const char *const links[][2] = {
    {"/proc/self/fd", "/dev/fd"},       {"/proc/self/fd/0", "/dev/stdin"}, {"/proc/self/fd/1", "/dev/stdout"},
    {"/proc/self/fd/2", "/dev/stderr"}, {"pts/ptmx", "/dev/ptmx"},
};

static void write_file(const char *path, const char *value)
{
    int fd = check(open(path, O_WRONLY | O_CLOEXEC), path);
    check(write(fd, value, strlen(value)), path);
    close(fd);
}

static void enter_root(const char *rootfs)
{
    check(mount(0, "/", 0, MS_REC | MS_PRIVATE, 0), "private /");
    check(mount(rootfs, rootfs, 0, MS_BIND | MS_REC, 0), "bind rootfs");
    check(chdir(rootfs), "chdir rootfs");
    /* Old root and new root are both "." now; the old one is on top of the stack. */
    check(syscall(SYS_pivot_root, ".", "."), "pivot_root");
    check(umount2(".", MNT_DETACH), "umount old root");
    check(chdir("/"), "chdir /");
}

static void mount_filesystems(const struct filesystem *list)
{
    for (; list->type; list++) {
        if (!strncmp(list->target, "/dev/", 5))
            check(mkdir(list->target, 0755), list->target);
        check(mount(list->type, list->target, list->type, list->flags, list->options), list->target);
    }
}

static void make_devices(void)
{
    umask(0);
    for (unsigned i = 0; i < sizeof nodes / sizeof *nodes; i++)
        check(mknod(nodes[i].path, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)), nodes[i].path);
    umask(022);
    for (unsigned i = 0; i < sizeof links / sizeof *links; i++)
        check(symlink(links[i][0], links[i][1]), links[i][1]);
}

/* One empty read-only tmpfs serves all masked directories: a bind costs less than a mount. */
static void mask_directories(const char *const *paths)
{
    const char *empty = 0;
    for (; *paths; paths++) {
        int result = empty ? mount(empty, *paths, 0, MS_BIND, 0)
                           : mount("tmpfs", *paths, "tmpfs", MS_RDONLY, "nr_inodes=2");
        if (result == 0 && !empty)
            empty = *paths;
        if (result < 0 && errno != ENOENT)
            check(result, *paths);
    }
}

static void mask_files(const char *const *paths)
{
    for (; *paths; paths++)
        if (mount("/dev/null", *paths, 0, MS_BIND, 0) < 0 && errno != ENOENT)
            check(-1, *paths);
}

static void set_readonly(const char *path)
{
    struct mount_attributes attributes = {.set = MS_RDONLY};
    check(syscall(SYS_mount_setattr, AT_FDCWD, path, 0, &attributes, sizeof attributes), path);
}

static void protect_paths(const char *const *paths)
{
    for (; *paths; paths++) {
        if (mount(*paths, *paths, 0, MS_BIND | MS_REC, 0) == 0)
            set_readonly(*paths);
        else if (errno != ENOENT)
            check(-1, *paths);
    }
}

static void build_container(const struct child *child)
{
    const struct plan *plan = child->plan;
    check(sethostname(plan->hostname, strlen(plan->hostname)), "sethostname");
    enter_root(child->rootfs);
    mount_filesystems(plan->filesystems);
    make_devices();
    if (plan->sysctls) {
        write_file("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
        write_file("/proc/sys/net/ipv4/ping_group_range", "0 2147483647");
    }
    mask_directories(plan->masked_directories);
    mask_files(plan->masked_files);
    protect_paths(plan->readonly_paths);
    if (plan->readonly_root)
        set_readonly("/");
}

/* Tells create that the container stands and sleeps until start opens the FIFO. */
static void wait_for_start(int ready, int gate)
{
    char path[64];
    write(ready, "", 1);
    close(ready);
    /* The FIFO lies outside of the container: /proc turns the O_PATH descriptor into an open one. */
    snprintf(path, sizeof path, "/proc/self/fd/%d", gate);
    int fd = check(open(path, O_WRONLY | O_CLOEXEC), "open the gate");
    check(write(fd, "", 1), "pass the gate");
    close(fd);
}

static void set_capabilities(uint64_t keep)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct sets[2] = {{.effective = keep, .permitted = keep}, {0}};
    check(syscall(SYS_capset, &header, sets), "capset");
}

static void restrict_process(const struct child *child)
{
    const struct plan *plan = child->plan;
    gid_t groups[] = {0, 10};
    /* "oomScoreAdj": 0 asks for a write, whatever the value was before. */
    if (plan->oom_score)
        write_file("/proc/self/oom_score_adj", "0");
    if (plan->open_files_limit)
        check(setrlimit(RLIMIT_NOFILE, &(struct rlimit){1024, 1024}), "setrlimit");
    /* The raw call: the library's would look for threads to tell. */
    check(syscall(SYS_setgroups, plan->supplementary_groups ? 2 : 0, groups), "setgroups");
    for (int capability = 0; capability <= CAP_LAST_CAP; capability++)
        if (!(plan->capabilities >> capability & 1))
            check(prctl(PR_CAPBSET_DROP, capability, 0, 0, 0), "drop a bounding capability");
    if (plan->no_new_privileges)
        check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs");
    /* Without no_new_privs a filter needs CAP_SYS_ADMIN: before the capabilities go. */
    if (child->filter.len)
        check(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &child->filter), "seccomp");
    set_capabilities(plan->capabilities);
}

_Noreturn void enter_container(const struct child *child)
{
    static char *environment[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 0};
    check(setsid(), "setsid");
    if (!child->joins)
        build_container(child);
    if (child->gate >= 0)
        wait_for_start(child->ready, child->gate);
    restrict_process(child);
    check(execve(child->arguments[0], child->arguments, environment), child->arguments[0]);
    __builtin_unreachable();
}
