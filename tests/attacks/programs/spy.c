/*
 * A process of a container that looks at every other process and reports what it reached of the host.
 *
 * usage: spy POSITION [KEY=VALUE]...
 *   POSITION       printed in the report
 *   secret=PATH    a file that exists in the tree of the host alone
 *   exe=BYTES      the size of the runtime's binary: tells the runtime from the programs that it becomes
 *   judge-exe=1    reading that binary is a hit, too
 *   host=PREFIX    names of the host's files start with this
 *   dev=NUMBER     st_dev of the host's /dev
 *   ns=NUMBER,...  inodes of the host's namespaces
 *   env=A,B        AB is in the environment of the runtime. In two parts, for these arguments are in a config.json.
 *   mem=A,B        AB is in files that the runtime reads
 *   step=1         stops each new process and lets it run in small steps
 * Makes /tmp/up, looks until there is /tmp/stop, and writes the report to /tmp/report.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define PROCFS 0x9fa0
#define CGROUP2 0x63677270
#define NSFS 0x6e736673
#define UP "../../../../../../../../../../../../../../../../../../../../../../../.."

enum kind { ROOT, CWD, DIRECTORY, PROC, CGROUP, NAMESPACE, FILE_OF_HOST, DEVICE, ENVIRONMENT, MEMORY, EXE, EXE_WRITABLE, KINDS };

static const char *const names[KINDS] = { "root", "cwd", "directory", "procfs", "cgroup", "namespace", "file", "device",
	"environment", "memory", "exe", "exe-writable" };
static long hits[KINDS], looks, processes;
static char first[KINDS][3][200];

static const char *secret = "/nowhere", *host = "/nowhere", *namespaces = "";
static char environment[128], memory[128], up_to_secret[4200];
static long long exe_size = -1, dev = -1;
static int judge_exe, step, own;

/* What is known of the processes met last. */
static struct met { int pid, steps, scans; } met[64];

static struct met *know(int pid)
{
	struct met *it = &met[pid % 64];
	if (it->pid != pid) {
		*it = (struct met){ .pid = pid };
		processes++;
	}
	return it;
}

static void hit(enum kind kind, int pid, int dir, const char *format, ...)
{
	long number = hits[kind]++;
	char comm[32] = "", text[140];
	va_list list;
	if (number >= 3)
		return;
	int fd = openat(dir, "comm", O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? 0 : read(fd, comm, sizeof comm - 1);
	if (fd >= 0)
		close(fd);
	comm[length > 0 ? length - 1 : 0] = 0;
	va_start(list, format);
	vsnprintf(text, sizeof text, format, list);
	va_end(list);
	snprintf(first[kind][number], sizeof first[kind][number], "process %d (%s): %s", pid, comm, text);
}

static int reaches(int dir, const char *path, int flags)
{
	int fd = openat(dir, path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/* Whether the process has not executed the program of a container yet. */
static int is_runtime(int dir)
{
	struct stat facts;
	return !fstatat(dir, "exe", &facts, 0) && facts.st_size == exe_size;
}

static int is_of_host(unsigned long long inode)
{
	char number[32];
	snprintf(number, sizeof number, ",%llu,", inode);
	return strstr(namespaces, number) != NULL;
}

static void look_at_descriptor(int pid, int dir, int fd, int number, const char *link)
{
	struct statfs fs;
	struct stat facts;
	int kind = -1;
	if (fstat(fd, &facts) || fstatfs(fd, &fs))
		return;
	if (S_ISDIR(facts.st_mode) && reaches(fd, up_to_secret, O_PATH)) {
		hit(DIRECTORY, pid, dir, "descriptor %d, %s", number, link);
		return;
	}
	if (fs.f_type == PROCFS)
		kind = PROC;
	else if (fs.f_type == CGROUP2)
		kind = CGROUP;
	else if (fs.f_type == NSFS)
		kind = is_of_host(facts.st_ino) ? NAMESPACE : -1;
	else if (S_ISREG(facts.st_mode) && !strncmp(link, host, strlen(host)))
		kind = FILE_OF_HOST;
	else if ((S_ISCHR(facts.st_mode) || S_ISBLK(facts.st_mode)) && (long long)facts.st_dev == dev)
		kind = DEVICE;
	/* Of its own such things a program may well have. */
	if (kind >= 0 && is_runtime(dir))
		hit(kind, pid, dir, "descriptor %d, %s", number, link);
}

static void look_at_descriptors(int pid, int dir)
{
	int list = openat(dir, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *entries = list < 0 ? NULL : fdopendir(list);
	struct dirent *entry;
	if (!entries) {
		if (list >= 0)
			close(list);
		return;
	}
	while ((entry = readdir(entries))) {
		char link[256];
		int number = atoi(entry->d_name);
		/* 0 to 2 are the caller's, who passes them on. */
		if (entry->d_name[0] == '.' || number < 3)
			continue;
		ssize_t length = readlinkat(list, entry->d_name, link, sizeof link - 1);
		if (length < 0)
			break;
		link[length] = 0;
		int fd = openat(list, entry->d_name, O_PATH | O_CLOEXEC);
		if (fd >= 0) {
			look_at_descriptor(pid, dir, fd, number, link);
			close(fd);
		}
	}
	closedir(entries);
}

static char buffer[1 << 20];

static void look_at_environment(int pid, int dir)
{
	int fd = openat(dir, "environ", O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? -1 : read(fd, buffer, sizeof buffer);
	if (fd >= 0)
		close(fd);
	if (length > 0 && *environment && memmem(buffer, (size_t)length, environment, strlen(environment)))
		hit(ENVIRONMENT, pid, dir, "environ");
}

/* One area of the memory; at most a megabyte at its start and as much at its end, where a stack is in use. */
static void look_at_area(int pid, int dir, int fd, unsigned long long begin, unsigned long long end)
{
	for (int half = 0; half < 2; half++) {
		unsigned long long size = end - begin > sizeof buffer ? sizeof buffer : end - begin;
		ssize_t length = pread(fd, buffer, size, (off_t)(half ? end - size : begin));
		if (length > 0 && *environment && memmem(buffer, (size_t)length, environment, strlen(environment)))
			hit(ENVIRONMENT, pid, dir, "memory at %llx", begin);
		if (length > 0 && *memory && memmem(buffer, (size_t)length, memory, strlen(memory)))
			hit(MEMORY, pid, dir, "memory at %llx", begin);
		if (end - begin <= sizeof buffer)
			return;
	}
}

static void look_at_memory(int pid, int dir)
{
	static char text[1 << 16];
	int fd = openat(dir, "maps", O_RDONLY | O_CLOEXEC), areas = 0;
	ssize_t length = 0, more;
	if (fd < 0)
		return;
	while ((more = read(fd, text + length, sizeof text - 1 - (size_t)length)) > 0)
		length += more;
	close(fd);
	text[length] = 0;
	if (length <= 0 || (fd = openat(dir, "mem", O_RDONLY | O_CLOEXEC)) < 0)
		return;
	for (char *line = text; line && *line && areas < 60; line = strchr(line, '\n')) {
		unsigned long long begin, end;
		char rights[8];
		line += *line == '\n';
		if (sscanf(line, "%llx-%llx %7s", &begin, &end, rights) == 3 && rights[0] == 'r' && rights[1] == 'w') {
			look_at_area(pid, dir, fd, begin, end);
			areas++;
		}
	}
	close(fd);
}

static void look_at(int pid)
{
	char path[4300];
	snprintf(path, sizeof path, "/proc/%d", pid);
	int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return;
	looks++;
	struct met *it = know(pid);
	int stopped = step && it->steps++ < 60 && !kill(pid, SIGSTOP);
	snprintf(path, sizeof path, "root%s", secret);
	if (reaches(dir, path, O_PATH))
		hit(ROOT, pid, dir, "root");
	snprintf(path, sizeof path, "cwd/%s", up_to_secret);
	if (reaches(dir, path, O_PATH))
		hit(CWD, pid, dir, "cwd");
	look_at_descriptors(pid, dir);
	if (is_runtime(dir)) {
		if (judge_exe && reaches(dir, "exe", O_RDONLY))
			hit(EXE, pid, dir, "exe");
		if (reaches(dir, "exe", O_WRONLY))
			hit(EXE_WRITABLE, pid, dir, "exe");
	}
	look_at_environment(pid, dir);
	/* The slowest look is for the start, and now and then. */
	if (it->scans++ % 8 == 0)
		look_at_memory(pid, dir);
	if (stopped)
		kill(pid, SIGCONT);
	close(dir);
}

static int newest(int loadavg)
{
	char text[128], *last;
	ssize_t length = pread(loadavg, text, sizeof text - 1, 0);
	text[length > 0 ? length : 0] = 0;
	last = strrchr(text, ' ');
	return last ? atoi(last + 1) : 0;
}

static void look_at_all(void)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	if (!proc)
		return;
	while ((entry = readdir(proc))) {
		int pid = atoi(entry->d_name);
		if (pid > 1 && pid != own)
			look_at(pid);
	}
	closedir(proc);
}

static void join(char *to, size_t size, const char *halves)
{
	const char *comma = strchr(halves, ',');
	snprintf(to, size, "%.*s%s", (int)(comma - halves), halves, comma + 1);
}

static void read_argument(char *text)
{
	char *value = strchr(text, '=');
	if (!value)
		exit(2);
	*value++ = 0;
	if (!strcmp(text, "secret")) secret = value;
	else if (!strcmp(text, "exe")) exe_size = atoll(value);
	else if (!strcmp(text, "judge-exe")) judge_exe = atoi(value);
	else if (!strcmp(text, "host")) host = value;
	else if (!strcmp(text, "dev")) dev = atoll(value);
	else if (!strcmp(text, "ns")) namespaces = value;
	else if (!strcmp(text, "env")) join(environment, sizeof environment, value);
	else if (!strcmp(text, "mem")) join(memory, sizeof memory, value);
	else if (!strcmp(text, "step")) step = atoi(value);
	else exit(2);
}

static void report(const char *position)
{
	FILE *file = fopen("/tmp/report.new", "w");
	long all = 0;
	if (!file)
		exit(2);
	for (int kind = 0; kind < KINDS; kind++)
		all += hits[kind];
	fprintf(file, "spy: %s: %ld looks, %ld hits:", position, looks, all);
	for (int kind = 0, some = 0; kind < KINDS; kind++)
		if (hits[kind])
			fprintf(file, "%s %s %ld", some++ ? "," : "", names[kind], hits[kind]);
	fprintf(file, "%s\nprocesses: %ld\n", all ? "" : " none", processes);
	for (int kind = 0; kind < KINDS; kind++)
		for (long number = 0; number < 3 && number < hits[kind]; number++)
			fprintf(file, "%s: %s\n", names[kind], first[kind][number]);
	fclose(file);
	rename("/tmp/report.new", "/tmp/report");
}

int main(int argc, char **argv)
{
	own = getpid();
	if (argc < 2)
		return 2;
	for (int number = 2; number < argc; number++)
		read_argument(argv[number]);
	snprintf(up_to_secret, sizeof up_to_secret, UP "%s", secret);
	int loadavg = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
	int up = open("/tmp/up", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	if (loadavg < 0 || up < 0 || write(up, "up\n", 3) != 3)
		return 2;
	if (reaches(AT_FDCWD, secret, O_PATH)) {
		fputs("this process reaches the host by itself\n", stderr);
		return 2;
	}
	for (long round = 0; round % 64 || access("/tmp/stop", F_OK); round++) {
		int last = newest(loadavg);
		for (int pid = last > 5 ? last - 3 : 2; pid <= last + 3; pid++)
			if (pid != own)
				look_at(pid);
		if (round % 32 == 0)
			look_at_all();
	}
	report(argv[1]);
	return 0;
}
