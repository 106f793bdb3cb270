#define ROWS_TABLE rows_base
#define ROWS_ISA CPU_BASE
#include "ops/rows_body.h"
