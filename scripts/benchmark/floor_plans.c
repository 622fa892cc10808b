/* The two bundles of bundle.py as tables. */
#include <sys/mount.h>

#include "floor.h"

#define SAFE (MS_NOSUID | MS_NOEXEC | MS_NODEV)

/* The order lets every target exist: /dev before what is mounted below it. */
#define FILESYSTEMS(PROC_FLAGS)                                                                               \
    {                                                                                                         \
        {"proc", "/proc", PROC_FLAGS, 0},                                                                     \
        {"tmpfs", "/dev", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k"},                                \
        {"devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"},           \
        {"tmpfs", "/dev/shm", SAFE, "mode=1777,size=65536k"},                                                 \
        {"mqueue", "/dev/mqueue", SAFE, 0},                                                                   \
        {"sysfs", "/sys", SAFE | MS_RDONLY, 0},                                                               \
        {"cgroup2", "/sys/fs/cgroup", SAFE | MS_RDONLY, 0},                                                   \
        {0},                                                                                                  \
    }

static const struct filesystem docker_filesystems[] = FILESYSTEMS(SAFE);
static const struct filesystem spec_filesystems[] = FILESYSTEMS(0);

/* What is a directory and what a file below /proc and /sys is the kernel's own
 * and never changes, so the floor need not ask. Paths that this kernel lacks
 * are passed over. */
static const char *const docker_directories[] = {
    "/proc/acpi", "/proc/asound", "/proc/scsi", "/sys/devices/virtual/powercap", "/sys/firmware", 0,
};
static const char *const spec_directories[] = {"/proc/acpi", "/proc/asound", "/proc/scsi", "/sys/firmware", 0};
static const char *const docker_files[] = {
    "/proc/interrupts",  "/proc/kcore",      "/proc/keys",        "/proc/latency_stats",
    "/proc/sched_debug", "/proc/timer_list", "/proc/timer_stats", 0,
};
static const char *const spec_files[] = {
    "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug", "/proc/timer_list", "/proc/timer_stats", 0,
};
static const char *const readonly_paths[] = {
    "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger", 0,
};

const struct plan docker_plan = {
    .name = "docker",
    .hostname = "0123456789ab",
    .filesystems = docker_filesystems,
    .masked_directories = docker_directories,
    .masked_files = docker_files,
    .readonly_paths = readonly_paths,
    .capabilities = 0xa80425fb, /* Docker's fourteen */
    .sysctls = true,
    .supplementary_groups = true,
    .oom_score = true,
    .seccomp = true,
};

const struct plan spec_plan = {
    .name = "spec",
    .hostname = "runc",
    .filesystems = spec_filesystems,
    .masked_directories = spec_directories,
    .masked_files = spec_files,
    .readonly_paths = readonly_paths,
    .capabilities = 0x20000420, /* audit_write, net_bind_service, kill */
    .open_files_limit = true,
    .no_new_privileges = true,
    .readonly_root = true,
};
