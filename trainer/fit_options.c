#include "trainer/fit.h"

#include <string.h>

#define FIT_OPTION(name_, family, role, ...) {name_, family, role},
const struct fit_option fit_options[] = {
#include "trainer/fit_options.inc"
};
const size_t fit_n_options = sizeof fit_options / sizeof *fit_options;

bool fit_is_transformer(const char *arch)
{
    return strcmp(arch, "textcnn") != 0 && strcmp(arch, "linear") != 0 &&
           strcmp(arch, "forest") != 0 && strcmp(arch, "fasttext") != 0;
}

static bool has_word(const char *words, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = words; (p = strstr(p, word)) != NULL; p += n)
        if ((p == words || p[-1] == ' ') && (p[n] == ' ' || p[n] == '\0'))
            return true;
    return false;
}

bool fit_option_applies(const struct fit_option *row, const char *arch)
{
    bool transformer = fit_is_transformer(arch);
    if (!*row->family || has_word(row->family, arch))
        return true;
    return (transformer && has_word(row->family, "transformer")) ||
           ((transformer || strcmp(arch, "textcnn") == 0) && has_word(row->family, "steps"));
}
