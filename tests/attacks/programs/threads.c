/* Four threads that make system calls at once, with signals in between; prints their sum. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/time.h>
#include <unistd.h>

static volatile sig_atomic_t ticks;

static void tick(int number) { ticks += number == SIGALRM; }

static void *work(void *argument)
{
	long sum = 0;
	for (int i = 0; i < 500; i++)
		sum += getppid() == 0;
	return (void *)(sum + (argument != NULL));
}

int main(void)
{
	struct itimerval every = { { 0, 1000 }, { 0, 1000 } };
	pthread_t threads[4];
	long sum = 0;

	signal(SIGALRM, tick);
	setitimer(ITIMER_REAL, &every, NULL);
	for (int i = 0; i < 4; i++)
		if (pthread_create(&threads[i], NULL, work, NULL))
			return 1;
	for (int i = 0; i < 4; i++) {
		void *result;
		if (pthread_join(threads[i], &result))
			return 2;
		sum += (long)result;
	}
	while (!ticks)
		pause();
	printf("%ld\n", sum);
	return 0;
}
