// The flags of the ring, the probe of the kernel, and the texts of their failures.
#include "io/uring_setup.hh"

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

namespace cairn::io {

namespace {

constexpr unsigned kSubmissionEntries = 256;
// More completions than this at once are kept by the kernel (IORING_FEAT_NODROP): slower, not lost.
constexpr unsigned kCompletionEntries = 4096;

Status refused(int error_number) {
  std::string why = "io_uring is not usable: ";
  why += std::strerror(error_number);
  switch (error_number) {
    case EPERM:
    case EACCES:
      why +=
          "; allow it: 'sysctl kernel.io_uring_disabled=0', and in a container a seccomp profile "
          "that permits io_uring_setup, io_uring_enter and io_uring_register";
      break;
    case ENOSYS:
      why += "; it needs Linux 6.0 or newer, or a seccomp profile that permits io_uring_setup";
      break;
    case ENOMEM:
      why += "; raise the limit of locked memory ('ulimit -l', LimitMEMLOCK=) or free memory";
      break;
    case EMFILE:
    case ENFILE:
      why += "; raise the limit of open files ('ulimit -n', LimitNOFILE=)";
      break;
    default:
      why += "; it needs Linux 6.0 or newer";
  }
  return {ErrorCode::unsupported_feature, std::move(why)};
}

// The best flags first. DEFER_TASKRUN (Linux 6.1) runs completions only when we enter the kernel to
// collect them, so they come in batches and interrupt nothing; it requires SINGLE_ISSUER (6.0).
// R_DISABLED lets the thread of run() become the issuer.
constexpr unsigned kFlagChoices[] = {
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
    0,
};

int set_up_ring(io_uring* ring) {
  int result = -EINVAL;
  for (const unsigned flags : kFlagChoices) {
    io_uring_params parameters{};
    parameters.flags = flags | IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
    parameters.cq_entries = kCompletionEntries;
    result = io_uring_queue_init_params(kSubmissionEntries, ring, &parameters);
    if (result != -EINVAL) break;
  }
  return result;
}

// Linux 6.0, told by its IORING_OP_SEND_ZC: everything used here (cancel by descriptor, wait with a
// time-out, completions that are never dropped) is older.
bool kernel_is_new_enough(io_uring* ring) {
  io_uring_probe* probe = io_uring_get_probe_ring(ring);
  if (probe == nullptr) return false;
  const bool ok = io_uring_opcode_supported(probe, IORING_OP_SEND_ZC) != 0;
  io_uring_free_probe(probe);
  return ok;
}

}  // namespace

Result<io_uring> make_disabled_ring() {
  io_uring ring;
  if (const int result = set_up_ring(&ring); result < 0) return refused(-result);
  if (!kernel_is_new_enough(&ring)) {
    io_uring_queue_exit(&ring);
    return refused(ENOSYS);
  }
  return ring;
}

void enable_ring(io_uring& ring) {
  // io_uring_enable_rings() is declared by liburing 2.3 but missing from its shared library.
  const long result =
      ::syscall(__NR_io_uring_register, ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, nullptr, 0);
  CAIRN_ASSERT(result == 0);
}

}  // namespace cairn::io
