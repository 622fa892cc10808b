/* The floor: what the kernel must do for a bundle, and nothing else.
 *
 * A runtime also parses, checks, plans, keeps a state and explains its errors.
 * The floor has all of that compiled in, so its time is the price of the
 * kernel's work alone, and a runtime is quoted as a multiple of it. */
#ifndef FLOOR_H
#define FLOOR_H

#include <stdbool.h>
#include <stdint.h>
#include <linux/filter.h>

/* All six namespaces of both bundles: mount, network, uts, pid, ipc, cgroup. */
#define NAMESPACES (0x00020000ULL | 0x40000000ULL | 0x04000000ULL | 0x20000000ULL | 0x08000000ULL | 0x02000000ULL)

struct filesystem {
    const char *type, *target;
    unsigned long flags;
    const char *options;
};

/* One bundle, decided at compile time; the same as bundle.py writes. */
struct plan {
    const char *name;
    const char *hostname;
    const struct filesystem *filesystems; /* ends with a zero type */
    const char *const *masked_directories; /* each list ends with a null */
    const char *const *masked_files;
    const char *const *readonly_paths;
    uint64_t capabilities;
    bool sysctls;
    bool supplementary_groups;
    bool oom_score;
    bool open_files_limit;
    bool no_new_privileges;
    bool readonly_root;
    bool seccomp;
};

extern const struct plan docker_plan, spec_plan;

/* What the child needs besides the plan; everything is opened before the clone. */
struct child {
    const struct plan *plan;
    const char *rootfs;
    char **arguments;
    struct sock_fprog filter; /* no filter when its length is zero */
    int ready;                /* create: told that the container stands, -1 otherwise */
    int gate;                 /* create: FIFO that start opens, -1 otherwise */
    bool joins;               /* exec: the namespaces are a running container's */
};

/* Becomes the container's process. */
_Noreturn void enter_container(const struct child *child);

/* Ends with a message and status 126 when `result` is negative, else returns it. */
long check(long result, const char *what);

#endif
