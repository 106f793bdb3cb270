/* Options: one table per program is the single list of names, types, defaults, ranges and help. The
 * same names serve the file (`key = value`, '#' starts a comment line), the environment (RUBRIC_ +
 * name in capitals, '-' and '.' as '_') and the command line (`--name value` or `--name=value`; a
 * switch is `--name` or `--name=false`). Later sources win: default < file < environment < command
 * line. A bad value or an unknown name is an error that names its place (file:line, variable,
 * argument) and the nearest name. */
#ifndef BASE_OPTIONS_H
#define BASE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/err.h"

enum opt_type { OPT_STR, OPT_INT, OPT_REAL, OPT_BOOL, OPT_CHOICE };

struct opt {
    const char *name;
    enum opt_type type;
    const char *def;     /* as text, parsed like any value; NULL = not set */
    double min, max;     /* OPT_INT and OPT_REAL; both 0 = any */
    const char *choices; /* OPT_CHOICE: "a|b|c" */
    const char *help;    /* one line */
    bool secret;         /* printed as **** */
};

struct options;

/* The table is borrowed for the life of the options. pass: a prefix such as "kafka." whose keys are
 * kept as they are, or NULL. */
struct options *options_open(const struct opt *table, size_t n, const char *pass);
void options_close(struct options *o); /* NULL allowed */

int options_set(struct options *o, const char *name, const char *value, const char *where,
                struct err *err);
/* Another default than the table's, checked like any value; why is printed above it by
 * options_print(). */
int options_set_default(struct options *o, const char *name, const char *value, const char *why,
                        struct err *err);
int options_read_text(struct options *o, const char *name, const char *text, size_t len,
                      struct err *err);
int options_read_file(struct options *o, const char *path, struct err *err);
/* Variables of environ that start with RUBRIC_. Unknown ones are ignored (Kubernetes sets
 * RUBRIC_PORT and the like for a Service named rubric) and counted in *unknown with the last one's
 * name borrowed in *example (as it stands in environ, "NAME=value": print it up to the '='; NULL
 * when there is none); both may be NULL. */
int options_read_env(struct options *o, char *const *environment, int *unknown,
                     const char **example, struct err *err);
/* argv[0..argc): options; everything that is no option is left in rest[0..*n_rest) (room for argc).
 * "--" ends options. */
int options_read_args(struct options *o, int argc, char **argv, const char **rest, int *n_rest,
                      struct err *err);

/* Values; asking for a name that the table lacks is a programming error (assert). */
const char *options_str(const struct options *o, const char *name); /* NULL when not set */
long options_int(const struct options *o, const char *name);
double options_real(const struct options *o, const char *name);
bool options_bool(const struct options *o, const char *name);
bool options_known(const struct options *o, const char *name); /* the table has it */
bool options_given(const struct options *o,
                   const char *name); /* set by any source but the default */

/* The passed-through pairs, key without the prefix, in the order of first setting; false past the
 * end. */
bool options_passed(const struct options *o, size_t i, const char **key, const char **value);

void options_print(const struct options *o,
                   FILE *out); /* key = value, as a config file; secrets masked */
void options_help(const struct opt *table, size_t n, FILE *out);     /* for --help */
void options_markdown(const struct opt *table, size_t n, FILE *out); /* rows for docs/CONFIG.md */

#endif
