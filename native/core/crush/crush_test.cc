// CRUSH against its oracles: the tables and hashes of Ceph's library, and the mapping lines that
// crushtool printed (test/golden/crush, made by tools/make-crush-golden.mjs).
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include "../../test/budget.hh"
#include "base/crc32c.hh"
#include "crush/binding_api.hh"
#include "crush/hash.hh"
#include "crush/ln_table.hh"
#include "crush/map_codec.hh"
#include "crush/mapper.hh"
#include "crush/object_hash.hh"
#include "crush/pg_placement.hh"

using namespace cairn;
using namespace cairn::crush;

namespace {

const std::string kGolden = CAIRN_GOLDEN_DIR "/crush/";
// Of a longer case, a small budget of the tests leaves no digest: only its first lines are
// compared.
constexpr std::uint32_t kLeastLines = 10000;

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  REQUIRE_MESSAGE(file.good(), path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

Map load_map(const std::string& name) {
  const std::string bytes = read_text(kGolden + name + ".cmap");
  Result<Map> map = decode_map(as_bytes(bytes));
  REQUIRE_MESSAGE(map.is_ok(), map.status().to_string());
  return std::move(map.value());
}

struct GoldenCase {
  std::string name, map_name, crc32c_hex, fnv1a_hex, sha256_hex;
  std::uint32_t rule_id = 0, num_rep = 0, min_x = 0, max_x = 0;
  std::vector<std::pair<std::uint32_t, double>> weights;
};

std::vector<GoldenCase> load_cases() {
  std::istringstream lines(read_text(kGolden + "cases.txt"));
  std::vector<GoldenCase> cases;
  for (std::string line; std::getline(lines, line);) {
    if (line.empty() || line[0] == '#') continue;
    std::istringstream fields(line);
    GoldenCase golden;
    fields >> golden.name >> golden.map_name >> golden.rule_id >> golden.num_rep >> golden.min_x >>
        golden.max_x >> golden.crc32c_hex >> golden.fnv1a_hex >> golden.sha256_hex;
    std::uint32_t osd = 0;
    char equals = 0;
    double weight = 0;
    while (fields >> osd >> equals >> weight) golden.weights.emplace_back(osd, weight);
    cases.push_back(std::move(golden));
  }
  return cases;
}

// crushtool's weights: 1.0 for devices that a bucket holds, else 0; --weight on top.
std::vector<std::uint32_t> osd_weights(const Map& map, const GoldenCase& golden) {
  std::vector<std::uint32_t> weights(map.max_devices, 0);
  for (const ItemId item : map.items) {
    if (item >= 0) weights[static_cast<std::size_t>(item)] = kWeightOne;
  }
  for (const auto& [osd, weight] : golden.weights)
    weights[osd] = static_cast<std::uint32_t>(static_cast<float>(weight) * 65536.0f);
  return weights;
}

void append_number(std::string& text, std::int64_t number) {
  char digits[24];
  const auto end = std::to_chars(digits, digits + sizeof digits, number);
  text.append(digits, end.ptr);
}

void append_line(std::string& text, std::uint32_t rule_id, std::uint32_t x,
                 std::span<const ItemId> row) {
  text += "CRUSH rule ";
  append_number(text, rule_id);
  text += " x ";
  append_number(text, x);
  text += " [";
  for (std::size_t i = 0; i < row.size(); ++i) {
    if (i > 0) text += ',';
    append_number(text, row[i]);
  }
  text += "]\n";
}

std::string hex(std::uint32_t value) {
  char text[9];
  std::snprintf(text, sizeof text, "%08x", value);
  return text;
}

// Digests of all lines of a case, and the first of them as text.
struct LineDigest {
  std::uint32_t crc = 0;
  std::uint32_t fnv1a = 0x811c9dc5;
  std::string first_lines;

  void update(const std::string& lines, std::size_t keep) {
    crc = crc32c(as_bytes(lines), crc);
    for (const char character : lines)
      fnv1a = (fnv1a ^ static_cast<unsigned char>(character)) * 0x01000193;
    if (first_lines.size() < keep) first_lines += lines;
  }
};

LineDigest digest_case(const Map& map, const GoldenCase& golden, std::uint32_t last_x,
                       std::size_t keep) {
  const std::vector<std::uint32_t> weights = osd_weights(map, golden);
  std::array<ItemId, kMaxResultSize> row;
  LineDigest digest;
  std::string lines;
  for (std::uint32_t x = golden.min_x; x <= last_x; ++x) {
    const int count =
        do_rule(map, golden.rule_id, x, weights, std::span(row).first(golden.num_rep));
    append_line(lines, golden.rule_id, x, std::span(row).first(static_cast<std::size_t>(count)));
    if (lines.size() > 60000 || x == last_x) {
      digest.update(lines, keep);
      lines.clear();
    }
  }
  return digest;
}

std::uint32_t name_hash(std::string_view name) { return object_name_hash(as_bytes(name)); }

// A host of two devices under a root, and one rule; small enough to damage at will.
Writer small_map(std::int32_t host_item = 1, std::int32_t root_item = -1,
                 std::uint32_t step_op = 2) {
  Writer out;
  for (const std::uint32_t word : {kMapMagic, kMapVersion, 2u, 50u, 1u, 1u, 1u, 2u, 1u})
    out.put(word);
  for (const std::int32_t word : {-1, 1, 2, 0, 0x10000, host_item, 0x10000}) out.put(word);
  for (const std::int32_t word : {-2, 10, 1, root_item, 0x20000}) out.put(word);
  for (const std::uint32_t word : {0u, 3u}) out.put(word);
  for (const std::int32_t word : {1, -2, 0}) out.put(word);
  out.put(step_op);
  for (const std::int32_t word : {0, 0, 4, 0, 0}) out.put(word);
  return out;
}

}  // namespace

TEST_CASE("the logarithm tables are those of Ceph's library") {
  // CRC-32C of __LL_tbl (256 words) and __RH_LH_tbl (258 words) in libceph-common.so.2 of 16.2.15.
  CHECK(crc32c(std::as_bytes(std::span(kLnTables.log2_fine))) == 0x7593123a);
  std::vector<std::uint64_t> interleaved;
  for (std::size_t k = 0; k <= 128; ++k) {
    interleaved.push_back(kLnTables.reciprocal[k]);
    interleaved.push_back(kLnTables.log2_coarse[k]);
  }
  CHECK(crc32c(std::as_bytes(std::span(interleaved))) == 0x8ecdce70);
}

TEST_CASE("crush_ln at its edges") {
  CHECK(crush_ln(0) == 0);
  CHECK(crush_ln(1) == std::uint64_t{1} << 44);
  CHECK(crush_ln(0x7fff) == std::uint64_t{15} << 44);
  CHECK(crush_ln(0xffff) == 0xfffff0000000);
}

TEST_CASE("every golden case: the digest of all of crushtool's lines") {
  std::string loaded_name;
  Map map;
  for (const GoldenCase& golden : load_cases()) {
    CAPTURE(golden.name);
    if (golden.map_name != loaded_name) map = load_map(golden.map_name);
    loaded_name = golden.map_name;
    const std::string expected = read_text(kGolden + golden.name + ".lines");
    const std::uint32_t all_lines = golden.max_x - golden.min_x + 1;
    const std::uint32_t lines = test::budgeted(all_lines, std::min(all_lines, kLeastLines));
    const LineDigest digest = digest_case(map, golden, golden.min_x + lines - 1, expected.size());
    CHECK(digest.first_lines.substr(0, expected.size()) == expected);
    if (lines < all_lines) continue;
    CHECK(hex(digest.crc) == golden.crc32c_hex);
    CHECK(hex(digest.fnv1a) == golden.fnv1a_hex);
  }
}

TEST_CASE("a lookup of a rule that isn't there places nothing") {
  const Map map = load_map("flat");
  std::array<ItemId, 3> row;
  const std::vector<std::uint32_t> weights(map.max_devices, kWeightOne);
  CHECK(do_rule(map, 77, 1, weights, row) == 0);
}

TEST_CASE("a bucket of zero weights gives its first item") {
  Map map;
  map.max_devices = 3;
  map.items = {2, 0, 1};
  map.weights = {0, 0, 0};
  map.buckets = {Bucket{-1, 10, 0, 3}};
  REQUIRE(map.finish().is_ok());
  CHECK(straw2_choose(map, map.buckets[0], 5, 0) == 2);
}

TEST_CASE("straw2 is its definition: the largest logarithm over weight, by integer division") {
  // Weight 1 makes exact ties, the largest weight makes many rounded ones; the first item wins.
  std::uint32_t random = 1;
  const auto next = [&random] { return random = hash32_2(random, 99); };
  for (const std::uint32_t equal : {1u, 3u, 0x10000u, 0x7fffffffu, 0u}) {
    for (const std::uint32_t size : {1u, 7u, 8u, 64u, 65u, 130u}) {
      Map map;
      map.max_devices = size;
      for (std::uint32_t i = 0; i < size; ++i) {
        map.items.push_back(static_cast<ItemId>(i));
        map.weights.push_back(equal != 0 ? equal : next() >> (1 + next() % 31));
      }
      map.buckets = {Bucket{-1, 10, 0, size}};
      REQUIRE(map.finish().is_ok());
      std::uint32_t wrong_count = 0;
      for (std::uint32_t x = 0; x < 3000; ++x) {
        std::int64_t longest = std::numeric_limits<std::int64_t>::min();
        ItemId expected = 0;
        for (std::uint32_t i = 0; i < size; ++i) {
          if (map.weights[i] == 0) continue;
          const auto logarithm = static_cast<std::int64_t>(crush_ln(hash32_3(x, i, 4) & 0xffff));
          const std::int64_t draw = (logarithm - (std::int64_t{1} << 48)) / map.weights[i];
          if (draw <= longest) continue;
          longest = draw;
          expected = static_cast<ItemId>(i);
        }
        if (straw2_choose(map, map.buckets[0], x, 4) != expected) ++wrong_count;
      }
      CAPTURE(equal);
      CAPTURE(size);
      CHECK(wrong_count == 0);
    }
  }
}

TEST_CASE("object name hashes as Ceph's ceph_str_hash_rjenkins") {
  CHECK(name_hash("") == 0xbd49d10d);
  CHECK(name_hash("foo") == 0x7fc1f406);
  // The low 21 bits as osdmaptool prints them: README of test/golden/crush. The lengths cover a
  // partial block, a whole one, one byte more, and two blocks with a rest.
  const auto low_bits = [](std::string_view name) { return name_hash(name) & 0x1fffff; };
  CHECK(low_bits("a") == 0x0ec818);
  CHECK(low_bits("ab") == 0x19ac41);
  CHECK(low_bits("foo") == 0x01f406);
  CHECK(low_bits("abcdefghijkl") == 0x1b3ea5);
  CHECK(low_bits("abcdefghijklm") == 0x02b031);
  CHECK(low_bits("abcdefghijklmnopqrstuvwxyz") == 0x0fcee8);
  CHECK(low_bits("rbd_data.1234.0000000000000001") == 0x104153);
}

TEST_CASE("stable_mod splits one group at a time") {
  CHECK(stable_mod_mask(1) == 0);
  CHECK(stable_mod_mask(8) == 7);
  CHECK(stable_mod_mask(12) == 15);
  for (std::uint32_t x = 0; x < 1000; ++x) {
    const std::uint32_t before = stable_mod(x, 12, 15);
    const std::uint32_t after = stable_mod(x, 13, 15);
    CHECK(before < 12);
    CHECK((after == before || (after == 12 && before == 4)));
  }
}

TEST_CASE("map_pgs gives rows of the CRUSH input of each PG") {
  const Map map = load_map("racks");
  const std::vector<std::uint32_t> weights(map.max_devices, kWeightOne);
  const Result<std::vector<ItemId>> rows = map_pgs(map, 0, 3, 12, 3, weights);
  REQUIRE(rows.is_ok());
  REQUIRE(rows.value().size() == 36);
  std::array<ItemId, 3> row;
  REQUIRE(do_rule(map, 0, raw_pg_to_pps(11, 3, 12), weights, row) == 3);
  CHECK(std::equal(row.begin(), row.end(), rows.value().begin() + 33));
  CHECK(raw_pg_to_pps(11, 3, 12) == hash32_2(11, 3));
  CHECK(map_pgs(map, 99, 3, 12, 3, weights).status().code() == ErrorCode::not_found);
  CHECK(map_pgs(map, 0, 3, 0, 3, weights).status().code() == ErrorCode::out_of_range);
  CHECK(map_pgs(map, 0, 3, 12, 65, weights).status().code() == ErrorCode::out_of_range);
}

TEST_CASE("map_pgs agrees with osdmaptool") {
  // pgs.rows: "pg_num pool size rule map", then one row of device ids per PG.
  std::istringstream lines(read_text(kGolden + "pgs.rows"));
  std::uint32_t pg_num = 0, pool_id = 0, size = 0, rule_id = 0;
  std::string map_name;
  lines >> pg_num >> pool_id >> size >> rule_id >> map_name;
  const Map map = load_map(map_name);
  const std::vector<std::uint32_t> weights(map.max_devices, kWeightOne);
  const Result<std::vector<ItemId>> rows = map_pgs(map, rule_id, pool_id, pg_num, size, weights);
  REQUIRE(rows.is_ok());
  std::vector<ItemId> expected;
  for (ItemId item = 0; lines >> item;) expected.push_back(item);
  REQUIRE(pg_num == 448);  // not a power of two
  CHECK(rows.value() == expected);
}

TEST_CASE("crush_test tells a short row from a hole") {
  const Writer map = small_map();
  const std::vector<std::uint32_t> weights{kWeightOne, 0};
  const auto firstn = crush_test(map.span(), 0, 2, 5, 5, weights);
  REQUIRE(firstn.is_ok());
  CHECK(firstn.value() == std::vector<std::int32_t>{0, kItemUndef});
  const auto indep = crush_test(small_map(1, -1, 3).span(), 0, 2, 5, 5, weights);
  REQUIRE(indep.is_ok());
  CHECK(indep.value().size() == 2);
  CHECK((indep.value()[0] == kItemNone) != (indep.value()[1] == kItemNone));
  CHECK(crush_test(map.span(), 0, 2, 6, 5, weights).status().code() == ErrorCode::out_of_range);
  CHECK(crush_test(map.span(), 1, 2, 5, 5, weights).status().code() == ErrorCode::not_found);
  CHECK(crush_test(map.span(), 0, 64, 0, 1 << 24, weights).status().code() == ErrorCode::too_large);
}

TEST_CASE("malformed maps are refused") {
  const Writer good = small_map();
  REQUIRE(decode_map(good.span()).is_ok());
  for (std::size_t length = 0; length < good.size(); ++length)
    CHECK_FALSE(decode_map(good.span().first(length)).is_ok());
  Writer longer = small_map();
  longer.put(std::uint32_t{0});
  CHECK_FALSE(decode_map(longer.span()).is_ok());
  CHECK(decode_map(small_map(2).span()).status().code() == ErrorCode::corrupt);      // no device 2
  CHECK(decode_map(small_map(-3).span()).status().code() == ErrorCode::corrupt);     // no bucket -3
  CHECK(decode_map(small_map(-2).span()).status().code() == ErrorCode::corrupt);     // a cycle
  CHECK(decode_map(small_map(1, -2).span()).status().code() == ErrorCode::corrupt);  // of itself
  CHECK(decode_map(small_map(1, -1, 5).span()).status().code() == ErrorCode::corrupt);  // no op 5
  Writer weight = small_map();
  store_le<std::uint32_t>(weight.data() + 36 + 16, 0x80000000);
  CHECK(decode_map(weight.span()).status().code() == ErrorCode::too_large);
  Writer version = small_map();
  store_le<std::uint32_t>(version.data() + 4, 2);
  CHECK(decode_map(version.span()).status().code() == ErrorCode::incompatible_version);
}

TEST_CASE("the depth limit") {
  const auto chain = [](std::int32_t depth) {
    Map map;
    map.max_devices = 1;
    for (std::int32_t level = 0; level < depth; ++level) {
      map.buckets.push_back({-1 - level, 1, static_cast<std::uint32_t>(level), 1});
      map.items.push_back(level == 0 ? 0 : -level);
      map.weights.push_back(kWeightOne);
    }
    return map;
  };
  CHECK(chain(16).finish().is_ok());
  CHECK(chain(17).finish().code() == ErrorCode::too_large);
}
