/* Compiled with -mavx512f and its kin (ops/CMakeLists.txt); empty for other processors. */
#if defined(__AVX512F__)
#define ROWS_TABLE rows_avx512
#define ROWS_ISA CPU_AVX512
#include "ops/rows_body.h"
#else
typedef int rows_avx512_unused;
#endif
