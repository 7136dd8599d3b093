// What the threads of the data path ask of the kernel's scheduler.
#pragma once

namespace cairn::io {

// Asks for short turns of this thread on the CPU, and so of those that it makes. The share of the
// CPU stays what it is; but who asks for short turns may have the next one sooner: a thread that
// wakes up for a request does not wait for the end of the turn of a busy guest beside it, up to
// three milliseconds with the kernel's default, several times on the way of a write. Needs no
// privilege. Kernels before 6.12 ignore it; a thread whose policy somebody has changed keeps what
// it has. Source: sched_setattr(2), sched_runtime of SCHED_OTHER; Linux,
// Documentation/scheduler/sched-eevdf.rst.
void ask_for_short_turns();

// For a thread that was made by one with short turns, and computes for long: it has the kernel's
// default again.
void give_short_turns_back();

// The name of this thread in `top -H`, `ps -L` and profiles; at most 15 characters count.
void name_this_thread(const char* name);

}  // namespace cairn::io
