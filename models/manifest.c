#include "models/manifest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "models/checkpoint.h"

static const char needs[] = "config.json and a file of weights";
enum { MAX_LEVELS = 4 /* an ensemble in a cascade, and to spare */ };

bool manifest_word(const char *s, size_t max)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t n = strspn(s, allowed);
    return n >= 1 && n <= max && s[n] == '\0' && s[0] != '.';
}

/* Words with '/' between: no part of one leaves the version's directory. */
static bool is_file_name(const char *s)
{
    char word[MANIFEST_FILE_NAME + 1];
    if (strlen(s) > MANIFEST_FILE_NAME)
        return false;
    for (int level = 0; level < MAX_LEVELS; level++) {
        size_t n = strcspn(s, "/");
        memcpy(word, s, n);
        word[n] = '\0';
        if (!manifest_word(word, MANIFEST_FILE_NAME) || strcmp(word, MANIFEST_FILE) == 0)
            return false;
        if (!s[n])
            return true;
        s += n + 1;
    }
    return false;
}

static const char *last_word(const char *name)
{
    const char *slash = strrchr(name, '/');
    return slash ? slash + 1 : name;
}

static bool is_hex(const char *s, size_t n)
{
    return strlen(s) == n && strspn(s, "0123456789abcdef") == n;
}

bool manifest_is_version(const char *s)
{
    return is_hex(s, REGISTRY_VERSION - 1);
}

void manifest_done(struct manifest *m)
{
    for (size_t i = 0; i < m->n; i++)
        free(m->files[i].name);
    free(m->files);
    m->files = NULL;
    m->n = 0;
}

/* The version that follows from the files. */
static void version_of(const struct manifest *m, char version[REGISTRY_VERSION])
{
    struct buf lines;
    char sum[SHA256_HEX];
    buf_init(&lines, SIZE_MAX / 2);
    for (size_t i = 0; i < m->n; i++)
        buf_printf(&lines, "%s  %s\n", m->files[i].sha256, m->files[i].name);
    sha256_hex(lines.data, lines.len, sum);
    buf_done(&lines);
    memcpy(version, sum, REGISTRY_VERSION - 1);
    version[REGISTRY_VERSION - 1] = '\0';
}

/* Symbolic links are not followed: a version holds its bytes itself. */
static int plain_size(const char *path, int64_t *bytes, struct err *err)
{
    struct stat st;
    if (lstat(path, &st) != 0)
        return err_set(err, errno == ENOENT ? ERR_MISSING : ERR_IO, "%s: stat: %s", path,
                       strerror(errno));
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_FORMAT, "%s: not a plain file", path);
    *bytes = st.st_size;
    return 0;
}

/* "sub/" is a part that the config.json above it names (models/composite.h); nothing else is taken along. */
static int check_part(const char *dir, const char *sub, struct err *err)
{
    static const char *const lists[] = {"members", "stages"};
    char *name = xstrdup(sub), *above, *path;
    name[strlen(name) - 1] = '\0';
    above = strrchr(name, '/');
    path = above ? file_path("%s/%.*s/config.json", dir, (int)(above - name), name)
                 : file_path("%s/config.json", dir);
    json_t *config = json_parse_file(path, MANIFEST_MAX_BYTES, NULL);
    bool found = false;
    for (size_t k = 0; k < sizeof lists / sizeof *lists; k++) {
        const json_t *list = json_object_get(config, lists[k]);
        for (size_t i = 0; i < json_array_size(list); i++) {
            const char *part = json_string_value(json_object_get(json_array_get(list, i), "dir"));
            found = found || (part && strcmp(part, last_word(name)) == 0);
        }
    }
    int rc = found ? 0
                   : err_set(err, ERR_FORMAT, "%s/%s: a directory that %s does not name as a part",
                             dir, name, path);
    json_decref(config);
    free(path);
    free(name);
    return rc;
}

int manifest_list(const char *dir, struct file_list *list, struct err *err)
{
    struct file_list all;
    if (file_list_tree(dir, false, &all, err) != 0)
        return -1;
    *list = (struct file_list){.names = xcalloc(all.n + 1, sizeof *list->names)};
    bool config = false, weights = false;
    int rc = 0;
    for (size_t i = 0; i < all.n && rc == 0; i++) {
        const char *name = all.names[i], *word = last_word(name);
        if (!*word) {
            rc = check_part(dir, name, err);
            continue;
        }
        if (strcmp(word, MANIFEST_FILE) == 0)
            continue;
        if (!is_file_name(name))
            rc = err_set(err, ERR_FORMAT,
                         "%s/%s: the name of a file must be 1 to %d of A-Z a-z 0-9 . _ -, at most "
                         "%d directories deep",
                         dir, name, MANIFEST_FILE_NAME, MAX_LEVELS - 1);
        config = config || strcmp(name, "config.json") == 0;
        weights = weights || checkpoint_is_weights(word);
        list->names[list->n++] = xstrdup(name);
    }
    file_list_free(&all);
    if (rc == 0 && !(config && weights))
        rc = err_set(err, ERR_FORMAT, "%s: no model directory: it needs %s", dir, needs);
    if (rc == 0 && list->n > MANIFEST_MAX_FILES)
        rc =
            err_set(err, ERR_FORMAT, "%s: %zu files, at most %d", dir, list->n, MANIFEST_MAX_FILES);
    if (rc != 0)
        file_list_free(list);
    return rc;
}

static int make_entry(struct manifest *m, const char *dir, const char *name, struct err *err)
{
    struct manifest_entry e = {0};
    char *path = file_path("%s/%s", dir, name);
    int rc = plain_size(path, &e.bytes, err);
    if (rc == 0)
        rc = sha256_file(path, e.sha256, NULL, err);
    if (rc == 0) {
        e.name = xstrdup(name);
        m->files[m->n++] = e;
    }
    free(path);
    return rc;
}

int manifest_make(struct manifest *m, const char *name, const char *dir, struct err *err)
{
    struct file_list list;
    if (manifest_list(dir, &list, err) != 0)
        return -1;
    struct manifest made = {.files = xcalloc(list.n, sizeof *made.files)};
    (void)snprintf(made.name, sizeof made.name, "%s", name);
    int rc = 0;
    for (size_t i = 0; i < list.n && rc == 0; i++)
        rc = make_entry(&made, dir, list.names[i], err);
    file_list_free(&list);
    if (rc != 0) {
        manifest_done(&made);
        return -1;
    }
    version_of(&made, made.version);
    time_t now = time(NULL);
    struct tm tm;
    (void)gmtime_r(&now, &tm);
    (void)strftime(made.created, sizeof made.created, "%Y-%m-%dT%H:%M:%SZ", &tm);
    *m = made;
    return 0;
}

/* A required string member of at most max bytes. */
static int get_text(const json_t *obj, const char *key, char *out, size_t max, struct err *err)
{
    const char *s = NULL;
    if (json_get_str(obj, key, &s, err) != 0)
        return -1;
    if (!s)
        return err_set(err, ERR_FORMAT, "\"%s\" is missing", key);
    if (strlen(s) > max)
        return err_set(err, ERR_FORMAT, "\"%s\": more than %zu bytes", key, max);
    memcpy(out, s, strlen(s) + 1);
    return 0;
}

static int parse_entry(const json_t *obj, struct manifest *m, struct err *err)
{
    struct manifest_entry e = {.bytes = -1};
    char name[MANIFEST_FILE_NAME + 1];
    long bytes = -1;
    if (!json_is_object(obj))
        return err_set(err, ERR_FORMAT, "not an object");
    if (get_text(obj, "name", name, MANIFEST_FILE_NAME, err) != 0)
        return -1;
    if (!is_file_name(name))
        return err_set(err, ERR_FORMAT, "\"%s\" is no name of a file in a version", name);
    if (m->n && strcmp(m->files[m->n - 1].name, name) >= 0)
        return err_set(err, ERR_FORMAT, "\"%s\" after \"%s\": names must ascend", name,
                       m->files[m->n - 1].name);
    if (json_get_int(obj, "bytes", 0, INT64_MAX, &bytes, err) != 0 ||
        get_text(obj, "sha256", e.sha256, SHA256_HEX - 1, err) != 0)
        return err_prefix(err, "\"%s\"", name);
    if (bytes < 0)
        return err_set(err, ERR_FORMAT, "\"%s\": \"bytes\" is missing", name);
    if (!is_hex(e.sha256, SHA256_HEX - 1))
        return err_set(err, ERR_FORMAT, "\"%s\": sha256 is not 64 lower-case hex digits", name);
    e.bytes = bytes;
    e.name = xstrdup(name);
    m->files[m->n++] = e;
    return 0;
}

static int parse_root(const json_t *root, struct manifest *m, struct err *err)
{
    long format = -1;
    char expected[REGISTRY_VERSION];
    if (!json_is_object(root))
        return err_set(err, ERR_FORMAT, "not a JSON object");
    if (json_get_int(root, "format", 1, 1, &format, err) != 0)
        return -1;
    if (format != 1)
        return err_set(err, ERR_FORMAT, "\"format\" is missing");
    if (get_text(root, "name", m->name, MANIFEST_WORD, err) != 0 ||
        get_text(root, "version", m->version, REGISTRY_VERSION - 1, err) != 0 ||
        get_text(root, "created", m->created, sizeof m->created - 1, err) != 0)
        return -1;
    if (!manifest_word(m->name, MANIFEST_WORD))
        return err_set(err, ERR_FORMAT, "\"%s\" is no name of a model", m->name);
    const json_t *files = json_object_get(root, "files");
    if (!json_is_array(files))
        return err_set(err, ERR_FORMAT, "\"files\" is not an array");
    size_t n = json_array_size(files);
    if (n > MANIFEST_MAX_FILES)
        return err_set(err, ERR_FORMAT, "%zu files, at most %d", n, MANIFEST_MAX_FILES);
    m->files = xcalloc(n, sizeof *m->files);
    for (size_t i = 0; i < n; i++)
        if (parse_entry(json_array_get(files, i), m, err) != 0)
            return err_prefix(err, "files[%zu]", i);
    bool config = false, weights = false;
    for (size_t i = 0; i < m->n; i++) {
        config = config || strcmp(m->files[i].name, "config.json") == 0;
        weights = weights || checkpoint_is_weights(last_word(m->files[i].name));
    }
    if (!(config && weights))
        return err_set(err, ERR_FORMAT, "no model: it needs %s", needs);
    version_of(m, expected);
    if (strcmp(m->version, expected) != 0)
        return err_set(err, ERR_FORMAT, "version %s, but its files make it %s", m->version,
                       expected);
    return 0;
}

int manifest_parse(struct manifest *m, const char *where, const char *data, size_t len,
                   struct err *err)
{
    json_t *root = json_parse(where, data, len, err);
    if (!root)
        return -1;
    struct manifest read = {0};
    int rc = parse_root(root, &read, err);
    json_decref(root);
    if (rc != 0) {
        manifest_done(&read);
        return err_prefix(err, "%s", where);
    }
    *m = read;
    return 0;
}

int manifest_read(struct manifest *m, const char *dir, struct err *err)
{
    char *data, *path = file_path("%s/%s", dir, MANIFEST_FILE);
    size_t len;
    int rc = file_read(path, MANIFEST_MAX_BYTES, &data, &len, err);
    if (rc == 0) {
        rc = manifest_parse(m, path, data, len, err);
        free(data);
    }
    free(path);
    return rc;
}

static int verify_entry(const struct manifest_entry *e, const char *dir, struct err *err)
{
    char *path = file_path("%s/%s", dir, e->name);
    char sum[SHA256_HEX];
    int64_t bytes = 0;
    int rc = plain_size(path, &bytes, err);
    if (rc == 0 && bytes != e->bytes)
        rc = err_set(err, bytes < e->bytes ? ERR_TRUNCATED : ERR_FORMAT,
                     "%s: expected %lld bytes, found %lld", path, (long long)e->bytes,
                     (long long)bytes);
    if (rc == 0)
        rc = sha256_file(path, sum, NULL, err);
    if (rc == 0 && strcmp(sum, e->sha256) != 0)
        rc = err_set(err, ERR_FORMAT, "%s: expected sha256 %s, found %s", path, e->sha256, sum);
    free(path);
    return rc;
}

/* Takes the directories that hold files of the manifest out of the list. */
static void drop_known_directories(const struct manifest *m, struct file_list *list)
{
    size_t kept = 0;
    for (size_t i = 0; i < list->n; i++) {
        char *name = list->names[i];
        size_t n = strlen(name);
        bool known = false;
        for (size_t k = 0; n && name[n - 1] == '/' && k < m->n && !known; k++)
            known = strncmp(m->files[k].name, name, n) == 0;
        if (known)
            free(name);
        else
            list->names[kept++] = name;
    }
    list->n = kept;
}

int manifest_verify(const struct manifest *m, const char *dir, struct err *err)
{
    struct file_list list;
    if (file_list_tree(dir, true, &list, err) != 0)
        return -1;
    drop_known_directories(m, &list);
    /* Both lists ascend. Names first: they cost nothing, sums do. */
    size_t i = 0, k = 0;
    int rc = 0;
    while (rc == 0 && (i < list.n || k < m->n)) {
        if (i < list.n && strcmp(list.names[i], MANIFEST_FILE) == 0) {
            i++;
            continue;
        }
        int order = i == list.n ? 1 : k == m->n ? -1 : strcmp(list.names[i], m->files[k].name);
        if (order < 0)
            rc = err_set(err, ERR_FORMAT, "%s/%s: not in %s", dir, list.names[i], MANIFEST_FILE);
        else if (order > 0)
            rc = err_set(err, ERR_MISSING, "%s/%s: missing, but in %s", dir, m->files[k].name,
                         MANIFEST_FILE);
        i++;
        k++;
    }
    file_list_free(&list);
    for (k = 0; k < m->n && rc == 0; k++)
        rc = verify_entry(&m->files[k], dir, err);
    return rc;
}

char *manifest_text(const struct manifest *m)
{
    struct buf b;
    buf_init(&b, SIZE_MAX / 2);
    buf_printf(&b, "{\n  \"format\": 1,\n  \"name\": \"%s\",\n  \"version\": \"%s\",\n", m->name,
               m->version);
    buf_puts(&b, "  \"created\": \"");
    buf_put_json(&b, m->created, strlen(m->created));
    buf_puts(&b, "\",\n  \"files\": [");
    for (size_t i = 0; i < m->n; i++)
        buf_printf(&b, "%s\n    {\"name\": \"%s\", \"bytes\": %lld, \"sha256\": \"%s\"}",
                   i ? "," : "", m->files[i].name, (long long)m->files[i].bytes,
                   m->files[i].sha256);
    buf_puts(&b, "\n  ]\n}\n");
    return buf_take(&b);
}
