// The logarithm tables of crush_ln, computed from their definition.
//
// The fine table that every Ceph release and the Linux kernel carry isn't what its own comment
// says: from k = 2 on nearly every entry is the floor plus one constant, and 42 entries hold other
// values. Placement has to agree with those bits, so the constant and the 42 values are stated
// here as facts of the format. ln_table_test.cc compares all entries with the checksums of the
// tables inside Ceph's own library.
#include "crush/ln_table.hh"

#include <cstddef>

namespace cairn::crush {
namespace {

constexpr std::uint32_t kFractionBits = 48;

// floor(2^48 log2(m / 2^63)) for m in [2^63, 2^64), one bit of the logarithm per squaring. Each
// squaring drops less than 2^-63, so the result would be one too small only if the true value lay
// within 2^-15 above an integer; for none of the arguments used here it does (tested).
constexpr std::uint64_t log2_fixed(std::uint64_t m) {
  std::uint64_t result = 0;
  for (std::uint32_t bit = 0; bit < kFractionBits; ++bit) {
    unsigned __int128 square = (static_cast<unsigned __int128>(m) * m) >> 63;
    const bool at_least_two = (square >> 64) != 0;
    if (at_least_two) square >>= 1;
    result = result << 1 | (at_least_two ? 1 : 0);
    m = static_cast<std::uint64_t>(square);
  }
  return result;
}

// What nearly all entries of the fine table from k = 2 on lie above the floor.
constexpr std::uint64_t kFineOffset = 0x147700000;

struct FineEntry {
  std::size_t k;
  std::uint64_t value;
};
constexpr FineEntry kFineExceptions[] = {
    {56, 0x0a2b07f3458},  {127, 0x16df6ca19bd}, {134, 0x182b07f3458}, {181, 0x209c06e6212},
    {184, 0x212b07f3458}, {188, 0x21d6a73a78f}, {193, 0x22c23679b4e}, {198, 0x23a2c3b0ea4},
    {199, 0x23d13ee805b}, {200, 0x24035e9221f}, {203, 0x247ed646bfe}, {207, 0x25492644d65},
    {210, 0x25d13ee805b}, {212, 0x26296453882}, {216, 0x26d32f798a9}, {222, 0x27e6580aecb},
    {225, 0x287bdbf5255}, {227, 0x28d13ee805b}, {228, 0x29035e9221f}, {229, 0x29296453882},
    {231, 0x29902a37aab}, {233, 0x29deabd1083}, {235, 0x2a4c7605d61}, {236, 0x2a7bdbf5255},
    {237, 0x2a96056dafc}, {238, 0x2ac3daf14ef}, {239, 0x2af1b019eca}, {240, 0x2b296453882},
    {241, 0x2b5d022d80f}, {243, 0x2ba9012e713}, {244, 0x2bd6d4901cc}, {245, 0x2c04a796cf6},
    {246, 0x2c327a428a6}, {247, 0x2c61a5e8f4c}, {248, 0x2c8e1e891f6}, {249, 0x2cbbf023fc2},
    {250, 0x2ce9c163e6e}, {251, 0x2d179248e13}, {252, 0x2d4562d2ec6}, {253, 0x2d73330209d},
    {254, 0x2da102d63b0}, {255, 0x2dced24f814},
};

constexpr LnTables make_tables() {
  LnTables tables{};
  for (std::size_t k = 0; k < 128; ++k) {
    const std::uint64_t divisor = 128 + k;
    tables.reciprocal[k] = ((std::uint64_t{1} << 55) + divisor - 1) / divisor;
    tables.log2_coarse[k] = log2_fixed(divisor << 56);
  }
  // k = 128 serves u = 65535 alone. Ceph keeps its logarithm just below 2^48 log2(2).
  tables.reciprocal[128] = std::uint64_t{1} << 47;
  tables.log2_coarse[128] = 0xffff00000000;
  for (std::size_t k = 0; k < 256; ++k) {
    tables.log2_fine[k] = log2_fixed((std::uint64_t{0x8000} + k) << 48) + (k < 2 ? 0 : kFineOffset);
  }
  for (const FineEntry& entry : kFineExceptions) tables.log2_fine[entry.k] = entry.value;
  return tables;
}

}  // namespace

constexpr LnTables kLnTables = make_tables();

}  // namespace cairn::crush
