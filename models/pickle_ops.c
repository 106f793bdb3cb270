#include "models/pickle_machine.h"

#include <stdlib.h>
#include <string.h>

#include "models/pickle_names.h"

enum { MAX_STRING = 1 << 24, MAX_GLOBAL = 120, INTEGER_BYTES = 8 };

static int push_integer(struct pickle_machine *m, enum pickle_kind kind, int64_t value)
{
    struct pickle_node *n = pickle_push(m, kind);
    if (!n)
        return -1;
    n->integer = value;
    return 0;
}

static int push_text(struct pickle_machine *m, enum pickle_kind kind, uint64_t len)
{
    const char *p = NULL;
    if (len > MAX_STRING)
        return pickle_fault(m, "a string of over 16 MB");
    if (pickle_take(m, (size_t)len, &p) != 0)
        return -1;
    struct pickle_node *n = pickle_push(m, kind);
    if (!n)
        return -1;
    n->text = p;
    n->len = (size_t)len;
    return 0;
}

static int op_long1(struct pickle_machine *m, int unused)
{
    (void)unused;
    uint64_t n, value;
    if (pickle_take_number(m, 1, &n) != 0)
        return -1;
    if (n > INTEGER_BYTES)
        return push_text(m, PICKLE_BIG, n);
    if (pickle_take_number(m, (size_t)n, &value) != 0)
        return -1;
    if (n > 0 && n < INTEGER_BYTES && value >> (8 * n - 1))
        value |= ~(uint64_t)0 << (8 * n);
    return push_integer(m, PICKLE_INT, (int64_t)value);
}

static int op_float(struct pickle_machine *m, int unused)
{
    (void)unused;
    uint64_t bits = 0;
    const char *p = NULL;
    if (pickle_take(m, 8, &p) != 0)
        return -1;
    for (int i = 0; i < 8; i++)
        bits = bits << 8 | (unsigned char)p[i];
    struct pickle_node *n = pickle_push(m, PICKLE_REAL);
    if (!n)
        return -1;
    memcpy(&n->real, &bits, sizeof n->real);
    return 0;
}

/* Two lines, module and name, which name[MAX_GLOBAL] takes as one text with a blank between. */
static int take_lines(struct pickle_machine *m, char name[MAX_GLOBAL], size_t *len)
{
    size_t n = 0;
    int lines = 0;
    while (lines < 2) {
        const char *c = NULL;
        if (pickle_take(m, 1, &c) != 0)
            return -1;
        if (n + 1 == MAX_GLOBAL)
            return pickle_fault(m, "the name of a global is too long");
        name[n++] = *c == '\n' ? ' ' : *c;
        lines += *c == '\n';
    }
    name[n - 1] = '\0';
    *len = n - 1;
    return 0;
}

static int op_global(struct pickle_machine *m, int unused)
{
    (void)unused;
    char name[MAX_GLOBAL];
    size_t len = 0;
    enum pickle_global what;
    enum dtype dtype;
    if (take_lines(m, name, &len) != 0)
        return -1;
    if (pickle_global_find(name, len, &what, &dtype)) {
        if (push_integer(m, PICKLE_GLOBAL, what) != 0)
            return -1;
        pickle_top(m)->dtype = dtype;
        return 0;
    }
    for (size_t i = 0; i < len; i++) /* what a stranger wrote goes into a message */
        name[i] = name[i] < ' ' || name[i] > '~' ? '?' : name[i];
    return err_set(m->err, ERR_FORMAT, "%s: pickle, byte %zu: the global \"%s\" is not allowed%s",
                   m->name, m->op, name, pickle_global_advice(name));
}

/* The n items above position `from` of the stack as a container. */
static int collect(struct pickle_machine *m, enum pickle_kind kind, uint32_t from, uint32_t n)
{
    uint32_t items[3], *all = n <= 3 ? items : xmalloc(n * sizeof *all);
    if (n)
        memcpy(all, m->stack + from, n * sizeof *all);
    m->depth = m->depth < from ? m->depth : from;
    struct pickle_node *c = pickle_push(m, kind);
    int rc = c ? 0 : -1;
    for (uint32_t i = 0; i < n && rc == 0; i++)
        rc = m->p.nodes[all[i]].kind == PICKLE_MARK ? pickle_fault(m, "a mark within a container")
                                                    : pickle_append(m, c, all[i]);
    if (all != items)
        free(all);
    return rc;
}

static int op_tuple(struct pickle_machine *m, int items)
{
    uint32_t n = (uint32_t)items;
    if (m->depth < n)
        return pickle_fault(m, "the stack is too short for a tuple");
    return collect(m, PICKLE_TUPLE, m->depth - n, n);
}

static int op_marked(struct pickle_machine *m, int container)
{
    enum pickle_kind kind = (enum pickle_kind)container;
    uint32_t from, n;
    if (pickle_to_mark(m, &from, &n) != 0)
        return -1;
    if (kind == PICKLE_DICT && n % 2)
        return pickle_fault(m, "a dictionary with a key without a value");
    return collect(m, kind, from, n);
}

/* Moves n items above `from` into the container below them. */
static int extend(struct pickle_machine *m, enum pickle_kind kind, uint32_t from, uint32_t n)
{
    struct pickle_node *c = pickle_top(m);
    if (!c || c->kind != kind || (kind == PICKLE_DICT && n % 2))
        return pickle_fault(m, "items for what takes none");
    for (uint32_t i = 0; i < n; i++) {
        uint32_t item = m->stack[from + i];
        if (m->p.nodes[item].kind == PICKLE_MARK)
            return pickle_fault(m, "a mark within a container");
        if (pickle_append(m, c, item) != 0)
            return -1;
    }
    return 0;
}

/* One item, or a key and its value. */
static int op_item(struct pickle_machine *m, int container)
{
    uint32_t n = container == PICKLE_DICT ? 2 : 1;
    if (m->depth <= n)
        return pickle_fault(m, "the stack is too short");
    m->depth -= n;
    return extend(m, (enum pickle_kind)container, m->depth, n);
}

static int op_items(struct pickle_machine *m, int container)
{
    uint32_t from, n;
    if (pickle_to_mark(m, &from, &n) != 0)
        return -1;
    return extend(m, (enum pickle_kind)container, from, n);
}

/* ('storage', type, key, where, elements[, a view, which must be None]) */
static int op_persistent(struct pickle_machine *m, int unused)
{
    (void)unused;
    uint32_t id;
    if (pickle_pop(m, &id) != 0)
        return -1;
    const struct pickle_node *nodes = m->p.nodes, *t = &nodes[id];
    if (t->kind != PICKLE_TUPLE || t->n < 5 || t->n > 6)
        return pickle_fault(m, "a persistent id that is no storage's");
    const struct pickle_node *word = &nodes[t->items[0]], *type = &nodes[t->items[1]],
                             *key = &nodes[t->items[2]], *elements = &nodes[t->items[4]];
    if (word->kind != PICKLE_STRING || word->len != 7 || memcmp(word->text, "storage", 7) != 0 ||
        type->kind != PICKLE_GLOBAL || type->integer != PICKLE_G_STORAGE ||
        key->kind != PICKLE_STRING || elements->kind != PICKLE_INT || elements->integer < 0)
        return pickle_fault(m, "a persistent id that is no storage's");
    if (t->n == 6 && nodes[t->items[5]].kind != PICKLE_NONE)
        return pickle_fault(m, "a view of a storage, which only PyTorch before 0.4 wrote");
    struct pickle_node filled = {.kind = PICKLE_STORAGE,
                                 .dtype = type->dtype,
                                 .integer = elements->integer,
                                 .text = key->text,
                                 .len = key->len};
    struct pickle_node *s = pickle_push(m, PICKLE_STORAGE);
    if (!s)
        return -1;
    *s = filled;
    return 0;
}

/* (storage, offset, sizes, strides, whether it is trained, hooks[, marks of a view]) */
static int rebuild_tensor(struct pickle_machine *m, const struct pickle_node *args)
{
    static const enum pickle_kind kinds[] = {PICKLE_STORAGE, PICKLE_INT, PICKLE_TUPLE,
                                             PICKLE_TUPLE};
    uint32_t items[4];
    if (args->n < 4)
        return pickle_fault(m, "a tensor without storage, offset, sizes and strides");
    for (int i = 0; i < 4; i++) {
        items[i] = args->items[i];
        if (m->p.nodes[items[i]].kind != kinds[i])
            return pickle_fault(m, "a tensor without storage, offset, sizes and strides");
    }
    if (args->n > 6 && m->p.nodes[args->items[6]].kind != PICKLE_NONE)
        return pickle_fault(m, "a conjugated or negated view: save a copy, tensor.clone()");
    struct pickle_node *t = pickle_push(m, PICKLE_TENSOR);
    for (int i = 0; i < 4 && t; i++)
        if (pickle_append(m, t, items[i]) != 0)
            return -1;
    return t ? 0 : -1;
}

/* OrderedDict() or, as Python 2 wrote it, OrderedDict([[key, value], …]). */
static int ordered_dict(struct pickle_machine *m, uint32_t args_id)
{
    const struct pickle_node *args = &m->p.nodes[args_id];
    uint32_t pairs_id = args->n == 1 ? args->items[0] : 0;
    if (args->n > 1 || (args->n == 1 && m->p.nodes[pairs_id].kind != PICKLE_LIST))
        return pickle_fault(m, "an OrderedDict of what is no list of pairs");
    uint32_t n = args->n ? m->p.nodes[pairs_id].n : 0;
    struct pickle_node *dict = pickle_push(m, PICKLE_DICT);
    for (uint32_t i = 0; i < n && dict; i++) {
        const struct pickle_node *pair = &m->p.nodes[m->p.nodes[pairs_id].items[i]];
        if ((pair->kind != PICKLE_LIST && pair->kind != PICKLE_TUPLE) || pair->n != 2)
            return pickle_fault(m, "an OrderedDict of what is no list of pairs");
        if (pickle_append(m, dict, pair->items[0]) != 0 ||
            pickle_append(m, dict, pair->items[1]) != 0)
            return -1;
    }
    return dict ? 0 : -1;
}

static int op_reduce(struct pickle_machine *m, int unused)
{
    (void)unused;
    uint32_t args_id, what_id;
    if (pickle_pop(m, &args_id) != 0 || pickle_pop(m, &what_id) != 0)
        return -1;
    const struct pickle_node *args = &m->p.nodes[args_id], *what = &m->p.nodes[what_id];
    if (what->kind != PICKLE_GLOBAL || args->kind != PICKLE_TUPLE)
        return pickle_fault(m, "a call of what is no function");
    switch ((enum pickle_global)what->integer) {
    case PICKLE_G_ORDERED_DICT:
        return ordered_dict(m, args_id);
    case PICKLE_G_TENSOR:
        return rebuild_tensor(m, args);
    case PICKLE_G_PARAMETER:
        if (!args->n || m->p.nodes[args->items[0]].kind != PICKLE_TENSOR)
            return pickle_fault(m, "a parameter without a tensor");
        return pickle_push_again(m, args->items[0]);
    case PICKLE_G_STORAGE:
        break;
    }
    return pickle_fault(m, "a call of what is no function");
}

/* The attributes of a dictionary (_metadata) say nothing about weights. */
static int op_build(struct pickle_machine *m, int unused)
{
    (void)unused;
    uint32_t state;
    if (pickle_pop(m, &state) != 0)
        return -1;
    const struct pickle_node *of = pickle_top(m);
    return of && of->kind == PICKLE_DICT ? 0 : pickle_fault(m, "attributes for what takes none");
}

/* A string behind its length of so many bytes. */
static int op_text(struct pickle_machine *m, int bytes)
{
    uint64_t n;
    return pickle_take_number(m, (size_t)bytes, &n) != 0 ? -1 : push_text(m, PICKLE_STRING, n);
}

static int op_number(struct pickle_machine *m, int bytes)
{
    uint64_t n;
    if (pickle_take_number(m, (size_t)bytes, &n) != 0)
        return -1;
    return push_integer(m, PICKLE_INT, bytes == 4 ? (int64_t)(int32_t)(uint32_t)n : (int64_t)n);
}

static int op_bool(struct pickle_machine *m, int value)
{
    return push_integer(m, PICKLE_BOOL, value);
}

/* A value of this kind, with nothing in it. */
static int op_push(struct pickle_machine *m, int kind)
{
    return pickle_push(m, (enum pickle_kind)kind) ? 0 : -1;
}

static int op_put(struct pickle_machine *m, int bytes)
{
    uint64_t n;
    return pickle_take_number(m, (size_t)bytes, &n) != 0 ? -1 : pickle_memoize(m, n);
}

static int op_get(struct pickle_machine *m, int bytes)
{
    uint64_t n;
    return pickle_take_number(m, (size_t)bytes, &n) != 0 ? -1 : pickle_recall(m, n);
}

static int op_proto(struct pickle_machine *m, int newest)
{
    uint64_t n;
    if (pickle_take_number(m, 1, &n) != 0)
        return -1;
    return n <= (uint64_t)newest
               ? 0
               : err_set(m->err, ERR_FORMAT,
                         "%s: pickle, byte %zu: protocol %d, expected 2, which torch.save() takes "
                         "unless it is told another",
                         m->name, m->op, (int)n);
}

/* What may run, by its opcode (models/pickle_names.c). */
static const struct {
    int (*run)(struct pickle_machine *m, int arg);
    int arg;
} ops[256] = {
    [0x80] = {op_proto, 3},
    ['('] = {op_push, PICKLE_MARK},
    ['N'] = {op_push, PICKLE_NONE},
    [')'] = {op_push, PICKLE_TUPLE},
    [']'] = {op_push, PICKLE_LIST},
    ['}'] = {op_push, PICKLE_DICT},
    [0x88] = {op_bool, 1},
    [0x89] = {op_bool, 0},
    ['K'] = {op_number, 1},
    ['M'] = {op_number, 2},
    ['J'] = {op_number, 4},
    [0x8a] = {op_long1, 0},
    ['G'] = {op_float, 0},
    ['X'] = {op_text, 4},
    ['T'] = {op_text, 4}, /* the strings of Python 2 */
    ['U'] = {op_text, 1},
    [0x85] = {op_tuple, 1},
    [0x86] = {op_tuple, 2},
    [0x87] = {op_tuple, 3},
    ['t'] = {op_marked, PICKLE_TUPLE},
    ['l'] = {op_marked, PICKLE_LIST},
    ['d'] = {op_marked, PICKLE_DICT},
    ['s'] = {op_item, PICKLE_DICT},
    ['a'] = {op_item, PICKLE_LIST},
    ['u'] = {op_items, PICKLE_DICT},
    ['e'] = {op_items, PICKLE_LIST},
    ['q'] = {op_put, 1},
    ['r'] = {op_put, 4},
    ['h'] = {op_get, 1},
    ['j'] = {op_get, 4},
    ['c'] = {op_global, 0},
    ['Q'] = {op_persistent, 0},
    ['R'] = {op_reduce, 0},
    [0x81] = {op_reduce, 0}, /* NEWOBJ */
    ['b'] = {op_build, 0},
};

int pickle_step(struct pickle_machine *m, unsigned char op)
{
    return ops[op].run ? ops[op].run(m, ops[op].arg)
                       : err_set(m->err, ERR_FORMAT,
                                 "%s: pickle, byte %zu: opcode %s (0x%02x) is not allowed", m->name,
                                 m->op, pickle_opcode_name(op), op);
}
