/* Config files as text: no bytes may do more than set a value that the getters give back, or be
 * refused with their place. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/options.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct opt table[] = {
    {"brokers", OPT_STR, "localhost:9092", 0, 0, NULL, "text", false},
    {"batch-count", OPT_INT, "256", 1, 1000, NULL, "number", false},
    {"threshold", OPT_REAL, NULL, 0, 1, NULL, "number", false},
    {"verbose", OPT_BOOL, "false", 0, 0, NULL, "switch", false},
    {"wire-in", OPT_CHOICE, "json", 0, 0, "json|text", "choice", false},
    {"password", OPT_STR, NULL, 0, 0, NULL, "secret", true},
};
enum { ROWS = sizeof table / sizeof *table };

static void require(int truth)
{
    if (!truth)
        abort();
}

/* What was accepted prints as a file that is accepted again and gives the same page. Secrets print
 * masked, so they are "****". */
static char *page(const struct options *o, size_t *n)
{
    char *text = NULL;
    FILE *f = open_memstream(&text, n);
    require(f != NULL);
    options_print(o, f);
    require(fclose(f) == 0);
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct options *o = options_open(table, ROWS, "kafka.");
    struct err err = {0};
    int rc = options_read_text(o, "fuzz.conf", (const char *)data, size, &err);
    require(rc == 0 || (err.code == ERR_CONFIG && strncmp(err.msg, "fuzz.conf:", 10) == 0));
    long count = options_int(o, "batch-count");
    double threshold = options_real(o, "threshold");
    const char *wire = options_str(o, "wire-in"), *key, *value;
    require(count >= 1 && count <= 1000);
    require(threshold >= 0 && threshold <= 1);
    require(strcmp(wire, "json") == 0 || strcmp(wire, "text") == 0);
    (void)options_bool(o, "verbose");
    for (size_t i = 0; options_passed(o, i, &key, &value); i++)
        require(*key && value);
    if (rc == 0) {
        size_t n, m;
        char *first = page(o, &n);
        struct options *again = options_open(table, ROWS, "kafka.");
        require(options_read_text(again, "page", first, n, &err) == 0);
        char *second = page(again, &m);
        require(n == m && memcmp(first, second, n) == 0);
        free(second);
        free(first);
        options_close(again);
    }
    options_close(o);
    return 0;
}
