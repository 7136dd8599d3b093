// FenceTable: the highest fencing token of each image that this primary knows, and what to do with
// an operation that carries one. docs/protocol/fencing.md has the argument.
//
// Invariants
//  - A token counts as durable only when every member of the acting set has it in its log.
//  - Nothing is served under a token that is not durable here, or below the highest one seen.
//  - It lives for one interval: what a new one starts with is read from the PG's fence object.
//
// Pure: it holds numbers, no operation, and does no I/O. Memory: one entry for each image that sent
// a fenced operation to this PG in this interval.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>

#include "base/status.hh"
#include "net/messages.hh"

namespace cairn::pg {

// The object of each PG that holds its tokens as key-values: fence key -> u64. It is replicated,
// logged, peered, recovered and backfilled as any object; clients can't touch it.
constexpr const char* kFenceObject = ".cairn_fence";

std::string encode_token(std::uint64_t token);
// corrupt when it is none.
Result<std::uint64_t> decode_token(const std::string& bytes);

class FenceTable {
 public:
  enum class Verdict : std::uint8_t {
    serve,   // its token is in force
    refuse,  // a higher one has been seen
    load,    // nothing is known of the key: read the fence object, then judge again
    raise,   // higher than any: make it durable, then judge again
    wait,    // one of the two is under way
  };
  Verdict judge(const net::Fence& fence) const;
  // A higher token than the operation's has been seen (also when it is not durable yet).
  bool superseded(const net::Fence& fence) const;

  void load_started(const std::string& key);
  // token: what the fence object has, 0 for none.
  void loaded(const std::string& key, std::uint64_t token);
  void load_failed(const std::string& key);
  void raise_started(const net::Fence& fence);
  void raised(const net::Fence& fence);
  void clear() { entries_.clear(); }

 private:
  struct Entry {
    bool loading = false;
    std::uint64_t durable = 0;
    std::uint64_t raising = 0;  // 0: none under way
  };
  std::unordered_map<std::string, Entry> entries_;
};

}  // namespace cairn::pg
