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

// One word, and all of it 0 when it is ok: most operations hand it on several times. What fails is
// out of line, and in the program's cold part.
class [[nodiscard]] Status {
 public:
  Status() = default;
  // With ErrorCode::ok it is ok() and the message is dropped.
  [[gnu::cold]] Status(ErrorCode code, std::string message);
  Status(const Status& other) : bits_(other.has_message() ? other.copy_failure() : other.bits_) {}
  // Who was moved from keeps its code.
  Status(Status&& other) noexcept : bits_(other.bits_) {
    if (has_message()) other.bits_ = bits_of(failure().code);
  }
  Status& operator=(const Status& other) { return *this = Status(other); }
  Status& operator=(Status&& other) noexcept {
    if (this == &other) return *this;
    if (has_message()) drop_failure();
    bits_ = other.bits_;
    if (has_message()) other.bits_ = bits_of(failure().code);
    return *this;
  }
  ~Status() {
    if (has_message()) drop_failure();
  }

  static Status ok() { return {}; }
  // errno as a Status: ENOSPC is no_space, ENOENT not_found, EEXIST already_exists, EADDRINUSE
  // address_in_use, EACCES and EPERM permission_denied, all else io_error. what: "write WAL".
  static Status from_errno(int error_number, std::string_view what);

  bool is_ok() const { return bits_ == 0; }
  explicit operator bool() const { return is_ok(); }
  ErrorCode code() const {
    return has_message() ? failure().code : static_cast<ErrorCode>(bits_ >> 1);
  }
  // Empty of one that is ok.
  const std::string& message() const;
  // "no_space: the allocator has no free block"
  std::string to_string() const;

 private:
  struct Failure {
    ErrorCode code;
    std::string message;
  };
  static constexpr std::uintptr_t bits_of(ErrorCode code) {
    return static_cast<std::uintptr_t>(code) << 1 |
           static_cast<std::uintptr_t>(code != ErrorCode::ok);
  }
  bool has_message() const { return (bits_ & 1) == 0 && __builtin_expect(bits_ != 0, 0); }
  const Failure& failure() const { return *reinterpret_cast<const Failure*>(bits_); }
  [[gnu::cold]] std::uintptr_t copy_failure() const;
  [[gnu::cold]] void drop_failure();

  // 0: ok. The lowest bit set: the code is above it, and there is no message. Else the address of a
  // Failure, which is this one's own.
  std::uintptr_t bits_ = 0;
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
