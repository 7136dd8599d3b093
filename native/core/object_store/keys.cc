// Making and parsing the keys of the key-value region.
#include "object_store/keys.hh"

#include "base/bytes.hh"

namespace cairn::object_store::keys {

namespace {

template <typename T>
void put_be(std::string& key, T value) {
  const T swapped = swap_bytes(value);
  key.append(reinterpret_cast<const char*>(&swapped), sizeof swapped);
}

std::string with_number(char kind, std::uint64_t number, std::size_t more_bytes = 0) {
  std::string key;
  key.reserve(9 + more_bytes);
  key += kind;
  put_be(key, number);
  return key;
}

// A 0 in a name becomes 0 255, the end of the name 0 1: names keep their order, also when one is
// the beginning of another.
void put_name(std::string& key, std::string_view name) {
  for (const char c : name) {
    key += c;
    if (c == '\0') key += '\xff';
  }
  key.append("\0\x01", 2);
}

}  // namespace

std::string system_state() { return "a"; }

std::string bitmap_chunk(std::uint32_t chunk) {
  std::string key = "b";
  put_be(key, chunk);
  return key;
}

std::string pg(const PgId& pg) {
  std::string key = "c";
  put_be(key, pg.pool);
  put_be(key, pg.seed);
  return key;
}

std::string omap_garbage(std::uint64_t omap_id) { return with_number('g', omap_id); }

std::string log_segment(Collection collection, std::uint64_t segment) {
  std::string key = with_number('l', collection, 8);
  put_be(key, segment);
  return key;
}

std::string omap(std::uint64_t omap_id, std::string_view user_key) {
  return with_number('m', omap_id, user_key.size()).append(user_key);
}

std::string header(Collection collection, std::string_view name, std::uint64_t snap) {
  std::string key = with_number('o', collection, name.size() + 10);
  put_name(key, name);
  put_be(key, snap);
  return key;
}

std::string pg_meta(Collection collection, std::string_view user_key) {
  return with_number('p', collection, user_key.size()).append(user_key);
}

std::string reference_chunk(std::uint32_t chunk) {
  std::string key = "r";
  put_be(key, chunk);
  return key;
}

std::string shard(std::uint64_t object_id, std::uint32_t index) {
  std::string key = with_number('s', object_id, 2);
  put_be(key, static_cast<std::uint16_t>(index));
  return key;
}

std::string store_meta(std::string_view user_key) { return std::string("t").append(user_key); }

std::string removed_pg(Collection collection) { return with_number('x', collection); }

std::string room_probe() { return "z"; }

Range all_of(char kind) {
  return {std::string(1, kind), std::string(1, static_cast<char>(kind + 1))};
}

Range all_of(char kind, std::uint64_t first_number) {
  return {with_number(kind, first_number), with_number(kind, first_number + 1)};
}

std::string_view user_key(std::string_view key) { return key.size() > 9 ? key.substr(9) : ""; }

std::uint64_t number64(std::string_view key) {
  return key.size() < 9 ? 0 : load_be<std::uint64_t>(key.data() + 1);
}

std::uint32_t number32(std::string_view key) {
  return key.size() < 5 ? 0 : load_be<std::uint32_t>(key.data() + 1);
}

std::optional<std::uint32_t> shard_index(std::string_view key) {
  if (key.size() != 11) return std::nullopt;
  return load_be<std::uint16_t>(key.data() + 9);
}

std::optional<PgId> parse_pg(std::string_view key) {
  if (key.size() != 9) return std::nullopt;
  return PgId{load_be<std::uint32_t>(key.data() + 1), load_be<std::uint32_t>(key.data() + 5)};
}

std::optional<std::pair<std::string, std::uint64_t>> parse_header(std::string_view key) {
  if (key.size() < 9 + 2 + 8) return std::nullopt;
  const std::uint64_t snap = load_be<std::uint64_t>(key.data() + key.size() - 8);
  const std::string_view escaped = key.substr(9, key.size() - 9 - 2 - 8);
  std::string name;
  for (std::size_t i = 0; i < escaped.size(); ++i) {
    name += escaped[i];
    if (escaped[i] == '\0') ++i;
  }
  return std::pair{std::move(name), snap};
}

}  // namespace cairn::object_store::keys
