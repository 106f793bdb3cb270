#include "trainer/golden_section.h"

#include <math.h>

double golden_section(golden_function *f, void *arg, double from, double to)
{
    const double part = (sqrt(5) - 1) / 2;
    double a = to - part * (to - from), b = from + part * (to - from);
    double fa = f(arg, a), fb = f(arg, b);
    while (to - from > 1e-4) {
        if (fa <= fb) {
            to = b;
            b = a;
            fb = fa;
            fa = f(arg, a = to - part * (to - from));
        } else {
            from = a;
            a = b;
            fa = fb;
            fb = f(arg, b = from + part * (to - from));
        }
    }
    return (from + to) / 2;
}
