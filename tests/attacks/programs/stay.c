/* Stays until it is killed, and makes no other system call but pause(2). */
void _start(void)
{
	for (;;) {
#if defined(__x86_64__)
		__asm__ volatile("mov $34, %%eax\n\tsyscall" ::: "rax", "rcx", "r11", "memory");
#elif defined(__aarch64__)
		/* ppoll(NULL, 0, NULL, NULL): this machine has no pause. */
		__asm__ volatile("mov x0, #0\n\tmov x1, #0\n\tmov x2, #0\n\tmov x3, #0\n\tmov x8, #73\n\tsvc #0"
			::: "x0", "x1", "x2", "x3", "x8", "memory");
#else
#error "the number of a call that waits is not known here"
#endif
	}
}
