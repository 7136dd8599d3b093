// The keys of the key-value region. A key starts with a letter for its kind; numbers are big-endian
// so that keys sort by them. docs/format/object-store.md has the table.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/ids.hh"

namespace cairn::object_store::keys {

// Collection: the number of one life of a PG; a PG that is removed and made again gets a new one.
using Collection = std::uint64_t;

std::string system_state();                                                            // 'a'
std::string bitmap_chunk(std::uint32_t chunk);                                         // 'b'
std::string pg(const PgId& pg);                                                        // 'c'
std::string omap_garbage(std::uint64_t omap_id);                                       // 'g'
std::string log_segment(Collection collection, std::uint64_t segment);                 // 'l'
std::string omap(std::uint64_t omap_id, std::string_view user_key);                    // 'm'
std::string header(Collection collection, std::string_view name, std::uint64_t snap);  // 'o'
std::string pg_meta(Collection collection, std::string_view user_key);                 // 'p'
std::string reference_chunk(std::uint32_t chunk);                                      // 'r'
std::string shard(std::uint64_t object_id, std::uint32_t index);                       // 's'
std::string store_meta(std::string_view user_key);                                     // 't'
std::string removed_pg(Collection collection);                                         // 'x'
std::string room_probe();                                                              // 'z'

// Half-open key ranges.
using Range = std::pair<std::string, std::string>;
Range all_of(char kind);
Range all_of(char kind, std::uint64_t first_number);

// What follows the kind and one number: the user key of 'm' and 'p'.
std::string_view user_key(std::string_view key);
// Number behind the kind (8 bytes), 0 when the key is too short.
std::uint64_t number64(std::string_view key);
std::uint32_t number32(std::string_view key);
// Of a shard's key, none of any other.
std::optional<std::uint32_t> shard_index(std::string_view key);
std::optional<PgId> parse_pg(std::string_view key);
// Name and snap of a header key.
std::optional<std::pair<std::string, std::uint64_t>> parse_header(std::string_view key);

}  // namespace cairn::object_store::keys
