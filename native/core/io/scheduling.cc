// The system calls; glibc before 2.41 has no functions for them.
#include "io/scheduling.hh"

#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

namespace cairn::io {

namespace {

constexpr std::uint64_t kTurnNs = 300'000;

// struct sched_attr of <linux/sched/types.h>, which cannot be included beside <sched.h>: its first
// version, which every kernel takes.
struct SchedulingAttributes {
  std::uint32_t size = sizeof(SchedulingAttributes);
  std::uint32_t policy = 0;
  std::uint64_t flags = 0;
  std::int32_t nice = 0;
  std::uint32_t priority = 0;
  std::uint64_t runtime_ns = 0;
  std::uint64_t deadline_ns = 0;
  std::uint64_t period_ns = 0;
};
static_assert(sizeof(SchedulingAttributes) == 48);

}  // namespace

void ask_for_short_turns() {
  SchedulingAttributes attributes;
  if (::syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0) != 0) return;
  if (attributes.policy != SCHED_OTHER) return;
  // Shorter ones were somebody's wish. Kernels that know turns tell them, others tell 0.
  if (attributes.runtime_ns != 0 && attributes.runtime_ns <= kTurnNs) return;
  attributes.runtime_ns = kTurnNs;
  // Refused where a sandbox forbids it: then it goes on as before.
  ::syscall(SYS_sched_setattr, 0, &attributes, 0);
}

void name_this_thread(const char* name) { ::prctl(PR_SET_NAME, name); }

void give_short_turns_back() {
  SchedulingAttributes attributes;
  if (::syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0) != 0) return;
  if (attributes.policy != SCHED_OTHER || attributes.runtime_ns != kTurnNs) return;
  attributes.runtime_ns = 0;
  ::syscall(SYS_sched_setattr, 0, &attributes, 0);
}

}  // namespace cairn::io
