#include "models/pickle.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_STRING = 1 << 24, MAX_GLOBAL = 120, INTEGER_BYTES = 8 };

/* What a pickle may call. */
enum global { G_ORDERED_DICT, G_TENSOR, G_TENSOR_OLD, G_PARAMETER, G_STORAGE };

static const struct {
    const char *name; /* module and name, as GLOBAL writes them, a blank between */
    enum global what;
    enum dtype dtype;
} globals[] = {
    {"collections OrderedDict", G_ORDERED_DICT, DT_F32},
    {"torch._utils _rebuild_tensor_v2", G_TENSOR, DT_F32},
    {"torch._utils _rebuild_tensor", G_TENSOR_OLD, DT_F32},
    {"torch._utils _rebuild_parameter", G_PARAMETER, DT_F32},
    {"torch FloatStorage", G_STORAGE, DT_F32},
    {"torch DoubleStorage", G_STORAGE, DT_F64},
    {"torch HalfStorage", G_STORAGE, DT_F16},
    {"torch BFloat16Storage", G_STORAGE, DT_BF16},
    {"torch LongStorage", G_STORAGE, DT_I64},
    {"torch IntStorage", G_STORAGE, DT_I32},
    {"torch CharStorage", G_STORAGE, DT_I8},
    {"torch ByteStorage", G_STORAGE, DT_U8},
    {"torch BoolStorage", G_STORAGE, DT_BOOL},
};

struct machine {
    const char *name, *data;
    size_t len, at, op; /* op: where the running opcode stands */
    struct pickle p;
    uint32_t *stack, depth, stack_cap;
    uint32_t *memo, memo_cap; /* node + 1; 0: empty */
    uint32_t n_items;         /* in all containers */
    struct err *err;
};

static int fault(struct machine *m, const char *what)
{
    return err_set(m->err, ERR_FORMAT, "%s: pickle, byte %zu: %s", m->name, m->op, what);
}

static int take(struct machine *m, size_t n, const char **out)
{
    if (n > m->len - m->at)
        return err_set(m->err, ERR_TRUNCATED, "%s: pickle, byte %zu: it ends after %zu bytes",
                       m->name, m->op, m->len);
    *out = m->data + m->at;
    m->at += n;
    return 0;
}

/* A little-endian number of n <= 8 bytes. */
static int take_number(struct machine *m, size_t n, uint64_t *out)
{
    const char *p = NULL;
    if (take(m, n, &p) != 0)
        return -1;
    *out = 0;
    for (size_t i = 0; i < n; i++)
        *out |= (uint64_t)(unsigned char)p[i] << (8 * i);
    return 0;
}

static int push_node(struct machine *m, uint32_t node)
{
    if (m->depth == m->stack_cap) {
        m->stack_cap = m->stack_cap ? 2 * m->stack_cap : 1024;
        m->stack = xrealloc(m->stack, m->stack_cap * sizeof *m->stack);
    }
    m->stack[m->depth++] = node;
    return 0;
}

/* A new node on the stack. */
static struct pickle_node *push(struct machine *m, enum pickle_kind kind)
{
    struct pickle *p = &m->p;
    if (p->n == PICKLE_MAX_NODES) {
        (void)fault(m, "too many values");
        return NULL;
    }
    if (p->n == p->cap) {
        p->cap = p->cap ? 2 * p->cap : 4096;
        p->nodes = xrealloc(p->nodes, p->cap * sizeof *p->nodes);
    }
    p->nodes[p->n] = (struct pickle_node){.kind = kind};
    (void)push_node(m, p->n);
    return &p->nodes[p->n++];
}

static int pop(struct machine *m, uint32_t *node)
{
    if (m->depth == 0)
        return fault(m, "the stack is empty");
    *node = m->stack[--m->depth];
    return m->p.nodes[*node].kind == PICKLE_MARK ? fault(m, "a mark where a value is expected") : 0;
}

static struct pickle_node *top(struct machine *m)
{
    return m->depth ? &m->p.nodes[m->stack[m->depth - 1]] : NULL;
}

static int append(struct machine *m, struct pickle_node *c, uint32_t item)
{
    if (m->n_items++ == PICKLE_MAX_NODES)
        return fault(m, "too many items");
    if (c->n == c->cap) {
        c->cap = c->cap ? 2 * c->cap : 4;
        c->items = xrealloc(c->items, c->cap * sizeof *c->items);
    }
    c->items[c->n++] = item;
    return 0;
}

/* The stack's depth at its last mark, which is taken off; items above it stay in place. */
static int to_mark(struct machine *m, uint32_t *from, uint32_t *n)
{
    uint32_t i = m->depth;
    while (i > 0 && m->p.nodes[m->stack[i - 1]].kind != PICKLE_MARK)
        i--;
    if (i == 0)
        return fault(m, "no mark on the stack");
    *from = i;
    *n = m->depth - i;
    m->depth = i - 1;
    return 0;
}

static int push_integer(struct machine *m, enum pickle_kind kind, int64_t value)
{
    struct pickle_node *n = push(m, kind);
    if (!n)
        return -1;
    n->integer = value;
    return 0;
}

static int push_text(struct machine *m, enum pickle_kind kind, uint64_t len)
{
    const char *p = NULL;
    if (len > MAX_STRING)
        return fault(m, "a string of over 16 MB");
    if (take(m, (size_t)len, &p) != 0)
        return -1;
    struct pickle_node *n = push(m, kind);
    if (!n)
        return -1;
    n->text = p;
    n->len = (size_t)len;
    return 0;
}

static int op_long1(struct machine *m)
{
    uint64_t n, value;
    if (take_number(m, 1, &n) != 0)
        return -1;
    if (n > INTEGER_BYTES)
        return push_text(m, PICKLE_BIG, n);
    if (take_number(m, (size_t)n, &value) != 0)
        return -1;
    if (n > 0 && n < INTEGER_BYTES && value >> (8 * n - 1))
        value |= ~(uint64_t)0 << (8 * n);
    return push_integer(m, PICKLE_INT, (int64_t)value);
}

static int op_float(struct machine *m)
{
    uint64_t bits = 0;
    const char *p = NULL;
    if (take(m, 8, &p) != 0)
        return -1;
    for (int i = 0; i < 8; i++)
        bits = bits << 8 | (unsigned char)p[i];
    struct pickle_node *n = push(m, PICKLE_REAL);
    if (!n)
        return -1;
    memcpy(&n->real, &bits, sizeof n->real);
    return 0;
}

static int op_global(struct machine *m)
{
    char name[MAX_GLOBAL];
    size_t n = 0;
    int lines = 0;
    while (lines < 2) {
        const char *c = NULL;
        if (take(m, 1, &c) != 0)
            return -1;
        if (n + 1 == sizeof name)
            return fault(m, "the name of a global is too long");
        name[n++] = *c == '\n' ? ' ' : *c;
        lines += *c == '\n';
    }
    name[n - 1] = '\0';
    for (size_t i = 0; i < sizeof globals / sizeof *globals; i++)
        if (strcmp(globals[i].name, name) == 0) {
            if (push_integer(m, PICKLE_GLOBAL, globals[i].what) != 0)
                return -1;
            top(m)->dtype = globals[i].dtype;
            return 0;
        }
    for (char *c = name; *c; c++) /* what a stranger wrote goes into a message */
        *c = *c < ' ' || *c > '~' ? '?' : *c;
    bool quantised = strstr(name, "qtensor") || strstr(name, "quantized") || strstr(name, "Packed");
    return err_set(m->err, ERR_FORMAT, "%s: pickle, byte %zu: the global \"%s\" is not allowed%s",
                   m->name, m->op, name,
                   quantised ? ": quantised weights of PyTorch are not read; save the model in "
                               "floats, it is quantised when it is opened"
                             : "");
}

static int memoize(struct machine *m, uint64_t at)
{
    if (!m->depth)
        return fault(m, "the stack is empty");
    if (at >= PICKLE_MAX_NODES)
        return fault(m, "a memo number out of bounds");
    if (at >= m->memo_cap) {
        uint32_t cap = m->memo_cap ? m->memo_cap : 1024;
        while (cap <= at)
            cap *= 2;
        m->memo = xrealloc(m->memo, cap * sizeof *m->memo);
        memset(m->memo + m->memo_cap, 0, (cap - m->memo_cap) * sizeof *m->memo);
        m->memo_cap = cap;
    }
    m->memo[at] = m->stack[m->depth - 1] + 1;
    return 0;
}

static int recall(struct machine *m, uint64_t at)
{
    if (at >= m->memo_cap || !m->memo[at])
        return fault(m, "a memo that was never written");
    return push_node(m, m->memo[at] - 1);
}

/* The n items above position `from` of the stack as a container. */
static int collect(struct machine *m, enum pickle_kind kind, uint32_t from, uint32_t n)
{
    uint32_t items[3], *all = n <= 3 ? items : xmalloc(n * sizeof *all);
    if (n)
        memcpy(all, m->stack + from, n * sizeof *all);
    m->depth = m->depth < from ? m->depth : from;
    struct pickle_node *c = push(m, kind);
    int rc = c ? 0 : -1;
    for (uint32_t i = 0; i < n && rc == 0; i++)
        rc = m->p.nodes[all[i]].kind == PICKLE_MARK ? fault(m, "a mark within a container")
                                                    : append(m, c, all[i]);
    if (all != items)
        free(all);
    return rc;
}

static int op_tuple(struct machine *m, uint32_t n)
{
    if (m->depth < n)
        return fault(m, "the stack is too short for a tuple");
    return collect(m, PICKLE_TUPLE, m->depth - n, n);
}

static int op_marked(struct machine *m, enum pickle_kind kind)
{
    uint32_t from, n;
    if (to_mark(m, &from, &n) != 0)
        return -1;
    if (kind == PICKLE_DICT && n % 2)
        return fault(m, "a dictionary with a key without a value");
    return collect(m, kind, from, n);
}

/* Moves n items above `from` into the container below them. */
static int extend(struct machine *m, enum pickle_kind kind, uint32_t from, uint32_t n)
{
    struct pickle_node *c = top(m);
    if (!c || c->kind != kind || (kind == PICKLE_DICT && n % 2))
        return fault(m, "items for what takes none");
    for (uint32_t i = 0; i < n; i++)
        if (append(m, c, m->stack[from + i]) != 0)
            return -1;
    return 0;
}

static int op_items(struct machine *m, enum pickle_kind kind, bool marked)
{
    uint32_t from, n = kind == PICKLE_DICT ? 2 : 1;
    if (marked)
        return to_mark(m, &from, &n) != 0 ? -1 : extend(m, kind, from, n);
    if (m->depth <= n)
        return fault(m, "the stack is too short");
    m->depth -= n;
    return extend(m, kind, m->depth, n);
}

/* ('storage', type, key, where, elements[, a view, which must be None]) */
static int op_persistent(struct machine *m)
{
    uint32_t id;
    if (pop(m, &id) != 0)
        return -1;
    const struct pickle_node *t = &m->p.nodes[id];
    if (t->kind != PICKLE_TUPLE || t->n < 5 || t->n > 6)
        return fault(m, "a persistent id that is no storage's");
    const struct pickle_node *type = &m->p.nodes[t->items[1]], *key = &m->p.nodes[t->items[2]],
                             *elements = &m->p.nodes[t->items[4]];
    if (type->kind != PICKLE_GLOBAL || type->integer != G_STORAGE || key->kind != PICKLE_STRING ||
        elements->kind != PICKLE_INT || elements->integer < 0)
        return fault(m, "a persistent id that is no storage's");
    if (t->n == 6 && m->p.nodes[t->items[5]].kind != PICKLE_NONE)
        return fault(m, "a view of a storage, which only PyTorch before 0.4 wrote");
    struct pickle_node filled = {.kind = PICKLE_STORAGE,
                                 .dtype = type->dtype,
                                 .integer = elements->integer,
                                 .text = key->text,
                                 .len = key->len};
    struct pickle_node *s = push(m, PICKLE_STORAGE);
    if (!s)
        return -1;
    *s = filled;
    return 0;
}

static int rebuild_tensor(struct machine *m, const struct pickle_node *args)
{
    static const enum pickle_kind kinds[] = {PICKLE_STORAGE, PICKLE_INT, PICKLE_TUPLE,
                                             PICKLE_TUPLE};
    uint32_t items[4];
    if (args->n < 4)
        return fault(m, "a tensor without storage, offset, sizes and strides");
    for (int i = 0; i < 4; i++) {
        items[i] = args->items[i];
        if (m->p.nodes[items[i]].kind != kinds[i])
            return fault(m, "a tensor without storage, offset, sizes and strides");
    }
    struct pickle_node *t = push(m, PICKLE_TENSOR);
    for (int i = 0; i < 4 && t; i++)
        if (append(m, t, items[i]) != 0)
            return -1;
    return t ? 0 : -1;
}

static int op_reduce(struct machine *m)
{
    uint32_t args_id, what_id;
    if (pop(m, &args_id) != 0 || pop(m, &what_id) != 0)
        return -1;
    const struct pickle_node *args = &m->p.nodes[args_id], *what = &m->p.nodes[what_id];
    if (what->kind != PICKLE_GLOBAL || args->kind != PICKLE_TUPLE)
        return fault(m, "a call of what is no function");
    switch ((enum global)what->integer) {
    case G_ORDERED_DICT:
        if (args->n)
            return fault(m, "an OrderedDict with arguments");
        return push(m, PICKLE_DICT) ? 0 : -1;
    case G_TENSOR:
    case G_TENSOR_OLD:
        return rebuild_tensor(m, args);
    case G_PARAMETER:
        if (!args->n || m->p.nodes[args->items[0]].kind != PICKLE_TENSOR)
            return fault(m, "a parameter without a tensor");
        return push_node(m, args->items[0]);
    case G_STORAGE:
        break;
    }
    return fault(m, "a call of what is no function");
}

/* The attributes of a dictionary (_metadata) say nothing about weights. */
static int op_build(struct machine *m)
{
    uint32_t state;
    if (pop(m, &state) != 0)
        return -1;
    return top(m) && top(m)->kind == PICKLE_DICT ? 0 : fault(m, "attributes for what takes none");
}

static int op_sized_text(struct machine *m, size_t bytes)
{
    uint64_t n;
    return take_number(m, bytes, &n) != 0 ? -1 : push_text(m, PICKLE_STRING, n);
}

static int op_number(struct machine *m, size_t bytes)
{
    uint64_t n;
    if (take_number(m, bytes, &n) != 0)
        return -1;
    return push_integer(m, PICKLE_INT, bytes == 4 ? (int64_t)(int32_t)(uint32_t)n : (int64_t)n);
}

static int op_memo(struct machine *m, size_t bytes, int (*what)(struct machine *, uint64_t))
{
    uint64_t n;
    return take_number(m, bytes, &n) != 0 ? -1 : what(m, n);
}

static int step(struct machine *m, unsigned char op)
{
    uint64_t ignored;
    switch (op) {
    case 0x80: /* PROTO */
        return take_number(m, 1, &ignored);
    case '}':
        return push(m, PICKLE_DICT) ? 0 : -1;
    case ']':
        return push(m, PICKLE_LIST) ? 0 : -1;
    case ')':
        return push(m, PICKLE_TUPLE) ? 0 : -1;
    case '(':
        return push(m, PICKLE_MARK) ? 0 : -1;
    case 'N':
        return push(m, PICKLE_NONE) ? 0 : -1;
    case 0x88: /* NEWTRUE */
    case 0x89: /* NEWFALSE */
        return push_integer(m, PICKLE_BOOL, op == 0x88);
    case 'c':
        return op_global(m);
    case 'q':
        return op_memo(m, 1, memoize);
    case 'r':
        return op_memo(m, 4, memoize);
    case 'h':
        return op_memo(m, 1, recall);
    case 'j':
        return op_memo(m, 4, recall);
    case 'X': /* BINUNICODE */
    case 'T': /* BINSTRING, of Python 2 */
        return op_sized_text(m, 4);
    case 'U': /* SHORT_BINSTRING */
        return op_sized_text(m, 1);
    case 'J':
        return op_number(m, 4);
    case 'K':
        return op_number(m, 1);
    case 'M':
        return op_number(m, 2);
    case 0x8a:
        return op_long1(m);
    case 'G':
        return op_float(m);
    case 't':
        return op_marked(m, PICKLE_TUPLE);
    case 'l':
        return op_marked(m, PICKLE_LIST);
    case 'd':
        return op_marked(m, PICKLE_DICT);
    case 0x85: /* TUPLE1 */
    case 0x86:
    case 0x87:
        return op_tuple(m, (uint32_t)op - 0x84);
    case 'Q':
        return op_persistent(m);
    case 'R':
    case 0x81: /* NEWOBJ */
        return op_reduce(m);
    case 's':
        return op_items(m, PICKLE_DICT, false);
    case 'u':
        return op_items(m, PICKLE_DICT, true);
    case 'a':
        return op_items(m, PICKLE_LIST, false);
    case 'e':
        return op_items(m, PICKLE_LIST, true);
    case 'b':
        return op_build(m);
    default:
        return err_set(m->err, ERR_FORMAT, "%s: pickle, byte %zu: opcode 0x%02x is not allowed",
                       m->name, m->op, op);
    }
}

static int run(struct machine *m)
{
    for (;;) {
        const char *c = NULL;
        m->op = m->at;
        if (take(m, 1, &c) != 0)
            return -1;
        if (*c == '.')
            return pop(m, &m->p.root);
        if (step(m, (unsigned char)*c) != 0)
            return -1;
    }
}

int pickle_parse(const char *name, const char *data, size_t len, struct pickle *out, size_t *used,
                 struct err *err)
{
    struct machine m = {.name = name, .data = data, .len = len, .err = err};
    int rc = run(&m);
    free(m.stack);
    free(m.memo);
    if (rc != 0) {
        pickle_done(&m.p);
        return -1;
    }
    *out = m.p;
    if (used)
        *used = m.at;
    return 0;
}

void pickle_done(struct pickle *p)
{
    for (uint32_t i = 0; i < p->n; i++)
        free(p->nodes[i].items);
    free(p->nodes);
    *p = (struct pickle){0};
}

const struct pickle_node *pickle_at(const struct pickle *p, uint32_t i)
{
    return &p->nodes[i];
}

const struct pickle_node *pickle_get(const struct pickle *p, const struct pickle_node *dict,
                                     const char *key)
{
    size_t len = strlen(key);
    for (uint32_t i = 0; dict->kind == PICKLE_DICT && i + 1 < dict->n; i += 2) {
        const struct pickle_node *k = &p->nodes[dict->items[i]];
        if (k->kind == PICKLE_STRING && k->len == len && memcmp(k->text, key, len) == 0)
            return &p->nodes[dict->items[i + 1]];
    }
    return NULL;
}
