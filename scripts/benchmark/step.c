// Executes a program step by step, its children too, and prints each address of it when it is reached for the first time:
// the offset from where it (a static-pie) is loaded.
// usage: step OUTPUT PATH ARGUMENT...
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define LIMIT (16u << 20)

#define PIDS (4u << 20)

static unsigned char seen[LIMIT];
// Of each process: where its program is loaded; OTHER: it is another program.
static unsigned long loaded[PIDS];
#define OTHER (~0ul)

static unsigned long load_address(pid_t pid, const struct stat *program)
{
	char path[64];
	struct stat executed;
	snprintf(path, sizeof path, "/proc/%d/exe", pid);
	// The file is the same where tare has executed itself again, from a read-only mount of itself.
	if (stat(path, &executed) != 0 || executed.st_ino != program->st_ino || executed.st_dev != program->st_dev)
		return OTHER;
	snprintf(path, sizeof path, "/proc/%d/auxv", pid);
	FILE *file = fopen(path, "r");
	Elf64_auxv_t entry;
	unsigned long headers = 0;
	while (file && fread(&entry, sizeof entry, 1, file) == 1 && entry.a_type != AT_NULL)
		if (entry.a_type == AT_PHDR)
			headers = entry.a_un.a_val;
	if (file)
		fclose(file);
	// The program headers follow the ELF header.
	return headers ? headers - sizeof(Elf64_Ehdr) : OTHER;
}

int main(int count, char **words)
{
	FILE *output = count > 2 ? fopen(words[1], "w") : NULL;
	struct stat program;
	if (!output || stat(words[2], &program) != 0)
		return 2;
	pid_t first = fork();
	if (first == 0) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		execv(words[2], words + 2);
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
		int signal = WSTOPSIG(status), event = status >> 16;
		unsigned long *base = &loaded[pid % PIDS];
		if (!*base || event == PTRACE_EVENT_EXEC)
			*base = load_address(pid, &program);
		struct user_regs_struct registers;
		unsigned long at = LIMIT;
		if (*base != OTHER && ptrace(PTRACE_GETREGS, pid, 0, &registers) == 0)
			at = registers.rip - *base;
		if (at < LIMIT && !seen[at]) {
			seen[at] = 1;
			fprintf(output, "%lx\n", at);
		}
		int own = signal == SIGTRAP || signal == SIGSTOP || event != 0;
		ptrace(PTRACE_SINGLESTEP, pid, 0, own ? 0 : signal);
	}
	// What still waits (an init at its gate) is detached by the end of this process.
	return fclose(output) != 0;
}
