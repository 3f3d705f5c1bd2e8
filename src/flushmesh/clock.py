"""The clock: seconds that only ever grow, and at the same rate on every node."""

import time
from functools import partial

# CLOCK_MONOTONIC stands still while a laptop or a virtual machine is suspended; what was
# proven before must not count as fresh after.
clock = partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
