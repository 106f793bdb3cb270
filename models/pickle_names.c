#include "models/pickle_names.h"

#include <string.h>

static const struct {
    const char *name;
    enum pickle_global what;
    enum dtype dtype; /* of a storage */
} globals[] = {
    {"collections OrderedDict", PICKLE_G_ORDERED_DICT, DT_F32},
    {"torch._utils _rebuild_tensor_v2", PICKLE_G_TENSOR, DT_F32},
    {"torch._utils _rebuild_tensor", PICKLE_G_TENSOR, DT_F32},
    {"torch._utils _rebuild_parameter", PICKLE_G_PARAMETER, DT_F32},
    {"torch FloatStorage", PICKLE_G_STORAGE, DT_F32},
    {"torch DoubleStorage", PICKLE_G_STORAGE, DT_F64},
    {"torch HalfStorage", PICKLE_G_STORAGE, DT_F16},
    {"torch BFloat16Storage", PICKLE_G_STORAGE, DT_BF16},
    {"torch LongStorage", PICKLE_G_STORAGE, DT_I64},
    {"torch IntStorage", PICKLE_G_STORAGE, DT_I32},
    {"torch CharStorage", PICKLE_G_STORAGE, DT_I8},
    {"torch ByteStorage", PICKLE_G_STORAGE, DT_U8},
    {"torch BoolStorage", PICKLE_G_STORAGE, DT_BOOL},
};

bool pickle_global_find(const char *name, size_t len, enum pickle_global *what, enum dtype *dtype)
{
    for (size_t i = 0; i < sizeof globals / sizeof *globals; i++)
        if (strlen(globals[i].name) == len && memcmp(globals[i].name, name, len) == 0) {
            *what = globals[i].what;
            *dtype = globals[i].dtype;
            return true;
        }
    return false;
}

#define FLOATS                                                                                     \
    ": quantised weights of PyTorch are not read; save the model in floats, it is quantised when " \
    "it is opened"
#define STATE                                                                                      \
    ": a whole model is code; save its weights alone, torch.save(model.state_dict(), file)"

#define ALONE                                                                                      \
    ": tensors that were pickled each on its own; save them with torch.save(model.state_dict(), "  \
    "file)"

/* The first that stands in a name gives the advice. A state dictionary that quantize_dynamic() made
 * begins with "torch qint8". */
static const struct {
    const char *part, *text;
} advices[] = {
    {"qtensor", FLOATS},     {"quantized", FLOATS},   {"Packed", FLOATS},
    {"torch qint", FLOATS},  {"torch quint", FLOATS}, {"torch QInt", FLOATS},
    {"torch QUInt", FLOATS}, {"_affine", FLOATS},     {"_load_from_bytes", ALONE},
    {"torch.nn.", STATE},    {"modeling_", STATE},    {"__main__ ", STATE},
    {"__torch__", STATE},
};

const char *pickle_global_advice(const char *name)
{
    for (size_t i = 0; i < sizeof advices / sizeof *advices; i++)
        if (strstr(name, advices[i].part))
            return advices[i].text;
    return "";
}

/* All opcodes of protocols 0 to 5, in the order of their bytes. */
static const char *const opcodes[256] = {
    ['('] = "MARK",          [')'] = "EMPTY_TUPLE",
    ['.'] = "STOP",          ['0'] = "POP",
    ['1'] = "POP_MARK",      ['2'] = "DUP",
    ['B'] = "BINBYTES",      ['C'] = "SHORT_BINBYTES",
    ['F'] = "FLOAT",         ['G'] = "BINFLOAT",
    ['I'] = "INT",           ['J'] = "BININT",
    ['K'] = "BININT1",       ['L'] = "LONG",
    ['M'] = "BININT2",       ['N'] = "NONE",
    ['P'] = "PERSID",        ['Q'] = "BINPERSID",
    ['R'] = "REDUCE",        ['S'] = "STRING",
    ['T'] = "BINSTRING",     ['U'] = "SHORT_BINSTRING",
    ['V'] = "UNICODE",       ['X'] = "BINUNICODE",
    [']'] = "EMPTY_LIST",    ['a'] = "APPEND",
    ['b'] = "BUILD",         ['c'] = "GLOBAL",
    ['d'] = "DICT",          ['e'] = "APPENDS",
    ['g'] = "GET",           ['h'] = "BINGET",
    ['i'] = "INST",          ['j'] = "LONG_BINGET",
    ['l'] = "LIST",          ['o'] = "OBJ",
    ['p'] = "PUT",           ['q'] = "BINPUT",
    ['r'] = "LONG_BINPUT",   ['s'] = "SETITEM",
    ['t'] = "TUPLE",         ['u'] = "SETITEMS",
    ['}'] = "EMPTY_DICT",    [0x80] = "PROTO",
    [0x81] = "NEWOBJ",       [0x82] = "EXT1",
    [0x83] = "EXT2",         [0x84] = "EXT4",
    [0x85] = "TUPLE1",       [0x86] = "TUPLE2",
    [0x87] = "TUPLE3",       [0x88] = "NEWTRUE",
    [0x89] = "NEWFALSE",     [0x8a] = "LONG1",
    [0x8b] = "LONG4",        [0x8c] = "SHORT_BINUNICODE",
    [0x8d] = "BINUNICODE8",  [0x8e] = "BINBYTES8",
    [0x8f] = "EMPTY_SET",    [0x90] = "ADDITEMS",
    [0x91] = "FROZENSET",    [0x92] = "NEWOBJ_EX",
    [0x93] = "STACK_GLOBAL", [0x94] = "MEMOIZE",
    [0x95] = "FRAME",        [0x96] = "BYTEARRAY8",
    [0x97] = "NEXT_BUFFER",  [0x98] = "READONLY_BUFFER",
};

const char *pickle_opcode_name(unsigned char op)
{
    return opcodes[op] ? opcodes[op] : "unknown";
}
