// Executes a command step by step, its children too, and prints each address below 16 MiB (a program that is not
// position-independent) when it is reached for the first time.
// usage: step OUTPUT COMMAND...
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define LIMIT (16u << 20)

static unsigned char seen[LIMIT];

int main(int count, char **words)
{
	FILE *output = count > 2 ? fopen(words[1], "w") : NULL;
	if (!output)
		return 2;
	pid_t first = fork();
	if (first == 0) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		execvp(words[2], words + 2);
		_exit(127);
	}
	int status;
	waitpid(first, &status, 0);
	long options = PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC;
	ptrace(PTRACE_SETOPTIONS, first, 0, options);
	ptrace(PTRACE_SINGLESTEP, first, 0, 0);
	for (;;) {
		pid_t pid = waitpid(-1, &status, __WALL);
		if (pid < 0 && errno == ECHILD)
			break;
		if (pid < 0)
			continue;
		if (!WIFSTOPPED(status)) {
			if (pid == first)
				break;
			continue;
		}
		struct user_regs_struct registers;
		if (ptrace(PTRACE_GETREGS, pid, 0, &registers) == 0 && registers.rip < LIMIT && !seen[registers.rip]) {
			seen[registers.rip] = 1;
			fprintf(output, "%llx\n", registers.rip);
		}
		int signal = WSTOPSIG(status), event = status >> 16;
		int own = signal == SIGTRAP || signal == SIGSTOP || event != 0;
		ptrace(PTRACE_SINGLESTEP, pid, 0, own ? 0 : signal);
	}
	// What still waits (an init at its gate) is detached by the end of this process.
	return fclose(output) != 0;
}
