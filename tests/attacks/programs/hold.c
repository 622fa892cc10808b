/*
 * hold SIGNAL: sends SIGNAL to every process that appears, as soon as it does, and to no process twice.
 * Makes /tmp/up first. It leaves alone what exists before.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char done[1 << 22];

int main(int argc, char **argv)
{
	int loadavg = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
	int up = open("/tmp/up", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	if (argc < 2 || loadavg < 0 || up < 0 || write(up, "up\n", 3) != 3)
		return 2;
	for (int pid = 0; pid <= getpid(); pid++)
		done[pid] = 1;
	for (;;) {
		char text[128];
		ssize_t length = pread(loadavg, text, sizeof text - 1, 0);
		if (length <= 0)
			return 2;
		text[length] = 0;
		int last = atoi(strrchr(text, ' ') + 1);
		for (int pid = last > 4 ? last - 3 : 2; pid <= last + 2 && pid < (int)sizeof done; pid++)
			if (!done[pid] && !kill(pid, atoi(argv[1])))
				done[pid] = 1;
	}
}
