/* The least of a function with one valley, by golden sections (Kiefer, Proc. AMS 4, 1953). */
#ifndef TRAINER_GOLDEN_SECTION_H
#define TRAINER_GOLDEN_SECTION_H

typedef double golden_function(void *arg, double x);
double golden_section(golden_function *f, void *arg, double from, double to);

#endif
