/* Compiled with -mavx2 -mfma -mf16c (ops/CMakeLists.txt); empty for other processors. */
#if defined(__AVX2__)
#define ROWS_TABLE rows_avx2
#define ROWS_ISA CPU_AVX2
#include "ops/rows_body.h"
#else
typedef int rows_avx2_unused;
#endif
