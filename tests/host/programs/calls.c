/* Prints what the kernel or the filter answers to calls that Docker's profile decides about: NAME ERRNO. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void answer(const char *name, long value)
{
	printf("%s %d\n", name, value < 0 ? errno : 0);
}

/* A child of clone(2) ends at once. */
static long clone_with(unsigned long flags)
{
	long pid = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
	if (pid == 0)
		_exit(0);
	if (pid > 0)
		waitpid(pid, 0, 0);
	return pid;
}

int main(void)
{
	answer("unshare", syscall(SYS_unshare, 0));
	answer("setns", syscall(SYS_setns, -1, 0));
	answer("keyctl", syscall(SYS_keyctl, 0, -3, 0));
	answer("add_key", syscall(SYS_add_key, 0, 0, 0, 0, 0));
	answer("bpf", syscall(SYS_bpf, -1, 0, 0));
	answer("mount", syscall(SYS_mount, 0, "/", 0, 0, 0));
	answer("umount2", syscall(SYS_umount2, "/nothing", 0));
	answer("open_tree", syscall(SYS_open_tree, AT_FDCWD, "/nothing", 0));
	answer("perf_event_open", syscall(SYS_perf_event_open, 0, 0, 0, 0, 0));
	answer("open_by_handle_at", syscall(SYS_open_by_handle_at, -1, 0, 0));
	answer("reboot", syscall(SYS_reboot, 0, 0, 0, 0));
	answer("init_module", syscall(SYS_init_module, 0, 0, 0));
	answer("swapon", syscall(SYS_swapon, 0, 0));
	answer("userfaultfd", syscall(SYS_userfaultfd, 1 << 30));
	answer("io_uring_setup", syscall(SYS_io_uring_setup, 0, 0));
	answer("clone", clone_with(0));
	answer("clone_user", clone_with(CLONE_NEWUSER));
	answer("clone_mount", clone_with(CLONE_NEWNS));
	answer("clone3", syscall(SYS_clone3, 0, 0));
	answer("personality_linux", syscall(SYS_personality, 0));
	answer("personality_asked", syscall(SYS_personality, 0xffffffff));
	answer("personality_no_random", syscall(SYS_personality, 0x40000));
	answer("socket_inet", socket(AF_INET, SOCK_STREAM, 0));
	answer("socket_alg", socket(38, SOCK_SEQPACKET, 0));
	answer("socket_vsock", socket(40, SOCK_STREAM, 0));
	answer("chroot", syscall(SYS_chroot, "/"));
	answer("ptrace", syscall(SYS_ptrace, 0, 0, 0, 0));
	answer("unknown", syscall(1000));
	return 0;
}
