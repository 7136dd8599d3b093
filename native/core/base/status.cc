// Names of the error codes, and errno as a Status: see status.hh.
#include "base/status.hh"

#include <cerrno>
#include <cstring>

namespace cairn {

std::string_view error_name(ErrorCode code) {
  switch (code) {
#define CAIRN_ERROR(name, number) \
  case ErrorCode::name:           \
    return #name;
#include "base/error_codes.def"
#undef CAIRN_ERROR
  }
  return "unknown";
}

Status::Status(ErrorCode code, std::string message) : bits_(bits_of(code)) {
  static_assert(alignof(Failure) > 1, "the lowest bit of its address is 0");
  if (is_ok() || message.empty()) return;
  bits_ = reinterpret_cast<std::uintptr_t>(new Failure{code, std::move(message)});
}

std::uintptr_t Status::copy_failure() const {
  return reinterpret_cast<std::uintptr_t>(new Failure(failure()));
}

void Status::drop_failure() { delete reinterpret_cast<Failure*>(bits_); }

const std::string& Status::message() const {
  static const std::string none;
  return has_message() ? failure().message : none;
}

Status Status::from_errno(int error_number, std::string_view what) {
  ErrorCode code = ErrorCode::io_error;
  switch (error_number) {
    case ENOSPC:
      code = ErrorCode::no_space;
      break;
    case ENOENT:
      code = ErrorCode::not_found;
      break;
    case EEXIST:
      code = ErrorCode::already_exists;
      break;
    case EADDRINUSE:
      code = ErrorCode::address_in_use;
      break;
    case EACCES:
    case EPERM:
      code = ErrorCode::permission_denied;
      break;
    default:
      break;
  }
  return Status(code, std::string(what) + ": " + std::strerror(error_number));
}

std::string Status::to_string() const {
  std::string text(error_name(code()));
  if (!message().empty()) text += ": " + message();
  return text;
}

}  // namespace cairn
