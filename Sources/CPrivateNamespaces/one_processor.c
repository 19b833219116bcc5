#define _GNU_SOURCE
#include "CPrivateNamespaces.h"

#include <sched.h>

static _Thread_local cpu_set_t before;
static _Thread_local int is_kept;

void stay_on_processor(void) {
  cpu_set_t here;
  int processor = sched_getcpu();
  is_kept = processor >= 0 && sched_getaffinity(0, sizeof before, &before) == 0;
  if (!is_kept) return;
  CPU_ZERO(&here);
  CPU_SET(processor, &here);
  is_kept = sched_setaffinity(0, sizeof here, &here) == 0;
}

void leave_processor(void) {
  if (is_kept) sched_setaffinity(0, sizeof before, &before);
  is_kept = 0;
}
