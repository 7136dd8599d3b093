// Status: the outcome of an operation that the outside world can make fail. Result<T>: a value or
// a Status. The core throws no exceptions. Codes come from error_codes.def and are the same on the
// wire, in C++ and in TypeScript (StorageError.code).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/assert.hh"

namespace cairn {

enum class ErrorCode : std::uint16_t {
#define CAIRN_ERROR(name, number) name = number,
#include "base/error_codes.def"
#undef CAIRN_ERROR
};

// The code's name as TypeScript knows it, "unknown" for a number that is not in the table.
std::string_view error_name(ErrorCode code);

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(ErrorCode code, std::string message) : code_(code), message_(std::move(message)) {}

  static Status ok() { return {}; }
  // errno as a Status: ENOSPC is no_space, ENOENT not_found, EEXIST already_exists, EADDRINUSE
  // address_in_use, EACCES and EPERM permission_denied, all else io_error. what: "write WAL".
  static Status from_errno(int error_number, std::string_view what);

  bool is_ok() const { return code_ == ErrorCode::ok; }
  explicit operator bool() const { return is_ok(); }
  ErrorCode code() const { return code_; }
  const std::string& message() const { return message_; }
  // "no_space: the allocator has no free block"
  std::string to_string() const;

 private:
  ErrorCode code_ = ErrorCode::ok;
  std::string message_;
};

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}  // NOLINT: implicit on purpose
  Result(Status status) : status_(std::move(status)) { CAIRN_ASSERT(!status_.is_ok()); }  // NOLINT

  bool is_ok() const { return value_.has_value(); }
  explicit operator bool() const { return is_ok(); }
  const Status& status() const { return status_; }
  T& value() {
    CAIRN_ASSERT(value_.has_value());
    return *value_;
  }
  const T& value() const {
    CAIRN_ASSERT(value_.has_value());
    return *value_;
  }
  T& operator*() { return value(); }
  T* operator->() { return &value(); }

 private:
  std::optional<T> value_;
  Status status_;
};

}  // namespace cairn

// Returns the Status of an expression from the enclosing function when it is not ok.
#define CAIRN_RETURN_IF_ERROR(expression)                                                   \
  do {                                                                                      \
    if (::cairn::Status cairn_status_ = (expression); !cairn_status_) return cairn_status_; \
  } while (false)
