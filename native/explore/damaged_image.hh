// Damages an image: a bit of a class of fields, or a write that never came, or came elsewhere.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "explore/damage.hh"
#include "explore/state.hh"

namespace cairn::explore {

struct Damage {
  std::string description;
  std::vector<ByteRange> places;
  Verdict verdict = Verdict::may_name;
};

// None: the disk has no field of the class.
std::optional<Damage> flip_bit(io::SimDiskImage& image, const FieldMap& fields, FieldClass field,
                               Random& random);

// kind: lost_write or misdirected_write. Takes back a write of the life before the moment whose
// bytes the image holds whole; none: no such write.
std::optional<Damage> displace_write(io::SimDiskImage& image, const FieldMap& fields,
                                     const Life& life, const Moment& moment, StateKind kind,
                                     Random& random);

}  // namespace cairn::explore
