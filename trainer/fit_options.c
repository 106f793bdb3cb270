#include "trainer/fit.h"

#include <string.h>

#define FIT_OPTION(name_, family, role, ...) {name_, family, role},
const struct fit_option fit_options[] = {
#include "trainer/fit_options.inc"
};
const size_t fit_n_options = sizeof fit_options / sizeof *fit_options;

bool fit_option_applies(const struct fit_option *row, const char *family)
{
    return !*row->family || strcmp(row->family, family) == 0;
}
