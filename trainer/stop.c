#include "trainer/stop.h"

#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t noted;

static void set(void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
}

static void note(int signal_number)
{
    noted = signal_number;
    set(SIG_DFL);
}

void stop_catch(void)
{
    noted = 0;
    set(note);
}

void stop_release(void)
{
    set(SIG_DFL);
    noted = 0;
}

int stop_signal(void)
{
    return noted;
}
