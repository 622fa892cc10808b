/* Ends with 0, and makes no other system call: no profile can stop it but one on that call. */
void _start(void)
{
#if defined(__x86_64__)
	__asm__ volatile("xor %%edi, %%edi\n\tmov $60, %%eax\n\tsyscall\n\thlt" ::: "memory");
#elif defined(__aarch64__)
	__asm__ volatile("mov x0, #0\n\tmov x8, #93\n\tsvc #0\n\tudf #0" ::: "memory");
#else
#error "the number of exit(2) is not known here"
#endif
	__builtin_unreachable();
}
