#include "trainer/stop.h"

#include <signal.h>
#include <stddef.h>
#include <time.h>

/* Threads that a library started when it was loaded (OpenBLAS does) do not block the signals; one
 * of them may run the handler. They wait on their own stacks, where that is safe. */
static volatile sig_atomic_t noted;

static void set_action(void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
}

static void note(int signal_number)
{
    noted = signal_number;
}

static sigset_t both(void)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGTERM);
    return set;
}

void stop_catch(void)
{
    sigset_t set = both();
    noted = 0;
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    set_action(note);
}

void stop_release(void)
{
    sigset_t set = both();
    set_action(SIG_DFL);
    (void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

int stop_signal(void)
{
    static const struct timespec now = {0};
    sigset_t set = both();
    if (!noted) {
        int got = sigtimedwait(&set, NULL, &now);
        if (got > 0)
            noted = got;
    }
    if (noted)
        stop_release(); /* the next one ends the process */
    return noted;
}
