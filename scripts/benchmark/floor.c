/* The floor's command line, which is a runtime's:
 *   floor --root DIR run|create --bundle DIR [--pid-file FILE] ID
 *   floor --root DIR start|state ID | kill ID [CONT|TERM|KILL] | exec ID PROGRAM...
 *   floor --root DIR delete [--force] ID
 * What a runtime reads from config.json comes from the environment instead:
 *   FLOOR_PLAN docker|spec   FLOOR_ROOTFS DIR   FLOOR_CGROUP DIR (absolute, parent of the container's)
 *   FLOOR_ARGS "program argument ..."           FLOOR_FILTER FILE (seccomp program) */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/bpf.h>
#include <linux/sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "floor.h"

/* The container that the command line names. */
static char state_directory[PATH_MAX], state_file[PATH_MAX], gate_file[PATH_MAX], cgroup[PATH_MAX];

long check(long result, const char *what)
{
    if (result < 0) {
        dprintf(2, "floor: %s: %s\n", what, strerror(errno));
        _exit(126);
    }
    return result;
}

/* Docker's device rules: every mknod, all ptys, char 1:3,5,7,8,9 and 5:0-2.
 * A mask of minors for each major and shared exits: the verifier walks every
 * path, so this loads in 40 us where a compare per rule takes 150. */
static void filter_devices(int cgroup_fd)
{
    enum { TYPE = BPF_REG_2, ACCESS = BPF_REG_3, MAJOR = BPF_REG_4, MINOR = BPF_REG_5, RESULT = BPF_REG_0 };
#define LOAD(to, offset) {BPF_LDX | BPF_MEM | BPF_W, to, BPF_REG_1, offset, 0}
#define VALUE(operation, to, value) {BPF_ALU64 | (operation) | BPF_K, to, 0, 0, value}
#define REGISTER(operation, to, from) {BPF_ALU64 | (operation) | BPF_X, to, from, 0, 0}
#define JUMP(condition, to, value, over) {BPF_JMP | (condition) | BPF_K, to, 0, over, value}
#define EXIT {BPF_JMP | BPF_EXIT, 0, 0, 0, 0}
    static const struct bpf_insn program[] = {
        LOAD(TYPE, 0), LOAD(MAJOR, 4), LOAD(MINOR, 8),
        REGISTER(BPF_MOV, ACCESS, TYPE), VALUE(BPF_RSH, ACCESS, 16), VALUE(BPF_AND, TYPE, 0xffff),
        VALUE(BPF_MOV, RESULT, 1),
        JUMP(BPF_JEQ, ACCESS, BPF_DEVCG_ACC_MKNOD, 11),
        JUMP(BPF_JNE, TYPE, BPF_DEVCG_DEV_CHAR, 9),
        JUMP(BPF_JEQ, MAJOR, 136, 9),
        JUMP(BPF_JGT, MINOR, 31, 7),
        JUMP(BPF_JNE, MAJOR, 1, 2),
        VALUE(BPF_MOV, RESULT, 1 << 3 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9),
        JUMP(BPF_JA, 0, 0, 2),
        JUMP(BPF_JNE, MAJOR, 5, 3),
        VALUE(BPF_MOV, RESULT, 1 << 0 | 1 << 1 | 1 << 2),
        REGISTER(BPF_RSH, RESULT, MINOR), JUMP(BPF_JA, 0, 0, 1),
        VALUE(BPF_MOV, RESULT, 0),
        VALUE(BPF_AND, RESULT, 1), EXIT,
    };
    union bpf_attr attributes = {
        .prog_type = BPF_PROG_TYPE_CGROUP_DEVICE,
        .insns = (uintptr_t)program,
        .insn_cnt = sizeof program / sizeof *program,
        .license = (uintptr_t) "GPL",
    };
    int fd = check(syscall(SYS_bpf, BPF_PROG_LOAD, &attributes, sizeof attributes), "load the device program");
    attributes = (union bpf_attr){
        .target_fd = cgroup_fd,
        .attach_bpf_fd = fd,
        .attach_type = BPF_CGROUP_DEVICE,
        .attach_flags = BPF_F_ALLOW_MULTI,
    };
    check(syscall(SYS_bpf, BPF_PROG_ATTACH, &attributes, sizeof attributes), "attach the device program");
    close(fd);
}

static struct sock_fprog load_filter(const struct plan *plan)
{
    struct sock_fprog filter = {0};
    struct stat status;
    if (!plan->seccomp)
        return filter;
    int fd = check(open(getenv("FLOOR_FILTER"), O_RDONLY | O_CLOEXEC), "open the seccomp program");
    check(fstat(fd, &status), "stat the seccomp program");
    filter.len = status.st_size / sizeof *filter.filter;
    filter.filter = mmap(0, status.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    close(fd);
    return filter;
}

/* Splits FLOOR_ARGS; its programs have no spaces in their arguments. */
static char **container_arguments(void)
{
    static char *arguments[32];
    int count = 0;
    for (char *word = strtok(getenv("FLOOR_ARGS"), " "); word && count < 31; word = strtok(0, " "))
        arguments[count++] = word;
    return arguments;
}

static struct child plan_child(void)
{
    const struct plan *plan = strcmp(getenv("FLOOR_PLAN"), "spec") ? &docker_plan : &spec_plan;
    return (struct child){
        .plan = plan, .rootfs = getenv("FLOOR_ROOTFS"), .filter = load_filter(plan), .ready = -1, .gate = -1};
}

/* Clones straight into the cgroup: a write to cgroup.procs would wait for an RCU grace period. */
static pid_t spawn(const struct child *child, uint64_t namespaces, int cgroup_fd, int *pidfd)
{
    struct clone_args arguments = {
        .flags = namespaces | CLONE_PIDFD | CLONE_INTO_CGROUP,
        .pidfd = (uintptr_t)pidfd,
        .exit_signal = SIGCHLD,
        .cgroup = cgroup_fd,
    };
    pid_t pid = check(syscall(SYS_clone3, &arguments, sizeof arguments), "clone3");
    if (pid == 0)
        enter_container(child);
    return pid;
}

static pid_t spawn_container(struct child *child, int *pidfd)
{
    check(mkdir(cgroup, 0755), cgroup);
    int fd = check(open(cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC), cgroup);
    filter_devices(fd);
    child->arguments = container_arguments();
    pid_t pid = spawn(child, NAMESPACES, fd, pidfd);
    close(fd);
    return pid;
}

static int wait_for(int pidfd)
{
    siginfo_t info;
    check(waitid(P_PIDFD, pidfd, &info, WEXITED), "waitid");
    return info.si_status;
}

static int run(void)
{
    struct child child = plan_child();
    int pidfd;
    spawn_container(&child, &pidfd);
    int status = wait_for(pidfd);
    check(rmdir(cgroup), cgroup);
    return status;
}

static void write_new(const char *path, const char *text)
{
    int fd = check(open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), path);
    check(write(fd, text, strlen(text)), path);
    close(fd);
}

static int create(const char *pid_file)
{
    struct child child = plan_child();
    int pidfd, ready[2];
    char text[256], byte;
    check(mkdir(state_directory, 0700), state_directory);
    check(mkfifo(gate_file, 0600), gate_file);
    child.gate = check(open(gate_file, O_PATH | O_CLOEXEC), gate_file);
    check(pipe2(ready, O_CLOEXEC), "pipe");
    child.ready = ready[1];
    pid_t pid = spawn_container(&child, &pidfd);
    close(ready[1]);
    check(read(ready[0], &byte, 1) == 1 ? 0 : -1, "the container's process ended");
    snprintf(text, sizeof text, "{\"ociVersion\":\"1.2.0\",\"status\":\"created\",\"pid\":%d}", pid);
    write_new(state_file, text);
    if (pid_file) {
        snprintf(text, sizeof text, "%d", pid);
        write_new(pid_file, text);
    }
    return 0;
}

static int start(void)
{
    char byte;
    int fd = check(open(gate_file, O_RDONLY | O_CLOEXEC), gate_file);
    check(read(fd, &byte, 1) == 1 ? 0 : -1, "read the gate");
    check(unlink(gate_file), gate_file);
    return 0;
}

/* Reads the record into `text` and returns the pid that it names. */
static pid_t read_state(char *text, size_t size)
{
    int fd = check(open(state_file, O_RDONLY | O_CLOEXEC), state_file);
    ssize_t length = check(read(fd, text, size - 1), state_file);
    close(fd);
    text[length] = 0;
    return atoi(strstr(text, "\"pid\":") + 6);
}

static int state(void)
{
    char text[256], path[64], status[128];
    snprintf(path, sizeof path, "/proc/%d/stat", read_state(text, sizeof text));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0)
        check(read(fd, status, sizeof status), path);
    check(write(1, text, strlen(text)), "stdout");
    return 0;
}

static int open_process(void)
{
    char text[256];
    return syscall(SYS_pidfd_open, read_state(text, sizeof text), 0);
}

static int send_signal(const char *name)
{
    int signal = !name || !strcmp(name, "TERM") ? SIGTERM : !strcmp(name, "KILL") ? SIGKILL : SIGCONT;
    check(syscall(SYS_pidfd_send_signal, check(open_process(), "pidfd_open"), signal, 0, 0), "signal");
    return 0;
}

static int delete(bool force)
{
    int pidfd = force ? open_process() : -1;
    if (pidfd >= 0) {
        check(syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, 0, 0), "signal");
        poll(&(struct pollfd){.fd = pidfd, .events = POLLIN}, 1, -1);
    }
    /* A process that is dead but not yet reaped still counts; only a forced delete meets one. */
    for (int tries = 0; rmdir(cgroup) < 0; tries++) {
        if (!force || tries == 1000)
            check(-1, cgroup);
        usleep(1000);
    }
    unlink(gate_file);
    check(unlink(state_file), state_file);
    check(rmdir(state_directory), state_directory);
    return 0;
}

static int execute(char **arguments)
{
    struct child child = plan_child();
    int pidfd, target = check(open_process(), "pidfd_open");
    int cgroup_fd = check(open(cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC), cgroup);
    child.joins = true;
    child.arguments = arguments;
    /* One call for all namespaces; the pid namespace holds for the children. */
    check(setns(target, NAMESPACES), "setns");
    spawn(&child, 0, cgroup_fd, &pidfd);
    return wait_for(pidfd);
}

static void name_container(const char *root, const char *id)
{
    snprintf(state_directory, sizeof state_directory, "%s/%s", root, id);
    snprintf(state_file, sizeof state_file, "%s/%s/state.json", root, id);
    snprintf(gate_file, sizeof gate_file, "%s/%s/gate", root, id);
    snprintf(cgroup, sizeof cgroup, "%s/%s", getenv("FLOOR_CGROUP"), id);
}

int main(int count, char **words)
{
    if (count < 5 || strcmp(words[1], "--root")) {
        dprintf(2, "usage: floor --root DIR run|create|start|state|kill|exec|delete [option] ID\n");
        return 2;
    }
    const char *command = words[3], *pid_file = 0;
    bool force = false;
    char **word = words + 4;
    for (; *word && !strncmp(*word, "--", 2); word++) {
        if (!strcmp(*word, "--force"))
            force = true;
        else if (!strcmp(*word, "--pid-file"))
            pid_file = *++word;
        else
            word++; /* --bundle DIR: the plan is compiled in */
    }
    name_container(words[2], *word++);
    if (!strcmp(command, "run")) return run();
    if (!strcmp(command, "create")) return create(pid_file);
    if (!strcmp(command, "start")) return start();
    if (!strcmp(command, "state")) return state();
    if (!strcmp(command, "kill")) return send_signal(*word);
    if (!strcmp(command, "exec")) return execute(word);
    if (!strcmp(command, "delete")) return delete(force);
    return 2;
}
