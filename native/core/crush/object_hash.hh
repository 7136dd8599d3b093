// From an object's name to the seed of its placement group, as Ceph does it for pools with
// object_hash rjenkins.
#pragma once

#include <bit>
#include <cstdint>

#include "base/bytes.hh"

namespace cairn::crush {

// Ceph's ceph_str_hash_rjenkins: Bob Jenkins' lookup2 hash (1996, public domain) with initial
// value 0. name: the object's name, behind "namespace\x1f" when it has a namespace.
std::uint32_t object_name_hash(ByteSpan name);

// The mask of ceph_stable_mod for b: the smallest 2^n - 1 that is at least b - 1. b from 1.
constexpr std::uint32_t stable_mod_mask(std::uint32_t b) {
  return b <= 1 ? 0 : ~std::uint32_t{0} >> std::countl_zero(b - 1);
}

// Ceph's ceph_stable_mod: x modulo b so that raising b to b + 1 moves only the inputs of the one
// group that is split. mask: stable_mod_mask(b).
constexpr std::uint32_t stable_mod(std::uint32_t x, std::uint32_t b, std::uint32_t mask) {
  return (x & mask) < b ? x & mask : x & (mask >> 1);
}

}  // namespace cairn::crush
