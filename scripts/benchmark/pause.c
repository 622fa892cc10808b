/* The process of a container that only waits: it takes no page more than it must. */
#include <unistd.h>

int main(void)
{
    for (;;)
        pause();
}
