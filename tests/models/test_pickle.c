#include "models/pickle.h"

#include "base/buf.h"
#include "models/pickle_names.h"
#include "tests/base/scratch.h"

#define NO_BYTES ((size_t)-1)

/* The interpreter gets exactly len bytes, so that a sanitizer sees any more that it reads. */
static int parse(const char *data, size_t len, struct pickle *p, size_t *used, struct err *err)
{
    char *own = xmalloc(len + !len);
    memcpy(own, data, len);
    int rc = pickle_parse("p", own, len, p, used, err);
    free(own);
    return rc;
}

static void refused(const char *data, size_t len, enum err_code code, const char *expected)
{
    struct err err;
    struct pickle p = {.n = 77};
    size_t used = NO_BYTES;
    assert_int_equal(parse(data, len, &p, &used, &err), -1);
    assert_int_equal(p.n, 77);
    assert_true(used == NO_BYTES);
    if (strncmp(err.msg, "p: pickle, ", 11) != 0 || strcmp(err.msg + 11, expected) != 0)
        fail_msg("\"%s\" is not \"%s\"", err.msg, expected);
    assert_int_equal(err.code, code);
}

#define REFUSED(text, says) refused(text, sizeof(text) - 1, ERR_FORMAT, says)
#define CUT(text, says) refused(text, sizeof(text) - 1, ERR_TRUNCATED, says)

static void test_ends_early(void **state)
{
    (void)state;
    CUT("", "byte 0: it ends after 0 bytes");
    CUT("\x80", "byte 0: it ends after 1 bytes");
    CUT("\x80\x02}", "byte 3: it ends after 3 bytes");
    CUT("J\1\2\3", "byte 0: it ends after 4 bytes");
    CUT("NG1234567", "byte 1: it ends after 9 bytes");
    CUT("\x8a\4abc", "byte 0: it ends after 5 bytes");
    CUT("\x8a\x0a"
        "123456789",
        "byte 0: it ends after 11 bytes");
    CUT("X\5\0\0\0ab", "byte 0: it ends after 7 bytes");
    CUT("U\3ab", "byte 0: it ends after 4 bytes");
    CUT("ccollections\nOrderedDict", "byte 0: it ends after 24 bytes");
}

/* Each opcode either is one of the forty that torch.save() writes, or is refused by its name. */
static void test_opcodes(void **state)
{
    (void)state;
    static const char allowed[] = "().GJKMNQRTUX]abcdehjlqrstu}\x80\x81\x85\x86\x87\x88\x89\x8a";
    for (int op = 0; op < 256; op++) {
        char byte = (char)op, expected[100];
        if (op && strchr(allowed, byte))
            continue;
        (void)snprintf(expected, sizeof expected, "byte 0: opcode %s (0x%02x) is not allowed",
                       pickle_opcode_name((unsigned char)op), op);
        refused(&byte, 1, ERR_FORMAT, expected);
    }
    REFUSED("\x80\x02\x93.", "byte 2: opcode STACK_GLOBAL (0x93) is not allowed");
    REFUSED("N0.", "byte 1: opcode POP (0x30) is not allowed");
    REFUSED("(S'rm -rf'\nios\nsystem\n.", "byte 1: opcode STRING (0x53) is not allowed");
    REFUSED("(ios\nsystem\n.", "byte 1: opcode INST (0x69) is not allowed");
    REFUSED("\x82\1.", "byte 0: opcode EXT1 (0x82) is not allowed");
    REFUSED("\xff", "byte 0: opcode unknown (0xff) is not allowed");
    REFUSED("\x80\4\x95", "byte 0: protocol 4, expected 2, which torch.save() takes unless it is "
                          "told another");
}

static void test_globals(void **state)
{
    (void)state;
    REFUSED("cposix\nsystem\n.", "byte 0: the global \"posix system\" is not allowed");
    REFUSED("Nc__builtin__\neval\n.", "byte 1: the global \"__builtin__ eval\" is not allowed");
    REFUSED("ctorch.jit._pickle\nrestore_type_tag\n.",
            "byte 0: the global \"torch.jit._pickle restore_type_tag\" is not allowed");
    REFUSED("ctorch\nfloatstorage\n.", "byte 0: the global \"torch floatstorage\" is not allowed");
    REFUSED("ctorch\nFloatStorages\n.",
            "byte 0: the global \"torch FloatStorages\" is not allowed");
    REFUSED("ccollections\nOrderedDict\0x\n.",
            "byte 0: the global \"collections OrderedDict?x\" is not allowed");
    REFUSED("c\n\n.", "byte 0: the global \" \" is not allowed");
    REFUSED("ca\x1b[2J\n\xff\n.", "byte 0: the global \"a?[2J ?\" is not allowed");
    struct buf b;
    buf_init(&b, 1 << 24);
    buf_puts(&b, "c");
    for (int i = 0; i < 200; i++)
        buf_puts(&b, "x");
    refused(b.data, b.len, ERR_FORMAT, "byte 0: the name of a global is too long");
    buf_done(&b);
}

static void test_advice(void **state)
{
    (void)state;
#define FLOATS                                                                                     \
    "\" is not allowed: quantised weights of PyTorch are not read; save the model in floats, it "  \
    "is quantised when it is opened"
#define STATE                                                                                      \
    "\" is not allowed: a whole model is code; save its weights alone, "                           \
    "torch.save(model.state_dict(), file)"
    REFUSED("ctorch._utils\n_rebuild_qtensor\n",
            "byte 0: the global \"torch._utils _rebuild_qtensor" FLOATS);
    REFUSED("ctorch\nqint8\n", "byte 0: the global \"torch qint8" FLOATS);
    REFUSED("ctorch\nQUInt8Storage\n", "byte 0: the global \"torch QUInt8Storage" FLOATS);
    REFUSED("ctorch\nper_channel_affine\n", "byte 0: the global \"torch per_channel_affine" FLOATS);
    REFUSED("ctorch.storage\n_load_from_bytes\n",
            "byte 0: the global \"torch.storage _load_from_bytes\" is not allowed: tensors that "
            "were pickled each on its own; save them with torch.save(model.state_dict(), file)");
    REFUSED("ctorch.nn.modules.linear\nLinear\n",
            "byte 0: the global \"torch.nn.modules.linear Linear" STATE);
    REFUSED("ctransformers.models.bert.modeling_bert\nBertModel\n",
            "byte 0: the global \"transformers.models.bert.modeling_bert BertModel" STATE);
    REFUSED("c__main__\nNet\n", "byte 0: the global \"__main__ Net" STATE);
}

#define TENSOR "ctorch._utils\n_rebuild_tensor_v2\n"
#define DICT "ccollections\nOrderedDict\n"
#define STORAGE "ctorch\nFloatStorage\n"
#define NO_STORAGE "a persistent id that is no storage's"

static void test_stack(void **state)
{
    (void)state;
    REFUSED(".", "byte 0: the stack is empty");
    REFUSED("(.", "byte 1: a mark where a value is expected");
    REFUSED("h\5.", "byte 0: a memo that was never written");
    REFUSED("Nq\4h\5.", "byte 3: a memo that was never written");
    REFUSED("j\xff\xff\xff\xff.", "byte 0: a memo that was never written");
    REFUSED("Nr\xff\xff\xff\xff.", "byte 1: a memo number out of bounds");
    REFUSED("q\1", "byte 0: no value to remember");
    REFUSED("(q\1", "byte 1: no value to remember");
    REFUSED("X\xff\xff\xff\x7f", "byte 0: a string of over 16 MB");
    REFUSED("T\xff\xff\xff\xff", "byte 0: a string of over 16 MB");
    REFUSED("t.", "byte 0: no mark on the stack");
    REFUSED("(Nd.", "byte 2: a dictionary with a key without a value");
    REFUSED("N\x87.", "byte 1: the stack is too short for a tuple");
    REFUSED("(\x85.", "byte 1: a mark within a container");
    REFUSED("NNs.", "byte 2: the stack is too short");
    REFUSED("Na", "byte 1: the stack is too short");
    REFUSED("NNNs.", "byte 3: items for what takes none");
    REFUSED("](NNu", "byte 4: items for what takes none");
    REFUSED("}(Ne", "byte 3: items for what takes none");
    REFUSED("}(Nu", "byte 3: items for what takes none");
    REFUSED("(e", "byte 1: items for what takes none");
    REFUSED("](a", "byte 2: a mark within a container");
    REFUSED("}N(s", "byte 3: a mark within a container");
    REFUSED("NNb.", "byte 2: attributes for what takes none");
    REFUSED("]Nb.", "byte 2: attributes for what takes none");
    REFUSED("Nb.", "byte 1: attributes for what takes none");
}

static void test_calls(void **state)
{
    (void)state;
    REFUSED("N)R.", "byte 2: a call of what is no function");
    REFUSED(DICT "NR.", "byte 26: a call of what is no function");
    REFUSED(STORAGE ")R.", "byte 21: a call of what is no function");
    REFUSED(STORAGE ")\x81.", "byte 21: a call of what is no function");
    REFUSED(DICT "N\x85R.", "byte 27: an OrderedDict of what is no list of pairs");
    REFUSED(DICT "]Na\x85R.", "byte 29: an OrderedDict of what is no list of pairs");
    REFUSED(DICT "]N\x85"
                 "a\x85R.",
            "byte 30: an OrderedDict of what is no list of pairs");
    REFUSED(DICT "]]\x86R.", "byte 28: an OrderedDict of what is no list of pairs");
    REFUSED("ctorch._utils\n_rebuild_parameter\nN\x85R.", "byte 35: a parameter without a tensor");
    REFUSED("ctorch._utils\n_rebuild_parameter\n)R.", "byte 34: a parameter without a tensor");
    REFUSED(TENSOR ")R.", "byte 34: a tensor without storage, offset, sizes and strides");
    REFUSED(TENSOR "(NK\0))tR.", "byte 40: a tensor without storage, offset, sizes and strides");
    REFUSED("NQ.", "byte 1: " NO_STORAGE);
    REFUSED(")Q.", "byte 1: " NO_STORAGE);
    REFUSED("(U\6module" STORAGE "U\1aU\3cpuK\1tQ.", "byte 40: " NO_STORAGE);
    REFUSED("(U\7storage" DICT "U\1aU\3cpuK\1tQ.", "byte 46: " NO_STORAGE);
    REFUSED("(U\7storage" STORAGE "K\1U\3cpuK\1tQ.", "byte 40: " NO_STORAGE);
    REFUSED("(U\7storage" STORAGE "U\1aU\3cpuJ\xff\xff\xff\xfftQ.", "byte 44: " NO_STORAGE);
    REFUSED("(U\7storage" STORAGE "U\1aU\3cpuK\1K\1tQ.",
            "byte 43: a view of a storage, which only PyTorch before 0.4 wrote");
    REFUSED(TENSOR "((U\7storage" STORAGE "U\1aU\3cpuK\1tQK\0))\x89N}tR.",
            "byte 84: a conjugated or negated view: save a copy, tensor.clone()");
}

static const struct pickle_node *item(const struct pickle *p, const struct pickle_node *c,
                                      uint32_t i)
{
    assert_true(i < c->n);
    return pickle_at(p, c->items[i]);
}

static void test_values(void **state)
{
    (void)state;
    struct err err;
    struct pickle p;
    size_t used;
    static const char good[] = "\x80\2]q\0(K\xffM\xff\xffJ\xfe\xff\xff\xff\x8a\0\x8a\1\xff\x8a\x8"
                               "\0\0\0\0\0\0\0\x80\x8a\xa"
                               "0123456789N\x88\x89G\x3f\xf8\0\0\0\0\0\0X\2\0\0\0hiU\1uT\1\0\0\0t"
                               "h\0erest";
    if (pickle_parse("p", good, sizeof good - 1, &p, &used, &err) == 0)
        fail_msg("no STOP");
    char whole[sizeof good];
    memcpy(whole, good, sizeof good);
    whole[sizeof good - 5] = '.';
    if (pickle_parse("p", whole, sizeof good - 1, &p, &used, &err) != 0)
        fail_msg("%s", err.msg);
    assert_int_equal(used, sizeof good - 4);
    const struct pickle_node *list = pickle_at(&p, p.root);
    assert_int_equal(list->kind, PICKLE_LIST);
    assert_int_equal(list->n, 15);
    static const int64_t integers[] = {255, 65535, -2, 0, -1, INT64_MIN};
    for (uint32_t i = 0; i < 6; i++) {
        assert_int_equal(item(&p, list, i)->kind, PICKLE_INT);
        assert_true(item(&p, list, i)->integer == integers[i]);
    }
    assert_int_equal(item(&p, list, 6)->kind, PICKLE_BIG);
    assert_memory_equal(item(&p, list, 6)->text, "0123456789", 10);
    assert_int_equal(item(&p, list, 7)->kind, PICKLE_NONE);
    assert_true(item(&p, list, 8)->integer == 1 && item(&p, list, 9)->integer == 0);
    assert_true(item(&p, list, 10)->kind == PICKLE_REAL && item(&p, list, 10)->real == 1.5);
    assert_memory_equal(item(&p, list, 11)->text, "hi", 2);
    assert_true(item(&p, list, 12)->len == 1 && *item(&p, list, 12)->text == 'u');
    assert_true(item(&p, list, 13)->kind == PICKLE_STRING && *item(&p, list, 13)->text == 't');
    assert_ptr_equal(item(&p, list, 14), list); /* a list may hold itself */
    pickle_done(&p);
    pickle_done(&p);
}

static void check_dict(const char *data, size_t len)
{
    struct err err;
    struct pickle p;
    if (pickle_parse("p", data, len, &p, NULL, &err) != 0)
        fail_msg("%s", err.msg);
    const struct pickle_node *d = pickle_at(&p, p.root);
    assert_int_equal(d->kind, PICKLE_DICT);
    assert_int_equal(d->n, 4);
    assert_int_equal(pickle_get(&p, d, "a")->integer, 7);
    assert_int_equal(pickle_get(&p, d, "bc")->integer, 8);
    assert_null(pickle_get(&p, d, "b"));
    assert_null(pickle_get(&p, pickle_get(&p, d, "a"), "a"));
    pickle_done(&p);
}

#define CHECK_DICT(text) check_dict(text, sizeof(text) - 1)

/* A dictionary in every way that PyTorch's versions wrote one. */
static void test_dicts(void **state)
{
    (void)state;
    CHECK_DICT("}U\1aK\7sU\2bcK\x8s.");
    CHECK_DICT("}(U\1aK\7U\2bcK\x8u.");
    CHECK_DICT("(U\1aK\7U\2bcK\x8"
               "d.");
    CHECK_DICT(DICT ")R(U\1aK\7U\2bcK\x8u}U\x9_metadataNsb.");
    CHECK_DICT(DICT ")\x81(U\1aK\7U\2bcK\x8u.");
    CHECK_DICT(DICT "](](U\1aK\7e](U\2bcK\x8"
                    "ee\x85R."); /* Python 2 */
    CHECK_DICT(DICT "](U\1aK\7\x86U\2bcK\x8\x86"
                    "e\x85R.");
}

static void test_tensor(void **state)
{
    (void)state;
    struct err err;
    struct pickle p;
    static const char text[] = "ctorch._utils\n_rebuild_parameter\n" TENSOR
                               "((U\7storagectorch\nHalfStorage\nU\2k7U\6cuda:0K\x18NtQ"
                               "K\2K\3K\4\x86K\4K\1\x86\x89" DICT ")RtR\x88" DICT ")R\x87R.";
    if (pickle_parse("p", text, sizeof text - 1, &p, NULL, &err) != 0)
        fail_msg("%s", err.msg);
    const struct pickle_node *t = pickle_at(&p, p.root);
    assert_int_equal(t->kind, PICKLE_TENSOR);
    const struct pickle_node *s = item(&p, t, 0);
    assert_true(s->kind == PICKLE_STORAGE && s->dtype == DT_F16 && s->integer == 24);
    assert_true(s->len == 2 && memcmp(s->text, "k7", 2) == 0);
    assert_int_equal(item(&p, t, 1)->integer, 2);
    assert_int_equal(item(&p, item(&p, t, 2), 1)->integer, 4);
    assert_int_equal(item(&p, item(&p, t, 3), 0)->integer, 4);
    pickle_done(&p);
}

static void fill(struct buf *b, const char *unit, size_t n, size_t times)
{
    buf_reset(b);
    for (size_t i = 0; i < times; i++)
        buf_put(b, unit, n);
}

static void bounded(const struct buf *b, const char *text)
{
    struct err err;
    struct pickle p;
    assert_int_equal(pickle_parse("p", b->data, b->len, &p, NULL, &err), -1);
    if (!strstr(err.msg, text))
        fail_msg("\"%s\" does not say \"%s\"", err.msg, text);
}

static void test_bounds(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1 << 24);
    fill(&b, "N", 1, PICKLE_MAX_NODES + 1);
    bounded(&b, "byte 2000000: too many values");
    fill(&b, "h\0", 2, PICKLE_MAX_NODES + 1); /* one value many times */
    memcpy(b.data, "Nq\0N", 4);
    bounded(&b, "too many values on the stack");
    fill(&b, "h\0a", 3, PICKLE_MAX_NODES + 2);
    memcpy(b.data, "]q\0", 3);
    bounded(&b, "too many items");
    fill(&b, "\x85", 1, PICKLE_MAX_NODES / 2); /* a million tuples deep: nothing recurses */
    b.data[0] = 'N';
    b.data[b.len - 1] = '.';
    struct err err;
    struct pickle p;
    assert_int_equal(pickle_parse("p", b.data, b.len, &p, NULL, &err), 0);
    pickle_done(&p);
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ends_early), cmocka_unit_test(test_opcodes),
        cmocka_unit_test(test_globals),    cmocka_unit_test(test_advice),
        cmocka_unit_test(test_stack),      cmocka_unit_test(test_calls),
        cmocka_unit_test(test_values),     cmocka_unit_test(test_dicts),
        cmocka_unit_test(test_tensor),     cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
