/* Labelled headlines from files. Three forms, told apart by the file's name and first line:
 *   *.txt / *.tsv  title<TAB>label            label by index or by class name; the title may hold
 * spaces; the LAST tab splits
 *   *.csv          header with `title` and `label` columns (any case and order; RFC 4180 quoting),
 * further columns ignored fastText       __label__x text            (any name but *.csv) x by name
 * or index; characters or words spaced by single blanks are joined again (unless `spaced` is set). A blank between ASCII
 * letters or digits is kept when one of its neighbours is a run of two or more; a run of blanks is
 * one blank. Refused with file, line and cause: invalid UTF-8, missing tab, unknown label, empty
 * title, NUL, a line (a CSV record) over DATASET_MAX_LINE bytes. Accepted: CRLF, BOM, a missing
 * last newline, blank lines at the end, a file without any line. Titles are stored as they stand,
 * less white space (ASCII) at the ends. A dataset is const once read. */
#ifndef DATA_DATASET_H
#define DATA_DATASET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define DATASET_MAX_LINE 65536
#define DATASET_MAX_CLASSES 1000
#define DATASET_MAX_CLASS_NAME 200 /* bytes */
#define DATASET_MAX_COLUMNS 100    /* of a CSV file */

struct classes {
    char **names; /* [n], from class.txt: one name a line, the line number is the index */
    int32_t n;
};
/* Refused by line: invalid UTF-8, an empty name, a control character in a name, a name twice, too
 * long, too many, none. */
int classes_read(const char *path, struct classes *c, struct err *err);
/* The same from text; name goes into messages. */
int classes_parse(const char *name, const char *text, size_t len, struct classes *c,
                  struct err *err);
void classes_done(struct classes *c);
int32_t classes_find(const struct classes *c, const char *name,
                     size_t len); /* by name, else by index; -1 */

struct dataset {
    char *text;        /* all titles, one after another, not terminated */
    size_t *offset;    /* [n + 1] into text; offset[0] == 0 even when n == 0 */
    int32_t *labels;   /* [n] */
    size_t n, skipped; /* skipped: bad lines let through by skip_bad */
};

struct dataset_options {
    long skip_bad; /* at most this many bad lines are left out and counted; 0 = the first one is an
                      error */
    bool spaced;   /* blanks of __label__ lines stand between words, and stay (a run is one) */
    void (*progress)(void *arg, size_t bytes_done,
                     size_t bytes_all); /* NULL allowed; called now and then and at the end */
    void *progress_arg;                 /* given to both functions */
    void (*bad)(void *arg,
                const char *message); /* told of each line that is skipped; NULL allowed */
};

/* opt NULL: all zero. *d is left as it is on failure. */
int dataset_read(const char *path, const struct classes *c, const struct dataset_options *opt,
                 struct dataset *d, struct err *err);
/* The same from memory; name stands in messages, and its ending says which form it is. */
int dataset_parse(const char *name, const char *data, size_t len, const struct classes *c,
                  const struct dataset_options *opt, struct dataset *d, struct err *err);
void dataset_done(struct dataset *d);

/* The first that exists of DIR/NAME.txt, NAME.tsv, NAME.csv (name: "train", "dev", "test").
 * Returns a malloc'd path, or NULL when none exists. */
char *dataset_find(const char *dir, const char *name);

#endif
