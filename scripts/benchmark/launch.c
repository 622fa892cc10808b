/* The measuring launcher: times a command and the whole tree that it leaves.
 *
 *   launch run COMMAND...
 *   launch life RUNTIME ROOT BUNDLE ID PID_FILE     create, start, wait for init, delete
 *   launch parallel JOBS COUNT RUNTIME ROOT BUNDLES PREFIX
 *       COUNT times `run --bundle BUNDLES/<i> PREFIX<i>`, JOBS at a time
 *
 * Prints: wall_us cpu_us peak_rss_kb page_faults context_switches failures [latency_us ...]
 *
 * It is a child subreaper, so that a container's init is reaped here, by wait4
 * with its resource usage, when the runtime is gone. It is static and small:
 * a child starts with its parent's peak RSS, and that must stay below the
 * runtime's own. Standard error of what it starts goes to $LAUNCH_ERRORS. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>

/* A run that takes longer counts as hung: it is killed and has failed. */
#define LONGEST_RUN_US 30e6

static struct rusage total; /* of everything reaped */
static int errors = 2;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e6 + time.tv_nsec / 1e3;
}

static void account(const struct rusage *usage)
{
    timeradd(&total.ru_utime, &usage->ru_utime, &total.ru_utime);
    timeradd(&total.ru_stime, &usage->ru_stime, &total.ru_stime);
    total.ru_minflt += usage->ru_minflt + usage->ru_majflt;
    total.ru_nvcsw += usage->ru_nvcsw + usage->ru_nivcsw;
    if (usage->ru_maxrss > total.ru_maxrss)
        total.ru_maxrss = usage->ru_maxrss;
}

static pid_t spawn(char *const *command)
{
    pid_t pid = vfork();
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR);
        dup2(null, 0);
        dup2(null, 1);
        dup2(errors, 2);
        execv(command[0], command);
        _exit(127);
    }
    return pid;
}

/* Returns the exit status, 128 + signal, or 128 when there was no such child. */
static int reap(pid_t pid)
{
    int status;
    struct rusage usage;
    while (wait4(pid, &status, __WALL, &usage) < 0)
        if (errno != EINTR)
            return 128;
    account(&usage);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void reap_orphans(void)
{
    struct rusage usage;
    while (wait4(-1, 0, __WALL, &usage) > 0)
        account(&usage);
}

static void print(double wall, int failures)
{
    double cpu = (total.ru_utime.tv_sec + total.ru_stime.tv_sec) * 1e6 + total.ru_utime.tv_usec + total.ru_stime.tv_usec;
    printf("%.0f %.0f %ld %ld %ld %d", wall, cpu, total.ru_maxrss, total.ru_minflt, total.ru_nvcsw, failures);
}

static void run(char **command)
{
    double begin = now();
    int status = reap(spawn(command));
    double wall = now() - begin;
    reap_orphans();
    print(wall, status != 0);
}

static pid_t read_pid(const char *path)
{
    pid_t pid = -1;
    FILE *file = fopen(path, "r");
    if (file) {
        if (fscanf(file, "%d", &pid) != 1)
            pid = -1;
        fclose(file);
    }
    return pid;
}

static void life(char *runtime, char *root, char *bundle, char *id, char *pid_file)
{
    char *create[] = {runtime, "--root", root, "create", "--bundle", bundle, "--pid-file", pid_file, id, 0};
    char *start[] = {runtime, "--root", root, "start", id, 0};
    char *delete[] = {runtime, "--root", root, "delete", id, 0};
    double begin = now();
    int failed = reap(spawn(create)) != 0;
    if (!failed) {
        pid_t init = read_pid(pid_file);
        failed |= reap(spawn(start)) != 0;
        failed |= init <= 0 || reap(init) != 0;
        failed |= reap(spawn(delete)) != 0;
    }
    double wall = now() - begin;
    reap_orphans();
    print(wall, failed);
}

struct job {
    pid_t pid;
    double begin;
};

static void start_job(struct job *job, char **words, int index)
{
    char bundle[4096], id[256];
    snprintf(bundle, sizeof bundle, "%s/%d", words[2], index);
    snprintf(id, sizeof id, "%s%d", words[3], index);
    char *command[] = {words[0], "--root", words[1], "run", "--bundle", bundle, id, 0};
    job->begin = now();
    job->pid = spawn(command);
}

static void kill_hung(struct job *jobs, int size)
{
    for (int i = 0; i < size; i++)
        if (jobs[i].pid && now() - jobs[i].begin > LONGEST_RUN_US)
            kill(jobs[i].pid, SIGKILL);
}

static struct job *find_job(struct job *jobs, int size, pid_t pid)
{
    for (int i = 0; i < size; i++)
        if (jobs[i].pid == pid)
            return &jobs[i];
    return 0;
}

static void parallel(int size, int count, char **words)
{
    struct job *jobs = calloc(size, sizeof *jobs), *job;
    double *latencies = calloc(count, sizeof *latencies), begin = now();
    int started = 0, done = 0, failures = 0;
    /* SIGALRM once a second interrupts wait4, for the look at hung runs. */
    setitimer(ITIMER_REAL, &(struct itimerval){{1, 0}, {1, 0}}, 0);
    while (done < count) {
        while (started < count && (job = find_job(jobs, size, 0)))
            start_job(job, words, started++);
        int status;
        struct rusage usage;
        pid_t pid = wait4(-1, &status, __WALL, &usage);
        if (pid < 0 && errno == ECHILD)
            break; /* a job could not be started: it counts below */
        if (pid < 0) {
            kill_hung(jobs, size);
            continue;
        }
        account(&usage);
        if (!(job = find_job(jobs, size, pid)))
            continue; /* an orphan that a runtime left */
        latencies[done++] = now() - job->begin;
        job->pid = 0;
        failures += status != 0;
    }
    double wall = now() - begin;
    print(wall, failures + count - done);
    for (int i = 0; i < done; i++)
        printf(" %.0f", latencies[i]);
}

static void on_alarm(int signal)
{
    (void)signal;
}

int main(int count, char **words)
{
    const char *path = getenv("LAUNCH_ERRORS");
    if (path)
        errors = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    sigaction(SIGALRM, &(struct sigaction){.sa_handler = on_alarm}, 0);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    if (count > 2 && !strcmp(words[1], "run"))
        run(words + 2);
    else if (count == 7 && !strcmp(words[1], "life"))
        life(words[2], words[3], words[4], words[5], words[6]);
    else if (count == 8 && !strcmp(words[1], "parallel"))
        parallel(atoi(words[2]), atoi(words[3]), words + 4);
    else
        return 2;
    puts("");
    return 0;
}
