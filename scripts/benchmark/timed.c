/* Stands in for a runtime and notes how long each of its commands took: started
 * as PATH it runs PATH.real, and adds a line `start_us wall_us` to LOG. The
 * container's process finds its engine: only subreapers inherit orphans. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/wait.h>

#define LOG "/run/bench-timed"

static long long now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000LL + time.tv_nsec / 1000;
}

int main(int count, char **words)
{
    static char path[PATH_MAX], line[64];
    int status = 0;
    (void)count;
    long long begin = now();
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - sizeof ".real");
    if (length < 0)
        return 125;
    strcpy(path + length, ".real");
    pid_t pid = vfork();
    if (pid == 0) {
        execv(path, words);
        _exit(127);
    }
    while (waitpid(pid, &status, 0) < 0)
        ;
    int log = open(LOG, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    length = snprintf(line, sizeof line, "%lld %lld\n", begin, now() - begin);
    if (write(log, line, length) != length)
        return 125;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
