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

static int depth; /* of catches that were not released */

static void let_go(void)
{
    sigset_t set = both();
    set_action(SIG_DFL);
    (void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

void stop_catch(void)
{
    sigset_t set = both();
    if (depth++ > 0)
        return;
    noted = 0;
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    set_action(note);
}

void stop_release(void)
{
    if (depth == 0 || --depth > 0)
        return;
    let_go();
}

int stop_signal(void)
{
    static const struct timespec now = {0};
    sigset_t set = both();
    if (depth && !noted) {
        int got = sigtimedwait(&set, NULL, &now);
        if (got > 0)
            noted = got;
    }
    if (noted)
        let_go(); /* the next one ends the process */
    return noted;
}
