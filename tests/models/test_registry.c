#include "models/registry.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#include "models/manifest.h"
#include "tests/base/scratch.h"

/* Everything stands in a folder of its own under the scratch folder, removed as a tree. */
static char root[300], model[330], store[330], url[340];

static void put(const char *dir, const char *name, const char *text)
{
    char *path = file_path("%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
    free(path);
}

static int setup(void **state)
{
    (void)state;
    (void)snprintf(root, sizeof root, "%s/r", scratch_dir());
    (void)snprintf(model, sizeof model, "%s/model", root);
    (void)snprintf(store, sizeof store, "%s/store", root);
    (void)snprintf(url, sizeof url, "dir:%s", store);
    if (file_mkdirs(model, NULL) != 0)
        return -1;
    put(model, "config.json", "{}");
    put(model, "model.safetensors", "weights");
    put(model, "labels.txt", "a\nb\n");
    put(model, ".hidden", "left out");
    put(model, "manifest.json", "an old one, left out");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    char command[400];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", root);
    return system(command);
}

/* What `printf "SUM  NAME\n"… | sha256sum` gives for setup's three files. */
#define VERSION "9a3cf59d270dfee9"

static struct registry *open_it(void)
{
    struct registry *r;
    struct err err;
    assert_int_equal(registry_open(url, &r, &err), 0);
    return r;
}

/* The message, with the folder's name before it cut off wherever it stands first. */
static void check(const struct err *err, enum err_code code, const char *expected)
{
    char short_form[1100] = "";
    const char *at = strstr(err->msg, root);
    assert_non_null(at);
    (void)snprintf(short_form, sizeof short_form, "%.*s%s", (int)(at - err->msg), err->msg,
                   at + strlen(root) + 1);
    assert_string_equal(short_form, expected);
    assert_int_equal(err->code, code);
}

static struct registry *pushed(void)
{
    struct registry *r = open_it();
    struct err err;
    char version[REGISTRY_VERSION];
    assert_int_equal(registry_push(r, "news", model, version, &err), 0);
    assert_string_equal(version, VERSION);
    return r;
}

static void test_open(void **state)
{
    (void)state;
    static const char *const bad[] = {"rediss://x", "dir:", "dir", "", "DIR:/x", "/x"};
    struct registry *r = NULL;
    struct err err;
    char expected[200];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(registry_open(bad[i], &r, &err), -1);
        (void)snprintf(expected, sizeof expected,
                       "registry \"%s\": expected dir:PATH, redis://HOST:PORT/DB", bad[i]);
        assert_string_equal(err.msg, expected);
        assert_int_equal(err.code, ERR_CONFIG);
    }
    assert_null(r);
    registry_close(NULL);
}

static void test_words(void **state)
{
    (void)state;
    char sixty_four[65], sixty_five[66];
    memset(sixty_four, 'a', 64);
    memset(sixty_five, 'a', 65);
    sixty_four[64] = sixty_five[65] = '\0';
    assert_true(manifest_word("aZ09._-", 64));
    assert_true(manifest_word("-", 64));
    assert_true(manifest_word(sixty_four, 64));
    const char *const bad[] = {"",     ".",   "..",  ".a",       "a/b",
                               "../a", "a b", "a\n", "\xC3\xA4", sixty_five};
    struct registry *r = open_it();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err err;
        char version[REGISTRY_VERSION] = "kept", expected[600];
        char **list = NULL, *dir = NULL;
        size_t n;
        assert_false(manifest_word(bad[i], 64));
        (void)snprintf(
            expected, sizeof expected,
            "dir:store: model \"%s\": expected 1 to 64 of A-Z a-z 0-9 . _ -, not starting with '.'",
            bad[i]);
        assert_int_equal(registry_push(r, bad[i], model, version, &err), -1);
        check(&err, ERR_USAGE, expected);
        assert_int_equal(registry_resolve(r, bad[i], "x", version, &err), -1);
        assert_int_equal(registry_set_alias(r, bad[i], "x", VERSION, &err), -1);
        assert_int_equal(registry_set_alias(r, "news", bad[i], VERSION, &err), -1);
        assert_int_equal(registry_resolve(r, "news", bad[i], version, &err), -1);
        assert_int_equal(registry_fetch(r, bad[i], VERSION, &dir, &err), -1);
        assert_int_equal(registry_fetch(r, "news", bad[i], &dir, &err), -1);
        assert_int_equal(registry_list(r, bad[i], &list, &n, &err), -1);
        assert_string_equal(version, "kept");
        assert_true(!dir && !list);
    }
    struct err err;
    assert_int_equal(registry_set_alias(r, "news", "0123456789abcdef", VERSION, &err), -1);
    check(&err, ERR_USAGE, "dir:store: alias \"0123456789abcdef\": looks like a version");
    char *dir;
    assert_int_equal(registry_fetch(r, "news", "0123456789ABCDEF", &dir, &err), -1);
    check(&err, ERR_USAGE,
          "dir:store: version \"0123456789ABCDEF\": expected 16 lower-case hex digits");
    assert_false(file_exists(store));
    registry_close(r);
}

static void test_push_fetch(void **state)
{
    (void)state;
    struct registry *r = pushed();
    struct err err;
    char *dir, *versions = file_path("%s/news/versions", store);
    struct file_list files;
    assert_int_equal(registry_fetch(r, "news", VERSION, &dir, &err), 0);
    assert_int_equal(file_list(dir, &files, &err), 0);
    static const char *const names[] = {"config.json", "labels.txt", "manifest.json",
                                        "model.safetensors"};
    assert_int_equal(files.n, 4);
    for (size_t i = 0; i < 4; i++)
        assert_string_equal(files.names[i], names[i]);
    file_list_free(&files);
    struct stat st;
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0755);

    struct manifest m;
    assert_int_equal(manifest_read(&m, dir, &err), 0);
    assert_string_equal(m.name, "news");
    assert_string_equal(m.version, VERSION);
    assert_int_equal(strlen(m.created), 20);
    assert_int_equal(m.n, 3);
    assert_string_equal(m.files[2].name, "model.safetensors");
    assert_int_equal(m.files[2].bytes, 7);
    char sum[SHA256_HEX];
    sha256_hex("weights", 7, sum);
    assert_string_equal(m.files[2].sha256, sum);
    manifest_done(&m);

    /* The same again, from the version itself: it is kept, and nothing is left behind. */
    char version[REGISTRY_VERSION];
    assert_int_equal(registry_push(r, "news", dir, version, &err), 0);
    assert_string_equal(version, VERSION);
    assert_int_equal(file_list(versions, &files, &err), 0);
    assert_int_equal(files.n, 1);
    file_list_free(&files);
    free(versions);
    free(dir);
    registry_close(r);
}

static void test_push_refuses(void **state)
{
    (void)state;
    struct registry *r = open_it();
    struct err err;
    char version[REGISTRY_VERSION] = "kept", path[400];
    assert_int_equal(registry_push(r, "news", "/nowhere", version, &err), -1);
    assert_string_equal(err.msg, "/nowhere: open: No such file or directory");

    (void)snprintf(path, sizeof path, "%s/config.json", model);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(registry_push(r, "news", model, version, &err), -1);
    check(&err, ERR_FORMAT,
          "model: no model directory: it needs config.json and a file of weights");
    put(model, "config.json", "{}");

    put(model, "two words", "");
    assert_int_equal(registry_push(r, "news", model, version, &err), -1);
    check(&err, ERR_FORMAT,
          "model/two words: the name of a file must be 1 to 128 of A-Z a-z 0-9 . _ -, at most 3 "
          "directories deep");
    (void)snprintf(path, sizeof path, "%s/two words", model);
    (void)unlink(path);

    (void)snprintf(path, sizeof path, "%s/sub", model);
    assert_int_equal(mkdir(path, 0755), 0);
    assert_int_equal(registry_push(r, "news", model, version, &err), -1);
    assert_int_equal(err.code, ERR_FORMAT);
    assert_non_null(strstr(err.msg, "model/sub: a directory that "));
    assert_non_null(strstr(err.msg, "model/config.json does not name as a part"));
    (void)rmdir(path);

    assert_int_equal(mkfifo(path, 0644), 0);
    assert_int_equal(registry_push(r, "news", model, version, &err), -1);
    check(&err, ERR_FORMAT, "model/sub: not a plain file; a version holds plain files only");
    (void)unlink(path);

    assert_int_equal(symlink("nothing", path), 0);
    assert_int_equal(registry_push(r, "news", model, version, &err), -1);
    check(&err, ERR_MISSING, "model/sub: open: No such file or directory");
    (void)unlink(path);

    assert_string_equal(version, "kept");
    struct file_list left;
    (void)snprintf(path, sizeof path, "%s/news/versions", store);
    assert_int_equal(file_list(path, &left, &err), 0);
    assert_int_equal(left.n, 0);
    file_list_free(&left);
    registry_close(r);
    /* A registry that cannot be written. */
    put(root, "file", "");
    (void)snprintf(path, sizeof path, "dir:%s/file", root);
    assert_int_equal(registry_open(path, &r, &err), 0);
    assert_int_equal(registry_push(r, "news", model, version, &err), -1);
    assert_non_null(strstr(err.msg, "/file/news"));
    registry_close(r);
}

/* A link to a plain file is the file. */
static void test_push_link(void **state)
{
    (void)state;
    char path[400], away[400], version[REGISTRY_VERSION];
    (void)snprintf(path, sizeof path, "%s/labels.txt", model);
    (void)snprintf(away, sizeof away, "%s/blob", root);
    assert_int_equal(rename(path, away), 0);
    assert_int_equal(symlink("../blob", path), 0);
    struct registry *r = open_it();
    struct err err;
    assert_int_equal(registry_push(r, "news", model, version, &err), 0);
    assert_string_equal(version, VERSION);
    registry_close(r);
}

static atomic_bool stop;

static void *scribble(void *arg)
{
    while (!atomic_load(&stop)) {
        FILE *f = fopen(arg, "r+b");
        if (f) {
            (void)fputc('x', f);
            (void)fclose(f);
        }
    }
    return NULL;
}

static void test_push_changing(void **state)
{
    (void)state;
    char path[400], version[REGISTRY_VERSION];
    size_t size = 32 << 20;
    char *big = xmalloc(size);
    memset(big, 'w', size - 1);
    big[size - 1] = '\0';
    put(model, "model.safetensors", big);
    free(big);
    (void)snprintf(path, sizeof path, "%s/model.safetensors", model);
    struct registry *r = open_it();
    struct err err;
    pthread_t thread;
    atomic_store(&stop, false);
    assert_int_equal(pthread_create(&thread, NULL, scribble, path), 0);
    int rc = registry_push(r, "news", model, version, &err);
    atomic_store(&stop, true);
    (void)pthread_join(thread, NULL);
    assert_int_equal(rc, -1);
    check(&err, ERR_CONFLICT, "model/model.safetensors: changed while it was copied");
    registry_close(r);
}

static void *push_once(void *arg)
{
    struct registry *r;
    struct err err;
    char *version = arg;
    if (registry_open(url, &r, &err) != 0)
        return (void *)"open";
    int rc = registry_push(r, "news", model, version, &err);
    registry_close(r);
    if (rc != 0)
        (void)fprintf(stderr, "%s\n", err.msg);
    return rc == 0 ? NULL : (void *)"push";
}

static void test_push_together(void **state)
{
    (void)state;
    enum { PUSHERS = 8, ROUNDS = 10 };
    for (int round = 0; round < ROUNDS; round++) {
        pthread_t threads[PUSHERS];
        char versions[PUSHERS][REGISTRY_VERSION], text[40];
        (void)snprintf(text, sizeof text, "weights of round %d", round);
        put(model, "model.safetensors", text);
        for (int i = 0; i < PUSHERS; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, push_once, versions[i]), 0);
        for (int i = 0; i < PUSHERS; i++) {
            void *fault;
            assert_int_equal(pthread_join(threads[i], &fault), 0);
            assert_null(fault);
            assert_string_equal(versions[i], versions[0]);
        }
        struct registry *r = open_it();
        struct err err;
        char *dir, **list;
        size_t n;
        assert_int_equal(registry_fetch(r, "news", versions[0], &dir, &err), 0);
        free(dir);
        assert_int_equal(registry_list(r, "news", &list, &n, &err), 0);
        assert_int_equal(n, round + 1);
        for (size_t i = 0; i < n; i++)
            free(list[i]);
        free(list);
        registry_close(r);
    }
    struct file_list left;
    char *path = file_path("%s/news/versions", store);
    assert_int_equal(file_list(path, &left, NULL), 0);
    assert_int_equal(left.n, ROUNDS);
    file_list_free(&left);
    free(path);
}

static void test_alias(void **state)
{
    (void)state;
    struct registry *r = pushed();
    struct err err;
    char version[REGISTRY_VERSION] = "", path[500], second[REGISTRY_VERSION];
    assert_int_equal(registry_resolve(r, "news", "production", version, &err), -1);
    check(&err, ERR_MISSING, "store/news/aliases/production: no such alias");
    assert_int_equal(registry_resolve(r, "other", "production", version, &err), -1);
    check(&err, ERR_MISSING, "store/other/aliases/production: no such alias");
    assert_int_equal(registry_set_alias(r, "news", "production", "0123456789abcdef", &err), -1);
    check(&err, ERR_MISSING, "store/news/versions/0123456789abcdef: no such version");
    assert_int_equal(registry_resolve(r, "news", "0123456789abcdef", version, &err), -1);
    check(&err, ERR_MISSING, "store/news/versions/0123456789abcdef: no such version");
    assert_string_equal(version, "");

    assert_int_equal(registry_set_alias(r, "news", "production", VERSION, &err), 0);
    assert_int_equal(registry_resolve(r, "news", "production", version, &err), 0);
    assert_string_equal(version, VERSION);
    assert_int_equal(registry_resolve(r, "news", VERSION, version, &err), 0);
    assert_string_equal(version, VERSION);
    char *line;
    (void)snprintf(path, sizeof path, "%s/news/aliases/production", store);
    assert_int_equal(file_read(path, 100, &line, NULL, &err), 0);
    assert_string_equal(line, VERSION "\n");
    free(line);

    put(model, "labels.txt", "c\nd\n");
    assert_int_equal(registry_push(r, "news", model, second, &err), 0);
    assert_string_not_equal(second, VERSION);
    assert_int_equal(registry_set_alias(r, "news", "production", second, &err), 0);
    assert_int_equal(registry_resolve(r, "news", "production", version, &err), 0);
    assert_string_equal(version, second);

    char **list;
    size_t n;
    assert_int_equal(registry_list(r, "news", &list, &n, &err), 0);
    assert_int_equal(n, 2);
    assert_true(strcmp(list[0], list[1]) < 0);
    free(list[0]);
    free(list[1]);
    free(list);
    assert_int_equal(registry_list(r, "other", &list, &n, &err), -1);
    check(&err, ERR_MISSING, "store/other/versions: open: No such file or directory");

    /* A hand-made alias. */
    static const char *const bad[] = {"", "../../x", "0123456789abcde", "0123456789abcdef0",
                                      "0123456789abcdeF"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        put(store, "news/aliases/production", bad[i]);
        assert_int_equal(registry_resolve(r, "news", "production", version, &err), -1);
        check(&err, ERR_FORMAT,
              "store/news/aliases/production: expected a line of 16 lower-case hex digits");
    }
    put(store, "news/aliases/production", "0123456789abcdef\r\n");
    assert_int_equal(registry_resolve(r, "news", "production", version, &err), -1);
    char expected[700];
    (void)snprintf(expected, sizeof expected,
                   "store/news/aliases/production: points to %s/news/versions/0123456789abcdef, "
                   "which does not exist",
                   store);
    check(&err, ERR_CONFLICT, expected); /* told apart from an alias that is not there */
    registry_close(r);
}

/* One way of harming a version; fetch and alias must see it, and pushing it again mends it. */
static void harmed(struct registry *r, enum err_code code, const char *message)
{
    struct err err;
    char *dir = NULL, version[REGISTRY_VERSION] = "";
    assert_int_equal(registry_fetch(r, "news", VERSION, &dir, &err), -1);
    assert_null(dir);
    check(&err, code, message);
    assert_int_equal(registry_set_alias(r, "news", "production", VERSION, &err), -1);
    check(&err, code, message);
    if (registry_push(r, "news", model, version, &err) != 0)
        fail_msg("%s", err.msg);
    assert_string_equal(version, VERSION);
    assert_int_equal(registry_fetch(r, "news", VERSION, &dir, &err), 0);
    free(dir);
    registry_close(r);
    assert_int_equal(teardown(NULL), 0);
    assert_int_equal(setup(NULL), 0);
}

#define AT "store/news/versions/" VERSION

static void test_verify_files(void **state)
{
    (void)state;
    char path[500], was[SHA256_HEX], is[SHA256_HEX], expected[600];
    struct registry *r = pushed();
    put(store, "news/versions/" VERSION "/model.safetensors", "Weights");
    sha256_hex("weights", 7, was);
    sha256_hex("Weights", 7, is);
    (void)snprintf(expected, sizeof expected, AT "/model.safetensors: expected sha256 %s, found %s",
                   was, is);
    harmed(r, ERR_FORMAT, expected);

    r = pushed();
    put(store, "news/versions/" VERSION "/model.safetensors", "weight");
    harmed(r, ERR_TRUNCATED, AT "/model.safetensors: expected 7 bytes, found 6");

    r = pushed();
    (void)snprintf(path, sizeof path, "%s/news/versions/%s/labels.txt", store, VERSION);
    assert_int_equal(unlink(path), 0);
    harmed(r, ERR_MISSING, AT "/labels.txt: missing, but in manifest.json");

    r = pushed();
    put(store, "news/versions/" VERSION "/extra.bin", "");
    harmed(r, ERR_FORMAT, AT "/extra.bin: not in manifest.json");
    r = pushed();
    put(store, "news/versions/" VERSION "/.hidden", "");
    harmed(r, ERR_FORMAT, AT "/.hidden: not in manifest.json");
    r = pushed();
    put(store, "news/versions/" VERSION "/zzz", "");
    harmed(r, ERR_FORMAT, AT "/zzz: not in manifest.json");

    r = pushed();
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("config.json", path), 0);
    harmed(r, ERR_FORMAT, AT "/labels.txt: not a plain file");

    r = pushed();
    (void)snprintf(path, sizeof path, "%s/news/versions/%s/manifest.json", store, VERSION);
    assert_int_equal(unlink(path), 0);
    harmed(r, ERR_MISSING, AT "/manifest.json: open: No such file or directory");

    r = pushed();
    assert_int_equal(truncate(path, 50), 0);
    harmed(r, ERR_FORMAT, AT "/manifest.json: line 4 column 15: premature end of input near '\"9'");
}

/* A sound version under another name is not that version. */
static void test_verify_place(void **state)
{
    (void)state;
    struct registry *r = pushed();
    struct err err;
    char from[500], to[500], *dir;
    (void)snprintf(from, sizeof from, "%s/news", store);
    (void)snprintf(to, sizeof to, "%s/other", store);
    assert_int_equal(rename(from, to), 0);
    assert_int_equal(registry_fetch(r, "other", VERSION, &dir, &err), -1);
    check(&err, ERR_CONFLICT,
          "store/other/versions/" VERSION "/manifest.json: is of news " VERSION);
    (void)snprintf(from, sizeof from, "%s/other/versions/%s", store, VERSION);
    (void)snprintf(to, sizeof to, "%s/other/versions/0123456789abcdef", store);
    assert_int_equal(rename(from, to), 0);
    assert_int_equal(registry_fetch(r, "other", "0123456789abcdef", &dir, &err), -1);
    check(&err, ERR_CONFLICT,
          "store/other/versions/0123456789abcdef/manifest.json: is of news " VERSION);
    registry_close(r);
}

#define SUM "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define ENTRY(name) "{\"name\":\"" name "\",\"bytes\":0,\"sha256\":\"" SUM "\"}"
#define HEAD                                                                                       \
    "{\"format\":1,\"name\":\"news\",\"version\":\"0123456789abcdef\",\"created\":\"x\","          \
    "\"files\":"

static void test_manifest_parse(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"", "m: line 1 column 0: unexpected token near end of file"},
        {"[]", "m: not a JSON object"},
        {"{}", "m: \"format\" is missing"},
        {"{\"format\":2}", "m: \"format\": 2 is not between 1 and 1"},
        {"{\"format\":\"1\"}", "m: \"format\": expected an integer"},
        {"{\"format\":1}", "m: \"name\" is missing"},
        {"{\"format\":1,\"name\":1}", "m: \"name\": expected a string"},
        {"{\"format\":1,\"name\":\"n\"}", "m: \"version\" is missing"},
        {"{\"format\":1,\"name\":\"n\",\"version\":\"0123456789abcdef0\"}",
         "m: \"version\": more than 16 bytes"},
        {"{\"format\":1,\"name\":\"n\",\"version\":\"v\"}", "m: \"created\" is missing"},
        {"{\"format\":1,\"name\":\"../n\",\"version\":\"v\",\"created\":\"x\"}",
         "m: \"../n\" is no name of a model"},
        {"{\"format\":1,\"name\":\"n\",\"version\":\"v\",\"created\":\"x\"}",
         "m: \"files\" is not an array"},
        {HEAD "[1]}", "m: files[0]: not an object"},
        {HEAD "[{}]}", "m: files[0]: \"name\" is missing"},
        {HEAD "[" ENTRY("../x") "]}", "m: files[0]: \"../x\" is no name of a file in a version"},
        {HEAD "[" ENTRY("a//b") "]}", "m: files[0]: \"a//b\" is no name of a file in a version"},
        {HEAD "[" ENTRY("a/../../b") "]}",
         "m: files[0]: \"a/../../b\" is no name of a file in a version"},
        {HEAD "[" ENTRY("a/.b") "]}", "m: files[0]: \"a/.b\" is no name of a file in a version"},
        {HEAD "[" ENTRY("a/") "]}", "m: files[0]: \"a/\" is no name of a file in a version"},
        {HEAD "[" ENTRY("a/b/c/d/e") "]}",
         "m: files[0]: \"a/b/c/d/e\" is no name of a file in a version"},
        {HEAD "[" ENTRY("a/manifest.json") "]}",
         "m: files[0]: \"a/manifest.json\" is no name of a file in a version"},
        {HEAD "[" ENTRY("/etc") "]}", "m: files[0]: \"/etc\" is no name of a file in a version"},
        {HEAD "[" ENTRY("..") "]}", "m: files[0]: \"..\" is no name of a file in a version"},
        {HEAD "[" ENTRY(".hidden") "]}",
         "m: files[0]: \".hidden\" is no name of a file in a version"},
        {HEAD "[" ENTRY("") "]}", "m: files[0]: \"\" is no name of a file in a version"},
        {HEAD "[" ENTRY("manifest.json") "]}",
         "m: files[0]: \"manifest.json\" is no name of a file in a version"},
        {HEAD "[" ENTRY("a\\u0000") "]}",
         "m: line 1 column 95: \\u0000 is not allowed without JSON_ALLOW_NUL near '\"a\\u0000\"'"},
        {HEAD "[" ENTRY("b") "," ENTRY("a") "]}",
         "m: files[1]: \"a\" after \"b\": names must ascend"},
        {HEAD "[" ENTRY("a") "," ENTRY("a") "]}",
         "m: files[1]: \"a\" after \"a\": names must ascend"},
        {HEAD "[{\"name\":\"a\",\"sha256\":\"" SUM "\"}]}",
         "m: files[0]: \"a\": \"bytes\" is missing"},
        {HEAD "[{\"name\":\"a\",\"bytes\":-1,\"sha256\":\"" SUM "\"}]}",
         "m: files[0]: \"a\": \"bytes\": -1 is not between 0 and 9223372036854775807"},
        {HEAD "[{\"name\":\"a\",\"bytes\":1}]}", "m: files[0]: \"a\": \"sha256\" is missing"},
        {HEAD "[{\"name\":\"a\",\"bytes\":1,\"sha256\":\"ab\"}]}",
         "m: files[0]: \"a\": sha256 is not 64 lower-case hex digits"},
        {HEAD "[" ENTRY("a") "]}", "m: no model: it needs config.json and a file of weights"},
        {HEAD "[" ENTRY("config.json") "]}",
         "m: no model: it needs config.json and a file of weights"},
        {HEAD "[" ENTRY("config.json") "," ENTRY("model.safetensors") "]}",
         "m: version 0123456789abcdef, but its files make it b9319ac2d36912ca"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct manifest m = {0};
        struct err err;
        assert_int_equal(manifest_parse(&m, "m", bad[i].text, strlen(bad[i].text), &err), -1);
        assert_string_equal(err.msg, bad[i].message);
        assert_int_equal(err.code, ERR_FORMAT);
        assert_null(m.files);
    }
}

#define ONE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ONE(test_open),          ONE(test_words),          ONE(test_push_fetch),
        ONE(test_push_refuses),  ONE(test_push_link),      ONE(test_push_changing),
        ONE(test_push_together), ONE(test_alias),          ONE(test_verify_files),
        ONE(test_verify_place),  ONE(test_manifest_parse),
    };
    return cmocka_run_group_tests(tests, NULL, scratch_done);
}
