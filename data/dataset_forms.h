/* The three forms of dataset lines, for data/dataset.c alone: one record in, title and label out.
 * Pure functions on bytes that were checked already (valid UTF-8 without NUL). A title that has to
 * be put together is written to scratch, which has room for as many bytes as the record; title and
 * label are borrowed from record or scratch.
 * After a refusal the caller goes on with the next line, not the next record: a stray quote must
 * not swallow the lines behind it. */
#ifndef DATA_DATASET_FORMS_H
#define DATA_DATASET_FORMS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "data/dataset.h"

struct span {
    const char *s;
    size_t n;
};

int dataset_tab_line(const char *line, size_t n, struct span *title, struct span *label,
                     struct err *err);

bool dataset_is_fasttext(const char *line, size_t n);
int dataset_fasttext_line(const char *line, size_t n, bool spaced, char *scratch,
                          struct span *title, struct span *label, struct err *err);

/* Which columns of a CSV file hold what. */
struct csv_columns {
    size_t n, title, label;
};
/* The length of the record at s: up to the line end outside quotes, that not counted, or n. False
 * when n was reached inside quotes. */
bool dataset_csv_record(const char *s, size_t n, size_t *length);
int dataset_csv_header(const char *record, size_t n, char *scratch, struct csv_columns *columns,
                       struct err *err);
int dataset_csv_line(const char *record, size_t n, const struct csv_columns *columns, char *scratch,
                     struct span *title, struct span *label, struct err *err);

#endif
