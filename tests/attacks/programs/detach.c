// Takes the device program with the id argv[2] off the cgroup argv[1], as no runtime would. Source: bpf(2).
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static long bpf(int command, union bpf_attr *attributes) {
	return syscall(SYS_bpf, command, attributes, sizeof *attributes);
}

int main(int argc, char **argv) {
	if (argc != 3)
		return 1;
	union bpf_attr attributes;
	memset(&attributes, 0, sizeof attributes);
	attributes.prog_id = atoi(argv[2]);
	long program = bpf(BPF_PROG_GET_FD_BY_ID, &attributes);
	int cgroup = open(argv[1], O_RDONLY | O_DIRECTORY);
	if (program < 0 || cgroup < 0)
		return errno;
	memset(&attributes, 0, sizeof attributes);
	attributes.target_fd = cgroup;
	attributes.attach_bpf_fd = program;
	attributes.attach_type = BPF_CGROUP_DEVICE;
	return bpf(BPF_PROG_DETACH, &attributes) < 0 ? errno : 0;
}
