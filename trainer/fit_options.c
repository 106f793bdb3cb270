#include "trainer/fit.h"

#include <string.h>

#define FIT_OPTION(name_, family, role, ...) {name_, family, role},
const struct fit_option fit_options[] = {
#include "trainer/fit_options.inc"
};
const size_t fit_n_options = sizeof fit_options / sizeof *fit_options;

bool fit_is_transformer(const char *arch)
{
    return strcmp(arch, "textcnn") != 0 && strcmp(arch, "linear") != 0;
}

bool fit_option_applies(const struct fit_option *row, const char *arch)
{
    bool transformer = fit_is_transformer(arch);
    if (strcmp(row->family, "steps") == 0)
        return transformer || strcmp(arch, "textcnn") == 0;
    if (strcmp(row->family, "transformer") == 0)
        return transformer;
    return !*row->family || strcmp(row->family, arch) == 0;
}
